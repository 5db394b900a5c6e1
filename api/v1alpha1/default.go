package v1alpha1

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The defaults of a Redis; see RedisSpec.
const (
	DefaultImage                  = "redis:7.2"
	DefaultReplicas         int32 = 3
	DefaultShards           int32 = 3
	DefaultReplicasPerShard int32 = 1
	DefaultSentinels        int32 = 3
	DefaultDownAfter              = 5 * time.Second
	DefaultFailoverTimeout        = 30 * time.Second
	DefaultParallelSyncs    int32 = 1
	DefaultMaxLag                 = 10 * time.Second
	DefaultGracePeriod      int64 = 60 // seconds
	defaultStorageSize            = "1Gi"
)

// Default fills in everything that the user left to Redstart. It changes nothing that is set, and calling it again
// changes nothing.
func (r *Redis) Default() {
	s := &r.Spec
	if s.Mode == "" {
		s.Mode = ModeReplication
	}
	if s.Image == "" {
		s.Image = DefaultImage
	}
	switch s.Mode {
	case ModeStandalone:
		fill(&s.Replicas, 1)
	case ModeCluster:
		fill(&s.Shards, DefaultShards)
		fill(&s.ReplicasPerShard, DefaultReplicasPerShard)
	default:
		fill(&s.Replicas, DefaultReplicas)
	}
	if s.Mode == ModeSentinel {
		fill(&s.Sentinel, SentinelSpec{})
		s.Sentinel.defaults()
	}
	fill(&s.Storage, StorageSpec{})
	s.Storage.defaults()
	fill(&s.Auth, AuthSpec{})
	fill(&s.Auth.Enabled, true)
	if s.Durability != nil {
		fill(&s.Durability.MinReplicasToWrite, 0)
		fill(&s.Durability.MaxLag, metav1.Duration{Duration: DefaultMaxLag})
	}
	if s.Service != nil && s.Service.Type == "" {
		s.Service.Type = corev1.ServiceTypeClusterIP
	}
	fill(&s.TerminationGracePeriodSeconds, DefaultGracePeriod)
}

func (s *SentinelSpec) defaults() {
	fill(&s.Replicas, DefaultSentinels)
	fill(&s.Quorum, *s.Replicas/2+1)
	fill(&s.DownAfter, metav1.Duration{Duration: DefaultDownAfter})
	fill(&s.FailoverTimeout, metav1.Duration{Duration: DefaultFailoverTimeout})
	fill(&s.ParallelSyncs, DefaultParallelSyncs)
}

func (s *StorageSpec) defaults() {
	if s.Ephemeral {
		return
	}
	fill(&s.Size, resource.MustParse(defaultStorageSize))
	if len(s.AccessModes) == 0 {
		s.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	}
	if s.Retain == "" {
		s.Retain = RetainPolicyRetain
	}
}

// fill points *p to v where it is nil.
func fill[T any](p **T, v T) {
	if *p == nil {
		*p = &v
	}
}
