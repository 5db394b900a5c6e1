package operator

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"redstart.dev/redstart/api/v1alpha1"
)

// unserved is a field of the spec that does not take effect.
type unserved struct {
	// field is its path, reason one of the reasons of the condition SpecServed, why for people.
	field, reason, why string
}

// notOnOneMachine are the fields that take effect on Kubernetes alone. The one-machine API warns of them too.
func notOnOneMachine(r *v1alpha1.Redis) []unserved {
	var all []unserved
	for _, w := range r.OneMachineWarnings() {
		all = append(all, unserved{w.Field, v1alpha1.ReasonNotOnOneMachine, w.Why})
	}
	return all
}

// unserved are all fields of a Redis that do not take effect.
func (c *redisController) unserved(r *v1alpha1.Redis, mem *memory) []unserved {
	var all []unserved
	if c.agentImage == "" {
		all = notOnOneMachine(r)
	}
	if mem.growthRefused != "" {
		all = append(all, unserved{"spec.storage.size", v1alpha1.ReasonStorageNotGrown, mem.growthRefused})
	}
	return all
}

// servedCondition tells of all fields that do not take effect; the reason is that of the first.
func servedCondition(all []unserved) metav1.Condition {
	if len(all) == 0 {
		return condition(v1alpha1.ConditionSpecServed, metav1.ConditionTrue, v1alpha1.ReasonAllServed, "every field of the spec takes effect")
	}
	var text []string
	for _, u := range all {
		text = append(text, u.field+": "+u.why)
	}
	return condition(v1alpha1.ConditionSpecServed, metav1.ConditionFalse, all[0].reason, strings.Join(text, "; "))
}
