package apiserver

import (
	"fmt"
	"regexp"
	"slices"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"redstart.dev/redstart/internal/localcluster/routing"
)

// The limits are those of the Gateway API's CustomResourceDefinitions. What they allow and the route proxy does not
// serve is refused by name.

const (
	maxListeners  = 64
	maxHostnames  = 16
	maxParents    = 32
	maxRouteKinds = 8
)

// hostnamePattern is a name, also one of a whole domain; preciseHostname is of one host.
var (
	hostnamePattern   = regexp.MustCompile(`^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	preciseHostname   = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	controllerPattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+$`)
)

func validateGatewayClass(c *gatewayv1.GatewayClass) field.ErrorList {
	path, s := field.NewPath("spec"), &c.Spec
	var errs field.ErrorList
	matches(&errs, string(s.ControllerName), controllerPattern, 253, "a domain and a path, such as "+routing.ControllerName, path.Child("controllerName"))
	refuse(&errs, s.ParametersRef != nil, path.Child("parametersRef"))
	if s.Description != nil && len(*s.Description) > 64 {
		errs = append(errs, field.TooLong(path.Child("description"), "", 64))
	}
	return errs
}

func validateGatewayClassUpdate(c, old *gatewayv1.GatewayClass) field.ErrorList {
	return apivalidation.ValidateImmutableField(c.Spec.ControllerName, old.Spec.ControllerName, field.NewPath("spec", "controllerName"))
}

func validateGateway(g *gatewayv1.Gateway) field.ErrorList {
	path, s := field.NewPath("spec"), &g.Spec
	var errs field.ErrorList
	if s.GatewayClassName == "" {
		errs = append(errs, field.Required(path.Child("gatewayClassName"), "write "+routing.ClassName))
	}
	refuse(&errs, len(s.Addresses) > 0, path.Child("addresses"))
	refuse(&errs, s.Infrastructure != nil && s.Infrastructure.ParametersRef != nil, path.Child("infrastructure", "parametersRef"))
	refuse(&errs, s.AllowedListeners != nil, path.Child("allowedListeners"))
	refuse(&errs, s.TLS != nil, path.Child("tls"))
	refuse(&errs, s.DefaultScope != "" && s.DefaultScope != gatewayv1.GatewayDefaultScopeNone, path.Child("defaultScope"))
	bound(&errs, len(s.Listeners), 1, maxListeners, path.Child("listeners"))
	names, places := sets.New[string](), sets.New[string]()
	for i := range s.Listeners {
		l, at := &s.Listeners[i], path.Child("listeners").Index(i)
		errs = append(errs, validateListener(l, at)...)
		if names.Has(string(l.Name)) {
			errs = append(errs, field.Duplicate(at.Child("name"), l.Name))
		}
		names.Insert(string(l.Name))
		place := fmt.Sprintf("%d", l.Port)
		if l.Hostname != nil {
			place += " of " + string(*l.Hostname)
		}
		if places.Has(place) {
			errs = append(errs, field.Invalid(at.Child("port"), l.Port, "another listener has it; each needs a port, or a hostname, of its own"))
		}
		places.Insert(place)
	}
	if text, ok := g.Annotations[routing.AnnotationAccessLog]; ok {
		if err := routing.CheckSwitch(text); err != nil {
			errs = append(errs, field.Invalid(field.NewPath("metadata", "annotations").Key(routing.AnnotationAccessLog), text, err.Error()))
		}
	}
	return errs
}

