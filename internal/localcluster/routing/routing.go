// Package routing decides where HTTP requests go, by the rules of the Gateway API: a Table is compiled from the routes
// of a listener's port, and tells for the attributes of a request which rule is the one, and for a random number which
// of the rule's backends. It is pure: no clock, no network, no dice of its own.
package routing

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"time"
)

const (
	// ClassName is the name of the GatewayClass that every embedded cluster has.
	ClassName = "redstart"
	// ControllerName is what a GatewayClass says whose Gateways are served by the embedded cluster.
	ControllerName = "redstart.dev/gateway"

	// AnnotationSessionCookie on an HTTPRoute names a cookie by which a client stays with the backend that it was
	// given first, whatever the weights become, as long as that has any weight.
	AnnotationSessionCookie = "redstart.dev/session-cookie"
	// AnnotationAccessLog on a Gateway, "true", writes a line for every request.
	AnnotationAccessLog = "redstart.dev/access-log"
	// AnnotationUpstream on a Service says how requests are spread over its pods, and how their health is told; see Policy.
	AnnotationUpstream = "redstart.dev/upstream"
	// AnnotationWeight on a pod is its share among the pods of a Service whose policy is weighted: 1 to 1000, 1 without it.
	AnnotationWeight = "redstart.dev/weight"
)

// CheckSwitch tells whether an annotation is true or false.
func CheckSwitch(text string) error {
	if text != "true" && text != "false" {
		return fmt.Errorf("expected \"true\" or \"false\"")
	}
	return nil
}

// Expression compiles a regular expression of a match, which has to match the whole value. Go's engine runs in time
// linear to its input, so that no expression and no request can hold it up.
func Expression(text string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(text); err != nil {
		return nil, err
	}
	return regexp.Compile(`\A(?:` + text + `)\z`)
}

// Request is what of a request decides where it goes.
type Request struct {
	// Host that was asked for, as in the Host header: a port is ignored, and so is case.
	Host string
	// Method, such as GET.
	Method string
	// Path, decoded; see CleanPath.
	Path string
	// Header fields by canonical name.
	Header http.Header
	// RawQuery as in the URL. It is parsed only if a rule asks for a parameter.
	RawQuery string

	query url.Values
}

// parameter is the first value of a query parameter.
func (r *Request) parameter(name string) (string, bool) {
	if r.query == nil {
		// What cannot be parsed is not there.
		r.query, _ = url.ParseQuery(r.RawQuery)
	}
	v, ok := r.query[name]
	if !ok {
		return "", false
	}
	return v[0], true
}

// Target is a port of a Service.
type Target struct {
	Namespace, Service string
	Port               int32
}

func (t Target) String() string {
	return t.Namespace + "/" + t.Service + ":" + strconv.Itoa(int(t.Port))
}

// Rule is a compiled rule of an HTTPRoute.
type Rule struct {
	// Namespace and Route are the HTTPRoute's, and Index its place in the route's list of rules.
	Namespace, Route string
	Index            int
	// Name of the rule; its index where it has none.
	Name string
	// Backends as the route lists them.
	Backends []Backend
	Filters  Filters
	// Request and BackendRequest bound the whole request, and each attempt to have a backend answer it. 0 is no bound.
	Request, BackendRequest time.Duration
	// Cookie is the name of the session cookie, empty for none.
	Cookie string

	total uint32
}

// Backend is one of the places that a rule shares its requests among.
type Backend struct {
	Target
	Weight uint32
	// Invalid says that the reference leads nowhere: its share of the requests is answered with 500.
	Invalid bool
	// ID tells backends of a rule apart in the session cookie. It follows from the target alone.
	ID string
	// Request and Response are the changes of headers for this backend alone.
	Request, Response Headers
}

// Total is the sum of the weights; 0 if no request goes anywhere.
func (r *Rule) Total() uint32 { return r.total }

// Pick chooses a backend by n, a random number from 0 to Total-1.
func (r *Rule) Pick(n uint32) *Backend {
	for i := range r.Backends {
		b := &r.Backends[i]
		if n < b.Weight {
			return b
		}
		n -= b.Weight
	}
	return nil
}

// Sticky is the backend that a session cookie's value names, if it still takes requests.
func (r *Rule) Sticky(value string) *Backend {
	for i := range r.Backends {
		if b := &r.Backends[i]; b.ID == value && b.Weight > 0 && !b.Invalid {
			return b
		}
	}
	return nil
}
