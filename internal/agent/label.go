package agent

import (
	"context"
	"slices"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/plan"
)

// labelled is one label that is being set, and how that went once done is closed.
type labelled struct {
	role v1alpha1.Role
	done chan struct{}
	err  error
}

func (l *labelled) over() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// setLabels sets labels beside the loop, none after a moment of the agent's clock (0: whenever). Those of one pod are set in their
// order, all others at once; where Services lag one after the other, the last one first, which is that of the master: a Service that
// selected nobody in between would be taken over as such, and stay so for as long. What fails the next decision repeats.
func (m *member) setLabels(before time.Duration, set ...plan.SetRoleLabel) []*labelled {
	all := make([]*labelled, 0, len(set))
	for _, a := range slices.Backward(set) {
		last := m.labels[a.Pod]
		if last != nil && last.role == a.Role && !last.over() {
			all = append(all, last)
			continue
		}
		after := []*labelled{last}
		if m.opts.ServiceLag > 0 {
			after = append(after, all...)
		}
		l := &labelled{role: a.Role, done: make(chan struct{})}
		m.labels[a.Pod], all = l, append(all, l)
		m.working.Go(func() {
			defer close(l.done)
			for _, earlier := range after {
				if earlier != nil {
					<-earlier.done
				}
			}
			ctx, cancel := m.until(context.Background(), before)
			defer cancel()
			if l.err = m.setRole(ctx, a.Pod, a.Role); l.err != nil {
				m.complain("a label is not set", l.err)
			}
		})
	}
	return all
}

// awaitLabels waits for the labels that are being set; the bound of each is apiTime.
func (m *member) awaitLabels() {
	for _, l := range m.labels {
		<-l.done
	}
}

// passLabel moves the label of the master from this member, which takes no writes any more, to another. Writers wait, so in mode
// Replication it is begun before that one is open, and before the authority has moved. What becomes of no change of master after all,
// or fails, the one who is master puts right.
func (m *member) passLabel(to string) []*labelled {
	return m.setLabels(0,
		plan.SetRoleLabel{Pod: m.opts.Name, Role: v1alpha1.RoleReplica},
		plan.SetRoleLabel{Pod: to, Role: v1alpha1.RoleMaster})
}

// cutLabels cuts off the labels with which actions begin.
func cutLabels(actions []plan.Action) (labels []plan.SetRoleLabel, rest []plan.Action) {
	for i, a := range actions {
		l, is := a.(plan.SetRoleLabel)
		if !is {
			return labels, actions[i:]
		}
		labels = append(labels, l)
	}
	return labels, nil
}
