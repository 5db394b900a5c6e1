package apiserver

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"redstart.dev/redstart/api/v1alpha1"
)

// newScheme registers the served kinds. Every type stands for its group's internal version too: there is one version
// of everything here, and so nothing to convert.
func newScheme(kinds []*kind) (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		appsv1.AddToScheme, autoscalingv1.AddToScheme, batchv1.AddToScheme, coordinationv1.AddToScheme, corev1.AddToScheme,
		discoveryv1.AddToScheme, eventsv1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme,
		rbacv1.AddToScheme, gatewayv1.Install, v1alpha1.AddToScheme,
	} {
		if err := add(s); err != nil {
			return nil, fmt.Errorf("register types: %w", err)
		}
	}
	v1 := schema.GroupVersion{Version: "v1"}
	metav1.AddToGroupVersion(s, v1)
	s.AddUnversionedTypes(v1, &metav1.Status{}, &metav1.APIVersions{}, &metav1.APIGroupList{}, &metav1.APIGroup{}, &metav1.APIResourceList{})
	for _, k := range kinds {
		s.AddKnownTypes(internal(k.gvk.Group), k.new(), k.newList())
		if k.defaults != nil {
			defaults := k.defaults
			s.AddTypeDefaultingFunc(k.new(), func(o any) { defaults(o.(runtime.Object)) })
		}
		if err := addFieldLabels(s, k); err != nil {
			return nil, fmt.Errorf("register the field selectors of %s: %w", k.plural, err)
		}
	}
	s.AddKnownTypes(internal(autoscalingv1.GroupName), &autoscalingv1.Scale{})
	s.AddKnownTypes(internal(policyv1.GroupName), &policyv1.Eviction{})
	return s, nil
}

func internal(group string) schema.GroupVersion {
	return schema.GroupVersion{Group: group, Version: runtime.APIVersionInternal}
}

// addFieldLabels allows the field selectors that the kind's attributes have, and no others.
func addFieldLabels(s *runtime.Scheme, k *kind) error {
	_, known, err := k.attributes(k.new())
	if err != nil {
		return err
	}
	return s.AddFieldLabelConversionFunc(k.gvk, func(label, value string) (string, string, error) {
		if known.Has(label) {
			return label, value, nil
		}
		return "", "", fmt.Errorf("%q is not a field selector of %s", label, k.plural)
	})
}
