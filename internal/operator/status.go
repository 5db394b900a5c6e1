package operator

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/operator/objects"
	"redstart.dev/redstart/internal/plan"
)

// observation is all that is known of a Redis at one moment.
type observation struct {
	// members and sentinels by ordinal: the wanted ones, which may not exist, and those that go away.
	members, sentinels []instance
	// endpoints of the Services.
	endpoints *v1alpha1.Endpoints
	// external are the addresses of the members outside the cluster, by the name of the pod.
	external map[string]string
	// storageSize is the size that every volume claim of the members asks for at least, nil where there is none.
	storageSize *resource.Quantity
	// unserved are the fields of the spec that do not take effect.
	unserved []unserved
	now      time.Time
}

// wanted are the members that spec.replicas asks for.
func (o observation) wanted(r *v1alpha1.Redis) []instance {
	n := int(r.MemberCount())
	for i, m := range o.members {
		if m.ordinal >= n {
			return o.members[:i]
		}
	}
	return o.members
}

// doing is what the operator does about a Redis at the moment, or what keeps it from it. The zero value is nothing.
type doing struct {
	// phase that this is, if it has one.
	phase v1alpha1.Phase
	// reason and message of the condition Progressing.
	reason, message string
	// blocked: nothing moves until somebody does something about it.
	blocked bool
	// step of mode Cluster that goes on, and the slots that move.
	step      plan.ClusterStepKind
	migration *v1alpha1.MigrationStatus
	// refused: the Redis itself is at fault, and is not Ready for that reason whatever its members say.
	refused bool
}

// prevents tells that pods which do not exist are missing because the API server refuses an object of the Redis: that is then
// what people have to read.
func (d doing) prevents(wanted []instance) bool {
	return d.reason == v1alpha1.ReasonApplyFailed && slices.ContainsFunc(wanted, func(x instance) bool { return x.pod == nil })
}

// nextStatus is the status of a Redis from what was last written and what is seen now. It changes neither.
func nextStatus(r *v1alpha1.Redis, o observation, d doing) v1alpha1.RedisStatus {
	s := *r.Status.DeepCopy()
	s.ObservedGeneration = r.Generation
	s.Selector = objects.Selector(r, v1alpha1.ComponentMember).String()
	s.Endpoints = o.endpoints
	if o.storageSize != nil {
		s.StorageSize = o.storageSize
	}
	m := master(o.members)
	served := hasServed(s.Phase)
	clustered := r.Spec.Mode == v1alpha1.ModeCluster
	if clustered {
		m = nil // there is one in every shard
	}

	old := map[string]v1alpha1.MemberStatus{}
	for _, x := range s.Members {
		old[x.Name] = x
	}
	s.Members, s.Replicas = nil, 0
	for _, x := range o.members {
		if x.pod != nil {
			s.Replicas++
		}
		ms := memberStatus(x, masterOf(x, m, o.members), old[x.name])
		ms.External = o.external[x.name]
		s.Members = append(s.Members, ms)
	}
	s.Sentinels = nil
	for _, x := range o.sentinels {
		s.Sentinels = append(s.Sentinels, sentinelStatus(x))
	}
	s.Master = ""
	if m != nil {
		s.Master = m.name
		if m.agent != nil {
			s.Engine, s.Version = m.agent.Server.Engine, m.agent.Server.Version
		}
	}
	wanted := o.wanted(r)
	s.Ready = fmt.Sprintf("%d/%d", countReady(wanted), len(wanted))
	for _, x := range o.members {
		if x.agent == nil || x.agent.LastFailover == nil {
			continue
		}
		// The same one may have been corrected.
		if f := x.agent.LastFailover; s.LastFailover == nil || !f.Time.Before(&s.LastFailover.Time) {
			s.LastFailover = f.DeepCopy()
		}
	}
	serves := m != nil
	if clustered {
		serves = clusterStatus(&s, r, o, d)
	}
	for _, c := range conditions(r, o, m, d) {
		c.ObservedGeneration = r.Generation
		c.LastTransitionTime = metav1.NewTime(o.now)
		meta.SetStatusCondition(&s.Conditions, c)
	}
	s.Phase = phase(s, d, serves, served)
	return s
}

