package routing

import (
	"net"
	"strings"
)

// hostOf is a Host header without its port, in lower case and without the dot of the root.
func hostOf(host string) string {
	if strings.Contains(host, ":") {
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// covers tells whether every name that narrow stands for is one that wide stands for. Names are exact, of a whole
// domain (*.example, which stands for one label or more before .example), or empty for all.
func covers(wide, narrow string) bool {
	if wide == "" || wide == narrow {
		return true
	}
	suffix, ok := strings.CutPrefix(wide, "*")
	return ok && len(narrow) > len(suffix) && strings.HasSuffix(narrow, suffix)
}

// Intersect is the names that a listener and a route have in common: the narrower of each pair. An empty listener
// hostname, and an empty list of a route, stand for all. It answers with no names if they have none in common.
func Intersect(listener string, route []string) []string {
	if len(route) == 0 {
		return []string{listener}
	}
	var out []string
	for _, r := range route {
		switch {
		case covers(listener, r):
			out = append(out, r)
		case covers(r, listener):
			out = append(out, listener)
		}
	}
	return out
}

// narrower orders names: exact ones first, then those of domains by length, then the one that stands for all.
func narrower(a, b string) int {
	rank := func(s string) int {
		switch {
		case s == "":
			return 0
		case strings.HasPrefix(s, "*"):
			return 1
		}
		return 2
	}
	if d := rank(b) - rank(a); d != 0 {
		return d
	}
	return len(b) - len(a)
}

// hosts finds what belongs to the narrowest name that stands for a host.
type hosts[T any] map[string]T

func (h hosts[T]) find(host string) (T, bool) {
	if v, ok := h[host]; ok && host != "" {
		return v, true
	}
	for rest := host; rest != ""; {
		_, after, found := strings.Cut(rest, ".")
		if !found {
			break
		}
		if v, ok := h["*."+after]; ok {
			return v, true
		}
		rest = after
	}
	v, ok := h[""]
	return v, ok
}
