package operator

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"redstart.dev/redstart/api/v1alpha1"
)

func testRedis(replicas int32) *v1alpha1.Redis {
	r := &v1alpha1.Redis{ObjectMeta: metav1.ObjectMeta{Name: "cache", Namespace: "default", Generation: 4}}
	r.Spec.Replicas = ptr.To(replicas)
	r.Default()
	return r
}

// conditionText is a condition as "True Reason: message".
func conditionText(s v1alpha1.RedisStatus, kind string) string {
	c := meta.FindStatusCondition(s.Conditions, kind)
	if c == nil {
		return "none"
	}
	return string(c.Status) + " " + c.Reason + ": " + c.Message
}

func TestStatus(t *testing.T) {
	type want struct {
		phase             v1alpha1.Phase
		master, ready     string
		conditions        map[string]string
		memberMessageOfC2 string
	}
	const ready, available, inSync, progressing, config = v1alpha1.ConditionReady, v1alpha1.ConditionMasterAvailable,
		v1alpha1.ConditionReplicasInSync, v1alpha1.ConditionProgressing, v1alpha1.ConditionConfigApplied
	for name, c := range map[string]struct {
		last    v1alpha1.Phase
		members string
		d       doing
		want    want
	}{
		"nothing yet": {"", "cache-0 absent\ncache-1 absent\ncache-2 absent", doing{}, want{v1alpha1.PhasePending, "", "0/3", map[string]string{
			ready: "False NoMaster: cache-0: the pod does not exist yet; cache-1: the pod does not exist yet; cache-2: the pod does not exist yet",
		}, "the pod does not exist yet"}},
		"image that does not exist": {v1alpha1.PhaseCreating, "cache-0 waiting=ErrImagePull\ncache-1 absent\ncache-2 absent", doing{}, want{v1alpha1.PhaseCreating, "", "0/3", map[string]string{
			ready:       "False PodCannotStart: cache-0: ErrImagePull",
			progressing: "False PodCannotStart: cache-0: ErrImagePull",
		}, "the pod does not exist yet"}},
		"all is well": {v1alpha1.PhaseCreating, "cache-0 replica\ncache-1 master\ncache-2 replica", doing{}, want{v1alpha1.PhaseReady, "cache-1", "3/3", map[string]string{
			ready:       "True AllReady: cache-1 is master and all 3 members are ready",
			available:   "True MasterServes: cache-1 accepts writes",
			inSync:      "True InSync: the link of every replica is up",
			progressing: "False Idle: nothing to do",
			config:      "True Applied: every member runs with the wanted configuration",
		}, ""}},
		"no master any more": {v1alpha1.PhaseReady, "cache-0 replica\ncache-1 down=1s\ncache-2 replica", doing{}, want{v1alpha1.PhaseFailingOver, "", "2/3", map[string]string{
			available: "False NoMaster: cache-1: not ready",
		}, ""}},
		"a replica is down": {v1alpha1.PhaseReady, "cache-0 master\ncache-1 replica\ncache-2 replica unready", doing{}, want{v1alpha1.PhaseDegraded, "cache-0", "2/3", map[string]string{
			ready:  "False MembersNotReady: cache-2: not ready",
			inSync: "False ReplicasBehind: not in sync: cache-2",
		}, "not ready"}},
		"a slow answer changes nothing": {v1alpha1.PhaseReady, "cache-0 master silent\ncache-1 replica\ncache-2 replica silent", doing{}, want{v1alpha1.PhaseReady, "cache-0", "3/3", map[string]string{
			ready:  "True AllReady: cache-0 is master and all 3 members are ready",
			inSync: "True InSync: the link of every replica is up",
		}, ""}},
		"a wrong spec of a running Redis": {
			v1alpha1.PhaseReady, "cache-0 master\ncache-1 replica\ncache-2 replica",
			doing{reason: v1alpha1.ReasonInvalidSpec, message: "spec.replicas: too many", refused: true},
			want{v1alpha1.PhaseDegraded, "cache-0", "3/3", map[string]string{
				ready:       "False InvalidSpec: spec.replicas: too many",
				progressing: "False InvalidSpec: spec.replicas: too many",
				available:   "True MasterServes: cache-0 accepts writes",
			}, ""},
		},
		"a missing Secret of a new Redis": {
			"", "cache-0 absent\ncache-1 absent\ncache-2 absent",
			doing{reason: v1alpha1.ReasonSecretMissing, message: "Secret x", refused: true},
			want{v1alpha1.PhaseFailed, "", "0/3", map[string]string{
				ready: "False SecretMissing: Secret x",
			}, "the pod does not exist yet"},
		},
		"a StatefulSet that the API server refuses": {
			"", "cache-0 absent\ncache-1 absent\ncache-2 absent",
			doing{reason: v1alpha1.ReasonApplyFailed, message: "apply StatefulSet cache: Forbidden", blocked: true},
			want{v1alpha1.PhasePending, "", "0/3", map[string]string{
				ready:       "False ApplyFailed: apply StatefulSet cache: Forbidden",
				progressing: "False ApplyFailed: apply StatefulSet cache: Forbidden",
			}, "the pod does not exist yet"},
		},
		"one that is refused while all members serve": {
			v1alpha1.PhaseReady, "cache-0 master\ncache-1 replica\ncache-2 replica",
			doing{reason: v1alpha1.ReasonApplyFailed, message: "apply StatefulSet cache: Forbidden", blocked: true},
			want{v1alpha1.PhaseReady, "cache-0", "3/3", map[string]string{
				ready:       "True AllReady: cache-0 is master and all 3 members are ready",
				progressing: "False ApplyFailed: apply StatefulSet cache: Forbidden",
			}, ""},
		},
		"a rolling restart": {
			v1alpha1.PhaseReady, "cache-0 master\ncache-1 replica\ncache-2 absent",
			doing{phase: v1alpha1.PhaseUpdating, reason: v1alpha1.ReasonRestarting, message: "m"},
			want{v1alpha1.PhaseUpdating, "cache-0", "2/3", map[string]string{
				progressing: "True Restarting: m",
			}, "the pod does not exist yet"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := testRedis(3)
			r.Status.Phase = c.last
			s := nextStatus(r, observation{members: parseMembers(t, c.members), now: testNow}, c.d)
			if s.Phase != c.want.phase || s.Master != c.want.master || s.Ready != c.want.ready {
				t.Errorf("phase %q, master %q, ready %q; want %q, %q, %q", s.Phase, s.Master, s.Ready, c.want.phase, c.want.master, c.want.ready)
			}
			for kind, text := range c.want.conditions {
				if got := conditionText(s, kind); got != text {
					t.Errorf("%s is %q, want %q", kind, got, text)
				}
			}
			if got := s.Members[2].Message; got != c.want.memberMessageOfC2 {
				t.Errorf("cache-2 says %q, want %q", got, c.want.memberMessageOfC2)
			}
			if s.ObservedGeneration != 4 || s.Selector != "redstart.dev/component=member,redstart.dev/redis=cache" {
				t.Errorf("generation %d, selector %q", s.ObservedGeneration, s.Selector)
			}
		})
	}
}

