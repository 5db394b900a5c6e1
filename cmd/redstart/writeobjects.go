package main

import (
	"encoding/json"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// writeObjects prints objects as YAML documents, or as one List in JSON.
func writeObjects(w io.Writer, format string, all []client.Object) error {
	var items []any
	for _, o := range all {
		u, err := toUnstructured(o)
		if err != nil {
			return err
		}
		items = append(items, u.Object)
	}
	if format == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
	}
	for i, item := range items {
		b, err := yaml.Marshal(item)
		if err != nil {
			return err
		}
		if i > 0 {
			b = append([]byte("---\n"), b...)
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// toUnstructured is an object with the fields that are set, and no status.
func toUnstructured(o client.Object) (*unstructured.Unstructured, error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", o.GetName(), err)
	}
	delete(fields, "status")
	u := &unstructured.Unstructured{Object: fields}
	for _, path := range [][]string{{"metadata", "creationTimestamp"}, {"spec", "template", "metadata", "creationTimestamp"}} {
		if v, found, err := unstructured.NestedFieldNoCopy(fields, path...); found && v == nil && err == nil {
			unstructured.RemoveNestedField(fields, path...)
		}
	}
	return u, nil
}
