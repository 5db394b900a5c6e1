package agent

import (
	"context"
	"time"
)

// oldPasswordTime is how long the former password still lets clients in after a new one came.
const oldPasswordTime = 10 * time.Second

// rotation is how far the change of the password of a running server is.
type rotation struct {
	// has is the newest password that the server accepts, since when.
	has   string
	since time.Duration
	// both: it accepts the former one too.
	both bool
}

// rotatePassword gives a running member the password of the Secret: first beside the former one, and alone when
// clients had time to learn it. Open connections stay as they are.
func (m *member) rotatePassword(ctx context.Context) {
	r := &m.rotation
	if !m.seen.Up || m.seen.Loading {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, actionTime)
	defer cancel()
	switch {
	case m.password != r.has:
		err := m.client.ConfigSet(ctx, "masterauth", m.password)
		if err == nil && m.password == "" {
			err = m.client.OnlyPassword(ctx, "")
		} else if err == nil {
			err = m.client.AddPassword(ctx, m.password)
		}
		if err != nil {
			m.complain("the new password is not set", err)
			return
		}
		m.client.SetPassword(m.password)
		*r = rotation{has: m.password, since: m.now(), both: m.password != ""}
		m.log.Info("the server accepts the new password")
	case r.both && m.now()-r.since > oldPasswordTime:
		if err := m.client.OnlyPassword(ctx, m.password); err != nil {
			m.complain("the former password is not dropped", err)
			return
		}
		r.both = false
		m.log.Info("the server accepts the new password alone")
	}
}

// rotatePassword gives a running Sentinel the password of the Secret; that of the members is among its settings.
func (s *sentinel) rotatePassword(ctx context.Context) error {
	r := &s.rotation
	ctx, cancel := context.WithTimeout(ctx, actionTime)
	defer cancel()
	switch {
	case s.password != r.has:
		err := s.client.SetSentinelPassword(ctx, s.password)
		if err == nil && s.password == "" {
			err = s.client.OnlyPassword(ctx, "")
		} else if err == nil {
			err = s.client.AddPassword(ctx, s.password)
		}
		if err != nil {
			return err
		}
		s.client.SetPassword(s.password)
		*r = rotation{has: s.password, since: s.now(), both: s.password != ""}
	case r.both && s.now()-r.since > oldPasswordTime:
		if err := s.client.OnlyPassword(ctx, s.password); err != nil {
			return err
		}
		r.both = false
	}
	return nil
}
