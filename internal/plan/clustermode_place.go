package plan

import (
	"cmp"
	"slices"
)

// ShardPlacement is a shard as it is to be formed.
type ShardPlacement struct {
	Master   *ClusterMember
	Replicas []*ClusterMember
}

// PlaceCluster spreads members over shards: masters over as many machines as there are, and every replica on a machine where
// no other member of its shard is, as far as that is possible. The same members give the same shards. There must be
// shards * (1 + replicas) members; any more are left out.
func PlaceCluster(members []*ClusterMember, shards, replicas int) []ShardPlacement {
	p := placer{left: map[string][]*ClusterMember{}, masters: map[string]int{}}
	for _, m := range members[:min(len(members), shards*(1+replicas))] {
		if p.left[m.Node] == nil {
			p.machines = append(p.machines, m.Node)
		}
		p.left[m.Node] = append(p.left[m.Node], m)
	}
	slices.Sort(p.machines)
	out := make([]ShardPlacement, 0, shards)
	for range shards {
		if m := p.nextMaster(); m != nil {
			out = append(out, ShardPlacement{Master: m})
		}
	}
	for range replicas {
		for i := range out {
			if m := p.nextReplica(&out[i]); m != nil {
				out[i].Replicas = append(out[i].Replicas, m)
			}
		}
	}
	mendPlacement(out)
	return out
}

// placer hands members out, machine by machine.
type placer struct {
	machines []string
	left     map[string][]*ClusterMember
	masters  map[string]int
}

func (p *placer) take(machine string) *ClusterMember {
	m := p.left[machine][0]
	p.left[machine] = p.left[machine][1:]
	return m
}

// nextMaster comes from the machine with the fewest masters, and of those from the one with the most members left.
func (p *placer) nextMaster() *ClusterMember {
	best := ""
	for _, machine := range p.machines {
		if len(p.left[machine]) == 0 {
			continue
		}
		if best == "" || cmp.Or(cmp.Compare(p.masters[machine], p.masters[best]), cmp.Compare(len(p.left[best]), len(p.left[machine]))) < 0 {
			best = machine
		}
	}
	if len(p.left[best]) == 0 {
		return nil
	}
	p.masters[best]++
	return p.take(best)
}

// nextReplica comes from a machine where the shard has the fewest members, and of those from the one with the most left.
func (p *placer) nextReplica(s *ShardPlacement) *ClusterMember {
	here := func(machine string) int {
		n := 0
		for _, m := range s.all() {
			if m.Node == machine {
				n++
			}
		}
		return n
	}
	best := ""
	for _, machine := range p.machines {
		if len(p.left[machine]) == 0 {
			continue
		}
		if len(p.left[best]) == 0 || cmp.Or(cmp.Compare(here(machine), here(best)), cmp.Compare(len(p.left[best]), len(p.left[machine]))) < 0 {
			best = machine
		}
	}
	if len(p.left[best]) == 0 {
		return nil
	}
	return p.take(best)
}

func (s *ShardPlacement) all() []*ClusterMember {
	return append([]*ClusterMember{s.Master}, s.Replicas...)
}

// shared counts members of the shard beyond the first on each machine.
func (s *ShardPlacement) shared() int {
	n := 0
	for i, a := range s.all() {
		for _, b := range s.all()[:i] {
			if a.Node == b.Node {
				n++
				break
			}
		}
	}
	return n
}

// mendPlacement swaps replicas between shards as long as that separates more members: those that are placed last found
// only what was left.
func mendPlacement(shards []ShardPlacement) {
	for better := true; better; {
		better = false
		for i := range shards {
			for j := range shards[:i] {
				better = swapReplicas(&shards[i], &shards[j]) || better
			}
		}
	}
}

func swapReplicas(a, b *ShardPlacement) bool {
	for i := range a.Replicas {
		for j := range b.Replicas {
			before := a.shared() + b.shared()
			a.Replicas[i], b.Replicas[j] = b.Replicas[j], a.Replicas[i]
			if a.shared()+b.shared() < before {
				return true
			}
			a.Replicas[i], b.Replicas[j] = b.Replicas[j], a.Replicas[i]
		}
	}
	return false
}