// TestUnservedIsTold: every mode tells of fields that do not take effect.
func TestUnservedIsTold(t *testing.T) {
	for _, mode := range []v1alpha1.Mode{v1alpha1.ModeReplication, v1alpha1.ModeCluster} {
		r := testRedis(3)
		r.Spec.Mode = mode
		o := observation{members: parseMembers(t, "cache-0 master\ncache-1 replica\ncache-2 replica"), now: testNow}
		if got := conditionText(nextStatus(r, o, doing{}), v1alpha1.ConditionSpecServed); !strings.HasPrefix(got, "True AllServed") {
			t.Errorf("mode %s: SpecServed is %q", mode, got)
		}
		o.unserved = []unserved{{"spec.storage.size", v1alpha1.ReasonStorageNotGrown, "the class forbids it"}}
		if got := conditionText(nextStatus(r, o, doing{}), v1alpha1.ConditionSpecServed); got != "False StorageNotGrown: spec.storage.size: the class forbids it" {
			t.Errorf("mode %s: SpecServed is %q", mode, got)
		}
	}
}

func TestStatusFigures(t *testing.T) {
	r := testRedis(3)
	o := observation{members: parseMembers(t, "cache-0 master offset=150\ncache-1 replica offset=100\ncache-2 replica unready"), now: testNow}
	s := nextStatus(r, o, doing{})
	if s.Members[0].Lag != nil || *s.Members[1].Lag != 50 || *s.Members[2].Lag != -1 {
		t.Errorf("lags %v %v %v, want none, 50 and -1", s.Members[0].Lag, s.Members[1].Lag, s.Members[2].Lag)
	}
	later := *s.DeepCopy()
	later.Members[0].Offset, later.Members[1].Lag, later.Members[0].Clients = 200, ptr.To[int64](7), 3
	if !sameButFigures(s, later) {
		t.Error("figures alone count as news")
	}
	later.Members[1].Lag = ptr.To[int64](-1)
	if sameButFigures(s, later) {
		t.Error("a broken link is no news")
	}
}

