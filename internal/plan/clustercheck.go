package plan

import (
	"fmt"
	"net"
	"sort"
	"strings"

	"redstart.dev/redstart/api/v1alpha1"
)

// Witness is a node of a Redis Cluster that was asked for its view.
type Witness struct {
	// ID as the others know it, empty where nobody does. Name is what people call it: a pod, or its address.
	ID, Name string
	// Host that it runs on; witnesses with the same one share it. Empty where it is not known.
	Host string
	View v1alpha1.ClusterView
	// Error is why it did not tell, empty where it did. Refused: it is up, and did not let the asker in.
	Error   string
	Refused bool
}

// Finding is one thing that is wrong with a cluster.
type Finding struct {
	// Code names the kind of finding in one word that never changes.
	Code string `json:"code"`
	// Serious: data cannot be reached now, or may be lost; the others are risks.
	Serious bool `json:"serious"`
	// Message says what is wrong, and Advice what to do.
	Message string `json:"message"`
	Advice  string `json:"advice"`
}

// Codes of findings.
const (
	FindUnreachable = "Unreachable"
	FindRefused     = "Refused"
	FindFailed      = "Failed"
	FindSuspected   = "Suspected"
	FindNoMajority  = "NoMajority"
	FindUncovered   = "Uncovered"
	FindDown        = "StateNotOK"
	FindOpenSlots   = "OpenSlots"
	FindDisagree    = "Disagree"
	FindStranger    = "Stranger"
	FindEpoch       = "EpochCollision"
	FindHandshake   = "Handshake"
	FindNoAddress   = "NoAddress"
	FindSameAddress = "SameAddress"
	FindNoReplica   = "NoReplica"
	FindSameHost    = "SameHost"
	FindUnbalanced  = "Unbalanced"
	FindEmptyMaster = "EmptyMaster"
	FindLostMaster  = "LostMaster"
)

// imbalancePercent of the mean is how far a master's share of the slots may be from it.
const imbalancePercent = 10

// DiagnoseCluster compares what all nodes of a cluster believe and says what is wrong, the serious things first. A
// cluster that is fine has no findings.
func DiagnoseCluster(witnesses []Witness) []Finding {
	d := diagnosis{witnesses: witnesses, names: map[string]string{}, truth: map[string]v1alpha1.ClusterNode{}, owners: map[string]v1alpha1.SlotSet{}}
	d.learn()
	d.nodes()
	d.slots()
	d.masters()
	d.refusing()
	sort.SliceStable(d.findings, func(i, j int) bool { return d.findings[i].Serious && !d.findings[j].Serious })
	return d.findings
}

// diagnosis collects findings.
type diagnosis struct {
	witnesses []Witness
	names     map[string]string
	// truth is each node as it knows itself or, where it does not answer, as the others do.
	truth map[string]v1alpha1.ClusterNode
	// order is the IDs of truth in the order of their names.
	order []string
	// owners are the slots of each master: where two claim one, the higher config epoch has it.
	owners   map[string]v1alpha1.SlotSet
	findings []Finding
}

func (d *diagnosis) find(code string, serious bool, advice, format string, args ...any) {
	d.findings = append(d.findings, Finding{code, serious, fmt.Sprintf(format, args...), advice})
}

func (d *diagnosis) name(id string) string {
	if n := d.names[id]; n != "" {
		return n
	}
	return id
}

// answering calls f for each witness that answered, with its own line.
func (d *diagnosis) answering(f func(w Witness, me v1alpha1.ClusterNode)) {
	for _, w := range d.witnesses {
		if me := w.View.Myself(); w.Error == "" && me != nil {
			f(w, *me)
		}
	}
}

func (d *diagnosis) learn() {
	d.answering(func(w Witness, me v1alpha1.ClusterNode) {
		d.truth[me.ID] = me
		d.names[me.ID] = w.Name
	})
	d.answering(func(w Witness, _ v1alpha1.ClusterNode) {
		for _, n := range w.View.Nodes {
			if known, ok := d.truth[n.ID]; !ok || !known.Myself && n.ConfigEpoch > known.ConfigEpoch {
				d.truth[n.ID] = n
			}
			if d.names[n.ID] == "" {
				d.names[n.ID] = n.Address
			}
		}
	})
	for _, w := range d.witnesses {
		if w.ID != "" && w.Name != "" {
			d.names[w.ID] = w.Name
		}
	}
	for id := range d.truth {
		d.order = append(d.order, id)
	}
	sort.Slice(d.order, func(i, j int) bool {
		a, b := d.name(d.order[i]), d.name(d.order[j])
		return a < b || a == b && d.order[i] < d.order[j]
	})
	byEpoch := append([]string(nil), d.order...)
	sort.SliceStable(byEpoch, func(i, j int) bool { return d.truth[byEpoch[i]].ConfigEpoch > d.truth[byEpoch[j]].ConfigEpoch })
	var taken v1alpha1.SlotSet
	for _, id := range byEpoch {
		if mine := d.truth[id].Slots.Minus(taken); len(mine) > 0 {
			d.owners[id] = mine
			taken = taken.Union(mine)
		}
	}
}

