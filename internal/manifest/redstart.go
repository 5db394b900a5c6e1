package manifest

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	"redstart.dev/redstart/api/v1alpha1"
)

// validateRedis checks a Redis by the rules of its type, after its defaults were filled in.
func validateRedis(r *v1alpha1.Redis) []fieldProblem {
	r.Default()
	return fromFieldErrors(r.Validate())
}

// validateRollout checks a Rollout likewise.
func validateRollout(r *v1alpha1.Rollout) []fieldProblem {
	r.Default()
	return fromFieldErrors(r.Validate())
}

func fromFieldErrors(list field.ErrorList) []fieldProblem {
	var out []fieldProblem
	for _, e := range list {
		out = append(out, fieldProblem{e.Field, e.ErrorBody()})
	}
	return out
}
