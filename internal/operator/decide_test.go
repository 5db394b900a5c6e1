package operator

import (
	"bufio"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"redstart.dev/redstart/api/v1alpha1"
)

var testNow = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// parseMembers reads one member a line, its name and what is true of it:
//
//	master, replica   its role; a replica follows the first master of the list, link up
//	slots=0-99        mode Cluster: the slots of the master of a shard
//	of=NAME           mode Cluster: the master that a replica follows
//	offset=N term=N   as its agent says; 100 and 1 by default
//	outdated=WHY      it has to be restarted
//	unaware           it has not seen the wanted settings yet
//	absent            there is no pod
//	stopping          its pod is being deleted
//	silent            its agent does not answer; the pod is ready
//	unready           its agent says that it is not ready
//	down=DURATION     its server has been down for so long
//	loading           its server loads its data
//	waiting=REASON    the kubelet cannot start it
//	fenced            it refuses writes
func parseMembers(t *testing.T, text string) []instance {
	t.Helper()
	var all []instance
	masterName := ""
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) == 0 {
			continue
		}
		x := parseMember(t, words[0], words[1:])
		if masterName == "" && x.agent != nil && x.agent.Role == v1alpha1.RoleMaster {
			masterName = x.name
		}
		all = append(all, x)
	}
	for _, x := range all {
		if x.agent != nil && x.agent.Role == v1alpha1.RoleReplica && x.agent.Follows == "" {
			x.agent.Follows = masterName
		}
	}
	for i, x := range all {
		if x.agent != nil {
			x.agent.Cluster = clusterView(all, i)
		}
	}
	return all
}

// clusterView is what the i-th member knows of those that are part of a cluster, nil where nobody has slots. Their names are their IDs.
func clusterView(all []instance, i int) *v1alpha1.ClusterView {
	v := &v1alpha1.ClusterView{}
	slots := 0
	for j, x := range all {
		if x.agent == nil || x.agent.Cluster == nil {
			continue
		}
		n := *x.agent.Cluster.Myself()
		n.Myself, n.LinkUp = i == j, true
		v.Nodes = append(v.Nodes, n)
		slots += n.Slots.Len()
	}
	if slots == 0 {
		return nil
	}
	return v
}

func parseMember(t *testing.T, name string, words []string) instance {
	t.Helper()
	x := instance{name: name}
	var err error
	if x.ordinal, err = strconv.Atoi(name[strings.LastIndex(name, "-")+1:]); err != nil {
		t.Fatal(err)
	}
	x.pod = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Labels: map[string]string{}, CreationTimestamp: metav1.NewTime(testNow.Add(-time.Hour))}}
	x.agent = &v1alpha1.AgentStatus{Name: name, Ready: true, Term: 1, Server: v1alpha1.ServerStatus{Up: true, Offset: 100}}
	podIsReady, since := corev1.ConditionTrue, time.Hour
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		number, _ := strconv.ParseInt(value, 10, 64)
		switch key {
		case "master", "replica":
			x.agent.Role = v1alpha1.Role(key)
			x.agent.Server.Role = x.agent.Role
			x.agent.Server.LinkUp = key == "replica"
			x.pod.Labels[v1alpha1.LabelRole] = key
		case "slots", "of":
			n := v1alpha1.ClusterNode{ID: name, Myself: true, Role: x.agent.Role}
			if key == "of" {
				n.MasterID, x.agent.Follows = value, value
			} else if n.Slots, err = v1alpha1.ParseSlots(value); err != nil {
				t.Fatal(err)
			}
			x.agent.Cluster = &v1alpha1.ClusterView{Nodes: []v1alpha1.ClusterNode{n}}
		case "offset":
			x.agent.Server.Offset = number
		case "term":
			x.agent.Term = number
		case "outdated":
			x.outdated = value
		case "unaware":
			x.unaware = true
		case "absent":
			x.pod, x.agent = nil, nil
		case "stopping":
			x.pod.DeletionTimestamp = &metav1.Time{Time: testNow}
			x.agent.Stopping = true
		case "silent":
			x.agent, x.unanswered = nil, fmt.Errorf("timeout")
		case "unready":
			x.agent.Ready, podIsReady = false, corev1.ConditionFalse
			x.agent.Server.LinkUp = false
		case "down":
			if since, err = time.ParseDuration(value); err != nil {
				t.Fatal(err)
			}
			x.agent.Ready, x.agent.Server.Up, podIsReady = false, false, corev1.ConditionFalse
			x.agent.Server.LinkUp = false
		case "loading":
			x.agent.Server.Loading = true
		case "waiting":
			x.agent, podIsReady = nil, corev1.ConditionFalse
			x.pod.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{
				Waiting: &corev1.ContainerStateWaiting{Reason: value},
			}}}
		case "fenced":
			x.agent.Fenced = true
		default:
			t.Fatalf("%s: what is %q?", name, w)
		}
	}
	if x.pod != nil {
		x.pod.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodReady, Status: podIsReady, LastTransitionTime: metav1.NewTime(testNow.Add(-since)),
		}}
	}
	return x
}

