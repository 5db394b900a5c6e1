package redis

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"redstart.dev/redstart/api/v1alpha1"
)

// maxClusterNodesBytes is far above what a cluster of the thousand nodes that Redis allows answers.
const maxClusterNodesBytes = 8 << 20

// ParseClusterNodes parses the answer to CLUSTER NODES, or the file nodes.conf, which has the same lines. Decisions
// about data hang on it, so a line that is not understood is an error; unknown flags and auxiliary fields are not.
func ParseClusterNodes(s string) ([]v1alpha1.ClusterNode, error) {
	if len(s) > maxClusterNodesBytes {
		return nil, fmt.Errorf("CLUSTER NODES: more than %d bytes", maxClusterNodesBytes)
	}
	var nodes []v1alpha1.ClusterNode
	for line := range strings.Lines(s) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "vars" {
			continue
		}
		n, err := parseClusterNode(words)
		if err != nil {
			return nil, fmt.Errorf("CLUSTER NODES: line %.200q: %w", strings.TrimSpace(line), err)
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// parseClusterNode reads: id, address, flags, master, ping sent, pong received, config epoch, link state, slots.
func parseClusterNode(words []string) (v1alpha1.ClusterNode, error) {
	if len(words) < 8 {
		return v1alpha1.ClusterNode{}, fmt.Errorf("expected 8 words or more, got %d", len(words))
	}
	n := v1alpha1.ClusterNode{ID: words[0], LinkUp: words[7] == "connected"}
	setFlags(&n, words[2])
	if err := setAddress(&n, words[1]); err != nil {
		return n, err
	}
	if words[3] != "-" {
		n.MasterID = words[3]
	}
	for i, number := range []*int64{&n.PingSentMS, &n.PongReceivedMS, &n.ConfigEpoch} {
		v, err := strconv.ParseInt(words[4+i], 10, 64)
		if err != nil {
			return n, fmt.Errorf("%.40q is no number", words[4+i])
		}
		*number = v
	}
	return n, setSlots(&n, words[8:])
}

func setFlags(n *v1alpha1.ClusterNode, flags string) {
	for flag := range strings.SplitSeq(flags, ",") {
		switch flag {
		case "myself":
			n.Myself = true
		case "master":
			n.Role = v1alpha1.RoleMaster
		case "slave", "replica":
			n.Role = v1alpha1.RoleReplica
		case "fail?":
			n.Suspected = true
		case "fail":
			n.Failed = true
		case "handshake":
			n.Handshake = true
		case "noaddr":
			n.NoAddress = true
		case "nofailover":
			n.NoFailover = true
		}
	}
}

// setAddress reads IP:PORT@BUSPORT,HOSTNAME,NAME=VALUE,... where all from the @ on may be absent. An IPv6 address has
// no brackets.
func setAddress(n *v1alpha1.ClusterNode, s string) error {
	address, aux, _ := strings.Cut(s, ",")
	for i, field := range strings.Split(aux, ",") {
		name, value, named := strings.Cut(field, "=")
		switch {
		case i == 0 && !named:
			n.Hostname = field
		case name == "shard-id":
			n.ShardID = value
		}
	}
	endpoint, bus, hasBus := strings.Cut(address, "@")
	colon := strings.LastIndexByte(endpoint, ':')
	if colon < 0 {
		return fmt.Errorf("%.100q is not IP:PORT@BUSPORT", address)
	}
	host, port := endpoint[:colon], endpoint[colon+1:]
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%.100q has no port", address)
	}
	if hasBus {
		v, err := strconv.ParseUint(bus, 10, 16)
		if err != nil {
			return fmt.Errorf("%.100q has no bus port", address)
		}
		n.BusPort = int(v)
	}
	if port != "0" && !n.NoAddress {
		n.Address = net.JoinHostPort(host, port)
	}
	return nil
}

// setSlots reads N, FIRST-LAST, [N->-ID] and [N-<-ID].
func setSlots(n *v1alpha1.ClusterNode, words []string) error {
	var owned []v1alpha1.SlotRange
	for _, word := range words {
		if open, ok := strings.CutPrefix(word, "["); ok {
			if err := setOpenSlot(n, strings.TrimSuffix(open, "]")); err != nil {
				return err
			}
			continue
		}
		s, err := v1alpha1.ParseSlots(word)
		if err != nil {
			return err
		}
		owned = append(owned, s...)
	}
	n.Slots = v1alpha1.SlotsOf(owned...)
	return nil
}

func setOpenSlot(n *v1alpha1.ClusterNode, s string) error {
	list := &n.Migrating
	slot, id, ok := strings.Cut(s, "->-")
	if !ok {
		list = &n.Importing
		slot, id, ok = strings.Cut(s, "-<-")
	}
	number, err := strconv.ParseUint(slot, 10, 16)
	if !ok || err != nil || number >= v1alpha1.SlotCount {
		return fmt.Errorf("[%.60s] is no open slot", s)
	}
	*list = append(*list, v1alpha1.OpenSlot{Slot: int(number), NodeID: id})
	return nil
}

// ParseClusterInfo parses the answer to CLUSTER INFO. Like ParseInfo it never fails: what is absent is 0.
func ParseClusterInfo(s string) v1alpha1.ClusterInfo {
	i := ParseInfo(s)
	return v1alpha1.ClusterInfo{
		OK:            i["cluster_state"] == "ok",
		SlotsAssigned: int(i.Int("cluster_slots_assigned")),
		SlotsOK:       int(i.Int("cluster_slots_ok")),
		SlotsPFail:    int(i.Int("cluster_slots_pfail")),
		SlotsFail:     int(i.Int("cluster_slots_fail")),
		KnownNodes:    int(i.Int("cluster_known_nodes")),
		Size:          int(i.Int("cluster_size")),
		CurrentEpoch:  i.Int("cluster_current_epoch"),
		MyEpoch:       i.Int("cluster_my_epoch"),
	}
}
