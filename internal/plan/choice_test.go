package plan

import (
	"testing"

	"redstart.dev/redstart/api/v1alpha1"
)

func TestSuccessor(t *testing.T) {
	master := func(name string, term int64, change func(*Member)) Member {
		m := Member{AgentStatus: v1alpha1.AgentStatus{
			Name: name, Boot: name, Term: term, Server: v1alpha1.ServerStatus{Up: true, Role: v1alpha1.RoleMaster},
		}, Reachable: true, Address: name + ":6379"}
		if change != nil {
			change(&m)
		}
		return m
	}
	for _, tc := range []struct {
		about   string
		running bool
		peers   []Member
		want    string
	}{
		{about: "another took over", peers: []Member{master("cache-1", 5, nil)}, want: "cache-1:6379"},
		{about: "the newest", peers: []Member{master("cache-1", 6, nil), master("cache-2", 5, nil)}, want: "cache-1:6379"},
		{about: "nobody yet", peers: []Member{master("cache-1", 4, func(m *Member) { m.Server.Role, m.Fenced = v1alpha1.RoleReplica, true })}},
		{about: "not open yet", peers: []Member{master("cache-1", 5, func(m *Member) { m.Fenced = true })}},
		{about: "a master of before", peers: []Member{master("cache-1", 4, nil)}},
		{about: "one that does not answer", peers: []Member{master("cache-1", 5, func(m *Member) { m.Reachable = false })}},
		{about: "the own server runs", running: true, peers: []Member{master("cache-1", 5, nil)}},
	} {
		d := DecideMember(Observation{
			Config: v1alpha1.AgentConfig{Redis: "cache", Mode: v1alpha1.ModeReplication, Replicas: 3, LeaseSeconds: 5}, Now: second,
			Self: Member{AgentStatus: v1alpha1.AgentStatus{Name: "cache-0", Boot: "a", Term: 4}}, ServerRunning: tc.running, Peers: tc.peers,
		})
		if d.Successor != tc.want {
			t.Errorf("%s: %q, want %q", tc.about, d.Successor, tc.want)
		}
	}
}

func TestSentinelToAsk(t *testing.T) {
	s := func(name string, reachable, stopping bool) Sentinel {
		return Sentinel{Name: name, Reachable: reachable, Stopping: stopping}
	}
	for _, tc := range []struct {
		about string
		all   []Sentinel
		want  string
	}{
		{"the first", []Sentinel{s("s-1", true, false), s("s-0", true, false)}, "s-0"},
		{"one that stays", []Sentinel{s("s-0", true, true), s("s-2", true, false), s("s-1", true, false)}, "s-1"},
		{"one that stops, for want of another", []Sentinel{s("s-0", false, false), s("s-1", true, true)}, "s-1"},
		{"one that may be asked", []Sentinel{s("s-0", true, false), s("not-0", true, false)}, "s-0"},
		{"none answers", []Sentinel{s("s-0", false, false)}, ""},
	} {
		got := ToAsk(tc.all, func(s *Sentinel) bool { return s.Name != "not-0" })
		if tc.want == "" && got == nil {
			continue
		}
		if got == nil || got.Name != tc.want {
			t.Errorf("%s: %+v, want %q", tc.about, got, tc.want)
		}
	}
}
