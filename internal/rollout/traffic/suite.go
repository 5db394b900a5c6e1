package traffic

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"redstart.dev/redstart/internal/lua"
)

// caseSize bounds a test-case file, in bytes.
const caseSize = 4 << 20

// FindCases lists the test-case files below dir in files: YAML in directories named testdata.
func FindCases(files fs.FS, dir string) ([]string, error) {
	var out []string
	err := fs.WalkDir(files, dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() && path.Base(path.Dir(p)) == "testdata" && isYAML(p) {
			out = append(out, p)
		}
		return nil
	})
	return out, err
}

func isYAML(p string) bool { return strings.HasSuffix(p, ".yaml") || strings.HasSuffix(p, ".yml") }

// RunCase runs a test-case file with the script beside it: DIR/trafficRouting.lua for DIR/testdata/NAME.yaml, or
// DIR/CLASS.lua for an Ingress; then GROUP/KIND/trafficRouting.lua below the root of files; then the shipped script.
// script is the path of the one that was used. The error says what is wrong with the file.
func (s *Scripts) RunCase(run func(*TestCase, *lua.Script) ([]Outcome, error), files fs.FS, file string) (outcomes []Outcome, script string, err error) {
	text, err := readFile(files, file, caseSize)
	if err != nil {
		return nil, "", err
	}
	c, err := ParseTestCase(text)
	if err != nil {
		return nil, "", err
	}
	beside := path.Dir(file)
	if path.Base(beside) == "testdata" {
		beside = path.Dir(beside)
	}
	var candidates []string
	shippedScript := func() (*lua.Script, error) { return s.Custom(c.Original.GetAPIVersion(), c.Original.GetKind()) }
	shippedPath := ScriptPath(c.Original.GetAPIVersion(), c.Original.GetKind())
	if isIngress(c.Original) {
		plan, err := c.Plan()
		if err != nil {
			return nil, "", err
		}
		shippedScript = func() (*lua.Script, error) { return s.Ingress(plan.Class) }
		shippedPath = IngressPath(plan.Class)
		candidates = append(candidates, path.Join(beside, path.Base(shippedPath)))
	}
	candidates = append(candidates, path.Join(beside, scriptFile), shippedPath)
	for _, candidate := range candidates {
		source, err := readFile(files, candidate, lua.SourceSize+1)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		compiled, err := s.compiled.compile(candidate, string(source))
		if err != nil {
			return nil, candidate, err
		}
		outcomes, err = run(c, compiled)
		return outcomes, candidate, err
	}
	compiled, err := shippedScript()
	if err != nil {
		return nil, "", err
	}
	outcomes, err = run(c, compiled)
	return outcomes, "shipped " + shippedPath, err
}

func readFile(files fs.FS, name string, most int64) ([]byte, error) {
	info, err := fs.Stat(files, name)
	if err != nil {
		return nil, err
	}
	if info.Size() > most {
		return nil, fmt.Errorf("%d bytes; at most %d are read", info.Size(), most)
	}
	return fs.ReadFile(files, name)
}
