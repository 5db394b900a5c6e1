// Command resourcedoc prints the page of docs/ that lists every field of a resource, from the doc comments of its Go types.
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
)

// page is what a page says of one kind, besides its fields.
type page struct{ kind, plural, example string }

var pages = map[string]page{
	"Redis": {"Redis", "redis", `metadata:
  name: cache
spec:
  mode: Sentinel
`},
	"Rollout": {"Rollout", "rollout", `metadata:
  name: frontend
spec:
  workloadRef: {apiVersion: apps/v1, kind: Deployment, name: frontend}
  strategy:
    canary:
      steps:
        - {replicas: 20%, pause: {}}
`},
}

func (p page) intro() string {
	return "# The " + p.kind + " resource\n\n" + `<!-- Made by make generate from api/v1alpha1. -->

Every field, in the order of the types. A field that says *as in a pod* takes what Kubernetes takes there.
` + "`kubectl explain " + p.plural + ".spec`" + ` says the same at the command line.

` + "```yaml\napiVersion: redstart.dev/v1alpha1\nkind: " + p.kind + "\n" + p.example + "```\n\n"
}

func main() {
	kind := "Redis"
	if len(os.Args) > 1 {
		kind = os.Args[1]
	}
	if err := write(os.Stdout, "api/v1alpha1", kind); err != nil {
		fmt.Fprintln(os.Stderr, "resourcedoc:", err)
		os.Exit(1)
	}
}

// structs are the struct types of a package by name, and the names of its map types.
type structs struct {
	fields map[string]*ast.StructType
	maps   map[string]bool
}

func write(w io.Writer, dir, kind string) error {
	p, known := pages[kind]
	if !known {
		return fmt.Errorf("no page for the kind %q: expected Redis or Rollout", kind)
	}
	s, err := parse(dir)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, p.intro()); err != nil {
		return err
	}
	fmt.Fprint(w, "## Contents\n\n- [spec](#spec)\n- [status](#status)\n")
	s.section(w, "spec", kind+"Spec", "What is wanted.")
	s.section(w, "status", kind+"Status", "What was last seen.")
	return nil
}

func parse(dir string) (*structs, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	sort.Strings(files)
	s := &structs{map[string]*ast.StructType{}, map[string]bool{}}
	for _, file := range files {
		if strings.Contains(file, "zz_generated") || strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range g.Specs {
				t, ok := spec.(*ast.TypeSpec)
				if !ok {
					continue
				}
				switch typ := t.Type.(type) {
				case *ast.StructType:
					s.fields[t.Name.Name] = typ
				case *ast.MapType:
					s.maps[t.Name.Name] = true
				}
			}
		}
	}
	return s, nil
}

// section prints the table of a struct and then the sections of the structs in it.
func (s *structs) section(w io.Writer, path, name, doc string) {
	fmt.Fprintf(w, "\n## %s\n\n%s\n\n| field | type | meaning |\n|---|---|---|\n", path, doc)
	type child struct{ path, name, doc string }
	var children []child
	for _, f := range s.fields[name].Fields.List {
		if f.Tag == nil || len(f.Names) == 0 {
			continue
		}
		key, _, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json"), ",")
		goType, list := typeName(f.Type)
		if s.maps[goType] {
			goType = "map"
		}
		shown := goType
		if _, known := s.fields[goType]; known {
			at := path + "." + key
			if list {
				at += "[]"
			}
			children = append(children, child{at, goType, text(f.Doc)})
			shown = fmt.Sprintf("[%s](#%s)", map[bool]string{true: "list", false: "object"}[list], anchor(at))
		} else if list {
			shown = "list of " + plain(goType)
		} else {
			shown = plain(shown)
		}
		fmt.Fprintf(w, "| `%s` | %s | %s |\n", key, shown, strings.ReplaceAll(text(f.Doc), "|", "\\|"))
	}
	for _, c := range children {
		s.section(w, c.path, c.name, c.doc)
	}
}

// typeName is the name of a field's element type, and whether it is a list.
func typeName(e ast.Expr) (name string, list bool) {
	switch e := e.(type) {
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.ArrayType:
		name, _ := typeName(e.Elt)
		return name, true
	case *ast.MapType:
		return "map", false
	case *ast.SelectorExpr:
		return e.X.(*ast.Ident).Name + "." + e.Sel.Name, false
	case *ast.Ident:
		return e.Name, false
	default:
		return "any", false
	}
}

// plain is a Go type in the words of YAML.
func plain(goType string) string {
	switch goType {
	case "int32", "int64":
		return "number"
	case "intstr.IntOrString":
		return "number or percentage"
	case "bool":
		return "true or false"
	case "map":
		return "map of strings"
	case "metav1.Duration":
		return "duration"
	case "metav1.MicroTime", "metav1.Time":
		return "time"
	case "resource.Quantity":
		return "quantity"
	case "metav1.Condition":
		return "conditions"
	}
	if _, name, ok := strings.Cut(goType, "."); ok {
		switch name {
		case "PullPolicy", "ServiceType", "PersistentVolumeAccessMode":
			return "string"
		}
		return name + " of Kubernetes"
	}
	return "string"
}

// text is a doc comment in one line, without the markers for generators.
func text(g *ast.CommentGroup) string {
	if g == nil {
		return ""
	}
	var lines []string
	for _, line := range strings.Split(g.Text(), "\n") {
		if !strings.HasPrefix(line, "+") && strings.TrimSpace(line) != "" {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, " ")
}

// anchor is the link to a heading.
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(".[]", r) {
			return -1
		}
		return r
	}, strings.ToLower(heading))
}
