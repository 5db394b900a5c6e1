package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPagesAreCurrent(t *testing.T) {
	for kind, page := range map[string]string{"Redis": "../../docs/redis-resource.md", "Rollout": "../../docs/rollout-resource.md"} {
		var want bytes.Buffer
		if err := write(&want, "../../api/v1alpha1", kind); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.String(), string(got)); diff != "" {
			t.Errorf("%s is not what the types say; run make generate\n%s", page, diff)
		}
	}
}
