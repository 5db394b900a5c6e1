package operator

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/plan"
)

// This file tells what is seen of a Redis in mode Cluster: for internal/plan, and in the status. Every function is pure.

// clusterMembers are the members for internal/plan. remembered is the status written last, for those that do not answer.
func clusterMembers(all []instance, remembered []v1alpha1.MemberStatus) []plan.ClusterMember {
	last := map[string]string{}
	for _, m := range remembered {
		last[m.Name] = m.NodeID
	}
	out := make([]plan.ClusterMember, 0, len(all))
	for _, x := range all {
		m := plan.ClusterMember{Name: x.name, Ordinal: x.ordinal, LastID: last[x.name]}
		if x.pod != nil {
			m.Node = x.pod.Spec.NodeName
			m.Address = v1alpha1.PodAddress(x.pod, v1alpha1.PortRedis)
			m.BusPort = busPort(x)
			m.Stopping = x.pod.DeletionTimestamp != nil
		}
		if a := x.agent; a != nil && x.pod != nil {
			m.Up = a.Server.Up && !a.Server.Loading && a.Cluster != nil && a.Cluster.Myself() != nil
			m.Stopping = m.Stopping || a.Stopping
			m.Keys, m.Offset, m.LinkUp = a.Server.Keys, a.Server.Offset, a.Server.LinkUp
			if a.Cluster != nil {
				m.View = *a.Cluster
			}
		}
		out = append(out, m)
	}
	return out
}

// busPort is the local port that stands for the cluster bus, 0 where that is the server's port + 10000.
func busPort(x instance) int {
	address := v1alpha1.PodAddress(x.pod, v1alpha1.PortBus)
	n, err := strconv.Atoi(address[strings.LastIndexByte(address, ':')+1:])
	if err != nil || n == int(v1alpha1.PortBus) {
		return 0
	}
	return n
}

// masterOf is the master that a member follows.
func masterOf(x instance, m *instance, all []instance) *instance {
	if x.agent == nil || x.agent.Cluster == nil {
		return m
	}
	return find(all, x.agent.Follows)
}

// shardName is the name of the n-th shard, from 0.
func shardName(n int) string { return strconv.Itoa(n + 1) }

// clusterStatus fills in what a status has in mode Cluster alone. It tells whether every slot is served.
func clusterStatus(s *v1alpha1.RedisStatus, r *v1alpha1.Redis, o observation, d doing) bool {
	shards := plan.ClusterShards(clusterMembers(o.members, r.Status.Members))
	served := 0
	s.Shards = nil
	for i, x := range shards {
		status := v1alpha1.ShardStatus{Name: shardName(i), Master: x.Master, Replicas: x.Replicas, SlotCount: int32(x.Slots.Len())}
		for _, r := range x.Slots {
			status.Slots = append(status.Slots, r.String())
		}
		ok := false
		if m := find(o.members, x.Master); m != nil && m.agent != nil {
			status.Keys, status.MemoryBytes = m.agent.Server.Keys, m.agent.Server.Memory
			s.Engine, s.Version = m.agent.Server.Engine, m.agent.Server.Version
			ok = m.isMaster()
		} else if m != nil {
			ok = m.ready() // too slow to answer; its probe is satisfied
		}
		switch {
		case !ok:
			status.Message = "its master does not serve"
		case len(x.Replicas) < int(ptr.Deref(r.Spec.ReplicasPerShard, 0)):
			status.Message = fmt.Sprintf("%d of %d replicas", len(x.Replicas), *r.Spec.ReplicasPerShard)
		}
		if ok {
			served += x.Slots.Len()
		}
		s.Shards = append(s.Shards, status)
		for j := range s.Members {
			if m := &s.Members[j]; m.Name == x.Master || slices.Contains(x.Replicas, m.Name) {
				m.Shard = status.Name
			}
		}
	}

	migration := d.migration
	if migration == nil && d.step != plan.ClusterSettled && s.Cluster != nil {
		migration = s.Cluster.Migration // by which the next operator knows that one is to be gone on with
	}
	s.Cluster = &v1alpha1.ClusterStatus{State: "fail", SlotsAssigned: int32(served), Step: string(d.step), Migration: migration}
	if served == v1alpha1.SlotCount {
		s.Cluster.State = "ok"
	}

	return served == v1alpha1.SlotCount
}

