package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/plan"
)

// handoverCall is POST /handover.
type handoverCall struct {
	ID    string `json:"id"`
	To    string `json:"to,omitempty"`
	Force bool   `json:"force,omitempty"`

	sentinel string                       // the one that will choose To
	gone     <-chan struct{}              // closed when nobody waits for the reply any more
	reply    chan v1alpha1.HandoverStatus // of capacity 1
}

// candidateCall asks whether a handover to a member can be done.
type candidateCall struct {
	to    string
	reply chan error // of capacity 1
}

// takeoverCall is POST /takeover.
type takeoverCall struct {
	takeoverBody
	at    time.Duration
	reply chan error // of capacity 1
}

// takeInTime takes a call of the HTTP API into the loop, in no more time than what was decided last allows.
func (m *member) takeInTime(ctx context.Context, call any) {
	ctx, cancel := m.until(ctx, m.decided.Until)
	defer cancel()
	m.take(ctx, call)
}

// take takes a call of the HTTP API into the loop.
func (m *member) take(ctx context.Context, call any) {
	switch c := call.(type) {
	case *takeoverCall:
		c.at = m.now()
		m.answerTakeover(errors.New("another takeover came"))
		m.takeover = c
		m.correct(c)
		// The authority was moved a moment ago. Writers wait: nobody is asked where it is known that this member has it.
		given := c.Lease != nil && m.lease.given(*c.Lease, m.opts.Name, m.boot, time.Duration(c.ClockNS), c.at)
		switch {
		case m.config != nil && m.config.Mode == v1alpha1.ModeSentinel:
			m.peers.ask(ctx) // the Lease decides nothing there, and the API may be slow
		case !given && !m.heldSince(c.Term):
			m.lookAround(ctx)
		}
	case *candidateCall:
		m.lookAround(ctx)
		c.reply <- m.canHandOver(c.to)
	case *handoverCall:
		if c.Force {
			m.forcedAt = m.now()
			m.nudge()
			c.reply <- v1alpha1.HandoverStatus{ID: c.ID, Phase: v1alpha1.HandoverRunning, To: m.opts.Name}
			return
		}
		// What the candidates said last may be a second old.
		m.lookAround(ctx)
		if err := m.canHandOver(c.To); err != nil {
			c.reply <- v1alpha1.HandoverStatus{ID: c.ID, Phase: v1alpha1.HandoverFailed, From: m.opts.Name, Message: err.Error()}
			return
		}
		m.handover = c
	}
}

// heldSince tells whether the watch has seen that this run of this agent holds the Lease, under term.
func (m *member) heldSince(term int64) bool {
	l := m.cluster.View().Lease
	return l != nil && l.Holder == m.opts.Name && l.Boot == m.boot && l.Term == term
}

// canHandOver says what is wrong with a request for a handover.
func (m *member) canHandOver(to string) error {
	switch {
	case m.config == nil || m.decided.Role != v1alpha1.RoleMaster:
		return fmt.Errorf("%s is not the master", m.opts.Name)
	case m.handover != nil:
		return errors.New("a handover is under way")
	case m.stopping:
		return fmt.Errorf("%s is stopping and hands over already", m.opts.Name)
	case m.config.Mode == v1alpha1.ModeCluster:
		return m.canHandOverShard(to)
	}
	o := m.observe(m.cluster.View())
	_, err := plan.ChooseCandidate(&o, to)
	return err
}

// dropHandover gives a handover up that was asked for and has not begun, once whoever asked has gone, or there is nothing to hand
// over: it must not come true when nobody expects it any more.
func (m *member) dropHandover() {
	if m.handover == nil {
		return
	}
	why := m.opts.Name + " is not the master any more"
	select {
	case <-m.handover.gone:
		why = "whoever asked for it did not wait: " + m.decided.Why
	default:
		if m.decided.Role == v1alpha1.RoleMaster {
			return
		}
	}
	m.log.Info("a handover is given up", "why", why)
	m.handover.reply <- v1alpha1.HandoverStatus{ID: m.handover.ID, Phase: v1alpha1.HandoverFailed, From: m.opts.Name, Message: why}
	m.handover = nil
}

// answerTakeover answers a takeover once the server is open, or cannot be opened.
func (m *member) answerTakeover(err error) {
	t := m.takeover
	switch {
	case t == nil:
		return
	case err != nil:
	case m.openedFor == t, m.opened && !m.fenced:
	case m.now()-t.at > takeoverTime:
		err = errors.New("it was not opened in time: " + m.decided.Why)
	default:
		return
	}
	m.takeover = nil
	t.reply <- err
}
