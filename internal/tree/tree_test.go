package tree

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"redstart.dev/redstart/api/v1alpha1"
)

func TestDraw(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := &v1alpha1.Redis{ObjectMeta: metav1.ObjectMeta{Name: "cache", CreationTimestamp: metav1.NewTime(now.Add(-3 * time.Hour))}}
	r.Spec.Mode = v1alpha1.ModeSentinel
	r.Status = v1alpha1.RedisStatus{
		Phase: v1alpha1.PhaseDegraded, Ready: "1/3", Engine: "redis", Version: "7.0.15",
		Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: "False", Message: "cache-2 is starting"}},
		Members: []v1alpha1.MemberStatus{
			{Name: "cache-0", Role: v1alpha1.RoleMaster, Ready: true, Address: "127.64.128.1:6379", Offset: 1234, Clients: 12, MemoryBytes: 1 << 20, Keys: 3},
			{Name: "cache-1", Role: v1alpha1.RoleReplica, Address: "127.64.128.2:6379", Offset: 1000, Lag: ptr.To[int64](-1), MemoryBytes: 900},
			{Name: "cache-2", Lag: ptr.To[int64](2048), Message: "the pod is starting"},
		},
		Sentinels:    []v1alpha1.SentinelStatus{{Name: "cache-sentinel-0", Ready: true, Address: "127.64.128.4:26379", Master: "127.64.128.1:6379", Replicas: 2, Sentinels: 2}},
		Endpoints:    &v1alpha1.Endpoints{Write: "127.64.1.1:6379", Read: "127.64.1.2:6379", Sentinels: []string{"127.64.1.3:26379"}, SentinelMasterName: "cache"},
		LastFailover: &v1alpha1.FailoverStatus{Time: metav1.NewMicroTime(now.Add(-90 * time.Second)), From: "cache-1", To: "cache-0", Planned: true, Reason: "handover", Milliseconds: 12},
	}
	want := `cache  Sentinel  Degraded  redis 7.0.15  age 3h
├─ members 1/3
│  ├─ cache-0  master   ready      127.64.128.1:6379  offset 1234               clients 12  memory 1.0 MiB  keys 3
│  ├─ cache-1  replica  not ready  127.64.128.2:6379  offset 1000  link down    clients 0   memory 900 B    keys 0
│  └─ cache-2  unknown  not ready                     offset 0     lag 2.0 KiB  clients 0   memory 0 B      keys 0  the pod is starting
├─ sentinels
│  └─ cache-sentinel-0  ready  127.64.128.4:26379  master 127.64.128.1:6379  knows 2 replicas, 2 sentinels
├─ services
│  ├─ write      127.64.1.1:6379
│  ├─ read       127.64.1.2:6379
│  └─ sentinels  127.64.1.3:26379  master name cache
├─ last failover  90s ago: cache-1 to cache-0, planned, 12 ms (handover)
└─ not ready  cache-2 is starting
`
	var got bytes.Buffer
	if err := Draw(&got, r, now); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
}
