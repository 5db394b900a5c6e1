package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"redstart.dev/redstart/api/v1alpha1"
)

// TestClusterStories tells the stories of clusterdata. "set" says how things are, "decide" what comes next, and
// "carry out" makes it so, as a cluster would in which everything goes well, again and again until nothing is left to do.
//
//	set
//	want shards=3 replicas=1 have=6 [ephemeral] [force] [unfinished]
//	cache-0 node=a id=A slots=0-5460 [epoch=1] [keys=5] [offset=9]  # a master; without slots or knows=: part of nothing
//	cache-3 node=a id=D of=A [link=down]                            # a replica
//	cache-1 told=before                                             # how all was before any slots were given; own: it knows no others' yet
//	cache-4 down                                                    # its agent does not answer; [was=E] its last ID
//	cache-6 forgotten                                               # it knows the others, but they do not know it
//	cache-6 foreign                                                 # it knows another cluster
//	cache-3 unaware=F                                               # it does not know node F
//	cache-3 unheard=F                                               # it knows node F, but not its slots; none: all again
//	cache-3 state=fail                                              # it finds the cluster not whole; ok: it does again
//	cache-3 owner=F:0-1                                             # it believes that slots are F's
//	lost F slots=0-1 [of=A]                                         # a node that all know and no member is
//	failed F                                                        # all masters say so
func TestClusterStories(t *testing.T) {
	datadriven.Walk(t, "clusterdata", func(t *testing.T, path string) {
		w := newShardWorld()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "set":
				for line := range strings.SplitSeq(d.Input, "\n") {
					w.set(t, line)
				}
				return ""
			case "decide":
				return toldDecision(DecideCluster(w.observe()))
			case "carry-out":
				var b strings.Builder
				for range 30 {
					dec := DecideCluster(w.observe())
					b.WriteString(toldDecision(dec))
					if len(dec.Actions) == 0 && dec.Members == w.have {
						return b.String()
					}
					w.carryOut(dec)
				}
				return b.String() + "it does not end\n"
			}
			d.Fatalf(t, "unknown command %s", d.Cmd)
			return ""
		})
	})
}

// toldDecision is a decision for people.
func toldDecision(d ClusterDecision) string {
	kind := string(d.Kind)
	if d.Kind == ClusterSettled {
		kind = "settled"
	}
	s := fmt.Sprintf("%s: %s (%d members)\n", kind, d.Why, d.Members)
	if d.Why == "" {
		s = fmt.Sprintf("%s (%d members)\n", kind, d.Members)
	}
	for _, a := range d.Actions {
		s += "  " + a.String() + "\n"
	}
	for _, l := range d.Lost {
		s += "  lost: " + l + "\n"
	}
	return s
}

// shardWorld is a cluster in which all that is asked for happens, and all know everything.
type shardWorld struct {
	shards, replicas, have int
	ephemeral, force       bool
	unfinished             bool
	members                []*shardServer
	lost                   []*shardServer
	// away are members that were removed, by name: they come back with their disks.
	away map[string]*shardServer
}

type shardServer struct {
	name, node, id, of string
	slots              v1alpha1.SlotSet
	epoch, keys        int64
	offset             int64
	joined, down       bool
	linkDown, failed   bool
	forgotten, foreign bool
	was, unaware       string
	// unheard is a node whose slots it does not know; owner, NODE:SLOTS, a node and the slots that it believes to be that one's.
	unheard, owner string
	fail           bool
	// told is empty where it knows all; "own": its own slots alone; "before": how all was before any slots were given.
	told string
}

func newShardWorld() *shardWorld {
	return &shardWorld{shards: 3, replicas: 1, away: map[string]*shardServer{}}
}

