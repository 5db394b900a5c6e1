package objects

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"redstart.dev/redstart/api/v1alpha1"
)

// leaseSeconds is how long a master that can no longer renew its Lease is still taken for master. It bounds the gap
// after a crash of a whole node, and a shorter one would fence masters for hiccups of the API server.
const leaseSeconds = 5

// nodeTimeout is how long a node of mode Cluster must be silent before the others take it for failed. The death of a server,
// which its agent sees at once, waits for nothing; this is for machines and networks that are lost. A master is not promoted again within
// four times this.
const nodeTimeout = 3 * time.Second

// ConfigMap is what the agents of a Redis read: everything that may change without a restart of a pod.
func ConfigMap(r *v1alpha1.Redis, o Options) (*corev1.ConfigMap, error) {
	config := AgentConfig(r)
	config.Announce = o.Announce
	if s := r.Spec.Service; s != nil && s.AnnounceHostnames && !o.OneMachine() {
		config.Domain = v1alpha1.MembersName(r.Name) + "." + r.Namespace + ".svc"
	}
	b, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the agents' configuration of Redis %s/%s: %w", r.Namespace, r.Name, err)
	}
	return &corev1.ConfigMap{
		TypeMeta:   typeMeta(corev1.SchemeGroupVersion, "ConfigMap"),
		ObjectMeta: objectMeta(r, r.Name, ""),
		Data:       map[string]string{v1alpha1.ConfigMapKeyAgent: string(b) + "\n"},
	}, nil
}

// AgentConfig is what a Redis means to its agents.
func AgentConfig(r *v1alpha1.Redis) v1alpha1.AgentConfig {
	c := v1alpha1.AgentConfig{
		Redis:        r.Name,
		UID:          string(r.UID),
		Mode:         r.Spec.Mode,
		Replicas:     r.MemberCount(),
		LeaseSeconds: leaseSeconds,
		TokenSecret:  r.Name,
		Config:       serverConfig(r),
	}
	if r.AuthEnabled() {
		c.AuthSecret = r.AuthSecretName()
	}
	if s := r.Spec.Sentinel; s != nil && r.Spec.Mode == v1alpha1.ModeSentinel {
		c.Sentinels = ptr.Deref(s.Replicas, 0)
		c.Quorum = ptr.Deref(s.Quorum, c.Sentinels/2+1)
		c.ParallelSyncs = ptr.Deref(s.ParallelSyncs, 0)
		if s.DownAfter != nil {
			c.DownAfterMS = s.DownAfter.Milliseconds()
		}
		if s.FailoverTimeout != nil {
			c.FailoverTimeoutMS = s.FailoverTimeout.Milliseconds()
		}
	}
	if r.Spec.Mode == v1alpha1.ModeCluster {
		c.NodeTimeoutMS = nodeTimeout.Milliseconds()
	}
	if d := r.Spec.Durability; d != nil {
		c.MinReplicasToWrite = ptr.Deref(d.MinReplicasToWrite, 0)
		if d.MaxLag != nil {
			c.MaxLagSeconds = int32(d.MaxLag.Duration / time.Second)
		}
	}
	return c
}

// serverConfig is spec.config with what follows from the storage: data that outlives the pod is worth an append-only
// file, and data that does not is not worth a snapshot.
func serverConfig(r *v1alpha1.Redis) map[string]string {
	config := map[string]string{"appendonly": "yes"}
	if ephemeral(r) {
		config = map[string]string{"appendonly": "no", "save": ""}
	}
	maps.Copy(config, r.Spec.Config)
	return config
}

func ephemeral(r *v1alpha1.Redis) bool { return r.Spec.Storage != nil && r.Spec.Storage.Ephemeral }
