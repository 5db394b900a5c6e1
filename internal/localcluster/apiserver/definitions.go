package apiserver

import (
	"maps"
	"strings"

	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/util"
	"k8s.io/kube-openapi/pkg/validation/spec"
	gatewayopenapi "sigs.k8s.io/gateway-api/pkg/generated/openapi"

	"redstart.dev/redstart/internal/localcluster/apiserver/openapi"
)

// gatewayPackage is where the types of the Gateway API are. They do not know their names in OpenAPI, and are described
// under the path of their package; here they get the names that the scheme has for them.
const gatewayPackage = "sigs.k8s.io/gateway-api/apis/v1."

// definitions are the descriptions of all types, for server-side apply and kubectl explain. Those of the Gateway API
// come with it.
func definitions(ref common.ReferenceCallback) map[string]common.OpenAPIDefinition {
	all := openapi.GetOpenAPIDefinitions(ref)
	gateway := gatewayopenapi.GetOpenAPIDefinitions(func(path string) spec.Ref { return ref(friendly(path)) })
	maps.DeleteFunc(gateway, func(path string, _ common.OpenAPIDefinition) bool { return !strings.HasPrefix(path, gatewayPackage) })
	maps.Copy(all, gateway)
	return all
}

func definitionName(namer *openapinamer.DefinitionNamer) func(string) (string, spec.Extensions) {
	return func(name string) (string, spec.Extensions) { return namer.GetDefinitionName(friendly(name)) }
}

func friendly(name string) string {
	if strings.HasPrefix(name, gatewayPackage) {
		return util.ToRESTFriendlyName(name)
	}
	return name
}
