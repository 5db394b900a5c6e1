package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPageIsCurrent(t *testing.T) {
	var want bytes.Buffer
	if err := write(&want, "../../api/v1alpha1"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/redis-resource.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.String(), string(got)); diff != "" {
		t.Errorf("docs/redis-resource.md is not what the types say; run make generate\n%s", diff)
	}
}
