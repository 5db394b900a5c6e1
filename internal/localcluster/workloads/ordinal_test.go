package workloads

import (
	"bufio"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestPlanOrdinals runs the stories in testdata/ordinals. A line of input is a pod: its ordinal, its revision, and
// words for its state; without words it is available.
func TestPlanOrdinals(t *testing.T) {
	datadriven.Walk(t, "testdata/ordinals", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			o := ordinals{current: "old", update: "new"}
			d.MaybeScanArgs(t, "replicas", &o.replicas)
			d.MaybeScanArgs(t, "start", &o.start)
			d.MaybeScanArgs(t, "partition", &o.partition)
			o.parallel, o.onDelete = d.HasArg("parallel"), d.HasArg("ondelete")
			var members []member
			for lines := bufio.NewScanner(strings.NewReader(d.Input)); lines.Scan(); {
				m := member{ready: true, available: true}
				words := strings.Fields(lines.Text())
				if _, err := fmt.Sscan(lines.Text(), &m.ordinal, &m.revision); err != nil {
					d.Fatalf(t, "%q: %v", lines.Text(), err)
				}
				for _, w := range words[2:] {
					switch w {
					case "unready":
						m.ready, m.available = false, false
					case "unavailable":
						m.available = false
					case "terminating":
						m.terminating = true
					case "ended":
						m.ended, m.ready, m.available = true, false, false
					default:
						d.Fatalf(t, "unknown word %q", w)
					}
				}
				members = append(members, m)
			}
			plan := planOrdinals(o, members)
			var b strings.Builder
			for _, c := range plan.create {
				fmt.Fprintf(&b, "create %d %s\n", c.ordinal, c.revision)
			}
			for _, n := range plan.remove {
				fmt.Fprintf(&b, "delete %d\n", n)
			}
			if plan.waitsFor >= 0 {
				fmt.Fprintf(&b, "wait for %d\n", plan.waitsFor)
			}
			if b.Len() == 0 {
				return "nothing to do\n"
			}
			return b.String()
		})
	})
}
