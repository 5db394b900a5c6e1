package tree

import (
	"fmt"
	"strings"

	"redstart.dev/redstart/api/v1alpha1"
)

// barWidth is the length of the bar of a migration, in characters.
const barWidth = 30

// shardBranches draw mode Cluster: every shard with its slots and members, then members without a shard, then slots on their way.
func shardBranches(s v1alpha1.RedisStatus) []branch {
	var out []branch
	for _, shard := range s.Shards {
		title := fmt.Sprintf("shard %s  %s  %d slots  %d keys  %s", shard.Name, ranges(shard.Slots), shard.SlotCount, shard.Keys, Bytes(shard.MemoryBytes))
		if shard.Message != "" {
			title += "  " + shard.Message
		}
		b := branch{title: title}
		for _, master := range []bool{true, false} {
			for _, m := range s.Members {
				if m.Shard == shard.Name && (m.Name == shard.Master) == master {
					b.rows = append(b.rows, shardMemberRow(m))
				}
			}
		}
		out = append(out, b)
	}
	rest := branch{title: "without a shard"}
	for _, m := range s.Members {
		if m.Shard == "" {
			rest.rows = append(rest.rows, shardMemberRow(m))
		}
	}
	if len(rest.rows) > 0 {
		out = append(out, rest)
	}
	if c := s.Cluster; c != nil && c.Migration != nil {
		out = append(out, branch{title: "moving slots  " + migrationLine(c.Migration)})
	}
	return out
}

func shardMemberRow(m v1alpha1.MemberStatus) []string {
	row := memberRow(m)
	node := ""
	if m.Node != "" {
		node = "on " + m.Node
	}
	return append(row[:len(row)-1:len(row)-1], node, m.Message)
}

// ranges names the first few ranges of slots.
func ranges(slots []string) string {
	const most = 4
	if len(slots) == 0 {
		return "no slots"
	}
	if len(slots) > most {
		return strings.Join(slots[:most], " ") + fmt.Sprintf(" and %d more ranges", len(slots)-most)
	}
	return strings.Join(slots, " ")
}

// migrationLine is how far a migration is, as a bar and in figures.
func migrationLine(m *v1alpha1.MigrationStatus) string {
	done := 0
	if m.SlotsTotal > 0 {
		done = int(int64(barWidth) * int64(m.SlotsMoved) / int64(m.SlotsTotal))
	}
	text := fmt.Sprintf("[%s%s] %d/%d slots, %d keys, %s", strings.Repeat("=", done), strings.Repeat(" ", barWidth-done),
		m.SlotsMoved, m.SlotsTotal, m.KeysMoved, Bytes(m.BytesMoved))
	if m.SecondsLeft != nil {
		text += fmt.Sprintf(", %d s left", *m.SecondsLeft)
	}
	return text
}
