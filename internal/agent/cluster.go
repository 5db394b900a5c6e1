package agent

import (
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"redstart.dev/redstart/api/v1alpha1"
)

// Cluster is all that an agent needs of Kubernetes. Methods that take a context talk to the API server and are bounded
// by it. An implementation is safe for concurrent use.
type Cluster interface {
	// Watch follows the configuration, the Secrets, the Lease and the pods of the Redis, and calls changed after every
	// change, until ctx ends. It survives an API server that is away.
	Watch(ctx context.Context, changed func())
	// View is the newest that Watch saw.
	View() View
	// ReadLease reads the Lease; one that does not exist is all zero.
	ReadLease(ctx context.Context) (Lease, error)
	// WriteLease creates (ResourceVersion "") or replaces the Lease and returns it as written. errLeaseMoved: it is not the
	// one of that ResourceVersion any more, and was certainly not written.
	WriteLease(ctx context.Context, l Lease) (Lease, error)
	// SetRole sets the label redis-role of a pod, or removes it where role is empty. A pod that is gone is no error.
	SetRole(ctx context.Context, pod string, role v1alpha1.Role) error
	// RecordFailover makes an Event of a change of master.
	RecordFailover(ctx context.Context, f v1alpha1.FailoverStatus) error
}

// errLeaseMoved: the Lease is not of the expected ResourceVersion any more.
var errLeaseMoved = errors.New("somebody else changed the Lease")

// View is what is watched. Its values are never changed after they are handed out.
type View struct {
	// Config is nil while it was never read.
	Config *v1alpha1.AgentConfig
	// Password and Token are empty while their Secrets were not read; PasswordKnown is also true where auth is off.
	// PasswordError says why the password that is there cannot be used; it is not known then.
	Password      string
	PasswordKnown bool
	PasswordError error
	Token         string
	// Pods of the Redis, members and Sentinels; PodsKnown is false until they were listed.
	Pods      []Pod
	PodsKnown bool
	// Lease is nil while it was not read.
	Lease *Lease
}

// Pod is a pod of the Redis.
type Pod struct {
	Name, UID string
	Component string
	// Server and Agent are addresses, HOST:PORT, empty while the pod has none.
	Server, Agent string
	// Bus is the port of the cluster bus, 0 where that is the server's port + 10000.
	Bus int32
	// Label is the value of the label redis-role.
	Label v1alpha1.Role
	// Terminated: none of its containers runs any more. Running: one does.
	Terminated, Running bool
	// Restarts counts the runs of its containers that are over and were followed by another.
	Restarts int32
	// Stopping: it is being deleted.
	Stopping bool
	// GracePeriod is the time from SIGTERM to SIGKILL.
	GracePeriod time.Duration
}

// Lease is the Lease of the Redis.
type Lease struct {
	// Holder is the pod that holds it, Boot the run of its agent.
	Holder, Boot string
	LastHolder   string
	Term         int64
	Members      int32
	Duration     time.Duration
	// From is the pod that gave the Lease to the holder, empty when that took it itself: by a handover, or, Unplanned, because
	// its server died. Reason is why the last holder gave it away or released it.
	From, Reason string
	Unplanned    bool
	// ResourceVersion is opaque; empty when the Lease does not exist.
	ResourceVersion string
}

// podOf reads what an agent needs of a pod.
func podOf(p *corev1.Pod) Pod {
	out := Pod{
		Name:       p.Name,
		UID:        string(p.UID),
		Component:  p.Labels[v1alpha1.LabelComponent],
		Agent:      v1alpha1.PodAddress(p, v1alpha1.PortAgent),
		Label:      v1alpha1.Role(p.Labels[v1alpha1.LabelRole]),
		Terminated: p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded,
		Stopping:   p.DeletionTimestamp != nil,
	}
	out.Server = v1alpha1.PodAddress(p, v1alpha1.PortRedis)
	if _, port, err := net.SplitHostPort(v1alpha1.PodAddress(p, v1alpha1.PortBus)); err == nil && port != strconv.Itoa(int(v1alpha1.PortBus)) {
		n, _ := strconv.ParseInt(port, 10, 32)
		out.Bus = int32(n)
	}
	if out.Component == v1alpha1.ComponentSentinel {
		out.Server = v1alpha1.PodAddress(p, v1alpha1.PortSentinel)
	}
	out.GracePeriod = time.Duration(ptr.Deref(p.DeletionGracePeriodSeconds,
		ptr.Deref(p.Spec.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds))) * time.Second
	ended := 0
	for _, c := range p.Status.ContainerStatuses {
		out.Restarts += c.RestartCount
		if c.State.Terminated != nil || c.State.Waiting != nil && c.LastTerminationState.Terminated != nil {
			ended++
		}
		out.Running = out.Running || c.State.Running != nil
	}
	if n := len(p.Status.ContainerStatuses); n > 0 {
		out.Terminated = out.Terminated || ended == n
	} else {
		out.Running = p.Status.Phase == corev1.PodRunning
	}
	return out
}