func validateListener(l *gatewayv1.Listener, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	matches(&errs, string(l.Name), preciseHostname, 253, "a name of lower case letters, digits and '-'", path.Child("name"))
	if l.Hostname != nil {
		validateHostname(&errs, string(*l.Hostname), path.Child("hostname"))
	}
	validatePort(&errs, l.Port, path.Child("port"))
	switch l.Protocol {
	case gatewayv1.HTTPProtocolType:
		if l.TLS != nil {
			errs = append(errs, field.Forbidden(path.Child("tls"), "must not be specified for the protocol HTTP"))
		}
	case "":
		errs = append(errs, field.Required(path.Child("protocol"), "write HTTP"))
	default:
		errs = append(errs, field.Invalid(path.Child("protocol"), l.Protocol, "not served yet on one machine; write HTTP, or run this on Kubernetes"))
	}
	r := l.AllowedRoutes
	if r == nil {
		return errs
	}
	path = path.Child("allowedRoutes")
	bound(&errs, len(r.Kinds), 0, maxRouteKinds, path.Child("kinds"))
	for i, k := range r.Kinds {
		if k.Kind != "HTTPRoute" || k.Group != nil && *k.Group != gatewayv1.GroupName {
			errs = append(errs, field.Invalid(path.Child("kinds").Index(i), k.Kind, "not served yet on one machine; write HTTPRoute"))
		}
	}
	if n := r.Namespaces; n != nil && n.From != nil {
		from := path.Child("namespaces", "from")
		switch *n.From {
		case gatewayv1.NamespacesFromAll, gatewayv1.NamespacesFromSame:
		case gatewayv1.NamespacesFromSelector:
			if n.Selector == nil {
				errs = append(errs, field.Required(path.Child("namespaces", "selector"), "from: Selector needs it"))
			}
		default:
			errs = append(errs, field.NotSupported(from, *n.From,
				[]gatewayv1.FromNamespaces{gatewayv1.NamespacesFromAll, gatewayv1.NamespacesFromSame, gatewayv1.NamespacesFromSelector}))
		}
		if n.Selector != nil {
			errs = append(errs, metav1validation.ValidateLabelSelector(n.Selector, metav1validation.LabelSelectorValidationOptions{}, path.Child("namespaces", "selector"))...)
		}
	}
	return errs
}

// validateParents checks parentRefs: two of the same Gateway have to name different listeners.
func validateParents(refs []gatewayv1.ParentReference, namespace string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	bound(&errs, len(refs), 0, maxParents, path)
	type parent struct{ namespace, name string }
	sections := map[parent][]string{}
	for i := range refs {
		r, at := &refs[i], path.Index(i)
		if *r.Group != gatewayv1.GroupName || *r.Kind != "Gateway" {
			errs = append(errs, field.Invalid(at.Child("kind"), *r.Kind, "not served yet on one machine; write a Gateway"))
		}
		validateName(&errs, string(r.Name), at.Child("name"))
		key := parent{namespace, string(r.Name)}
		if r.Namespace != nil {
			validateNamespace(&errs, string(*r.Namespace), at.Child("namespace"))
			key.namespace = string(*r.Namespace)
		}
		if r.Port != nil {
			validatePort(&errs, *r.Port, at.Child("port"))
		}
		section := ""
		if r.SectionName != nil {
			section = string(*r.SectionName)
			matches(&errs, section, preciseHostname, 253, "the name of a listener", at.Child("sectionName"))
		} else if r.Port != nil {
			section = fmt.Sprint(*r.Port) + " " // no name
		}
		before := sections[key]
		switch {
		case len(before) > 0 && (section == "" || before[0] == ""):
			errs = append(errs, field.Required(at.Child("sectionName"), "two references to one Gateway have to name different listeners"))
		case slices.Contains(before, section):
			errs = append(errs, field.Duplicate(at.Child("sectionName"), section))
		}
		sections[key] = append(before, section)
	}
	return errs
}

// matches adds an error unless s has the pattern and is not longer than most bytes; a value that is not there is told as missing.
func matches(errs *field.ErrorList, s string, pattern *regexp.Regexp, most int, expected string, path *field.Path) {
	switch {
	case s == "":
		*errs = append(*errs, field.Required(path, "expected "+expected))
	case len(s) > most:
		*errs = append(*errs, field.TooLong(path, "", most))
	case !pattern.MatchString(s):
		*errs = append(*errs, field.Invalid(path, s, "expected "+expected))
	}
}

// bound adds an error unless a list has as many items as it may.
func bound(errs *field.ErrorList, n, least, most int, path *field.Path) {
	switch {
	case n < least:
		*errs = append(*errs, field.Required(path, fmt.Sprintf("at least %d is needed", least)))
	case n > most:
		*errs = append(*errs, field.TooMany(path, n, most))
	}
}

func validateHostname(errs *field.ErrorList, name string, path *field.Path) {
	matches(errs, name, hostnamePattern, 253, "a name such as shop.example or *.example, in lower case", path)
}

func validateName(errs *field.ErrorList, name string, path *field.Path) {
	if name == "" || len(name) > 253 {
		*errs = append(*errs, field.Invalid(path, name, "expected the name of an object"))
	}
}

func validateNamespace(errs *field.ErrorList, name string, path *field.Path) {
	for _, msg := range validation.IsDNS1123Label(name) {
		*errs = append(*errs, field.Invalid(path, name, msg))
	}
}

func validatePort(errs *field.ErrorList, port int32, path *field.Path) {
	for _, msg := range validation.IsValidPortNum(int(port)) {
		*errs = append(*errs, field.Invalid(path, port, msg))
	}
}
