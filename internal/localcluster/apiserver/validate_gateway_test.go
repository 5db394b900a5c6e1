package apiserver

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"
)

// gatewayCRD validates objects as a cluster does that has the Gateway API's own CustomResourceDefinitions.
type gatewayCRD struct {
	schema     validation.SchemaCreateValidator
	structural *structuralschema.Structural
	rules      *cel.Validator
}

func loadGatewayCRD(t *testing.T, plural string) *gatewayCRD {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "config", "crd", "standard", "gateway.networking.k8s.io_"+plural+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	v1, internal := &apiextensionsv1.CustomResourceDefinition{}, &apiextensions.CustomResourceDefinition{}
	if err := yaml.Unmarshal(raw, v1); err != nil {
		t.Fatal(err)
	}
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(v1, internal, nil); err != nil {
		t.Fatal(err)
	}
	props, err := apiextensions.GetSchemaForVersion(internal, "v1")
	if err != nil {
		t.Fatal(err)
	}
	c := &gatewayCRD{}
	if c.structural, err = structuralschema.NewStructural(props.OpenAPIV3Schema); err != nil {
		t.Fatal(err)
	}
	if c.schema, _, err = validation.NewSchemaValidator(props.OpenAPIV3Schema); err != nil {
		t.Fatal(err)
	}
	c.rules = cel.NewValidator(c.structural, true, celconfig.PerCallLimit)
	return c
}

func (c *gatewayCRD) validate(t *testing.T, doc string) field.ErrorList {
	t.Helper()
	obj := map[string]any{}
	text, err := yaml.YAMLToJSON([]byte(doc))
	if err == nil {
		err = utiljson.Unmarshal(text, &obj)
	}
	if err != nil {
		t.Fatal(err)
	}
	defaulting.Default(obj, c.structural)
	if errs := validation.ValidateCustomResource(nil, obj, c.schema); len(errs) > 0 {
		return errs
	}
	if errs := listtype.ValidateListSetsAndMaps(nil, c.structural, obj); len(errs) > 0 {
		return errs
	}
	errs, _ := c.rules.Validate(t.Context(), nil, c.structural, obj, nil, celconfig.RuntimeCELCostBudget)
	return errs
}