func clusterConditions(r *v1alpha1.Redis, o observation, d doing) []metav1.Condition {
	wanted := o.wanted(r)
	var s v1alpha1.RedisStatus
	served := clusterStatus(&s, r, o, d)
	shards := 0
	for _, x := range s.Shards {
		if x.SlotCount > 0 {
			shards++
		}
	}
	want := int(ptr.Deref(r.Spec.Shards, 0))
	no := func(kind, reason, message string) metav1.Condition {
		return condition(kind, metav1.ConditionFalse, reason, message)
	}
	missing := fmt.Sprintf("%d of %d slots are served", s.Cluster.SlotsAssigned, v1alpha1.SlotCount)
	if d.message != "" {
		missing += "; " + d.message
	}
	ready := condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonAllReady,
		fmt.Sprintf("%d shards serve all slots and all %d members are ready", shards, len(wanted)))
	switch {
	case d.refused, d.prevents(wanted):
		ready = no(v1alpha1.ConditionReady, d.reason, d.message)
	case problem(wanted) != "":
		ready = no(v1alpha1.ConditionReady, v1alpha1.ReasonPodCannotStart, problem(wanted))
	case !served:
		ready = no(v1alpha1.ConditionReady, v1alpha1.ReasonSlotsNotServed, missing)
	case notReady(wanted) != "":
		ready = no(v1alpha1.ConditionReady, v1alpha1.ReasonMembersNotReady, notReady(wanted))
	case shards != want || d.step != "":
		ready = no(v1alpha1.ConditionReady, orElse(d.reason, v1alpha1.ReasonScaling), orElse(d.message, fmt.Sprintf("%d of %d shards have slots", shards, want)))
	}
	available := condition(v1alpha1.ConditionMasterAvailable, metav1.ConditionTrue, v1alpha1.ReasonMasterServes, "every slot has a master that serves it")
	if !served {
		available = no(v1alpha1.ConditionMasterAvailable, v1alpha1.ReasonSlotsNotServed, missing)
	}
	return []metav1.Condition{ready, available, clusterInSync(wanted), configCondition(wanted), servedCondition(o.unserved), progressCondition(wanted, d)}
}

// problem is the first pod that cannot start, and why.
func problem(wanted []instance) string {
	for _, x := range wanted {
		if p := x.problem(); p != "" && !x.ready() {
			return x.name + ": " + p
		}
	}
	return ""
}

func clusterInSync(wanted []instance) metav1.Condition {
	var behind []string
	replicas := 0
	for _, x := range wanted {
		if x.role() != v1alpha1.RoleReplica {
			continue
		}
		replicas++
		if x.agent != nil && !x.agent.Server.LinkUp || x.agent == nil && !x.ready() {
			behind = append(behind, x.name)
		}
	}
	switch {
	case len(behind) > 0:
		return condition(v1alpha1.ConditionReplicasInSync, metav1.ConditionFalse, v1alpha1.ReasonReplicasBehind, "not in sync: "+strings.Join(behind, ", "))
	case replicas == 0:
		return condition(v1alpha1.ConditionReplicasInSync, metav1.ConditionTrue, v1alpha1.ReasonNoReplicas, "there is no replica")
	}
	return condition(v1alpha1.ConditionReplicasInSync, metav1.ConditionTrue, v1alpha1.ReasonInSync, "the link of every replica is up")
}

// nextShardRestart is nextRestart in mode Cluster: shard by shard, replicas first, then the master, whose agent hands over when its
// pod is deleted. It goes on when everything is well again, and so stops by itself when a shard is not.
func nextShardRestart(members []instance, now time.Time) removal {
	r, done := replaceable(members, now)
	if done {
		return r
	}
	inShard := map[string]bool{}
	for _, s := range plan.ClusterShards(clusterMembers(members, nil)) {
		inShard[s.Master] = true
		for i := len(s.Replicas) - 1; i >= 0; i-- {
			inShard[s.Replicas[i]] = true
			if x := find(members, s.Replicas[i]); x != nil && x.outdated != "" {
				return removal{pod: x.name, why: x.outdated}
			}
		}
		if x := find(members, s.Master); x != nil && x.outdated != "" {
			return removal{pod: x.name, why: x.outdated}
		}
	}
	for _, x := range members {
		if !inShard[x.name] && x.outdated != "" {
			return removal{pod: x.name, why: x.outdated}
		}
	}
	return removal{}
}