func (w *shardWorld) set(t testing.TB, line string) {
	f := strings.Fields(strings.SplitN(line, "#", 2)[0])
	if len(f) == 0 {
		return
	}
	var s *shardServer
	switch f[0] {
	case "want":
	case "lost", "failed":
		s = w.byID(f[1])
		if s == nil {
			s = &shardServer{id: f[1], joined: true}
			w.lost = append(w.lost, s)
		}
		s.failed = true
		f = f[1:]
	default:
		i := slices.IndexFunc(w.members, func(x *shardServer) bool { return x.name == f[0] })
		if i < 0 {
			w.members = append(w.members, &shardServer{name: f[0], node: "n"})
			i = len(w.members) - 1
		}
		s = w.members[i]
		s.down = false
	}
	for _, a := range f[1:] {
		key, value, _ := strings.Cut(a, "=")
		n, _ := strconv.Atoi(value)
		switch key {
		case "shards":
			w.shards = n
		case "replicas":
			w.replicas = n
		case "have":
			w.have = n
		case "ephemeral":
			w.ephemeral = true
		case "force":
			w.force = true
		case "unfinished":
			w.unfinished = true
		case "node":
			s.node = value
		case "id": // another ID is another, empty server
			if s.id != "" && s.id != value && s.name != "" {
				*s = shardServer{name: s.name, node: s.node}
			}
			s.id = value
		case "of":
			s.of, s.joined = value, true
		case "joined":
			s.joined = true
		case "foreign":
			s.foreign, s.joined = true, true
		case "forgotten":
			s.forgotten, s.joined = true, true
		case "slots":
			slots, err := v1alpha1.ParseSlots(value)
			if err != nil {
				t.Fatal(err)
			}
			s.slots, s.joined = slots, true
		case "epoch":
			s.epoch = int64(n)
		case "keys":
			s.keys = int64(n)
		case "offset":
			s.offset = int64(n)
		case "link":
			s.linkDown = value == "down"
		case "down":
			s.down = true
		case "unaware":
			s.unaware = value
		case "unheard":
			s.unheard = value
		case "owner":
			s.owner = value
		case "state":
			s.fail = value == "fail"
		case "was":
			s.was = value
		case "told":
			s.told = value
		default:
			t.Fatalf("%s: unknown word %s", line, a)
		}
	}
}

func (w *shardWorld) byID(id string) *shardServer {
	for _, s := range append(slices.Clone(w.members), w.lost...) {
		if s.id == id {
			return s
		}
	}
	return nil
}

func (w *shardWorld) observe() ClusterObservation {
	o := ClusterObservation{Shards: w.shards, ReplicasPerShard: w.replicas, Have: w.have, Ephemeral: w.ephemeral, Force: w.force, Unfinished: w.unfinished}
	for _, s := range w.members {
		m := ClusterMember{Name: s.name, Ordinal: int(Ordinal(s.name)), Node: s.node, Address: s.name + ":6379", LastID: s.was}
		if !s.down {
			m.Up, m.Keys, m.Offset, m.LinkUp = true, s.keys, s.offset, s.of != "" && !s.linkDown
			m.View = w.viewOf(s)
		} else if s.was == "" {
			m.LastID = s.id
		}
		o.Members = append(o.Members, m)
	}
	for i := len(o.Members); i < max(w.have, o.wanted()); i++ {
		o.Members = append(o.Members, ClusterMember{Name: fmt.Sprintf("cache-%d", i), Ordinal: i})
	}
	return o
}

func (w *shardWorld) viewOf(s *shardServer) v1alpha1.ClusterView {
	v := v1alpha1.ClusterView{Info: v1alpha1.ClusterInfo{OK: !s.fail, MyEpoch: s.epoch}}
	for _, x := range append(slices.Clone(w.members), w.lost...) {
		if x != s && (!x.joined || !s.joined || x.id == "" || x.forgotten && !s.forgotten || x.foreign || s.foreign || s.unaware == x.id) {
			continue
		}
		slots := x.slots
		if s.told == "before" || s.told == "own" && x != s {
			slots, v.Info.OK = nil, false
		}
		if s.unheard == x.id {
			slots = nil
		}
		if id, text, ok := strings.Cut(s.owner, ":"); ok {
			believed, err := v1alpha1.ParseSlots(text)
			if err != nil {
				panic(err)
			}
			slots = slots.Minus(believed)
			if id == x.id {
				slots = slots.Union(believed)
			}
		}
		n := v1alpha1.ClusterNode{ID: x.id, Address: x.name + ":6379", Myself: x == s, Role: v1alpha1.RoleMaster, Slots: slots, ConfigEpoch: x.epoch, Failed: x.failed, LinkUp: true}
		if x.of != "" {
			n.Role, n.MasterID = v1alpha1.RoleReplica, x.of
		}
		v.Nodes = append(v.Nodes, n)
		v.Info.SlotsAssigned += slots.Len()
	}
	if s.foreign {
		v.Nodes = append(v.Nodes, v1alpha1.ClusterNode{ID: "X", Address: "elsewhere:6379", Role: v1alpha1.RoleMaster, Slots: v1alpha1.AllSlots()})
	}
	v.Info.KnownNodes = len(v.Nodes)
	return v
}

