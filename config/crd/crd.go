// Package crd holds the custom resource definitions, which make generate makes from the types in api.
package crd

import (
	"embed"
	"fmt"
	"io/fs"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// Files are the definitions as they were generated.
//
//go:embed *.yaml
var Files embed.FS

// All are the definitions, by the names of their files.
func All() ([]*unstructured.Unstructured, error) {
	names, err := fs.Glob(Files, "*.yaml")
	if err != nil {
		return nil, err
	}
	var all []*unstructured.Unstructured
	for _, name := range names {
		b, err := Files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(b, &u.Object); err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		all = append(all, u)
	}
	return all, nil
}
