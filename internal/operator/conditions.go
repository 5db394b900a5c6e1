package operator

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"redstart.dev/redstart/api/v1alpha1"
)

// conditions are those of a Redis with members as observed and master m, which may be nil.
func conditions(r *v1alpha1.Redis, o observation, m *instance, d doing) []metav1.Condition {
	if r.Spec.Mode == v1alpha1.ModeCluster {
		return clusterConditions(r, o, d)
	}
	return []metav1.Condition{
		readyCondition(r, o, m, d),
		masterCondition(o, m),
		inSyncCondition(o.wanted(r), m),
		configCondition(o.wanted(r)),
		servedCondition(o.unserved),
		progressCondition(o.wanted(r), d),
	}
}

func readyCondition(r *v1alpha1.Redis, o observation, m *instance, d doing) metav1.Condition {
	no := func(reason, message string) metav1.Condition {
		return condition(v1alpha1.ConditionReady, metav1.ConditionFalse, reason, message)
	}
	wanted := o.wanted(r)
	all := append(wanted[:len(wanted):len(wanted)], o.sentinels...)
	switch {
	case d.refused, d.prevents(all):
		return no(d.reason, d.message)
	case problem(all) != "":
		return no(v1alpha1.ReasonPodCannotStart, problem(all))
	case m == nil:
		return no(v1alpha1.ReasonNoMaster, orElse(notReady(wanted), "no member is master"))
	case notReady(wanted) != "":
		return no(v1alpha1.ReasonMembersNotReady, notReady(wanted))
	case notReady(o.sentinels) != "":
		return no(v1alpha1.ReasonSentinelsNotReady, notReady(o.sentinels))
	}
	return condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonAllReady,
		fmt.Sprintf("%s is master and all %d members are ready", m.name, len(wanted)))
}

func masterCondition(o observation, m *instance) metav1.Condition {
	if m == nil {
		return condition(v1alpha1.ConditionMasterAvailable, metav1.ConditionFalse, v1alpha1.ReasonNoMaster,
			orElse(notReady(o.members), "no member is master"))
	}
	return condition(v1alpha1.ConditionMasterAvailable, metav1.ConditionTrue, v1alpha1.ReasonMasterServes, m.name+" accepts writes")
}

func inSyncCondition(wanted []instance, m *instance) metav1.Condition {
	if len(wanted) == 1 {
		return condition(v1alpha1.ConditionReplicasInSync, metav1.ConditionTrue, v1alpha1.ReasonNoReplicas, "there is one member")
	}
	var behind []string
	for _, x := range wanted {
		switch {
		case m != nil && x.name == m.name:
		case x.agent == nil && x.ready(): // too slow to answer; its probe is satisfied
		case x.agent == nil || !x.agent.Server.LinkUp || x.role() != v1alpha1.RoleReplica:
			behind = append(behind, x.name)
		}
	}
	if len(behind) > 0 {
		return condition(v1alpha1.ConditionReplicasInSync, metav1.ConditionFalse, v1alpha1.ReasonReplicasBehind,
			"not in sync: "+strings.Join(behind, ", "))
	}
	return condition(v1alpha1.ConditionReplicasInSync, metav1.ConditionTrue, v1alpha1.ReasonInSync, "the link of every replica is up")
}

func configCondition(wanted []instance) metav1.Condition {
	var refused, restart, missing []string
	hashes := map[string]bool{}
	for _, x := range wanted {
		switch {
		case x.agent == nil || x.agent.ConfigHash == "":
			if !x.ready() {
				missing = append(missing, x.name)
			}
		case x.unaware:
			missing = append(missing, x.name)
		case x.agent.ConfigError != "":
			refused = append(refused, x.name+": "+x.agent.ConfigError)
		case len(x.agent.PendingRestart) > 0:
			restart = append(restart, fmt.Sprintf("%s (%s)", x.name, strings.Join(x.agent.PendingRestart, ", ")))
		default:
			hashes[x.agent.ConfigHash] = true
		}
	}
	no := func(reason, message string) metav1.Condition {
		return condition(v1alpha1.ConditionConfigApplied, metav1.ConditionFalse, reason, message)
	}
	switch {
	case len(refused) > 0: // of all members it is the same
		return no(v1alpha1.ReasonRefused, refused[0]+"; put spec.config right: a member that restarts could not start")
	case len(restart) > 0:
		return no(v1alpha1.ReasonRestartNeeded, "takes effect at a restart: "+strings.Join(restart, "; "))
	case len(missing) > 0:
		return no(v1alpha1.ReasonApplying, "not known yet of "+strings.Join(missing, ", "))
	case len(hashes) > 1:
		return no(v1alpha1.ReasonApplying, "members run with different configurations")
	}
	return condition(v1alpha1.ConditionConfigApplied, metav1.ConditionTrue, v1alpha1.ReasonApplied, "every member runs with the wanted configuration")
}

func progressCondition(wanted []instance, d doing) metav1.Condition {
	switch {
	case d.reason != "" && (d.blocked || d.refused):
		return condition(v1alpha1.ConditionProgressing, metav1.ConditionFalse, d.reason, d.message)
	case d.reason != "":
		return condition(v1alpha1.ConditionProgressing, metav1.ConditionTrue, d.reason, d.message)
	case notReady(wanted) == "":
		return condition(v1alpha1.ConditionProgressing, metav1.ConditionFalse, v1alpha1.ReasonIdle, "nothing to do")
	case problem(wanted) != "":
		return condition(v1alpha1.ConditionProgressing, metav1.ConditionFalse, v1alpha1.ReasonPodCannotStart, problem(wanted))
	}
	return condition(v1alpha1.ConditionProgressing, metav1.ConditionTrue, v1alpha1.ReasonCreating, notReady(wanted))
}

func condition(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message}
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
