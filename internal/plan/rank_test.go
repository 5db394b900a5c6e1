package plan

import (
	"strings"
	"testing"

	"redstart.dev/redstart/api/v1alpha1"
)

// ranked is a member that could become master, with the data of a term of history h.
func ranked(name string, term, offset int64, change ...func(*Member)) *Member {
	m := &Member{Address: name + ":6379", Reachable: true, LinkUpSince: 1}
	m.Name, m.Term, m.APIReachable = name, term, true
	m.Server = v1alpha1.ServerStatus{Up: true, Role: v1alpha1.RoleReplica, ReplID: "h", Offset: offset, Keys: term, MasterAddress: "cache-0:6379", LinkUp: true}
	for _, c := range change {
		c(m)
	}
	return m
}

func stopping(m *Member)     { m.Stopping = true }
func loading(m *Member)      { m.Server.Loading = true }
func down(m *Member)         { m.Server.Up = false }
func noAPI(m *Member)        { m.APIReachable = false }
func silent(m *Member)       { m.Reachable = false }
func unlinked(m *Member)     { m.Server.LinkUp = false }
func justLinked(m *Member)   { m.LinkUpSince = 99 * second }
func otherHistory(m *Member) { m.Server.ReplID = "other" }
func promotedAt(off int64) func(*Member) {
	return func(m *Member) { m.Server.ReplID, m.Server.ReplID2, m.Server.SecondOffset = "h2", "h", off }
}

func remembers(off int64) func(*Member) {
	return func(m *Member) { m.Server.ReplID, m.Server.Offset, m.LastReplID, m.LastOffset = m.Name, 0, "h", off }
}

func names(members []*Member) (names []string) {
	for _, m := range members {
		names = append(names, m.Name)
	}
	return names
}

func TestBest(t *testing.T) {
	for _, tt := range []struct {
		name     string
		members  []*Member
		last     string
		replicas int32
		want     string // "" for none
	}{
		{"nobody", nil, "", 3, ""},
		{"all empty: the lowest ordinal", []*Member{ranked("c-1", 0, 0), ranked("c-0", 0, 0)}, "", 3, "c-0"},
		{"an empty one never, while another holds data", []*Member{ranked("c-0", 0, 0), ranked("c-1", 1, 5)}, "c-0", 3, "c-1"},
		{"not even when the other cannot", []*Member{ranked("c-0", 0, 0), ranked("c-1", 1, 5, loading)}, "", 3, ""},
		{"nor when it stops", []*Member{ranked("c-0", 0, 0), ranked("c-1", 1, 5, stopping)}, "", 3, ""},
		{"the highest term before the highest offset", []*Member{ranked("c-0", 3, 900), ranked("c-1", 4, 5)}, "c-0", 3, "c-1"},
		{"the highest offset", []*Member{ranked("c-0", 3, 90), ranked("c-1", 3, 91), ranked("c-2", 3, 89)}, "", 3, "c-1"},
		{"the highest offset before the last holder", []*Member{ranked("c-0", 3, 90), ranked("c-1", 3, 91)}, "c-0", 3, "c-1"},
		{"the last holder among equals", []*Member{ranked("c-0", 3, 90), ranked("c-1", 3, 90)}, "c-1", 3, "c-1"},
		{"the lowest ordinal among equals", []*Member{ranked("c-2", 3, 90), ranked("c-1", 3, 90)}, "", 3, "c-1"},
		{"not one that stops", []*Member{ranked("c-0", 3, 90, stopping), ranked("c-1", 3, 80)}, "c-0", 3, "c-1"},
		{"not one that is down", []*Member{ranked("c-0", 3, 90, down), ranked("c-1", 3, 80)}, "c-0", 3, "c-1"},
		{"not one without the API", []*Member{ranked("c-0", 3, 90, noAPI), ranked("c-1", 3, 80)}, "", 3, "c-1"},
		{"not one that is removed, if another holds its term", []*Member{ranked("c-2", 3, 90), ranked("c-1", 3, 80)}, "c-2", 2, "c-1"},
		{"one that is removed, if it alone holds the term", []*Member{ranked("c-2", 3, 90), ranked("c-1", 2, 80)}, "c-2", 2, "c-2"},
		{"offsets of another history say nothing", []*Member{ranked("c-0", 3, 90), ranked("c-1", 3, 900, otherHistory)}, "c-0", 3, "c-0"},
		{"offsets go on over a promotion", []*Member{ranked("c-0", 3, 90), ranked("c-1", 3, 95, promotedAt(90))}, "c-0", 3, "c-1"},
		{"but not for who went on in the old history", []*Member{ranked("c-0", 3, 99), ranked("c-1", 3, 95, promotedAt(90))}, "c-1", 3, "c-1"},
		{"two who remember: the last holder", []*Member{ranked("c-0", 3, 0, remembers(80)), ranked("c-1", 3, 0, remembers(90))}, "c-0", 3, "c-0"},
		{"one who remembers less than another has", []*Member{ranked("c-0", 3, 0, remembers(80)), ranked("c-1", 3, 90)}, "c-0", 3, "c-1"},
		{"a third who remembers more than that one", []*Member{ranked("c-0", 3, 0, remembers(80)), ranked("c-1", 3, 85), ranked("c-2", 3, 0, remembers(90))}, "c-0", 3, "c-2"},
		{"two who remember more than the last holder has", []*Member{ranked("c-0", 3, 80), ranked("c-1", 3, 0, remembers(85)), ranked("c-2", 3, 0, remembers(90))}, "c-0", 3, "c-2"},
		{"two who hold as much, and more than the last holder", []*Member{ranked("c-0", 3, 80), ranked("c-2", 3, 90), ranked("c-1", 3, 90)}, "c-0", 3, "c-1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// Each member lists itself first, and all must choose the same one.
			for range max(1, len(tt.members)) {
				got := ""
				if m, ok := Best(tt.members, tt.last, tt.replicas); ok {
					got = m.Name
				}
				if got != tt.want {
					t.Errorf("Best = %q, expected %q, of %v", got, tt.want, names(tt.members))
				}
				if len(tt.members) > 0 {
					tt.members = append(tt.members[1:], tt.members[0])
				}
			}
		})
	}
}