// TestDecisions runs testdata/*.txt: observations in, the next step out.
func TestDecisions(t *testing.T) {
	datadriven.Walk(t, "testdata/decide", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			members := parseMembers(t, d.Input)
			switch d.Cmd {
			case "restart":
				return printRemoval(nextRestart(members, testNow))
			case "restart-shards":
				return printRemoval(nextShardRestart(members, testNow))
			case "restart-sentinels":
				return printRemoval(nextSentinelRestart(members, testNow))
			case "resize":
				var have, want int
				d.ScanArgs(t, "have", &have)
				d.ScanArgs(t, "want", &want)
				return printSize(nextSize(int32(have), int32(want), members))
			case "master":
				if m := master(members); m != nil {
					return m.name + "\n"
				}
				return "none\n"
			}
			t.Fatalf("unknown command %q", d.Cmd)
			return ""
		})
	})
}

func printRemoval(r removal) string {
	switch {
	case r.pod != "":
		return fmt.Sprintf("restart %s: %s\n", r.pod, r.why)
	case r.stuck:
		return "blocked by " + r.waits + "\n"
	case r.waits != "":
		return "wait for " + r.waits + "\n"
	}
	return "nothing\n"
}

func printSize(s size) string {
	out := fmt.Sprintf("replicas %d\n", s.replicas)
	if s.handOverTo != "" {
		out += "hand over to " + s.handOverTo + "\n"
	}
	if s.waits != "" {
		out += "because " + s.waits + "\n"
	}
	return out
}

// TestCalmWait: the looks of a Redis that nothing happens to become seldom, so that two hundred of them are less than one a second.
func TestCalmWait(t *testing.T) {
	for looks, want := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second, lookSeldom, lookSeldom} {
		if got := calmWait(looks); got != want {
			t.Errorf("after %d looks that found nothing new the pause is %s, want %s", looks, got, want)
		}
	}
	if rate := 200 / calmWait(1000).Seconds(); rate >= 1 {
		t.Errorf("200 Redises are looked at %.1f times a second in the long run", rate)
	}
}

// TestSettlingWait: what is not told by itself is looked for soon.
func TestSettlingWait(t *testing.T) {
	r := &v1alpha1.Redis{Spec: v1alpha1.RedisSpec{Mode: v1alpha1.ModeReplication, Replicas: ptr.To[int32](2)}}
	ready := &corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}}
	member := func(ordinal int, role v1alpha1.Role) instance {
		return instance{ordinal: ordinal, pod: ready, agent: &v1alpha1.AgentStatus{Role: role, Ready: true, Server: v1alpha1.ServerStatus{Up: true}}}
	}
	master, replica := member(0, v1alpha1.RoleMaster), member(1, v1alpha1.RoleReplica)
	silent := replica
	silent.agent = nil
	catching := member(1, v1alpha1.RoleReplica)
	catching.agent.Ready = false
	for name, c := range map[string]struct {
		members []instance
		want    time.Duration
	}{
		"all well":                        {[]instance{master, replica}, lookCalm},
		"an agent did not answer":         {[]instance{master, silent}, lookBusy},
		"a replica is not ready":          {[]instance{master, catching}, lookBusy},
		"nobody says that it is master":   {[]instance{member(0, v1alpha1.RoleReplica), replica}, lookBusy},
		"a member that is to go is there": {[]instance{master, replica, member(2, v1alpha1.RoleReplica)}, lookBusy},
	} {
		if got := settlingWait(r, &memory{}, observation{members: c.members, now: time.Now()}); got != c.want {
			t.Errorf("%s: the next look is after %s, want %s", name, got, c.want)
		}
	}
}
