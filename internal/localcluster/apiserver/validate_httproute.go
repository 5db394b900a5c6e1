package apiserver

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"redstart.dev/redstart/internal/localcluster/routing"
)

const (
	maxRules        = 16
	maxMatches      = 64
	maxAllMatches   = 128
	maxConditions   = 16 // headers, and query parameters, of a match; filters and backends of a rule
	maxPathBytes    = 1024
	maxHeaderBytes  = 4096
	maxQueryBytes   = 1024
	maxBackendShare = 1_000_000
)

var (
	headerName  = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+\\-.^_`|~]+$")
	pathPattern = regexp.MustCompile(`^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$`)
	// wait is the form of durations of the Gateway API.
	wait    = regexp.MustCompile(`^([0-9]{1,5}(h|m|s|ms)){1,4}$`)
	methods = sets.New(
		gatewayv1.HTTPMethodGet, gatewayv1.HTTPMethodHead, gatewayv1.HTTPMethodPost, gatewayv1.HTTPMethodPut, gatewayv1.HTTPMethodDelete,
		gatewayv1.HTTPMethodConnect, gatewayv1.HTTPMethodOptions, gatewayv1.HTTPMethodTrace, gatewayv1.HTTPMethodPatch,
	)
)

func validateHTTPRoute(r *gatewayv1.HTTPRoute) field.ErrorList {
	path, s := field.NewPath("spec"), &r.Spec
	errs := validateParents(s.ParentRefs, r.Namespace, path.Child("parentRefs"))
	refuse(&errs, s.UseDefaultGateways != "" && s.UseDefaultGateways != gatewayv1.GatewayDefaultScopeNone, path.Child("useDefaultGateways"))
	bound(&errs, len(s.Hostnames), 0, maxHostnames, path.Child("hostnames"))
	for i, h := range s.Hostnames {
		validateHostname(&errs, string(h), path.Child("hostnames").Index(i))
	}
	bound(&errs, len(s.Rules), 1, maxRules, path.Child("rules"))
	all, names := 0, sets.New[string]()
	for i := range s.Rules {
		rule, at := &s.Rules[i], path.Child("rules").Index(i)
		errs = append(errs, validateRule(rule, at)...)
		all += len(rule.Matches)
		if rule.Name != nil {
			matches(&errs, string(*rule.Name), preciseHostname, 253, "a name of lower case letters, digits and '-'", at.Child("name"))
			if names.Has(string(*rule.Name)) {
				errs = append(errs, field.Duplicate(at.Child("name"), *rule.Name))
			}
			names.Insert(string(*rule.Name))
		}
	}
	if all > maxAllMatches {
		errs = append(errs, field.TooMany(path.Child("rules"), all, maxAllMatches))
	}
	if cookie, ok := r.Annotations[routing.AnnotationSessionCookie]; ok && !headerName.MatchString(cookie) {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "annotations").Key(routing.AnnotationSessionCookie), cookie, "expected the name of a cookie, such as version"))
	}
	return errs
}

func validateRule(r *gatewayv1.HTTPRouteRule, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	refuse(&errs, r.Retry != nil, path.Child("retry"))
	refuse(&errs, r.SessionPersistence != nil, path.Child("sessionPersistence"))
	bound(&errs, len(r.Matches), 0, maxMatches, path.Child("matches"))
	for i := range r.Matches {
		errs = append(errs, validateMatch(&r.Matches[i], path.Child("matches").Index(i))...)
	}
	onePrefix := len(r.Matches) == 1 && *r.Matches[0].Path.Type == gatewayv1.PathMatchPathPrefix
	errs = append(errs, validateFilters(r.Filters, onePrefix, path.Child("filters"))...)
	bound(&errs, len(r.BackendRefs), 0, maxConditions, path.Child("backendRefs"))
	for i := range r.BackendRefs {
		errs = append(errs, validateBackendRef(&r.BackendRefs[i], path.Child("backendRefs").Index(i))...)
	}
	for i := range r.Filters {
		if r.Filters[i].RequestRedirect != nil && len(r.BackendRefs) > 0 {
			errs = append(errs, field.Forbidden(path.Child("filters").Index(i).Child("requestRedirect"), "must not be used together with backendRefs"))
		}
	}
	return append(errs, validateTimeouts(r.Timeouts, path.Child("timeouts"))...)
}

func validateTimeouts(t *gatewayv1.HTTPRouteTimeouts, path *field.Path) field.ErrorList {
	if t == nil {
		return nil
	}
	var errs field.ErrorList
	parse := func(d *gatewayv1.Duration, name string) time.Duration {
		if d == nil {
			return 0
		}
		if !wait.MatchString(string(*d)) {
			errs = append(errs, field.Invalid(path.Child(name), *d, "expected a duration such as 500ms, 10s or 1m30s"))
			return 0
		}
		// What the pattern lets through always parses.
		out, _ := time.ParseDuration(string(*d))
		return out
	}
	request, backend := parse(t.Request, "request"), parse(t.BackendRequest, "backendRequest")
	if request > 0 && backend > request {
		errs = append(errs, field.Invalid(path.Child("backendRequest"), *t.BackendRequest, "cannot be longer than the timeout of the request"))
	}
	return errs
}

func validateMatch(m *gatewayv1.HTTPRouteMatch, path *field.Path) field.ErrorList {
	errs := validatePathMatch(m.Path, path.Child("path"))
	bound(&errs, len(m.Headers), 0, maxConditions, path.Child("headers"))
	names := sets.New[string]()
	for i := range m.Headers {
		h, at := &m.Headers[i], path.Child("headers").Index(i)
		validateCondition(&errs, string(h.Name), h.Value, string(*h.Type), maxHeaderBytes, at)
		unique(&errs, names, strings.ToLower(string(h.Name)), at.Child("name"))
	}
	bound(&errs, len(m.QueryParams), 0, maxConditions, path.Child("queryParams"))
	names = sets.New[string]()
	for i := range m.QueryParams {
		q, at := &m.QueryParams[i], path.Child("queryParams").Index(i)
		validateCondition(&errs, string(q.Name), q.Value, string(*q.Type), maxQueryBytes, at)
		unique(&errs, names, string(q.Name), at.Child("name"))
	}
	if m.Method != nil && !methods.Has(*m.Method) {
		errs = append(errs, field.NotSupported(path.Child("method"), *m.Method, sets.List(methods)))
	}
	return errs
}

func unique(errs *field.ErrorList, names sets.Set[string], name string, path *field.Path) {
	if names.Has(name) {
		*errs = append(*errs, field.Duplicate(path, name))
	}
	names.Insert(name)
}

// validateCondition checks a match of a header or of a query parameter.
func validateCondition(errs *field.ErrorList, name, value, kind string, most int, path *field.Path) {
	matches(errs, name, headerName, 256, "a name as HTTP headers have it", path.Child("name"))
	switch {
	case value == "":
		*errs = append(*errs, field.Required(path.Child("value"), "expected a value"))
	case len(value) > most:
		*errs = append(*errs, field.TooLong(path.Child("value"), "", most))
	}
	switch gatewayv1.HeaderMatchType(kind) {
	case gatewayv1.HeaderMatchExact:
	case gatewayv1.HeaderMatchRegularExpression:
		validateExpression(errs, value, path.Child("value"))
	default:
		*errs = append(*errs, field.NotSupported(path.Child("type"), kind,
			[]gatewayv1.HeaderMatchType{gatewayv1.HeaderMatchExact, gatewayv1.HeaderMatchRegularExpression}))
	}
}

func validateExpression(errs *field.ErrorList, value string, path *field.Path) {
	if _, err := routing.Expression(value); err != nil {
		*errs = append(*errs, field.Invalid(path, value, err.Error()+"; expected a regular expression of RE2, as Go has it"))
	}
}

func validatePathMatch(m *gatewayv1.HTTPPathMatch, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	value, at := *m.Value, path.Child("value")
	if len(value) > maxPathBytes {
		errs = append(errs, field.TooLong(at, "", maxPathBytes))
	}
	switch *m.Type {
	case gatewayv1.PathMatchRegularExpression:
		validateExpression(&errs, value, at)
		return errs
	case gatewayv1.PathMatchExact, gatewayv1.PathMatchPathPrefix:
	default:
		return append(errs, field.NotSupported(path.Child("type"), *m.Type,
			[]gatewayv1.PathMatchType{gatewayv1.PathMatchExact, gatewayv1.PathMatchPathPrefix, gatewayv1.PathMatchRegularExpression}))
	}
	if !strings.HasPrefix(value, "/") {
		errs = append(errs, field.Invalid(at, value, "must be an absolute path and start with '/'"))
	}
	for _, part := range []string{"//", "/./", "/../", "%2f", "%2F", "#"} {
		if strings.Contains(value, part) {
			errs = append(errs, field.Invalid(at, value, fmt.Sprintf("must not contain '%s'", part)))
		}
	}
	for _, end := range []string{"/..", "/."} {
		if strings.HasSuffix(value, end) {
			errs = append(errs, field.Invalid(at, value, fmt.Sprintf("must not end with '%s'", end)))
		}
	}
	if len(errs) == 0 && !pathPattern.MatchString(value) {
		errs = append(errs, field.Invalid(at, value, "must be a path as URLs have it; write other characters as %XX"))
	}
	return errs
}

func validateBackendRef(b *gatewayv1.HTTPBackendRef, path *field.Path) field.ErrorList {
	errs := validateBackend(&b.BackendObjectReference, path)
	if *b.Weight < 0 || *b.Weight > maxBackendShare {
		errs = append(errs, field.Invalid(path.Child("weight"), *b.Weight, fmt.Sprintf("expected 0 to %d", maxBackendShare)))
	}
	for i := range b.Filters {
		switch b.Filters[i].Type {
		case gatewayv1.HTTPRouteFilterRequestHeaderModifier, gatewayv1.HTTPRouteFilterResponseHeaderModifier:
		default:
			errs = append(errs, field.Forbidden(path.Child("filters").Index(i).Child("type"),
				"not served yet at a backend on one machine, where RequestHeaderModifier and ResponseHeaderModifier are; move it to the rule"))
		}
	}
	return append(errs, validateFilters(b.Filters, false, path.Child("filters"))...)
}

// validateBackend checks the reference alone: what is not there, or may not be referred to, is told in the status.
func validateBackend(b *gatewayv1.BackendObjectReference, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	validateName(&errs, string(b.Name), path.Child("name"))
	if b.Namespace != nil {
		validateNamespace(&errs, string(*b.Namespace), path.Child("namespace"))
	}
	switch {
	case b.Port != nil:
		validatePort(&errs, *b.Port, path.Child("port"))
	case *b.Group == "" && *b.Kind == "Service":
		errs = append(errs, field.Required(path.Child("port"), "a Service needs the number of its port"))
	}
	return errs
}
