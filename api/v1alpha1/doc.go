// Package v1alpha1 is the vocabulary of Redstart: the resource types of the group redstart.dev, their
// defaults and validation, and the names (labels, annotations, conditions, reasons) that the operator, the
// agent and the command line share. It does no I/O.
//
// +kubebuilder:object:generate=true
// +k8s:openapi-gen=true
// +k8s:openapi-model-package=dev.redstart.v1alpha1
// +groupName=redstart.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion names this API: redstart.dev/v1alpha1.
var GroupVersion = schema.GroupVersion{Group: "redstart.dev", Version: "v1alpha1"}

// AddToScheme registers the types of this package.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &Redis{}, &RedisList{}, &Rollout{}, &RolloutList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