func memberStatus(x instance, m *instance, old v1alpha1.MemberStatus) v1alpha1.MemberStatus {
	s := v1alpha1.MemberStatus{Name: x.name, Role: x.role(), Ready: x.ready(), Message: x.message()}
	if x.pod == nil {
		s.NodeID = old.NodeID // it will have its disk, and its ID, again
		return s
	}
	s.Address = v1alpha1.PodAddress(x.pod, v1alpha1.PortRedis)
	s.Node = x.pod.Spec.NodeName
	if x.agent == nil {
		// The figures of a moment ago are better than none; ready and message say whether it is there.
		s.Offset, s.Lag, s.Version, s.ConfigHash = old.Offset, old.Lag, old.Version, old.ConfigHash
		s.Clients, s.MemoryBytes, s.Keys = old.Clients, old.MemoryBytes, old.Keys
		s.NodeID = old.NodeID
		return s
	}
	if v := x.agent.Cluster; v != nil && v.Myself() != nil {
		s.NodeID = v.Myself().ID
	}
	server := x.agent.Server
	s.Offset, s.Version, s.ConfigHash = server.Offset, server.Version, x.agent.ConfigHash
	s.Clients, s.MemoryBytes, s.Keys = server.Clients, server.Memory, server.Keys
	switch {
	case x.role() != v1alpha1.RoleReplica:
	case !server.LinkUp:
		s.Lag = ptr.To[int64](-1)
	case m != nil && m.agent != nil:
		// The two were not asked at the very same moment.
		s.Lag = ptr.To(max(0, m.agent.Server.Offset-server.Offset))
	}
	return s
}

func sentinelStatus(x instance) v1alpha1.SentinelStatus {
	s := v1alpha1.SentinelStatus{Name: x.name, Ready: x.ready(), Message: x.message()}
	if x.pod != nil {
		s.Address = v1alpha1.PodAddress(x.pod, v1alpha1.PortSentinel)
	}
	if x.agent != nil && x.agent.Sentinel != nil {
		v := x.agent.Sentinel
		s.Master, s.Replicas, s.Sentinels = v.MasterAddress, int32(len(v.Replicas)), int32(len(v.Sentinels))
	}
	return s
}

func countReady(all []instance) int {
	n := 0
	for _, x := range all {
		if x.ready() {
			n++
		}
	}
	return n
}

// phase is the state in one word: first what is wrong, then what goes on, then what is.
func phase(s v1alpha1.RedisStatus, d doing, hasMaster, served bool) v1alpha1.Phase {
	ready := meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionReady)
	switch {
	case d.refused && !served:
		return v1alpha1.PhaseFailed
	case s.Replicas == 0 && !served:
		return v1alpha1.PhasePending
	case !served && !ready:
		return v1alpha1.PhaseCreating
	case !hasMaster:
		return v1alpha1.PhaseFailingOver
	case d.phase != "":
		return d.phase
	case ready:
		return v1alpha1.PhaseReady
	}
	return v1alpha1.PhaseDegraded
}

// hasServed tells from the last phase whether a Redis was ever ready: until then it is being created, later it is degraded.
func hasServed(last v1alpha1.Phase) bool {
	switch last {
	case "", v1alpha1.PhasePending, v1alpha1.PhaseCreating, v1alpha1.PhaseFailed:
		return false
	}
	return true
}

// sameButFigures tells whether two statuses say the same of everything but what changes all the time.
func sameButFigures(a, b v1alpha1.RedisStatus) bool {
	return equality.Semantic.DeepEqual(withoutFigures(a), withoutFigures(b))
}

func withoutFigures(s v1alpha1.RedisStatus) v1alpha1.RedisStatus {
	s = *s.DeepCopy()
	for i := range s.Members {
		m := &s.Members[i]
		m.Offset, m.Clients, m.MemoryBytes, m.Keys = 0, 0, 0, 0
		if m.Lag != nil && *m.Lag > 0 {
			*m.Lag = 0
		}
	}
	for i := range s.Shards {
		s.Shards[i].Keys, s.Shards[i].MemoryBytes = 0, 0
	}
	return s
}

// notReady names the instances that are not ready, and why, for a message; it is empty when all are.
func notReady(all []instance) string {
	var why []string
	for _, x := range all {
		if x.ready() {
			continue
		}
		text := x.name
		if m := x.message(); m != "" {
			text += ": " + m
		}
		why = append(why, text)
	}
	if len(why) > 3 {
		why = append(why[:3], fmt.Sprintf("and %d more", len(why)-3))
	}
	return strings.Join(why, "; ")
}