// What is served here is judged as a cluster judges it.
func TestHTTPRouteIsJudgedAsByItsCRD(t *testing.T) {
	crd := loadGatewayCRD(t, "httproutes")
	for _, spec := range []string{
		`{}`,
		`{rules: []}`,
		`{rules: [{}]}`,
		`{parentRefs: [{name: web}], hostnames: [shop.example, "*.example"], rules: [{backendRefs: [{name: a, port: 80, weight: 20}]}]}`,
		`{hostnames: [Shop.example]}`, `{hostnames: ["*"]}`, `{hostnames: ["a.*.example"]}`, `{hostnames: [127.0.0.1]}`,
		`{parentRefs: [{name: web}, {name: web}]}`, `{parentRefs: [{name: web, sectionName: a}, {name: web, sectionName: b}]}`,
		`{parentRefs: [{name: web, sectionName: a}, {name: web, sectionName: a}]}`, `{parentRefs: [{name: web, sectionName: a}, {name: web}]}`,
		`{parentRefs: [{name: web}, {name: web, namespace: other}]}`, `{parentRefs: [{}]}`,
		`{rules: [{matches: [{path: {value: shop}}]}]}`, `{rules: [{matches: [{path: {value: /a//b}}]}]}`, `{rules: [{matches: [{path: {value: /a/../b}}]}]}`,
		`{rules: [{matches: [{path: {value: /a/..}}]}]}`, `{rules: [{matches: [{path: {value: "/a%2Fb"}}]}]}`, `{rules: [{matches: [{path: {value: "/a#b"}}]}]}`,
		`{rules: [{matches: [{path: {value: "/a b"}}]}]}`, `{rules: [{matches: [{path: {value: "/caf%C3%A9"}}]}]}`, `{rules: [{matches: [{path: {type: Glob, value: /}}]}]}`,
		`{rules: [{matches: [{path: {type: RegularExpression, value: "/a//[0-9]+"}}]}]}`,
		`{rules: [{matches: [{headers: [{name: x-v, value: "2"}]}]}]}`, `{rules: [{matches: [{headers: [{name: "x v", value: "2"}]}]}]}`,
		`{rules: [{matches: [{headers: [{name: x-v, value: ""}]}]}]}`, `{rules: [{matches: [{headers: [{name: x-v, value: a, type: Prefix}]}]}]}`,
		`{rules: [{matches: [{queryParams: [{name: v, value: "2", type: RegularExpression}]}]}]}`, `{rules: [{matches: [{queryParams: [{name: v, value: ""}]}]}]}`,
		`{rules: [{matches: [{queryParams: [{name: v, value: "1"}, {name: v, value: "2"}]}]}]}`,
		`{rules: [{matches: [{method: GET}]}]}`, `{rules: [{matches: [{method: get}]}]}`,
		`{rules: [{backendRefs: [{name: a}]}]}`, `{rules: [{backendRefs: [{name: a, port: 0}]}]}`, `{rules: [{backendRefs: [{name: a, port: 80, weight: -1}]}]}`,
		`{rules: [{backendRefs: [{name: a, port: 80, weight: 1000001}]}]}`, `{rules: [{backendRefs: [{port: 80}]}]}`,
		`{rules: [{timeouts: {request: 10s, backendRequest: 2s}}]}`, `{rules: [{timeouts: {request: 1s, backendRequest: 2s}}]}`, `{rules: [{timeouts: {request: 0s, backendRequest: 2s}}]}`,
		`{rules: [{timeouts: {request: 10}}]}`, `{rules: [{timeouts: {request: 1.5s}}]}`,
		`{rules: [{filters: [{type: RequestHeaderModifier}]}]}`, `{rules: [{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}], remove: [c]}}]}]}`,
		`{rules: [{filters: [{type: RequestHeaderModifier, responseHeaderModifier: {set: [{name: a, value: b}]}}]}]}`,
		`{rules: [{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: ""}]}}]}]}`,
		`{rules: [{filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {remove: [a]}}, {type: ResponseHeaderModifier, responseHeaderModifier: {remove: [b]}}]}]}`,
		`{rules: [{filters: [{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301}}]}]}`, `{rules: [{filters: [{type: RequestRedirect, requestRedirect: {statusCode: 300}}]}]}`,
		`{rules: [{filters: [{type: RequestRedirect, requestRedirect: {scheme: ftp}}]}]}`, `{rules: [{filters: [{type: RequestRedirect, requestRedirect: {hostname: "*.example"}}]}]}`,
		`{rules: [{filters: [{type: RequestRedirect, requestRedirect: {}}], backendRefs: [{name: a, port: 80}]}]}`,
		`{rules: [{filters: [{type: RequestRedirect, requestRedirect: {}}, {type: URLRewrite, urlRewrite: {hostname: a}}]}]}`,
		`{rules: [{filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /x}}}]}]}`,
		`{rules: [{matches: [{path: {type: Exact, value: /a}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /x}}}]}]}`,
		`{rules: [{filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath}}}]}]}`, `{rules: [{filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replacePrefixMatch: /x}}}]}]}`,
		`{rules: [{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 80}, percent: 10}}, {type: RequestMirror, requestMirror: {backendRef: {name: b, port: 80}}}]}]}`,
		`{rules: [{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 80}, percent: 101}}]}]}`,
		`{rules: [{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 80}, percent: 1, fraction: {numerator: 1}}}]}]}`,
		`{rules: [{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 80}, fraction: {numerator: 2, denominator: 1}}}]}]}`,
		`{rules: [{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: a}}}]}]}`,
		`{rules: [` + strings.Repeat(`{}, `, 16) + `{}]}`, `{rules: [{matches: [` + strings.Repeat(`{}, `, 64) + `{}]}]}`,
		`{rules: [` + strings.Repeat(`{matches: [`+strings.Repeat(`{}, `, 63)+`{}]}, `, 2) + `{}]}`,
	} {
		doc := "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r, namespace: default}\nspec: " + spec
		theirs := crd.validate(t, doc)
		var ours field.ErrorList
		r := &gatewayv1.HTTPRoute{}
		if err := yaml.Unmarshal([]byte(doc), r); err != nil {
			ours = field.ErrorList{field.Invalid(field.NewPath(""), "", err.Error())}
		} else {
			defaultHTTPRoute(r)
			ours = validateHTTPRoute(r)
		}
		if (len(theirs) == 0) != (len(ours) == 0) {
			t.Errorf("%.200s\nthe CRD says %v\nhere it is %v", spec, theirs, ours)
		}
	}
}