// nodes finds what is wrong with single nodes.
func (d *diagnosis) nodes() {
	for _, w := range d.witnesses {
		switch {
		case w.Refused:
			d.find(FindRefused, true, "give all nodes the same password (requirepass, or the ACL) and masterauth; what this one believes is not known", "%s does not let us in: %s", w.Name, w.Error)
		case w.Error != "" && !d.truth[w.ID].NoAddress:
			d.find(FindUnreachable, true, d.orWithout("start it, or look at the network between here and there", w.ID), "%s does not answer: %s", w.Name, w.Error)
		}
	}
	failed, suspected := map[string][]string{}, map[string][]string{}
	handshake, strangers := map[string][]string{}, map[string][]string{}
	d.answering(func(w Witness, me v1alpha1.ClusterNode) {
		knows := map[string]bool{}
		for _, n := range w.View.Nodes {
			knows[n.ID] = true
			switch {
			case n.Handshake:
				handshake[n.Address] = append(handshake[n.Address], w.Name)
			case n.Failed:
				failed[n.ID] = append(failed[n.ID], w.Name)
			case n.Suspected:
				suspected[n.ID] = append(suspected[n.ID], w.Name)
			}
		}
		for _, id := range d.order {
			if !knows[id] && !d.truth[id].Handshake {
				strangers[id] = append(strangers[id], w.Name)
			}
		}
	})
	for _, id := range d.order {
		n := d.truth[id]
		if by := failed[id]; len(by) > 0 {
			d.find(FindFailed, n.Role == v1alpha1.RoleMaster && len(d.owners[id]) > 0, d.orWithout("start it again", id), "%s has failed, as %s says", d.name(id), list(by))
		} else if by := suspected[id]; len(by) > 0 {
			d.find(FindSuspected, false, "look again in a moment; if it stays, look at the network between the two, the port of the cluster bus included", "%s cannot be reached by %s", d.name(id), list(by))
		}
		if by := strangers[id]; len(by) > 0 && len(failed[id]) == 0 && !n.NoAddress {
			d.find(FindStranger, false, "it may have been met, or forgotten, on some nodes alone: send CLUSTER MEET with its address, or CLUSTER FORGET with its ID, to all", "%s (%s) is not known to %s", d.name(id), id, list(by))
		}
		if n.NoAddress {
			d.find(FindNoAddress, len(d.owners[id]) > 0, d.orWithout("start it", id), "the address of node %s is not known to anybody", id)
		}
	}
	for _, address := range sortedKeys(handshake) {
		d.find(FindHandshake, false, "if it does not go away within a minute, nothing answers there: look at the address, and at its bus port (port + 10000)", "%s has begun a handshake with %s that is not finished", list(handshake[address]), address)
	}
	byAddress := map[string][]string{}
	for _, id := range d.order {
		if a := d.truth[id].Address; a != "" && !d.truth[id].Handshake && !strings.HasPrefix(a, ":") {
			byAddress[a] = append(byAddress[a], id)
		}
	}
	for _, address := range sortedKeys(byAddress) {
		if ids := byAddress[address]; len(ids) > 1 {
			d.find(FindSameAddress, false, "a server that lost its nodes.conf came back with a new ID: CLUSTER FORGET the ID that does not answer, on every node", "%d nodes have the address %s: %s", len(ids), address, strings.Join(ids, " and "))
		}
	}
}

// orWithout is advice about a node that is not there, with what to do where it is gone for good.
func (d *diagnosis) orWithout(advice, id string) string {
	if _, ok := d.truth[id]; !ok {
		return advice
	}
	if d.owners[id].Len() == 0 {
		return advice + "; a node that is gone for good: CLUSTER FORGET its ID on every other node, within a minute"
	}
	for _, r := range d.order {
		if n := d.truth[r]; n.Myself && n.Role == v1alpha1.RoleReplica && n.MasterID == id {
			return advice + "; its replica takes over within seconds where a majority of the masters is up; if it does not, and this master is gone for good: CLUSTER FAILOVER TAKEOVER on " + d.name(r) + ", which gives up what that has not copied"
		}
	}
	return advice + "; no replica has its keys; if they are lost for good: CLUSTER FORGET its ID on every other node, within a minute, and CLUSTER ADDSLOTS its slots on a master"
}

// refusing finds nodes that refuse commands. The others tell why.
func (d *diagnosis) refusing() {
	var names []string
	d.answering(func(w Witness, _ v1alpha1.ClusterNode) {
		if !w.View.Info.OK {
			names = append(names, w.Name)
		}
	})
	if len(names) > 0 {
		sort.Strings(names)
		d.find(FindDown, true, "look at the other findings: slots without a master that is up, or no majority of masters in sight", "cluster_state is not ok, so commands are refused: %s", list(names))
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// list names at most four of many.
func list(names []string) string {
	if len(names) > 4 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:4], ", "), len(names)-4)
	}
	return strings.Join(names, ", ")
}

// hostOf is where a node runs: what its witness says, else the IP of its address.
func (d *diagnosis) hostOf(id string) string {
	for _, w := range d.witnesses {
		if w.ID == id && w.Host != "" {
			return w.Host
		}
	}
	host, _, err := net.SplitHostPort(d.truth[id].Address)
	if err != nil {
		return ""
	}
	return host
}

// oneHost tells whether all nodes run on the same machine.
func (d *diagnosis) oneHost() bool {
	for _, id := range d.order {
		if d.hostOf(id) != d.hostOf(d.order[0]) {
			return false
		}
	}
	return true
}

// refused tells whether a node is up and did not let the asker in.
func (d *diagnosis) refused(id string) bool {
	for _, w := range d.witnesses {
		if w.ID == id && w.Refused {
			return true
		}
	}
	return false
}