// carryOut makes a decision come true.
func (w *shardWorld) carryOut(d ClusterDecision) {
	at := func(name string) *shardServer {
		return w.members[slices.IndexFunc(w.members, func(s *shardServer) bool { return s.name == name })]
	}
	for _, a := range d.Actions {
		switch a := a.(type) {
		case ClusterSetEpoch:
			at(a.At).epoch = a.Epoch
		case ClusterMeet:
			for _, s := range []*shardServer{at(a.At), at(a.With)} {
				s.joined, s.forgotten, s.unaware = true, false, ""
			}
		case ClusterAddSlots:
			at(a.At).slots = at(a.At).slots.Union(a.Slots)
		case ClusterReplicate:
			at(a.At).of, at(a.At).linkDown, at(a.At).keys = a.MasterID, false, 0
		case ClusterForget:
			w.lost = slices.DeleteFunc(w.lost, func(s *shardServer) bool { return s.id == a.ID })
		case ClusterReset:
			at(a.At).of, at(a.At).joined = "", false
		case ClusterElect:
			w.promote(at(a.At))
		case ClusterHandOver:
			w.promote(at(a.To))
		case ClusterMigrate:
			for _, m := range a.Moves {
				from, to := w.byID(m.From), w.byID(m.To)
				from.slots, to.slots = from.slots.Minus(m.Slots), to.slots.Union(m.Slots)
			}
		}
	}
	w.resize(d.Members)
}

func (w *shardWorld) promote(s *shardServer) {
	old := w.byID(s.of)
	s.slots, old.slots = old.slots, nil
	for _, x := range append(slices.Clone(w.members), w.lost...) {
		if x.of == old.id {
			x.of = s.id
		}
		s.epoch = max(s.epoch, x.epoch+1)
	}
	old.of, s.of = s.id, ""
}

// resize adds members, empty ones where there were none before, and takes away those of the highest ordinals.
func (w *shardWorld) resize(n int) {
	w.have = n
	for i := len(w.members); i < n; i++ {
		if s := w.away[fmt.Sprintf("cache-%d", i)]; s != nil {
			s.forgotten = w.byID(s.id) == nil
			w.lost = slices.DeleteFunc(w.lost, func(x *shardServer) bool { return x.id == s.id })
			w.members = append(w.members, s)
			continue
		}
		w.members = append(w.members, &shardServer{name: fmt.Sprintf("cache-%d", i), node: fmt.Sprintf("n%d", i%3), id: fmt.Sprintf("id%d", i)})
	}
	for _, s := range w.members[min(n, len(w.members)):] {
		back := *s
		w.away[s.name] = &back
		w.lost = append(w.lost, &shardServer{id: s.id, of: s.of, joined: true, failed: true})
	}
	w.members = w.members[:min(n, len(w.members))]
}

// settle carries decisions out until nothing is left to do, and fails where that does not end or slots lose their master.
func (w *shardWorld) settle(t rapid.TB) {
	for range 200 {
		d := DecideCluster(w.observe())
		if d.Kind == ClusterSettled && d.Members == w.have {
			return
		}
		if len(d.Actions) == 0 && d.Members == w.have {
			t.Fatalf("stuck: %s", toldDecision(d))
		}
		before := w.covered(t)
		w.carryOut(d)
		if after := w.covered(t); after < before {
			t.Fatalf("slots lost their master, from %d to %d: %s", before, after, toldDecision(d))
		}
	}
	t.Fatalf("it does not end: %s", toldDecision(DecideCluster(w.observe())))
}

