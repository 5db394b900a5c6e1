package objects_test

import (
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"redstart.dev/redstart/internal/operator/objects"
)

// TestOperatorHoldsWhatItGives: Kubernetes lets nobody give rights that he has not, so the agents' Role must be among the
// operator's own.
func TestOperatorHoldsWhatItGives(t *testing.T) {
	for _, file := range []string{"testdata/sentinel.redis.yaml", "testdata/replication-cluster.redis.yaml", "testdata/outside-cluster.redis.yaml"} {
		for _, rule := range objects.Role(redis(t, file)).Rules {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, verb := range rule.Verbs {
						if !allowed(objects.OperatorRules(), group, resource, verb) {
							t.Errorf("%s: the agents may %s %s of group %q, the operator may not", file, verb, resource, group)
						}
					}
				}
			}
		}
	}
}

func allowed(rules []rbacv1.PolicyRule, group, resource, verb string) bool {
	return slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool {
		return slices.Contains(r.APIGroups, group) && slices.Contains(r.Resources, resource) && slices.Contains(r.Verbs, verb) && len(r.ResourceNames) == 0
	})
}

// TestRulesNameWhatTheyMean: no rule of ours has a wildcard.
func TestRulesNameWhatTheyMean(t *testing.T) {
	r := redis(t, "testdata/sentinel.redis.yaml")
	for _, rules := range [][]rbacv1.PolicyRule{objects.OperatorRules(), objects.OperatorClusterRules(), objects.OperatorOwnRules(), objects.Role(r).Rules} {
		for _, rule := range rules {
			for _, list := range [][]string{rule.APIGroups, rule.Resources, rule.Verbs} {
				if len(list) == 0 || slices.Contains(list, "*") {
					t.Errorf("rule %+v: expected names", rule)
				}
			}
		}
	}
}
