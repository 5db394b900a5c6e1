package progress

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"redstart.dev/redstart/api/v1alpha1"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func pod(name string, labels map[string]string, ready bool, started time.Time) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	p.Status.Phase = corev1.PodRunning
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(started)}}}}
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	return p
}

func redis(generation, observed int64, ready metav1.ConditionStatus) *v1alpha1.Redis {
	r := &v1alpha1.Redis{ObjectMeta: metav1.ObjectMeta{Name: "cache", Generation: generation}}
	r.Status = v1alpha1.RedisStatus{
		ObservedGeneration: observed, Phase: v1alpha1.PhaseCreating, Ready: "0/1", Master: "cache-0",
		Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: ready, Message: "why"}},
	}
	return r
}

func TestObserve(t *testing.T) {
	of := map[string]string{v1alpha1.LabelName: "cache", v1alpha1.LabelRole: "master"}
	app := map[string]string{"app": "web"}
	web := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web", Generation: 1}}
	web.Spec.Selector = &metav1.LabelSelector{MatchLabels: app}
	web.Status = appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1}
	needy := pod("web-2", app, false, start)
	needy.Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CreateContainerConfigError", Message: `secret "cache" not found`}}
	crashing := pod("web-1", app, false, start)
	crashing.Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	homeless := pod("web-3", app, false, start)
	homeless.Status = corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "1 node(s) were unschedulable"},
	}}

	for _, tt := range []struct {
		name   string
		world  World
		target Target
		want   Item
	}{
		{
			name: "nothing is there yet", target: Target{Kind: "Redis", Name: "cache"},
			want: Item{Name: "Redis cache", State: Waiting},
		},
		{
			name: "a pod that waits for a Secret", target: Target{Kind: "Deployment", Name: "web"},
			world: World{Deployments: []*appsv1.Deployment{web}, Pods: []*corev1.Pod{needy}},
			want:  Item{Name: "Deployment web", State: Working, Detail: "1/1 available", Pods: []Item{{Name: "web-2", State: Waiting, Detail: `CreateContainerConfigError: secret "cache" not found`}}},
		},
		{
			name: "a pod that no node takes", target: Target{Kind: "Deployment", Name: "web"},
			world: World{Deployments: []*appsv1.Deployment{web}, Pods: []*corev1.Pod{homeless}},
			want:  Item{Name: "Deployment web", State: Working, Detail: "1/1 available", Pods: []Item{{Name: "web-3", State: Waiting, Detail: "Unschedulable: 1 node(s) were unschedulable"}}},
		},
		{
			name: "a change that the operator has not seen", target: Target{Kind: "Redis", Name: "cache"},
			world: World{Redises: []*v1alpha1.Redis{redis(2, 1, "True")}},
			want:  Item{Name: "Redis cache", State: Working, Detail: "waiting for the operator"},
		},
		{
			name: "not ready, and why", target: Target{Kind: "Redis", Name: "cache"},
			world: World{Redises: []*v1alpha1.Redis{redis(1, 1, "False")}},
			want:  Item{Name: "Redis cache", State: Working, Detail: "Creating 0/1", Message: "why"},
		},
		{
			name: "ready", target: Target{Kind: "Redis", Name: "cache"},
			world: World{Redises: []*v1alpha1.Redis{redis(1, 1, "True")}, Pods: []*corev1.Pod{pod("cache-0", of, true, start)}, Since: start},
			want:  Item{Name: "Redis cache", State: Ready, Detail: "master cache-0", Pods: []Item{{Name: "cache-0", State: Ready, Detail: "master"}}},
		},
		{
			name: "ready is what the API server remembers of the last run", target: Target{Kind: "Redis", Name: "cache"},
			world: World{Redises: []*v1alpha1.Redis{redis(1, 1, "True")}, Pods: []*corev1.Pod{pod("cache-0", of, true, start.Add(-time.Minute))}, Since: start},
			want:  Item{Name: "Redis cache", State: Working, Detail: "master cache-0", Pods: []Item{{Name: "cache-0", State: Waiting, Detail: "starting again"}}},
		},
		{
			name: "a Deployment", target: Target{Kind: "Deployment", Name: "web"},
			world: World{Deployments: []*appsv1.Deployment{web}, Pods: []*corev1.Pod{pod("web-0", app, true, start), pod("other", nil, false, start)}},
			want:  Item{Name: "Deployment web", State: Ready, Detail: "1/1 available", Pods: []Item{{Name: "web-0", State: Ready}}},
		},
		{
			name: "a pod that crashes", target: Target{Kind: "Deployment", Name: "web"},
			world: World{Deployments: []*appsv1.Deployment{web}, Pods: []*corev1.Pod{crashing}},
			want:  Item{Name: "Deployment web", State: Working, Detail: "1/1 available", Pods: []Item{{Name: "web-1", State: Failing, Detail: "CrashLoopBackOff"}}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Observe(tt.world, []Target{tt.target})
			if diff := cmp.Diff([]Item{tt.want}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Into a pipe each change is one line, and what did not change is not repeated.
func TestLines(t *testing.T) {
	var b bytes.Buffer
	v := NewView(&b, nil)
	one := []Item{{Name: "Redis cache", State: Working, Detail: "Creating 0/1", Pods: []Item{{Name: "cache-0", State: Waiting}}}}
	v.Show(one)
	v.Show(one)
	one[0].State = Ready
	v.Show(one)
	v.Close()
	want := `^ +[0-9.]+s  cache-0 +waiting\n +[0-9.]+s  Redis cache +starting, Creating 0/1\n +[0-9.]+s  Redis cache +ready, Creating 0/1\n$`
	if !regexp.MustCompile(want).MatchString(b.String()) {
		t.Errorf("printed\n%s", b.String())
	}
}

// On a terminal the second picture is drawn over the first one, and no line is longer than the terminal is wide.
func TestScreen(t *testing.T) {
	var b bytes.Buffer
	v := NewView(&b, func() (int, int) { return 40, 24 })
	items := []Item{{Name: "Redis cache", State: Working, Detail: "a text that is longer than the terminal is wide"}}
	v.Show(items)
	v.Show(items)
	v.Close()
	if n := bytes.Count(b.Bytes(), []byte("\x1b[2A")); n != 1 {
		t.Errorf("went up %d times, want once by two lines:\n%q", n, b.String())
	}
	for _, line := range strings.Split(plainText(b.Bytes()), "\n") {
		if n := len([]rune(line)); n > 40 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

// What is higher than the terminal shows what is not ready, and then as much as fits: otherwise the next picture could not
// be drawn over it.
func TestLowScreen(t *testing.T) {
	var b bytes.Buffer
	v := NewView(&b, func() (int, int) { return 80, 5 })
	item := Item{Name: "Redis cache", State: Working, Pods: []Item{{Name: "cache-0", State: Ready}, {Name: "cache-1", State: Waiting, Detail: "two\nlines\x1b[2J"}, {Name: "cache-2", State: Ready}, {Name: "cache-3", State: Ready}}}
	v.Show([]Item{item})
	picture := plainText(b.Bytes())
	if strings.Contains(picture, "cache-0") || !strings.Contains(picture, "cache-1") || !strings.Contains(picture, "two lines") || strings.Count(picture, "\n") != 3 {
		t.Errorf("the first picture is\n%s", picture)
	}
	b.Reset()
	for i := range item.Pods {
		item.Pods[i].State = Failing
	}
	v.Show([]Item{item})
	if picture := plainText(b.Bytes()); !strings.HasSuffix(picture, "... 3 more lines\n") || strings.Count(picture, "\n") != 4 {
		t.Errorf("the second picture is\n%s", picture)
	}
}

func TestCut(t *testing.T) {
	for _, tt := range []struct {
		line    string
		columns int
		want    string
	}{
		{"short", 10, "short"},
		{"exactly", 7, "exactly"},
		{"too long", 3, "too"},
		{"主节点正在切换", 5, "主节"},
		{"\x1b[32m●\x1b[0m ready", 4, "\x1b[32m●\x1b[0m re\x1b[0m"},
		{"\x1b[2m1.2s\x1b[0m", 4, "\x1b[2m1.2s\x1b[0m"},
	} {
		if got := cut(tt.line, tt.columns); got != tt.want {
			t.Errorf("%q in %d columns is %q, want %q", tt.line, tt.columns, got, tt.want)
		}
	}
}

// plainText is what is left without escape sequences.
func plainText(b []byte) string {
	return string(regexp.MustCompile(`\x1b\[[0-9;]*[A-Za-z]`).ReplaceAll(b, nil))
}

func TestNoColours(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	var b bytes.Buffer
	v := NewView(&b, func() (int, int) { return 80, 24 })
	v.Show([]Item{{Name: "Redis cache", State: Ready, Detail: "master cache-0"}})
	if regexp.MustCompile("\x1b\\[[0-9;]*m").MatchString(b.String()) || !strings.Contains(b.String(), "Redis cache") {
		t.Errorf("with NO_COLOR it paints %q", b.String())
	}
}
