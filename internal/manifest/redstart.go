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

// validateRollout refuses a Rollout: nothing acts on one yet.
func validateRollout(*v1alpha1.Rollout) []fieldProblem {
	return []fieldProblem{{"kind", "Forbidden: Rollout is not served yet; remove it"}}
}

func fromFieldErrors(list field.ErrorList) []fieldProblem {
	var out []fieldProblem
	for _, e := range list {
		out = append(out, fieldProblem{e.Field, e.ErrorBody()})
	}
	return out
}
