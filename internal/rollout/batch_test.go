package rollout

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"pgregory.net/rapid"

	"redstart.dev/redstart/internal/rollout/machine"
)

// TestBatchBounds plays the rolling update of a Deployment with the bounds of a batch, pods becoming ready when chance says
// so, and demands that it ends with the wanted number of new pods and never has more, nor too few pods that serve.
func TestBatchBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int32Range(1, 12).Draw(t, "size")
		target := rapid.Int32Range(1, size).Draw(t, "target")
		surge := rapid.Int32Range(0, 4).Draw(t, "surge")
		unavailable := rapid.Int32Range(0, 4).Draw(t, "unavailable")
		if surge == 0 && unavailable == 0 {
			unavailable = 1
		}
		last, fresh := size, int32(0)
		ready := int32(0)
		for range 200 {
			s, u := batchBounds(size, target, machine.Pods{Pods: fresh, Ready: ready}, machine.Pods{Pods: last, Ready: last}, surge, unavailable)
			if s == 0 && u == 0 {
				t.Fatal("maxSurge and maxUnavailable are both 0")
			}
			// The Deployment grows first, and shrinks when it cannot grow; several times before anybody looks again.
			for range rapid.IntRange(1, 5).Draw(t, "turns") {
				if room := min(size+s-last-fresh, size-fresh); room > 0 {
					fresh += room
				} else if spare := min(last+fresh-(size-u)-fresh, last-(size-u)); spare > 0 { // no fresh pod counts as available
					last -= spare
				}
				if fresh > target {
					t.Fatalf("%d new pods, want at most %d (maxSurge %d, maxUnavailable %d)", fresh, target, s, u)
				}
				least := size - unavailable
				if surge > 0 {
					least = size
				}
				if last+ready < least {
					t.Fatalf("%d old pods and %d new ones serve, want at least %d", last, ready, least)
				}
			}
			ready += rapid.Int32Range(0, fresh-ready).Draw(t, "ready")
			if fresh == target && last == size-target && ready == fresh {
				return
			}
		}
		t.Fatalf("it does not come to %d new pods: %d fresh, %d last", target, fresh, last)
	})
}

// TestPartitionOfStatefulSet: with routes, a batch leaves the lowest of the pods that are to stay, and is closed when it is complete.
func TestPartitionOfStatefulSet(t *testing.T) {
	for _, c := range []struct {
		about  string
		size   int32
		batch  int32
		behind []int32 // places of the pods that are not of the template
		ready  int32   // of those that are
		want   int32
	}{
		{"the first batch", 4, 1, []int32{0, 1, 2, 3}, 0, 3},
		{"its pod is being made", 4, 1, []int32{0, 1, 2}, 0, 3},
		{"complete", 4, 1, []int32{0, 1, 2}, 1, holdAll},
		{"an old pod is away", 4, 1, []int32{1, 2}, 1, 3},
		{"back, from two new pods of four", 4, 3, []int32{2, 3}, 2, 3},
		{"back, from the only new pod: it is the last", 4, 3, []int32{3}, 3, holdAll},
		{"back, an old pod is not ready", 4, 3, []int32{3}, 2, 4},
	} {
		s := &appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{Replicas: &c.size}}
		w := &statefulSet{s: s, behind: c.behind}
		seen := machine.Workload{Settled: true, Size: c.size, Updated: machine.Pods{Ready: c.ready}, Total: c.ready + int32(len(c.behind))}
		if got := w.partition(machine.Desired{Hold: machine.Batch, Batch: c.batch, CanaryService: true}, seen); got != c.want {
			t.Errorf("%s: partition %d, want %d", c.about, got, c.want)
		}
		if got := w.partition(machine.Desired{Hold: machine.Batch, Batch: c.batch}, seen); got != c.size-c.batch {
			t.Errorf("%s, without routes: partition %d, want %d", c.about, got, c.size-c.batch)
		}
	}
}
