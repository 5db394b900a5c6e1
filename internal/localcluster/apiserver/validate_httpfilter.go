package apiserver

import (
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// validateFilters checks the filters of a rule or of a backend; onePrefix says that the rule has one match, of a
// path's prefix, so that the prefix can be replaced.
func validateFilters(filters []gatewayv1.HTTPRouteFilter, onePrefix bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	bound(&errs, len(filters), 0, maxConditions, path)
	seen := sets.New[gatewayv1.HTTPRouteFilterType]()
	for i := range filters {
		f, at := &filters[i], path.Index(i)
		errs = append(errs, validateFilter(f, onePrefix, at)...)
		if seen.Has(f.Type) && f.Type != gatewayv1.HTTPRouteFilterRequestMirror {
			errs = append(errs, field.Duplicate(at.Child("type"), f.Type))
		}
		seen.Insert(f.Type)
	}
	if seen.HasAll(gatewayv1.HTTPRouteFilterRequestRedirect, gatewayv1.HTTPRouteFilterURLRewrite) {
		errs = append(errs, field.Invalid(path, "", "RequestRedirect and URLRewrite exclude each other"))
	}
	return errs
}

func validateFilter(f *gatewayv1.HTTPRouteFilter, onePrefix bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	parts := []struct {
		kind gatewayv1.HTTPRouteFilterType
		name string
		set  bool
	}{
		{gatewayv1.HTTPRouteFilterRequestHeaderModifier, "requestHeaderModifier", f.RequestHeaderModifier != nil},
		{gatewayv1.HTTPRouteFilterResponseHeaderModifier, "responseHeaderModifier", f.ResponseHeaderModifier != nil},
		{gatewayv1.HTTPRouteFilterRequestRedirect, "requestRedirect", f.RequestRedirect != nil},
		{gatewayv1.HTTPRouteFilterURLRewrite, "urlRewrite", f.URLRewrite != nil},
		{gatewayv1.HTTPRouteFilterRequestMirror, "requestMirror", f.RequestMirror != nil},
	}
	served := false
	var kinds []gatewayv1.HTTPRouteFilterType
	for _, p := range parts {
		kinds = append(kinds, p.kind)
		if p.kind == f.Type {
			served = true
			if !p.set {
				errs = append(errs, field.Required(path.Child(p.name), "the type asks for it"))
			}
		} else if p.set {
			errs = append(errs, field.Forbidden(path.Child(p.name), "the type is another; expected type: "+string(p.kind)))
		}
	}
	switch f.Type {
	case gatewayv1.HTTPRouteFilterCORS, gatewayv1.HTTPRouteFilterExternalAuth, gatewayv1.HTTPRouteFilterExtensionRef:
		return append(errs, field.Invalid(path.Child("type"), f.Type, "not served yet on one machine; remove the filter, or run this on Kubernetes"))
	}
	if !served {
		return append(errs, field.NotSupported(path.Child("type"), f.Type, kinds))
	}
	refuse(&errs, f.CORS != nil, path.Child("cors"))
	refuse(&errs, f.ExternalAuth != nil, path.Child("externalAuth"))
	refuse(&errs, f.ExtensionRef != nil, path.Child("extensionRef"))
	errs = append(errs, validateHeaders(f.RequestHeaderModifier, path.Child("requestHeaderModifier"))...)
	errs = append(errs, validateHeaders(f.ResponseHeaderModifier, path.Child("responseHeaderModifier"))...)
	if r := f.RequestRedirect; r != nil {
		errs = append(errs, validateRedirect(r, onePrefix, path.Child("requestRedirect"))...)
	}
	if w := f.URLRewrite; w != nil {
		if w.Hostname != nil {
			matches(&errs, string(*w.Hostname), preciseHostname, 253, "the name of a host", path.Child("urlRewrite", "hostname"))
		}
		errs = append(errs, validateModifier(w.Path, onePrefix, path.Child("urlRewrite", "path"))...)
	}
	if m := f.RequestMirror; m != nil {
		errs = append(errs, validateMirror(m, path.Child("requestMirror"))...)
	}
	return errs
}

func validateHeaders(h *gatewayv1.HTTPHeaderFilter, path *field.Path) field.ErrorList {
	if h == nil {
		return nil
	}
	var errs field.ErrorList
	for _, list := range []struct {
		name    string
		headers []gatewayv1.HTTPHeader
	}{{"set", h.Set}, {"add", h.Add}} {
		at, names := path.Child(list.name), sets.New[string]()
		bound(&errs, len(list.headers), 0, maxConditions, at)
		for i, x := range list.headers {
			matches(&errs, string(x.Name), headerName, 256, "the name of a header", at.Index(i).Child("name"))
			unique(&errs, names, strings.ToLower(string(x.Name)), at.Index(i).Child("name"))
			switch {
			case x.Value == "":
				errs = append(errs, field.Required(at.Index(i).Child("value"), "expected a value"))
			case len(x.Value) > maxHeaderBytes:
				errs = append(errs, field.TooLong(at.Index(i).Child("value"), "", maxHeaderBytes))
			case strings.ContainsAny(x.Value, "\r\n\x00"):
				errs = append(errs, field.Invalid(at.Index(i).Child("value"), x.Value, "a header is one line"))
			}
		}
	}
	bound(&errs, len(h.Remove), 0, maxConditions, path.Child("remove"))
	for i, name := range h.Remove {
		matches(&errs, name, headerName, 256, "the name of a header", path.Child("remove").Index(i))
	}
	return errs
}

func validateRedirect(r *gatewayv1.HTTPRequestRedirectFilter, onePrefix bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if r.Scheme != nil && *r.Scheme != "http" && *r.Scheme != "https" {
		errs = append(errs, field.NotSupported(path.Child("scheme"), *r.Scheme, []string{"http", "https"}))
	}
	if r.Hostname != nil {
		matches(&errs, string(*r.Hostname), preciseHostname, 253, "the name of a host", path.Child("hostname"))
	}
	if r.Port != nil {
		validatePort(&errs, *r.Port, path.Child("port"))
	}
	switch *r.StatusCode {
	case 301, 302, 303, 307, 308:
	default:
		errs = append(errs, field.NotSupported(path.Child("statusCode"), *r.StatusCode, []string{"301", "302", "303", "307", "308"}))
	}
	return append(errs, validateModifier(r.Path, onePrefix, path.Child("path"))...)
}

func validateModifier(m *gatewayv1.HTTPPathModifier, onePrefix bool, path *field.Path) field.ErrorList {
	if m == nil {
		return nil
	}
	var errs field.ErrorList
	check := func(kind gatewayv1.HTTPPathModifierType, value *string, name string) {
		switch {
		case m.Type == kind && value == nil:
			errs = append(errs, field.Required(path.Child(name), "the type asks for it"))
		case m.Type != kind && value != nil:
			errs = append(errs, field.Forbidden(path.Child(name), "the type is another; expected type: "+string(kind)))
		case value != nil && len(*value) > maxPathBytes:
			errs = append(errs, field.TooLong(path.Child(name), "", maxPathBytes))
		}
	}
	check(gatewayv1.FullPathHTTPPathModifier, m.ReplaceFullPath, "replaceFullPath")
	check(gatewayv1.PrefixMatchHTTPPathModifier, m.ReplacePrefixMatch, "replacePrefixMatch")
	switch m.Type {
	case gatewayv1.FullPathHTTPPathModifier:
	case gatewayv1.PrefixMatchHTTPPathModifier:
		if !onePrefix {
			errs = append(errs, field.Forbidden(path.Child("replacePrefixMatch"), "needs a rule with exactly one match, of type PathPrefix"))
		}
	default:
		errs = append(errs, field.NotSupported(path.Child("type"), m.Type,
			[]gatewayv1.HTTPPathModifierType{gatewayv1.FullPathHTTPPathModifier, gatewayv1.PrefixMatchHTTPPathModifier}))
	}
	return errs
}

func validateMirror(m *gatewayv1.HTTPRequestMirrorFilter, path *field.Path) field.ErrorList {
	errs := validateBackend(&m.BackendRef, path.Child("backendRef"))
	if m.Percent != nil && m.Fraction != nil {
		errs = append(errs, field.Forbidden(path.Child("fraction"), "percent and fraction exclude each other"))
	}
	if m.Percent != nil && (*m.Percent < 0 || *m.Percent > 100) {
		errs = append(errs, field.Invalid(path.Child("percent"), *m.Percent, "expected 0 to 100"))
	}
	if f := m.Fraction; f != nil && (f.Numerator < 0 || *f.Denominator < 1 || f.Numerator > *f.Denominator) {
		errs = append(errs, field.Invalid(path.Child("fraction"), f.Numerator, "expected a numerator of 0 to the denominator"))
	}
	return errs
}
