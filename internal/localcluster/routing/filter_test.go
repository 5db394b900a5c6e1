package routing

import (
	"fmt"
	"net/http"
	"testing"
)

func TestReplacePrefix(t *testing.T) {
	for _, c := range []struct{ path, prefix, replacement, want string }{
		{"/foo/bar", "/foo", "/xyz", "/xyz/bar"},
		{"/foo/bar", "/foo", "/xyz/", "/xyz/bar"},
		{"/foo", "/foo", "/xyz", "/xyz"},
		{"/foo/", "/foo", "/xyz", "/xyz/"},
		{"/foo/bar", "/foo", "", "/bar"},
		{"/foo/", "/foo", "", "/"},
		{"/foo", "/foo", "", "/"},
		{"/foo/", "/foo", "/", "/"},
		{"/foo", "/foo", "/", "/"},
		{"/a%2Fb/c", "", "/x", "/x/a%2Fb/c"},
	} {
		w := Rewrite{path: &pathChange{prefix: true, value: c.replacement}}
		if got := w.Path(c.path, c.prefix); got != c.want {
			t.Errorf("%s with %s for %s is %s, expected %s", c.path, c.replacement, c.prefix, got, c.want)
		}
	}
}

func TestFilters(t *testing.T) {
	r := table(t, "", route(t, "r", 1, `
rules:
- filters:
  - type: RequestHeaderModifier
    requestHeaderModifier: {set: [{name: x-set, value: new}], add: [{name: x-add, value: more}], remove: [x-gone]}
  - type: URLRewrite
    urlRewrite: {hostname: inner.example, path: {type: ReplaceFullPath, replaceFullPath: /all}}
  - type: RequestMirror
    requestMirror: {backendRef: {name: copy, port: 80}, percent: 10}
  - type: RequestMirror
    requestMirror: {backendRef: {name: missing, port: 80}}
  backendRefs: [{name: a, port: 80, filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-version, value: a}]}}]}]
`)).Rules()[0]
	h := http.Header{"X-Set": {"old", "older"}, "X-Add": {"one"}, "X-Gone": {"x"}, "X-Stays": {"y"}}
	r.Filters.Request.Apply(h)
	if got := fmt.Sprint(h); got != "map[X-Add:[one more] X-Set:[new] X-Stays:[y]]" {
		t.Errorf("headers are %s", got)
	}
	if w := r.Filters.Rewrite; w.Host != "inner.example" || w.Path("/x", "") != "/all" {
		t.Errorf("rewritten to %s %s", w.Host, w.Path("/x", ""))
	}
	m := r.Filters.Mirrors
	if !m[0].Takes(9) || m[0].Takes(10) || m[0].Of != 100 || m[1].Takes(0) {
		t.Errorf("mirrors %+v", m)
	}
	if v, ok := r.Backends[0].Response.Set("X-Version"); !ok || v != "a" {
		t.Errorf("the backend sets the version %q", v)
	}
}

func TestLocation(t *testing.T) {
	for _, c := range []struct{ filter, host, want string }{
		{`{}`, "shop.example:8000", "http://shop.example:8000/a/b?q=1"},
		{`{scheme: https}`, "shop.example:8000", "https://shop.example/a/b?q=1"},
		{`{scheme: https, port: 8443}`, "shop.example", "https://shop.example:8443/a/b?q=1"},
		{`{scheme: http, port: 80}`, "shop.example:8000", "http://shop.example/a/b?q=1"},
		{`{hostname: other.example}`, "shop.example:8000", "http://other.example:8000/a/b?q=1"},
		{`{path: {type: ReplaceFullPath, replaceFullPath: /}}`, "shop.example", "http://shop.example/?q=1"},
		{`{path: {type: ReplacePrefixMatch, replacePrefixMatch: /x}}`, "[::1]:8000", "http://[::1]:8000/x/b?q=1"},
		{`{}`, "[::1]", "http://[::1]/a/b?q=1"},
	} {
		r := table(t, "", route(t, "r", 1, `{rules: [{filters: [{type: RequestRedirect, requestRedirect: `+c.filter+`}]}]}`)).Rules()[0]
		if got := r.Filters.Redirect.Location(c.host, "/a/b", "q=1", "/a"); got != c.want {
			t.Errorf("%s of %s leads to %s, expected %s", c.filter, c.host, got, c.want)
		}
	}
}

func TestParsePolicy(t *testing.T) {
	for text, want := range map[string]string{
		``:                                       `{roundRobin <nil> <nil>}`,
		`balance: weighted`:                      `{weighted <nil> <nil>}`,
		`healthCheck: {}`:                        `/health 30s 2s 3 1`,
		`passive: {failures: 2}`:                 `2 30s`,
		`balance: random`:                        `balance: "random" is not known; expected roundRobin, weighted or leastResponseTime`,
		`healthCheck: {path: x}`:                 `healthCheck.path: "x" does not begin with /`,
		`healthCheck: {path: /x, interval: 1ms}`: `healthCheck.interval: 1ms; expected 100ms to 1h0m0s`,
		`healthCheck: {interval: 1s, timeout: 2s}`:      `healthCheck.timeout: 2s; expected 1ms to 1s`,
		`healthCheck: {failures: -1}`:                   `healthCheck.failures: -1; expected 1 to 100`,
		`{balance: weighted, passive: {duration: 1ms}}`: `passive.duration: 1ms; expected 100ms to 1h0m0s`,
		`healthCheck: {path: /live, interval: 500ms}`:   `/live 500ms 500ms 3 1`,
		`{"healthCheck":{"failures":2,"successes":4}}`:  `/health 30s 2s 2 4`,
		`blance: weighted`:                              `unknown field "blance"; expected for example {balance: leastResponseTime, healthCheck: {path: /health, interval: 30s}}`,
	} {
		p, err := ParsePolicy(text)
		got := fmt.Sprint(p)
		switch {
		case err != nil:
			got = err.Error()
		case p.Health != nil:
			h := p.Health
			got = fmt.Sprint(h.Path, " ", h.Interval.Duration, " ", h.Timeout.Duration, " ", h.Failures, " ", h.Successes)
		case p.Passive != nil:
			got = fmt.Sprint(p.Passive.Failures, " ", p.Passive.Duration.Duration)
		}
		if got != want {
			t.Errorf("%s: %s\nexpected %s", text, got, want)
		}
	}
}
