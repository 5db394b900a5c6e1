package charts

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// kubernetes is the release whose OpenAPI documents are in its Go module.
const kubernetes = "k8s.io/kubernetes@v1.34.4"

// schemas are the OpenAPI schemas of Kubernetes and of our CRDs, as JSON schemas that know no further fields.
type schemas struct {
	t        *testing.T
	dir      string
	compiled map[schema.GroupVersionKind]*jsonschema.Schema
}

func loadSchemas(t *testing.T) *schemas {
	t.Helper()
	cmd := exec.Command("go", "mod", "download", "-json", kubernetes)
	cmd.Dir = t.TempDir() // outside of any module, so that none is changed
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("download %s: %v\n%s", kubernetes, err, out)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		t.Fatal(err)
	}
	return &schemas{t: t, dir: filepath.Join(module.Dir, "api", "openapi-spec", "v3"), compiled: map[schema.GroupVersionKind]*jsonschema.Schema{}}
}

func (s *schemas) validate(u *unstructured.Unstructured) error {
	gvk := u.GroupVersionKind()
	switch gvk.Group {
	case "monitoring.coreos.com": // its schema is not Kubernetes'
		return nil
	case "redstart.dev": // another test asks the CRD, with its rules
		return nil
	}
	c := s.compiled[gvk]
	if c == nil {
		var err error
		if c, err = s.compile(gvk); err != nil {
			return err
		}
		s.compiled[gvk] = c
	}
	b, err := u.MarshalJSON()
	if err != nil {
		return err
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(b)))
	if err != nil {
		return err
	}
	return c.Validate(v)
}

func (s *schemas) compile(gvk schema.GroupVersionKind) (*jsonschema.Schema, error) {
	file := "api__" + gvk.Version
	if gvk.Group != "" {
		file = "apis__" + gvk.Group + "__" + gvk.Version
	}
	b, err := os.ReadFile(filepath.Join(s.dir, file+"_openapi.json"))
	if err != nil {
		return nil, err
	}
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, err
	}
	all := doc["components"].(map[string]any)["schemas"].(map[string]any)
	found := ""
	for name, one := range all {
		closed(one)
		list, _ := one.(map[string]any)["x-kubernetes-group-version-kind"].([]any)
		for _, x := range list {
			if m := x.(map[string]any); len(list) == 1 && m["group"] == gvk.Group && m["version"] == gvk.Version && m["kind"] == gvk.Kind {
				found = name
			}
		}
	}
	if found == "" {
		return nil, fmt.Errorf("Kubernetes 1.34 has no %s", gvk)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft4)
	if err := c.AddResource("file:///"+file, doc); err != nil {
		return nil, err
	}
	return c.Compile("file:///" + file + "#/components/schemas/" + found)
}

// closed lets a schema of an object have no other fields than its properties, as kubectl's strict validation.
func closed(v any) {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["properties"].(map[string]any); ok && v["additionalProperties"] == nil && v["x-kubernetes-preserve-unknown-fields"] == nil {
			v["additionalProperties"] = false
		}
		for _, field := range v {
			closed(field)
		}
	case []any:
		for _, item := range v {
			closed(item)
		}
	}
}
