package routing

import (
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// pathKind orders the kinds of matches of paths, the first to be tried first.
type pathKind int

const (
	pathExact pathKind = iota
	pathExpression
	pathPrefix
)

// match is one compiled match of a rule: all of it has to be so.
type match struct {
	kind       pathKind
	path       string // of an exact match, or a prefix without its trailing slash
	expression *regexp.Regexp
	method     string
	headers    []condition
	parameters []condition
}

// condition is on a header or a query parameter.
type condition struct {
	name       string
	value      string
	expression *regexp.Regexp // instead of value
}

func (c *condition) holds(value string) bool {
	if c.expression != nil {
		return c.expression.MatchString(value)
	}
	return value == c.value
}

func (m *match) holds(r *Request) bool {
	if m.method != "" && m.method != r.Method || !m.pathHolds(r.Path) {
		return false
	}
	for i := range m.headers {
		c := &m.headers[i]
		values := r.Header[c.name]
		if len(values) == 0 || !c.holds(strings.Join(values, ",")) {
			return false
		}
	}
	for i := range m.parameters {
		c := &m.parameters[i]
		if value, ok := r.parameter(c.name); !ok || !c.holds(value) {
			return false
		}
	}
	return true
}

func (m *match) pathHolds(p string) bool {
	switch m.kind {
	case pathExact:
		return p == m.path
	case pathExpression:
		return m.expression.MatchString(p)
	default: // whole elements of the path
		rest, ok := strings.CutPrefix(p, m.path)
		return ok && (rest == "" || rest[0] == '/')
	}
}

// compileMatch expects what validation let through; what it did not is an error.
func compileMatch(m *gatewayv1.HTTPRouteMatch) (*match, error) {
	out := &match{kind: pathPrefix}
	if p := m.Path; p != nil && p.Value != nil {
		kind := gatewayv1.PathMatchPathPrefix
		if p.Type != nil {
			kind = *p.Type
		}
		var err error
		switch kind {
		case gatewayv1.PathMatchExact:
			out.kind = pathExact
			out.path, err = url.PathUnescape(*p.Value)
		case gatewayv1.PathMatchRegularExpression:
			out.kind = pathExpression
			out.expression, err = Expression(*p.Value)
		default:
			out.path, err = url.PathUnescape(strings.TrimSuffix(*p.Value, "/"))
		}
		if err != nil {
			return nil, err
		}
	}
	if m.Method != nil {
		out.method = string(*m.Method)
	}
	for _, h := range m.Headers {
		regular := h.Type != nil && *h.Type == gatewayv1.HeaderMatchRegularExpression
		c, err := compileCondition(http.CanonicalHeaderKey(string(h.Name)), h.Value, regular)
		if err != nil {
			return nil, err
		}
		out.headers = append(out.headers, c)
	}
	for _, q := range m.QueryParams {
		regular := q.Type != nil && *q.Type == gatewayv1.QueryParamMatchRegularExpression
		c, err := compileCondition(string(q.Name), q.Value, regular)
		if err != nil {
			return nil, err
		}
		out.parameters = append(out.parameters, c)
	}
	return out, nil
}

func compileCondition(name, value string, regular bool) (condition, error) {
	c := condition{name: name, value: value}
	var err error
	if regular {
		c.expression, err = Expression(value)
	}
	return c, err
}

// CleanPath is the path that a server will take a request for: without empty, "." and ".." elements, so that nobody
// reaches by them what a rule keeps apart. A slash at the end stays.
func CleanPath(p string) string {
	if p == "" || p[0] != '/' {
		p = "/" + p
	}
	if !strings.Contains(p, "//") && !strings.Contains(p, "/.") {
		return p
	}
	clean := path.Clean(p)
	if strings.HasSuffix(p, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}
