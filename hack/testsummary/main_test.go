package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSummarize(t *testing.T) {
	for _, tt := range []struct {
		name, in, want string
		ok             bool
	}{
		{
			name: "all pass",
			in: `{"Action":"output","Package":"a","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"a","Test":"TestA","Output":"    a_test.go:1: measured: write gap 5 ms\n"}
{"Action":"pass","Package":"a","Test":"TestA","Elapsed":20.4}
{"Action":"output","Package":"a","Test":"TestB","Output":"=== RUN   TestB\n"}
{"Action":"output","Package":"a","Test":"TestB","Output":"    a_test.go:9: no such program\n"}
{"Action":"skip","Package":"a","Test":"TestB"}
{"Action":"output","Package":"a","Output":"PASS\n"}
{"Action":"output","Package":"a","Output":"ok  \ta\t0.1s\n"}
{"Action":"pass","Package":"a"}`,
			want: "    a_test.go:1: measured: write gap 5 ms\nskipped TestB: a_test.go:9: no such program\nok  \ta\t0.1s\n" +
				"slow:    20 s  TestA\n1 passed, 0 failed, 1 skipped\n",
			ok: true,
		},
		{
			name: "a test fails",
			in: `{"Action":"output","Package":"a","Test":"TestA","Output":"    a_test.go:1: wrong\n"}
{"Action":"fail","Package":"a","Test":"TestA"}
{"Action":"output","Package":"a","Output":"FAIL\ta\t0.1s\n"}
{"Action":"fail","Package":"a"}`,
			want: "    a_test.go:1: wrong\nFAIL\ta\t0.1s\n0 passed, 1 failed, 0 skipped\n",
		},
		{
			name: "a package does not build",
			in: `{"ImportPath":"a","Action":"build-output","Output":"a.go:1: undefined: x\n"}
{"ImportPath":"a","Action":"build-fail"}
{"Action":"output","Package":"a","Output":"FAIL\ta [build failed]\n"}
{"Action":"fail","Package":"a"}`,
			want: "a.go:1: undefined: x\nFAIL\ta [build failed]\n0 passed, 0 failed, 0 skipped\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			ok, err := summarize(strings.NewReader(tt.in), &out)
			if err != nil || ok != tt.ok {
				t.Errorf("ok = %v, err = %v; want %v, nil", ok, err, tt.ok)
			}
			if diff := cmp.Diff(tt.want, out.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
