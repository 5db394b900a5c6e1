package operator

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/operator/objects"
	"redstart.dev/redstart/internal/redis"
)

// nodeEvery is how long the address of a node is taken for true; nodes seldom change theirs, and are not watched.
const nodeEvery = time.Minute

// nodes remembers addresses of nodes. It is safe for concurrent use.
type nodes struct {
	mu   sync.Mutex
	seen map[string]nodeSeen
}

type nodeSeen struct {
	address string
	at      time.Time
}

// address is where clients outside the cluster reach a node.
func (n *nodes) address(ctx context.Context, c *redisController, name string) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := c.now()
	if s, ok := n.seen[name]; ok && now.Sub(s.at) < nodeEvery {
		return s.address, nil
	}
	var node corev1.Node
	if err := c.applier.direct.Get(ctx, types.NamespacedName{Name: name}, &node); err != nil {
		return "", err
	}
	for other, s := range n.seen {
		if now.Sub(s.at) >= nodeEvery {
			delete(n.seen, other)
		}
	}
	if n.seen == nil {
		n.seen = map[string]nodeSeen{}
	}
	n.seen[name] = nodeSeen{objects.NodeAddress(&node), now}
	return n.seen[name].address, nil
}

// external finds the addresses of the members outside the cluster, by name of the pod, and says what keeps it from it. The agents
// are told by their configuration, so that they need no right to read Services and nodes.
func (c *redisController) external(ctx context.Context, r *v1alpha1.Redis, o *observation) (map[string]string, []unserved, error) {
	s := r.Spec.Service
	if s == nil || s.External == nil || c.agentImage == "" && r.Spec.Mode == v1alpha1.ModeCluster {
		return nil, nil, nil
	}
	found := map[string]string{}
	var waits []string
	for _, m := range o.members {
		var svc corev1.Service
		err := c.applier.client.Get(ctx, types.NamespacedName{Namespace: r.Namespace, Name: v1alpha1.ExternalName(m.name)}, &svc)
		if apierrors.IsNotFound(err) {
			continue // it is about to be made, or its member about to go
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read Service %s: %w", v1alpha1.ExternalName(m.name), err)
		}
		node := ""
		switch {
		case c.agentImage == "":
			node = "127.0.0.1" // where ports of one machine are published
		case s.External.Type == corev1.ServiceTypeNodePort && s.External.Host == "" && m.pod != nil && m.pod.Spec.NodeName != "":
			node, err = c.nodes.address(ctx, c, m.pod.Spec.NodeName)
			if apierrors.IsForbidden(err) {
				return found, []unserved{{
					"spec.service.external", v1alpha1.ReasonNoExternalAddress,
					"the operator may not read nodes, whose addresses clients need; install it with its ClusterRole, or write host",
				}}, nil
			}
			if err != nil && !apierrors.IsNotFound(err) {
				return nil, nil, fmt.Errorf("read node %s: %w", m.pod.Spec.NodeName, err)
			}
		}
		a := objects.ExternalAddress(&svc, s.External.Host, node)
		if a != "" && r.Spec.Mode == v1alpha1.ModeCluster && strings.Count(a, ":") > 1 {
			return found, []unserved{{
				"spec.service.external", v1alpha1.ReasonNoExternalAddress,
				fmt.Sprintf("%s has the IPv6 address %s, which cannot be announced as a host name: let the load balancers have IPv4 addresses or names", m.name, a),
			}}, nil
		}
		if a != "" {
			found[m.name] = a
		} else {
			waits = append(waits, m.name)
		}
	}
	if len(waits) > 0 {
		return found, []unserved{{
			"spec.service.external", v1alpha1.ReasonNoExternalAddress,
			"no address yet outside the cluster for " + strings.Join(waits, ", "),
		}}, nil
	}
	return found, nil, nil
}

// withoutHostnames tells of host names that the members of mode Cluster cannot announce.
func withoutHostnames(r *v1alpha1.Redis, members []instance) []unserved {
	s := r.Spec.Service
	if s == nil || s.External == nil && !s.AnnounceHostnames {
		return nil
	}
	for _, m := range members {
		if m.agent == nil || m.agent.Server.Version == "" {
			continue
		}
		v, err := redis.NewVersion(m.agent.Server.Engine, m.agent.Server.Version)
		if err != nil || v.AnnouncesHostnames() {
			continue
		}
		field := "spec.service.announceHostnames"
		if s.External != nil {
			field = "spec.service.external"
		}
		return []unserved{{field, v1alpha1.ReasonEngineTooOld, fmt.Sprintf("%s runs %s, which announces no host names; write an image of Redis 7.0 or later, or of Valkey", m.name, v)}}
	}
	return nil
}
