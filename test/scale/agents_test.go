package scale_test

import (
	"cmp"
	"context"
	"crypto/sha1" //nolint:gosec // node IDs are 40 hexadecimal digits, no secrets
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"redstart.dev/redstart/api/v1alpha1"
)

const (
	// shards of every Redis in mode Cluster, each with one replica.
	shards = 3
	// looked is the path that the operator asks the agents at.
	looked = "/status"
)

// agents answer for the agents of all members and Sentinels: each at its pod's own address on loopback, as an agent whose server is
// well would. They promote nobody and change no configuration: the first member is master, and in mode Cluster the first three are.
type agents struct {
	// busy: clients write, so that the figures of the servers are others at each look.
	busy atomic.Bool

	mu      sync.Mutex
	pods    map[types.UID]*agent
	serving sync.WaitGroup
}

// agent is one of them.
type agent struct {
	namespace, redis, pod, ip string
	sentinel                  bool
	ordinal                   int
	server                    *http.Server
}

// start lets an agent answer for a pod, if none does yet, and tells its role.
func (a *agents) start(ctx context.Context, pod *corev1.Pod, ip string) (v1alpha1.Role, error) {
	a.mu.Lock()
	there := a.pods[pod.UID]
	a.mu.Unlock()
	if there != nil {
		return there.role(a.clustered(there)), nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", net.JoinHostPort(ip, strconv.Itoa(int(v1alpha1.PortAgent))))
	if err != nil {
		return "", fmt.Errorf("let an agent of pod %s answer: %w", pod.Name, err)
	}
	x := &agent{
		namespace: pod.Namespace, redis: pod.Labels[v1alpha1.LabelName], pod: pod.Name, ip: ip, ordinal: ordinal(pod.Name),
		sentinel: pod.Labels[v1alpha1.LabelComponent] == v1alpha1.ComponentSentinel,
	}
	x.server = &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != looked || r.Header.Get("Authorization") == "" {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(a.status(x))
	})}
	a.mu.Lock()
	a.pods[pod.UID] = x
	a.mu.Unlock()
	a.serving.Go(func() { _ = x.server.Serve(l) })
	return x.role(a.clustered(x)), nil
}

// stop ends the agent of a pod, if it has one.
func (a *agents) stop(uid types.UID) {
	a.mu.Lock()
	x := a.pods[uid]
	if x != nil {
		delete(a.pods, uid)
	}
	a.mu.Unlock()
	if x != nil {
		_ = x.server.Close()
	}
}

func (a *agents) close() {
	a.mu.Lock()
	for _, x := range a.pods {
		_ = x.server.Close()
	}
	a.mu.Unlock()
	a.serving.Wait()
}

// clustered tells whether an agent is of a Redis in mode Cluster: its name says so.
func (a *agents) clustered(x *agent) bool { return modeOf(x.redis) == v1alpha1.ModeCluster }

// members of the Redis of an agent, by ordinal.
func (a *agents) members(of *agent) []*agent {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []*agent
	for _, x := range a.pods {
		if x.namespace == of.namespace && x.redis == of.redis && !x.sentinel {
			all = append(all, x)
		}
	}
	slices.SortFunc(all, func(x, y *agent) int { return cmp.Compare(x.ordinal, y.ordinal) })
	return all
}

func (x *agent) address(port int32) string { return net.JoinHostPort(x.ip, strconv.Itoa(int(port))) }

func (x *agent) role(clustered bool) v1alpha1.Role {
	switch {
	case x.sentinel:
		return v1alpha1.RoleSentinel
	case x.ordinal == 0 || clustered && x.ordinal < shards:
		return v1alpha1.RoleMaster
	}
	return v1alpha1.RoleReplica
}

// nodeID of a member of mode Cluster.
func (x *agent) nodeID() string {
	sum := sha1.Sum([]byte(x.namespace + "/" + x.pod)) //nolint:gosec // see above
	return hex.EncodeToString(sum[:])
}

// status is what an agent answers.
func (a *agents) status(x *agent) v1alpha1.AgentStatus {
	clustered, members := a.clustered(x), a.members(x)
	role := x.role(clustered)
	offset, clients := int64(1000), int64(10)
	if a.busy.Load() {
		offset, clients = time.Now().UnixMilli(), time.Now().Unix()%50
	}
	s := v1alpha1.AgentStatus{
		Name: x.pod, Boot: "boot", Role: role, Ready: true, Term: 1, APIReachable: true, ConfigHash: "settings",
		Server: v1alpha1.ServerStatus{
			Up: true, PID: 10, Engine: "redis", Version: "7.4.2", Address: x.address(v1alpha1.PortRedis), Role: role,
			LinkUp: role == v1alpha1.RoleReplica, Offset: offset, Clients: clients, Memory: 10 << 20,
		},
	}
	if x.sentinel {
		s.Server.Address = x.address(v1alpha1.PortSentinel)
		s.Sentinel = &v1alpha1.SentinelView{Monitoring: true, Sentinels: []string{"a", "b"}}
		for _, m := range members {
			if m.ordinal == 0 {
				s.Sentinel.MasterAddress = m.address(v1alpha1.PortRedis)
			} else {
				s.Sentinel.Replicas = append(s.Sentinel.Replicas, m.address(v1alpha1.PortRedis))
			}
		}
		return s
	}
	for _, m := range members {
		if role == v1alpha1.RoleReplica && m.ordinal == masterOf(x, clustered) {
			s.Follows, s.Server.MasterAddress = m.pod, m.address(v1alpha1.PortRedis)
		}
	}
	if clustered {
		s.Cluster = view(x, members)
	}
	return s
}

// masterOf is the ordinal of the master that a replica follows.
func masterOf(x *agent, clustered bool) int {
	if clustered {
		return x.ordinal - shards
	}
	return 0
}

// view is what a member of mode Cluster believes: a cluster that was formed before, as one whose operator comes back. It is nil
// until all members are there.
func view(x *agent, members []*agent) *v1alpha1.ClusterView {
	if len(members) < 2*shards {
		return nil
	}
	v := &v1alpha1.ClusterView{Info: v1alpha1.ClusterInfo{
		OK: true, SlotsAssigned: v1alpha1.SlotCount, SlotsOK: v1alpha1.SlotCount, KnownNodes: len(members), Size: shards,
		CurrentEpoch: shards, MyEpoch: int64(x.ordinal%shards + 1),
	}}
	for _, m := range members {
		n := v1alpha1.ClusterNode{
			ID: m.nodeID(), Address: m.address(v1alpha1.PortRedis), BusPort: int(v1alpha1.PortBus), Myself: m == x, Role: m.role(true),
			ConfigEpoch: int64(m.ordinal%shards + 1), LinkUp: true,
		}
		if n.Role == v1alpha1.RoleMaster {
			first, last := v1alpha1.SlotCount*m.ordinal/shards, v1alpha1.SlotCount*(m.ordinal+1)/shards-1
			n.Slots = v1alpha1.SlotsOf(v1alpha1.SlotRange{First: first, Last: last})
		} else {
			n.MasterID = members[m.ordinal-shards].nodeID()
		}
		v.Nodes = append(v.Nodes, n)
	}
	return v
}