// What a cluster may honour, and this machine does not, is refused with the name of the field.
func TestGatewayFieldsThatAreNotServed(t *testing.T) {
	route := func(spec string) field.ErrorList {
		r := &gatewayv1.HTTPRoute{}
		if err := yaml.UnmarshalStrict([]byte("spec: "+spec), r); err != nil {
			t.Fatal(err)
		}
		defaultHTTPRoute(r)
		return validateHTTPRoute(r)
	}
	gateway := func(spec string) field.ErrorList {
		g := &gatewayv1.Gateway{}
		if err := yaml.UnmarshalStrict([]byte("spec: {gatewayClassName: redstart, "+spec+"}"), g); err != nil {
			t.Fatal(err)
		}
		defaultGateway(g)
		return validateGateway(g)
	}
	for _, c := range []struct {
		errs field.ErrorList
		want string
	}{
		{gateway(`listeners: [{name: http, port: 80, protocol: HTTP}]`), ""},
		{gateway(`listeners: [{name: a, port: 80, protocol: HTTP, hostname: a.example}, {name: b, port: 80, protocol: HTTP}]`), ""},
		{gateway(`listeners: []`), "spec.listeners"},
		{gateway(`listeners: [{name: https, port: 443, protocol: HTTPS}]`), "spec.listeners[0].protocol"},
		{gateway(`listeners: [{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: HTTP}]`), "spec.listeners[1].port"},
		{gateway(`listeners: [{name: a, port: 80, protocol: HTTP}, {name: a, port: 81, protocol: HTTP}]`), "spec.listeners[1].name"},
		{gateway(`listeners: [{name: a, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: GRPCRoute}]}}]`), "spec.listeners[0].allowedRoutes.kinds[0]"},
		{gateway(`listeners: [{name: a, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: Selector}}}]`), "spec.listeners[0].allowedRoutes.namespaces.selector"},
		{gateway(`addresses: [{value: 1.2.3.4}], listeners: [{name: a, port: 80, protocol: HTTP}]`), "spec.addresses"},
		{route(`{rules: [{retry: {attempts: 2}}]}`), "spec.rules[0].retry"},
		{route(`{rules: [{sessionPersistence: {sessionName: a}}]}`), "spec.rules[0].sessionPersistence"},
		{route(`{rules: [{filters: [{type: CORS, cors: {}}]}]}`), "spec.rules[0].filters[0].type"},
		{route(`{rules: [{filters: [{type: ExtensionRef, extensionRef: {group: a, kind: B, name: c}}]}]}`), "spec.rules[0].filters[0].type"},
		{route(`{rules: [{matches: [{path: {type: RegularExpression, value: "("}}]}]}`), "spec.rules[0].matches[0].path.value"},
		{route(`{rules: [{backendRefs: [{name: a, port: 80, filters: [{type: URLRewrite, urlRewrite: {hostname: a}}]}]}]}`), "spec.rules[0].backendRefs[0].filters[0].type"},
		{route(`{parentRefs: [{name: a, kind: Service, group: ""}]}`), "spec.parentRefs[0].kind"},
	} {
		got := ""
		if len(c.errs) > 0 {
			got = c.errs[0].Field
		}
		if got != c.want {
			t.Errorf("%v: the field is %q, expected %q", c.errs, got, c.want)
		}
	}
}
