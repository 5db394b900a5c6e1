package traffic

import (
	"context"
	"strings"
	"testing"
)

// TestShippedScriptsRefuse what an object cannot say, in words: nothing of a step is left out in silence.
func TestShippedScriptsRefuse(t *testing.T) {
	half := int32(50)
	match := []any{map[string]any{"headers": []any{map[string]any{"name": "x-tester", "value": "yes"}}}}
	change := map[string]any{"add": []any{map[string]any{"name": "x-version", "value": "canary"}}}
	for _, c := range []struct {
		name, object string
		step         Step
		want         string
	}{
		{"matches without http", `
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
spec: {tls: [{match: [{port: 443}], route: [{destination: {host: frontend}}]}]}`, Step{Weight: &half, Matches: match}, "only tcp and tls routes lead to the Service frontend"},
		{"header changes without http", `
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
spec: {http: [{redirect: {uri: /}}], tcp: [{route: [{destination: {host: frontend.shop.svc}}]}]}`, Step{Weight: &half, RequestHeaderModifier: change}, "change no headers"},
		{"matches of a tcpproxy", `
apiVersion: projectcontour.io/v1
kind: HTTPProxy
spec: {tcpproxy: {services: [{name: frontend, port: 443}]}}`, Step{Weight: &half, Matches: match}, "the tcpproxy alone leads to the Service frontend"},
		{"two exact conditions of one header", `
apiVersion: projectcontour.io/v1
kind: HTTPProxy
spec: {routes: [{conditions: [{header: {name: X-Tester, exact: "no"}}], services: [{name: frontend, port: 80}]}]}`, Step{Matches: match}, "one exact condition for each"},
		{"the syntax of Traefik 2", "\napiVersion: traefik.io/v1alpha1\nkind: IngressRoute\nspec: {routes: [{match: Host(`a`), syntax: v2, services: [{name: frontend}]}]}", Step{Matches: match}, "leave syntax out"},
		{"a header that is added twice", `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
spec:
  rules:
  - filters: [{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: X-Version, value: "1"}]}}]
    backendRefs: [{name: frontend}]`, Step{Matches: match, RequestHeaderModifier: change}, "adds the header x-version already"},
		{"a Service of another namespace", `
apiVersion: networking.istio.io/v1
kind: VirtualService
spec: {http: [{route: [{destination: {host: frontend.elsewhere.svc.cluster.local}}]}]}`, Step{Weight: &half}, "no route of the VirtualService leads to the Service frontend"},
	} {
		t.Run(c.name, func(t *testing.T) {
			object := parse(t, c.object)
			script, err := NewScripts(Shipped()).Custom(object.GetAPIVersion(), object.GetKind())
			if err != nil {
				t.Fatal(err)
			}
			got, err := Preview(context.Background(), script, object, "shop", c.step, Services{"frontend", "frontend-canary"})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, %v, want %q", got, err, c.want)
			}
		})
	}
}
