// Package manifest reads the YAML and JSON files that users write, and finds what is wrong with them before
// anything is sent to an API server: every error of every file, each with its file, document, field and remedy.
package manifest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"
)

// MaxFileSize is how large one file, or standard input, may be, in bytes.
const MaxFileSize = 8 << 20

// Document is one object of one file.
type Document struct {
	// File that it came from, "standard input" for "-"; Index counts the documents of a file from 1.
	File  string
	Index int
	// Object as it was written.
	Object *unstructured.Unstructured
}

// String names the document in messages: `FILE: document N (Kind name)`.
func (d Document) String() string {
	if d.Object != nil {
		if name := strings.TrimSpace(d.Object.GetKind() + " " + d.Object.GetName()); name != "" {
			return fmt.Sprintf("%s: document %d (%s)", d.File, d.Index, name)
		}
	}
	return fmt.Sprintf("%s: document %d", d.File, d.Index)
}

// Problem is one thing that is wrong with a document.
type Problem struct {
	Document Document
	// Field is the path of the field, empty when the whole document is meant.
	Field   string
	Message string
}

func (p Problem) Error() string {
	if p.Field == "" {
		return fmt.Sprintf("%s: %s", p.Document, p.Message)
	}
	return fmt.Sprintf("%s: %s: %s", p.Document, p.Field, p.Message)
}

// Problems is the error that lists all of them, one a line.
type Problems []error

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, err := range p {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Err is p, or nil when there is nothing wrong.
func (p Problems) Err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

// Load reads files, the .yaml, .yml and .json files of directories (and, with recursive, of those below), and
// stdin for "-". It returns what could be read, and a Problems error with everything that could not.
func Load(paths []string, recursive bool, stdin io.Reader) ([]Document, error) {
	var docs []Document
	var problems Problems
	for _, path := range paths {
		files, err := expand(path, recursive)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		for _, file := range files {
			d, err := readFile(file, stdin)
			docs = append(docs, d...)
			problems = append(problems, err...)
		}
	}
	if len(problems) == 0 && len(docs) == 0 {
		problems = append(problems, fmt.Errorf("%s: no objects found; expected .yaml, .yml or .json files with Kubernetes objects", strings.Join(paths, ", ")))
	}
	return docs, problems.Err()
}

// expand lists the files that a path stands for.
func expand(path string, recursive bool) ([]string, error) {
	if path == "-" {
		return []string{path}, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, pathError(path, err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	var files []string
	err = filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return pathError(p, err)
		}
		if e.IsDir() {
			if p != path && !recursive {
				return filepath.SkipDir
			}
			return nil
		}
		switch filepath.Ext(p) {
		case ".yaml", ".yml", ".json":
			files = append(files, p)
		}
		return nil
	})
	sort.Strings(files)
	return files, err
}

// pathError says it in the order file, reason.
func pathError(path string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return fmt.Errorf("%s: cannot be read: %w", path, err)
}

func readFile(path string, stdin io.Reader) ([]Document, Problems) {
	name, r := path, stdin
	if path == "-" {
		name = "standard input"
	} else {
		f, err := os.Open(path)
		if err != nil {
			return nil, Problems{pathError(path, err)}
		}
		defer func() { _ = f.Close() }()
		r = f
	}
	data, err := io.ReadAll(io.LimitReader(r, MaxFileSize+1))
	if err != nil {
		return nil, Problems{pathError(name, err)}
	}
	if len(data) > MaxFileSize {
		return nil, Problems{fmt.Errorf("%s: larger than %d MiB; split it", name, MaxFileSize>>20)}
	}
	return Parse(name, data)
}

// Parse reads the documents of one file.
func Parse(file string, data []byte) ([]Document, Problems) {
	var docs []Document
	var problems Problems
	n := 0
	for _, part := range split(data) {
		var raw any
		text, err := yaml.YAMLToJSONStrict(part.text)
		if err == nil {
			err = utiljson.Unmarshal(text, &raw)
		}
		if err != nil {
			n++
			problems = append(problems, Problem{Document: Document{File: file, Index: n}, Message: part.explain(err)})
			continue
		}
		if raw == nil {
			continue // only comments
		}
		n++
		doc := Document{File: file, Index: n}
		m, ok := raw.(map[string]any)
		if !ok {
			problems = append(problems, Problem{Document: doc, Message: "not an object; expected fields such as apiVersion, kind and metadata"})
			continue
		}
		items, isList := m["items"].([]any)
		if kind, _ := m["kind"].(string); !isList || kind != "List" {
			items = []any{m}
		}
		for _, item := range items {
			object, ok := item.(map[string]any)
			if !ok {
				problems = append(problems, Problem{Document: doc, Field: "items", Message: "expected objects"})
				continue
			}
			docs = append(docs, Document{File: file, Index: n, Object: &unstructured.Unstructured{Object: object}})
		}
	}
	return docs, problems
}

// part is one document of a file and the line before its first one.
type part struct {
	text []byte
	line int
}

// split cuts a file at the lines "---".
func split(data []byte) []part {
	var parts []part
	var buf bytes.Buffer
	start, line := 0, 0
	s := bufio.NewScanner(bytes.NewReader(data))
	s.Buffer(nil, MaxFileSize+1)
	for s.Scan() {
		text := s.Text()
		line++
		if text == "---" || strings.HasPrefix(text, "--- ") {
			parts = append(parts, part{bytes.Clone(buf.Bytes()), start})
			buf.Reset()
			start = line
			continue
		}
		buf.WriteString(text)
		buf.WriteByte('\n')
	}
	return append(parts, part{buf.Bytes(), start})
}

// explain turns the YAML library's error into one line with the line number in the file.
func (p part) explain(err error) string {
	msg := strings.ReplaceAll(err.Error(), "\n", " ")
	for _, prefix := range []string{"error converting YAML to JSON: ", "yaml: ", "unmarshal errors: "} {
		msg = strings.TrimPrefix(strings.TrimSpace(msg), prefix)
	}
	var n int
	if _, scanErr := fmt.Sscanf(msg, "line %d:", &n); scanErr == nil {
		_, rest, _ := strings.Cut(msg, ":")
		return fmt.Sprintf("line %d: not valid YAML: %s", n+p.line, strings.TrimSpace(rest))
	}
	return "not valid YAML: " + msg
}