func TestChooseCandidate(t *testing.T) {
	for _, tt := range []struct {
		name  string
		peers []*Member
		to    string
		want  string
		err   string
	}{
		{"the highest offset", []*Member{ranked("cache-1", 3, 90), ranked("cache-2", 3, 91)}, "", "cache-2", ""},
		{"a settled one first", []*Member{ranked("cache-1", 3, 90), ranked("cache-2", 3, 91, justLinked)}, "", "cache-1", ""},
		{"one that is not settled, if there is no other", []*Member{ranked("cache-2", 3, 91, justLinked)}, "", "cache-2", ""},
		{"the named one", []*Member{ranked("cache-1", 3, 90), ranked("cache-2", 3, 91)}, "cache-1", "cache-1", ""},
		{"the master itself", []*Member{ranked("cache-1", 3, 90)}, "cache-0", "", "cache-0 is the master already"},
		{"nobody of that name", []*Member{ranked("cache-1", 3, 90)}, "cache-7", "", "cache-7 is no member of cache: expected the name of one of its pods"},
		{"nobody at all", nil, "", "", "cache has no other member to hand over to"},
		{"silent", []*Member{ranked("cache-1", 3, 90, silent)}, "", "", "cache-1 does not answer"},
		{"stopping", []*Member{ranked("cache-1", 3, 90, stopping)}, "", "", "cache-1 is stopping"},
		{"loading", []*Member{ranked("cache-1", 3, 90, loading)}, "", "", "the server of cache-1 is not ready"},
		{"link down", []*Member{ranked("cache-1", 3, 90, unlinked)}, "", "", "cache-1 is not in step with cache-0"},
		{"older term", []*Member{ranked("cache-1", 2, 90)}, "", "", "cache-1 has yet to confirm"},
		{"removed", []*Member{ranked("cache-3", 3, 90)}, "cache-3", "", "cache-3 is being removed"},
		{"without the API", []*Member{ranked("cache-1", 3, 90, noAPI)}, "", "", "cache-1 cannot reach the Kubernetes API"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := Observation{Now: 100 * second, Self: *ranked("cache-0", 3, 100)}
			o.Config.Redis, o.Config.Mode, o.Config.Replicas = "cache", v1alpha1.ModeReplication, 3
			for _, p := range tt.peers {
				o.Peers = append(o.Peers, *p)
			}
			m, err := ChooseCandidate(&o, tt.to)
			switch {
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("error %v, expected %q", err, tt.err)
			case tt.err == "" && (err != nil || m.Name != tt.want):
				t.Errorf("ChooseCandidate = %v, %v, expected %s", m, err, tt.want)
			}
		})
	}
}

