package routing

import (
	"net"
	"net/http"
	"strconv"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Filters are what a rule does to requests on their way.
type Filters struct {
	Request, Response Headers
	// Redirect answers the request, instead of a backend.
	Redirect *Redirect
	Rewrite  *Rewrite
	Mirrors  []Mirror
}

// Headers is a change of header fields: set, then add, then remove.
type Headers struct {
	set, add []field
	remove   []string
}

type field struct{ name, value string }

// Apply changes h.
func (c *Headers) Apply(h http.Header) {
	for _, f := range c.set {
		h[f.name] = []string{f.value}
	}
	for _, f := range c.add {
		h[f.name] = append(h[f.name], f.value)
	}
	for _, name := range c.remove {
		delete(h, name)
	}
}

// Set is the value that the change gives a header, which may be the pseudo-header Host; false if it gives none.
func (c *Headers) Set(name string) (string, bool) {
	for _, f := range c.set {
		if f.name == name {
			return f.value, true
		}
	}
	return "", false
}

// Mirror gets copies of requests, and its answers are dropped.
type Mirror struct {
	Target
	Invalid bool
	// Share of the requests that are copied, of Of.
	Share, Of uint32
}

// Takes tells whether a request is copied, for n, a random number from 0 to Of-1.
func (m *Mirror) Takes(n uint32) bool { return !m.Invalid && n < m.Share }

// pathChange replaces the whole path, or the prefix that matched.
type pathChange struct {
	prefix bool
	value  string
}

// apply answers with the changed path, for the prefix that matched, both encoded alike.
func (c *pathChange) apply(path, matched string) string {
	if !c.prefix {
		return c.value
	}
	rest := strings.TrimPrefix(path, matched)
	out := strings.TrimSuffix(c.value, "/") + rest
	if !strings.HasPrefix(out, "/") {
		out = "/" + out
	}
	return out
}

// Rewrite changes the URL of a request before a backend sees it.
type Rewrite struct {
	// Host is the new Host header; empty leaves it.
	Host string
	path *pathChange
}

// Path is the path that the backend sees, for the path of the request and the prefix of it that matched.
func (w *Rewrite) Path(path, prefix string) string {
	if w.path == nil {
		return path
	}
	return w.path.apply(path, prefix)
}

// Redirect sends the client somewhere else.
type Redirect struct {
	// Code of the answer, 301 to 308.
	Code   int
	scheme string
	host   string
	port   int32
	path   *pathChange
}

// Location is where the client is sent: host is the request's Host header, and query its raw query. Without a scheme
// and a port in the filter the port stays the one that the client used.
func (r *Redirect) Location(host, path, query, prefix string) string {
	name, port := host, ""
	if h, p, err := net.SplitHostPort(host); err == nil {
		name, port = h, p
	}
	if r.host != "" {
		name = r.host
	}
	scheme := "http"
	if r.scheme != "" {
		scheme, port = r.scheme, ""
	}
	if r.port != 0 {
		port = strconv.Itoa(int(r.port))
	}
	if scheme == "http" && port == "80" || scheme == "https" && port == "443" {
		port = ""
	}
	switch {
	case port != "":
		name = net.JoinHostPort(strings.Trim(name, "[]"), port)
	case strings.Contains(name, ":") && !strings.HasPrefix(name, "["):
		name = "[" + name + "]"
	}
	if r.path != nil {
		path = r.path.apply(path, prefix)
	}
	if query != "" {
		query = "?" + query
	}
	return scheme + "://" + name + path + query
}

func compileFilters(namespace string, filters []gatewayv1.HTTPRouteFilter, resolve Resolve) Filters {
	var out Filters
	for i := range filters {
		f := &filters[i]
		switch {
		case f.RequestHeaderModifier != nil:
			out.Request = compileHeaders(f.RequestHeaderModifier)
		case f.ResponseHeaderModifier != nil:
			out.Response = compileHeaders(f.ResponseHeaderModifier)
		case f.RequestRedirect != nil:
			out.Redirect = compileRedirect(f.RequestRedirect)
		case f.URLRewrite != nil:
			out.Rewrite = &Rewrite{path: compilePath(f.URLRewrite.Path)}
			if f.URLRewrite.Hostname != nil {
				out.Rewrite.Host = string(*f.URLRewrite.Hostname)
			}
		case f.RequestMirror != nil:
			out.Mirrors = append(out.Mirrors, compileMirror(namespace, f.RequestMirror, resolve))
		}
	}
	return out
}

func compileHeaders(h *gatewayv1.HTTPHeaderFilter) Headers {
	fields := func(list []gatewayv1.HTTPHeader) []field {
		var out []field
		for _, x := range list {
			out = append(out, field{http.CanonicalHeaderKey(string(x.Name)), x.Value})
		}
		return out
	}
	out := Headers{set: fields(h.Set), add: fields(h.Add)}
	for _, name := range h.Remove {
		out.remove = append(out.remove, http.CanonicalHeaderKey(name))
	}
	return out
}

func compilePath(m *gatewayv1.HTTPPathModifier) *pathChange {
	switch {
	case m == nil:
		return nil
	case m.ReplaceFullPath != nil:
		value := *m.ReplaceFullPath
		if !strings.HasPrefix(value, "/") {
			value = "/" + value
		}
		return &pathChange{value: value}
	case m.ReplacePrefixMatch != nil:
		return &pathChange{prefix: true, value: *m.ReplacePrefixMatch}
	}
	return nil
}

func compileRedirect(f *gatewayv1.HTTPRequestRedirectFilter) *Redirect {
	r := &Redirect{Code: http.StatusFound, path: compilePath(f.Path)}
	if f.StatusCode != nil {
		r.Code = *f.StatusCode
	}
	if f.Scheme != nil {
		r.scheme = *f.Scheme
	}
	if f.Hostname != nil {
		r.host = string(*f.Hostname)
	}
	if f.Port != nil {
		r.port = *f.Port
	}
	return r
}

func compileMirror(namespace string, f *gatewayv1.HTTPRequestMirrorFilter, resolve Resolve) Mirror {
	target, ok := resolve(namespace, &f.BackendRef)
	m := Mirror{Target: target, Invalid: !ok, Share: 1, Of: 1}
	switch {
	case f.Percent != nil:
		m.Share, m.Of = uint32(*f.Percent), 100
	case f.Fraction != nil:
		m.Share, m.Of = uint32(f.Fraction.Numerator), 100
		if f.Fraction.Denominator != nil {
			m.Of = uint32(*f.Fraction.Denominator)
		}
	}
	return m
}
