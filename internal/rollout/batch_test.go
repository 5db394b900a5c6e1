package rollout

import (
	"testing"

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
