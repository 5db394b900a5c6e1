package v1alpha1

import "k8s.io/apimachinery/pkg/util/validation/field"

func (r *Redis) Validate() field.ErrorList                 { return nil }
func (r *Redis) ValidateUpdate(old *Redis) field.ErrorList { return nil }
