package apiserver

import (
	"fmt"
	"io"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
)

// Why some of what people try is not served, and what to do instead.
const (
	elsewhere = "kubectl api-resources lists what is; the rest needs Kubernetes"
	noAccount = "there is one user, and who has the kubeconfig may do everything"
	inPlace   = "pods are processes of this machine; run the command in its terminal, with the environment that it needs, or for a Redis: redstart cli NAME"
)

var unserved = map[schema.GroupResource]string{
	{Resource: "pods/exec"}:                inPlace,
	{Resource: "pods/attach"}:              "pods are processes of this machine, without a terminal; kubectl logs -f shows what one prints",
	{Resource: "pods/ephemeralcontainers"}: inPlace,
	{Resource: "serviceaccounts/token"}:    noAccount,

	{Group: "authentication.k8s.io", Resource: "selfsubjectreviews"}:      noAccount,
	{Group: "authorization.k8s.io", Resource: "selfsubjectaccessreviews"}: noAccount,
	{Group: "authorization.k8s.io", Resource: "selfsubjectrulesreviews"}:  noAccount,
}

// refuseUnserved answers requests for what is not served by its name. Without that, clients can say no more than that
// the server could not find the requested resource.
func (ks *kinds) refuseUnserved(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		info, ok := genericapirequest.RequestInfoFrom(req.Context())
		if !ok || !info.IsResourceRequest {
			next.ServeHTTP(w, req)
			return
		}
		gv := schema.GroupVersion{Group: info.APIGroup, Version: info.APIVersion}
		name := info.Resource
		if info.Subresource != "" {
			name += "/" + info.Subresource
		}
		switch _, served := ks.rest[gv][name]; {
		case served:
			next.ServeHTTP(w, req)
		case name == "customresourcedefinitions" && info.Verb == "list":
			noDefinitions(w)
		default:
			responsewriters.ErrorNegotiated(notServed(gv, name, info.Resource), ks.codecs, schema.GroupVersion{Version: "v1"}, w, req)
		}
	})
}

func notServed(gv schema.GroupVersion, name, resource string) error {
	why, ok := unserved[schema.GroupResource{Group: gv.Group, Resource: name}]
	if !ok {
		why = elsewhere
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound,
		Message: fmt.Sprintf("the resource %s of %s is not served on one machine: %s", name, gv, why),
		Details: &metav1.StatusDetails{Group: gv.Group, Kind: resource},
	}}
}

// noDefinitions answers that there are no CustomResourceDefinitions. kubectl asks for them when it meets a kind
// that is not served, and only then says so in words that help.
func noDefinitions(w http.ResponseWriter) {
	const none = `{"kind":"CustomResourceDefinitionList","apiVersion":"apiextensions.k8s.io/v1","metadata":{"resourceVersion":"1"},"items":[]}`
	w.Header().Set("Content-Type", "application/json")
	// A client that has gone misses nothing.
	_, _ = io.WriteString(w, none)
}
