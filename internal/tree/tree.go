// Package tree draws the state of a Redis as a tree for people.
package tree

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"redstart.dev/redstart/api/v1alpha1"
)

// Draw writes a Redis: its Services, members, Sentinels and last change of master. Now is for ages.
func Draw(w io.Writer, r *v1alpha1.Redis, now time.Time) error {
	var b strings.Builder
	s := r.Status
	fmt.Fprintf(&b, "%s  %s  %s", r.Name, r.Spec.Mode, orUnknown(string(s.Phase)))
	if s.Version != "" {
		fmt.Fprintf(&b, "  %s %s", s.Engine, s.Version)
	}
	if !r.CreationTimestamp.IsZero() {
		fmt.Fprintf(&b, "  age %s", age(now.Sub(r.CreationTimestamp.Time)))
	}
	b.WriteByte('\n')
	branches := branchesOf(r, now)
	for i, br := range branches {
		fork, stem := "├─ ", "│  "
		if i == len(branches)-1 {
			fork, stem = "└─ ", "   "
		}
		b.WriteString(fork + br.title + "\n")
		for j, line := range align(br.rows) {
			leaf := "├─ "
			if j == len(br.rows)-1 {
				leaf = "└─ "
			}
			b.WriteString(stem + leaf + line + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// branch is a titled group of rows; the cells of a row are aligned with those of the others.
type branch struct {
	title string
	rows  [][]string
}

func branchesOf(r *v1alpha1.Redis, now time.Time) []branch {
	s := r.Status
	var out []branch
	if r.Spec.Mode == v1alpha1.ModeCluster {
		out = shardBranches(s)
	} else {
		members := branch{title: strings.TrimSpace("members " + s.Ready)}
		for _, m := range s.Members {
			members.rows = append(members.rows, memberRow(m))
		}
		out = []branch{members}
	}
	if len(s.Sentinels) > 0 {
		b := branch{title: "sentinels"}
		for _, x := range s.Sentinels {
			b.rows = append(b.rows, sentinelRow(x))
		}
		out = append(out, b)
	}
	if e := s.Endpoints; e != nil {
		b := branch{title: "services"}
		if r.Spec.Mode == v1alpha1.ModeCluster {
			b.rows = append(b.rows, []string{"cluster", e.Write})
		} else {
			b.rows = append(b.rows, []string{"write", e.Write})
		}
		if e.Read != "" {
			b.rows = append(b.rows, []string{"read", e.Read})
		}
		if len(e.Sentinels) > 0 {
			b.rows = append(b.rows, []string{"sentinels", strings.Join(e.Sentinels, ",") + "  master name " + e.SentinelMasterName})
		}
		out = append(out, b)
	}
	if f := s.LastFailover; f != nil {
		out = append(out, branch{title: "last failover  " + failover(f, now)})
	}
	for _, c := range s.Conditions {
		if c.Type == v1alpha1.ConditionReady && c.Status != "True" && c.Message != "" {
			out = append(out, branch{title: "not ready  " + c.Message})
		}
	}
	return out
}

func memberRow(m v1alpha1.MemberStatus) []string {
	row := []string{m.Name, orUnknown(string(m.Role)), ready(m.Ready), m.Address, fmt.Sprintf("offset %d", m.Offset)}
	switch {
	case m.Lag == nil:
		row = append(row, "")
	case *m.Lag < 0:
		row = append(row, "link down")
	default:
		row = append(row, "lag "+Bytes(*m.Lag))
	}
	return append(row, fmt.Sprintf("clients %d", m.Clients), "memory "+Bytes(m.MemoryBytes), fmt.Sprintf("keys %d", m.Keys), m.Message)
}

func sentinelRow(x v1alpha1.SentinelStatus) []string {
	return []string{
		x.Name, ready(x.Ready), x.Address, "master " + orUnknown(x.Master),
		fmt.Sprintf("knows %d replicas, %d sentinels", x.Replicas, x.Sentinels), x.Message,
	}
}

func failover(f *v1alpha1.FailoverStatus, now time.Time) string {
	kind := "unplanned"
	if f.Planned {
		kind = "planned"
	}
	from := f.From
	if from == "" {
		from = "none"
	}
	text := fmt.Sprintf("%s ago: %s to %s, %s, %d ms", age(now.Sub(f.Time.Time)), from, f.To, kind, f.Milliseconds)
	if f.Reason != "" {
		text += " (" + f.Reason + ")"
	}
	return text
}

// align pads the cells of rows to columns and cuts blanks at the end.
func align(rows [][]string) []string {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	out := make([]string, len(rows))
	for n, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			if widths[i] > 0 {
				b.WriteString(cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		out[n] = strings.TrimRight(b.String(), " ")
	}
	return out
}

// Bytes is a number of bytes for people: 512 B, 1.4 MiB.
func Bytes(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n)/1024, 0
	for f >= 1024 && unit < 3 {
		f, unit = f/1024, unit+1
	}
	return fmt.Sprintf("%.1f %s", f, []string{"KiB", "MiB", "GiB", "TiB"}[unit])
}

func age(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

func ready(ok bool) string {
	if ok {
		return "ready"
	}
	return "not ready"
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