// covered counts the slots, and fails where two members have the same one.
func (w *shardWorld) covered(t rapid.TB) int {
	var all v1alpha1.SlotSet
	for _, s := range append(slices.Clone(w.members), w.lost...) {
		if len(all.Intersect(s.slots)) > 0 {
			t.Fatalf("slots %s have two masters", all.Intersect(s.slots))
		}
		all = all.Union(s.slots)
	}
	return all.Len()
}

// check fails where the cluster is not as it is wanted.
func (w *shardWorld) check(t rapid.TB) {
	masters, replicas := 0, map[string]int{}
	for _, s := range w.members {
		if s.of != "" {
			replicas[s.of]++
		}
	}
	for _, s := range w.members {
		if len(s.slots) == 0 {
			continue
		}
		masters++
		if replicas[s.id] != w.replicas {
			t.Fatalf("%s has %d replicas, want %d", s.name, replicas[s.id], w.replicas)
		}
	}
	if masters != w.shards || w.covered(t) != v1alpha1.SlotCount || len(w.members) != w.shards*(1+w.replicas) {
		t.Fatalf("%d masters with %d slots, %d members; want %d shards of %d replicas", masters, w.covered(t), len(w.members), w.shards, w.replicas)
	}
	if len(w.lost) > 0 {
		t.Fatalf("%d nodes are not forgotten", len(w.lost))
	}
}

// TestClusterConverges forms clusters of any size, makes masters fail over, and changes the size, over and over.
func TestClusterConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newShardWorld()
		size := func() {
			w.shards = rapid.IntRange(3, 7).Draw(t, "shards")
			w.replicas = rapid.IntRange(0, 3).Draw(t, "replicas")
		}
		size()
		w.resize(w.shards * (1 + w.replicas))
		w.settle(t)
		w.check(t)
		for range rapid.IntRange(0, 4).Draw(t, "changes") {
			if rapid.Bool().Draw(t, "failover") {
				if s := w.members[rapid.IntRange(0, len(w.members)-1).Draw(t, "promoted")]; s.of != "" {
					w.promote(s)
				}
			} else if rapid.Bool().Draw(t, "disk lost") && w.replicas > 0 {
				s := w.members[rapid.IntRange(0, len(w.members)-1).Draw(t, "emptied")]
				w.lost = append(w.lost, &shardServer{id: s.id, of: s.of, slots: s.slots, joined: true, failed: true, epoch: s.epoch})
				*s = shardServer{name: s.name, node: s.node, id: s.id + "'"}
			} else {
				size()
			}
			w.settle(t)
			w.check(t)
		}
	})
}

// TestPlacement: every member has one place, masters are spread, and no replica is beside another member of its shard where the
// machines have equally many members and there are enough of them.
func TestPlacement(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shards, replicas := rapid.IntRange(3, 9).Draw(t, "shards"), rapid.IntRange(0, 3).Draw(t, "replicas")
		machines := rapid.IntRange(1, 6).Draw(t, "machines")
		var members []*ClusterMember
		for i := range shards * (1 + replicas) {
			members = append(members, &ClusterMember{Name: fmt.Sprintf("cache-%d", i), Ordinal: i, Node: fmt.Sprintf("n%d", i%machines)})
		}
		seen, masters := map[string]bool{}, map[string]int{}
		placed := PlaceCluster(members, shards, replicas)
		for _, s := range placed {
			masters[s.Master.Node]++
			for _, m := range s.all() {
				if seen[m.Name] {
					t.Fatalf("%s has two places", m.Name)
				}
				seen[m.Name] = true
			}
			if machines > replicas && s.shared() > 0 {
				t.Fatalf("members of one shard share a machine: %v", placed)
			}
		}
		if len(seen) != len(members) || len(placed) != shards {
			t.Fatalf("%d of %d members in %d shards", len(seen), len(members), len(placed))
		}
		for i := range machines {
			if n := masters[fmt.Sprintf("n%d", i)]; n > (shards+machines-1)/machines {
				t.Fatalf("%d of %d masters are on one of %d machines", n, shards, machines)
			}
		}
	})
}
