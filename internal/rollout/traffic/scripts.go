package traffic

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"

	"redstart.dev/redstart/internal/lua"
)

// The shipped scripts, GROUP/KIND/trafficRouting.lua and trafficrouting_ingress/CLASS.lua, with their test cases.
//
//go:embed scripts
var shipped embed.FS

// Shipped are the files of the shipped scripts and their test cases.
func Shipped() fs.FS {
	sub, err := fs.Sub(shipped, "scripts")
	if err != nil {
		panic(err) // the directory is embedded
	}
	return sub
}

const (
	scriptFile  = "trafficRouting.lua"
	ingressDir  = "trafficrouting_ingress"
	overrideKey = "lua.traffic.routing."
	// DefaultClass is the class of an Ingress whose Rollout names none.
	DefaultClass = "nginx"
)

// ScriptPath is the path of the script for a kind of object.
func ScriptPath(apiVersion, kind string) string {
	return path.Join(groupOf(apiVersion), kind, scriptFile)
}

// IngressPath is the path of the script for a class of Ingress.
func IngressPath(class string) string {
	if class == "" {
		class = DefaultClass
	}
	return path.Join(ingressDir, class+".lua")
}

func groupOf(apiVersion string) string {
	group, _, _ := strings.Cut(apiVersion, "/")
	return group
}

// Scripts finds scripts, in a ConfigMap first and then among those in files, and compiles each once. Several goroutines
// may use it.
type Scripts struct {
	files     fs.FS
	overrides map[string]string
	compiled  *cache
}

// cache holds compiled scripts by their source, so that a ConfigMap that did not change costs nothing.
type cache struct {
	mu      sync.Mutex
	scripts map[[2]string]*lua.Script
}

// cached bounds the compiled scripts that are held.
const cached = 256

// NewScripts uses the scripts in files, usually Shipped().
func NewScripts(files fs.FS) *Scripts {
	return &Scripts{files: files, compiled: &cache{scripts: map[[2]string]*lua.Script{}}}
}

// With returns scripts that are first looked for in the data of a ConfigMap: lua.traffic.routing.KIND.GROUP and
// lua.traffic.routing.ingress.CLASS. Compiled scripts are shared.
func (s *Scripts) With(data map[string]string) *Scripts {
	return &Scripts{files: s.files, overrides: data, compiled: s.compiled}
}

// Custom finds the script for a kind of object. The error says where it was looked for.
func (s *Scripts) Custom(apiVersion, kind string) (*lua.Script, error) {
	return s.find(ScriptPath(apiVersion, kind), overrideKey+kind+"."+groupOf(apiVersion))
}

// Ingress finds the script for a class of Ingress; nginx if it is empty.
func (s *Scripts) Ingress(class string) (*lua.Script, error) {
	if class == "" {
		class = DefaultClass
	}
	return s.find(IngressPath(class), overrideKey+"ingress."+class)
}

func (s *Scripts) find(file, key string) (*lua.Script, error) {
	if source, ok := s.overrides[key]; ok {
		return s.compiled.compile(key, source)
	}
	source, err := fs.ReadFile(s.files, file)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return nil, fmt.Errorf("there is no script for it: none is shipped as %s, and the ConfigMap of scripts has no key %s", file, key)
	}
	if err != nil {
		return nil, fmt.Errorf("read the script %s: %w", file, err)
	}
	return s.compiled.compile(file, string(source))
}

func (c *cache) compile(name, source string) (*lua.Script, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := [2]string{name, source}
	if script, ok := c.scripts[key]; ok {
		return script, nil
	}
	script, err := lua.Compile(name, source)
	if err != nil {
		return nil, err
	}
	if len(c.scripts) >= cached {
		clear(c.scripts)
	}
	c.scripts[key] = script
	return script, nil
}