// TestChooseCandidateUnderSentinels: they may choose another than the candidate, so all that they may choose have to be in step.
func TestChooseCandidateUnderSentinels(t *testing.T) {
	o := Observation{Now: 100 * second, Self: *ranked("cache-0", 3, 100), Peers: []Member{*ranked("cache-1", 3, 90), *ranked("cache-2", 3, 90, silent)}}
	o.Config.Redis, o.Config.Mode, o.Config.Replicas = "cache", v1alpha1.ModeSentinel, 3
	if _, err := ChooseCandidate(&o, "cache-1"); err == nil || err.Error() != "cache-2 is not in step with cache-0, and the Sentinels may choose it" {
		t.Errorf("with cache-2 out of sight: %v", err)
	}
	o.Peers[1].Refused = true
	if m, err := ChooseCandidate(&o, "cache-1"); err != nil || m.Name != "cache-1" {
		t.Errorf("with cache-2 dead: %v, %v", m, err)
	}
}

func TestNextHandoverStep(t *testing.T) {
	// run goes through a handover whose step at fails with outcome, and returns the steps done.
	run := func(at HandoverStep, out Outcome, authority bool) string {
		var done []string
		st := HandoverState{PauseEnd: second, Authority: true}
		for range 20 {
			step := NextHandoverStep(st)
			if step == HandoverDone || step == HandoverFailed {
				return strings.Join(append(done, step.String()), ", ")
			}
			done = append(done, step.String())
			st.Step, st.Outcome = step, Succeeded
			if step == at {
				st.Outcome, st.Authority = out, authority
			}
		}
		t.Fatal("the handover does not end")
		return ""
	}
	all := "pausing clients, waiting for the candidate, fencing, moving the authority, becoming a replica, telling the candidate, finishing, done"
	for _, tt := range []struct {
		name      string
		at        HandoverStep
		out       Outcome
		authority bool
		want      string
	}{
		{"all well", HandoverNone, Succeeded, true, all},
		{"pause refused", HandoverPause, Refused, true, "pausing clients, undoing, failed"},
		{"candidate too slow", HandoverWait, Refused, true, "pausing clients, waiting for the candidate, undoing, failed"},
		{"lease ran out while waiting", HandoverWait, Succeeded, false, "pausing clients, waiting for the candidate, leaving it to the authority, failed"},
		{"fence failed", HandoverFence, Unknown, true, "pausing clients, waiting for the candidate, fencing, undoing, failed"},
		{"authority certainly not moved", HandoverMove, Refused, true, "pausing clients, waiting for the candidate, fencing, moving the authority, undoing, failed"},
		{"nobody knows whether it moved", HandoverMove, Unknown, true, "pausing clients, waiting for the candidate, fencing, moving the authority, leaving it to the authority, failed"},
		{"not a replica yet", HandoverFollow, Unknown, false, all},
		{"candidate not told", HandoverTakeover, Unknown, false, all},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := run(tt.at, tt.out, tt.authority); got != tt.want {
				t.Errorf("steps:\n%s\nexpected:\n%s", got, tt.want)
			}
		})
	}
	if s := NextHandoverStep(HandoverState{Step: HandoverWait, Outcome: Succeeded, Now: 2, PauseEnd: 1, Authority: true}); s != HandoverUndo {
		t.Errorf("the pause is over: %s, expected %s", s, HandoverUndo)
	}
}