func TestOutdated(t *testing.T) {
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Generation: 2}, Status: appsv1.StatefulSetStatus{ObservedGeneration: 2, UpdateRevision: "cache-new"}}
	unseen := set.DeepCopy()
	unseen.Status.ObservedGeneration = 1
	for name, c := range map[string]struct {
		revision  string
		set       *appsv1.StatefulSet
		restarted time.Time
		pending   []string
		want      string
	}{
		"up to date":                      {"cache-new", set, time.Time{}, nil, ""},
		"older revision":                  {"cache-old", set, time.Time{}, nil, "older revision"},
		"a change not seen yet":           {"cache-old", unseen, time.Time{}, nil, ""},
		"asked for after it was made":     {"cache-new", set, testNow.Add(-time.Minute), nil, "asked for"},
		"asked for before it was made":    {"cache-new", set, testNow.Add(-2 * time.Hour), nil, ""},
		"asked for at a time to come":     {"cache-new", set, testNow.Add(time.Minute), nil, ""},
		"settings that need a restart":    {"cache-new", set, time.Time{}, []string{"databases", "io-threads"}, "databases, io-threads"},
		"no StatefulSet in the cache yet": {"cache-new", nil, time.Time{}, nil, ""},
	} {
		x := parseMember(t, "cache-0", []string{"master"})
		x.pod.Labels[appsv1.ControllerRevisionHashLabelKey] = c.revision
		x.agent.PendingRestart = c.pending
		got := outdated(x, c.set, c.restarted, testNow)
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestRefusedSetting is told, and restarts nobody.
func TestRefusedSetting(t *testing.T) {
	x := parseMember(t, "cache-0", []string{"master"})
	x.agent.ConfigHash, x.agent.PendingRestart, x.agent.ConfigError = "1", []string{"databases"}, `set maxmemory to "100 mb": ERR`
	c := configCondition([]instance{x})
	if want := `cache-0: set maxmemory to "100 mb": ERR; put spec.config right`; c.Status != metav1.ConditionFalse ||
		c.Reason != v1alpha1.ReasonRefused || !strings.HasPrefix(c.Message, want) {
		t.Errorf("the condition is %+v, want the reason %s and %q", c, v1alpha1.ReasonRefused, want)
	}
	if why := outdated(x, nil, time.Time{}, testNow); why != "" {
		t.Errorf("it is restarted: %s", why)
	}
}

func TestNextHandover(t *testing.T) {
	const request = `{"id":"7","to":"cache-1"}`
	running := &v1alpha1.HandoverStatus{ID: "7", Phase: v1alpha1.HandoverRunning, From: "cache-0"}
	for name, c := range map[string]struct {
		annotation string
		last       *v1alpha1.HandoverStatus
		members    string
		start      bool
		phase      v1alpha1.HandoverPhase
		message    string
	}{
		"none":                          {"", nil, "cache-0 master", false, "", ""},
		"new":                           {request, nil, "cache-0 master\ncache-1 replica", true, "", ""},
		"the next":                      {request, &v1alpha1.HandoverStatus{ID: "6", Phase: v1alpha1.HandoverSucceeded}, "cache-0 master\ncache-1 replica", true, "", ""},
		"to the best":                   {`{"id":"7"}`, nil, "cache-0 master\ncache-1 replica", true, "", ""},
		"done already":                  {request, &v1alpha1.HandoverStatus{ID: "7", Phase: v1alpha1.HandoverFailed, Message: "x"}, "cache-0 master\ncache-1 replica", false, v1alpha1.HandoverFailed, "x"},
		"interrupted, done":             {request, running, "cache-0 replica\ncache-1 master", false, v1alpha1.HandoverSucceeded, ""},
		"interrupted, not done":         {request, running, "cache-0 master\ncache-1 replica", false, v1alpha1.HandoverFailed, "another id"},
		"interrupted, not settled":      {request, running, "cache-0 replica\ncache-1 replica", false, v1alpha1.HandoverRunning, ""},
		"is master already":             {request, nil, "cache-0 replica\ncache-1 master", false, v1alpha1.HandoverSucceeded, "already"},
		"no such member":                {request, nil, "cache-0 master", false, v1alpha1.HandoverFailed, "no member"},
		"no master":                     {request, nil, "cache-0 replica\ncache-1 replica", false, v1alpha1.HandoverFailed, "no member is master"},
		"by force":                      {`{"id":"7","force":true}`, nil, "cache-0 replica\ncache-1 replica offset=120\ncache-2 unready term=0 offset=900", true, "", "cache-1"},
		"by force, to one that is away": {`{"id":"7","to":"cache-1","force":true}`, nil, "cache-0 replica\ncache-1 absent", false, v1alpha1.HandoverFailed, "does not answer"},
		"force is not needed":           {`{"id":"7","force":true}`, nil, "cache-0 master\ncache-1 replica", true, "", "cache-0"},
		"the master is silent":          {request, nil, "cache-0 master silent\ncache-1 replica", false, v1alpha1.HandoverFailed, "does not answer"},
		"no JSON":                       {"cache-1", nil, "cache-0 master\ncache-1 replica", false, v1alpha1.HandoverFailed, `{"id":"1","to":"cache-1"}`},
		"no ID":                         {"{}", nil, "cache-0 master\ncache-1 replica", false, v1alpha1.HandoverFailed, "expected JSON"},
	} {
		r := testRedis(2)
		r.Annotations = map[string]string{v1alpha1.AnnotationHandover: c.annotation}
		r.Status.Handover = c.last
		start, agent, status := nextHandover(r, parseMembers(t, c.members))
		if (start != nil) != c.start {
			t.Errorf("%s: start is %v", name, start)
			continue
		}
		if start != nil {
			if !strings.Contains(agent.name, c.message) || start.Force != (master(parseMembers(t, c.members)) == nil) {
				t.Errorf("%s: %s is asked for %+v, want %s", name, agent.name, *start, c.message)
			}
			continue
		}
		got := ptr.Deref(status, v1alpha1.HandoverStatus{})
		if got.Phase != c.phase || !strings.Contains(got.Message, c.message) {
			t.Errorf("%s: %s %q, want %s %q", name, got.Phase, got.Message, c.phase, c.message)
		}
	}
}

func TestPodProblem(t *testing.T) {
	waiting := func(reason, message string) corev1.ContainerStatus {
		return corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}
	}
	crash := waiting("CrashLoopBackOff", "back-off 10s")
	crash.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 3, Message: "no such file\n"}
	for want, status := range map[string]corev1.PodStatus{
		"":                            {ContainerStatuses: []corev1.ContainerStatus{waiting("ContainerCreating", "")}},
		"ErrImagePull: no such image": {ContainerStatuses: []corev1.ContainerStatus{waiting("ErrImagePull", "no such image")}},
		"CreateContainerConfigError: secret not found":               {InitContainerStatuses: []corev1.ContainerStatus{waiting("CreateContainerConfigError", "secret not found")}},
		"CrashLoopBackOff: back-off 10s (exit code 3: no such file)": {ContainerStatuses: []corev1.ContainerStatus{crash}},
		"Unschedulable: 0/3 nodes": {Conditions: []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "0/3 nodes",
		}}},
	} {
		if got := podProblem(&corev1.Pod{Status: status}); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestContains(t *testing.T) {
	m := func(kv ...any) map[string]any {
		out := map[string]any{}
		for i := 0; i < len(kv); i += 2 {
			out[kv[i].(string)] = kv[i+1]
		}
		return out
	}
	for name, c := range map[string]struct {
		have, want any
		is         bool
	}{
		"equal":              {m("a", int64(1)), m("a", int64(1)), true},
		"a default more":     {m("a", int64(1), "b", "x"), m("a", int64(1)), true},
		"another value":      {m("a", int64(2)), m("a", int64(1)), false},
		"a field is missing": {m(), m("a", int64(1)), false},
		"empty and absent":   {m(), m("a", m()), true},
		"another list":       {m("l", []any{"a", "b"}), m("l", []any{"a"}), false},
		"defaults in a list": {m("l", []any{m("a", "x", "b", "y")}), m("l", []any{m("a", "x")}), true},
		"another order":      {m("l", []any{"a", "b"}), m("l", []any{"b", "a"}), false},
	} {
		if got := contains(c.have, c.want); got != c.is {
			t.Errorf("%s: %v", name, got)
		}
	}
}
