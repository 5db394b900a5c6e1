package rollout

import (
	"log/slog"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"

	"redstart.dev/redstart/api/v1alpha1"
)

// TestBlockedTellsOnce: each try decides anew that all is well, and finds the same in its way.
func TestBlockedTellsOnce(t *testing.T) {
	events := record.NewFakeRecorder(10)
	r := &reconciler{events: events, log: slog.New(slog.DiscardHandler)}
	ro := &v1alpha1.Rollout{}
	began := metav1.NewTime(time.Now().Add(-time.Minute).Truncate(time.Second))
	problem := blockedError{v1alpha1.ReasonNameTaken, "Service web-canary exists"}
	for try := range 3 {
		before := ro.Status.DeepCopy()
		meta.SetStatusCondition(&ro.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Releasing"})
		since := r.block(ro, before, problem)
		if try == 0 {
			meta.FindStatusCondition(ro.Status.Conditions, v1alpha1.ConditionReady).LastTransitionTime = began
		} else if since != began {
			t.Errorf("try %d says that it has been in the way since %s, want %s", try, since, began)
		}
	}
	if n := len(events.Events); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
	before := ro.Status.DeepCopy()
	r.block(ro, before, blockedError{v1alpha1.ReasonNameTaken, "Service other-canary exists"})
	if n := len(events.Events); n != 2 {
		t.Errorf("%d events after another problem, want 2", n)
	}
}

func TestPatient(t *testing.T) {
	for stood, want := range map[time.Duration]time.Duration{
		-time.Second: time.Second, 0: time.Second, 5 * time.Second: time.Second, 50 * time.Second: 5 * time.Second,
		time.Hour: lookLate,
	} {
		now := time.Now()
		if got := patient(time.Second, metav1.NewTime(now.Add(-stood)), now); got != want {
			t.Errorf("after %s the next look is after %s, want %s", stood, got, want)
		}
	}
}
