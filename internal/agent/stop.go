package agent

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"redstart.dev/redstart/internal/process"
)

// announceStop tells the others, and gives them a moment to say the same: where all are stopped at once nobody is left to
// hand over to, and trying would only take its time. The master serves on meanwhile.
func (m *member) announceStop(ctx context.Context) {
	m.publish("stopping")
	wait := time.NewTimer(stopNotice)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
	}
}

// stopBy is when a member that has to stop looks for a successor no longer: half of its time is for its server to end in.
func (m *member) stopBy(v View) time.Duration { return m.stopAt + m.grace(v)/2 }

// grace is how much time a pod that has to stop is given.
func (m *member) grace(v View) time.Duration {
	for _, p := range v.Pods {
		if p.Name == m.opts.Name {
			return p.GracePeriod
		}
	}
	return corev1.DefaultTerminationGracePeriodSeconds * time.Second
}

// shutDown ends the server, which saves as it is configured to, and returns when it is gone.
func (m *member) shutDown(ctx context.Context) error {
	m.note()
	if err := m.keepNow(m.memory); err != nil {
		m.log.Warn("the offset is not written down", "error", err)
	}
	m.publish("stopping")
	if m.server.process == nil {
		return nil
	}
	// The kubelet's SIGKILL is the bound that counts. A server that does not answer may hang or be slow, and has data to save.
	bound := time.Hour
	if m.now()-m.answeredAt > upTime {
		bound = hungStop
	}
	forwarded := m.forwarded
	if forwarded == nil {
		forwarded = m.forwardClients(ctx, m.successor)
	}
	stop, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	exit := m.endServer(stop)
	m.log.Info("server stopped", "exit", exit.String())
	<-forwarded
	if exit.Code != 0 {
		return fmt.Errorf("stop the server: %s", exit)
	}
	return m.noteStopped()
}

// stopAgain is how often a server is told to end that does not. A redis-server that has just copied its master refuses until it has
// written its first append-only file ("Writing initial AOF, can't exit"), and does not remember that it was told.
const stopAgain = time.Second

// endServer tells the server to end until it has, and kills it when ctx ends first.
func (m *member) endServer(ctx context.Context) process.Exit {
	p := m.server.process
	again, ended := time.NewTicker(stopAgain), make(chan struct{})
	defer again.Stop()
	defer close(ended)
	m.working.Go(func() {
		for {
			select {
			case <-again.C:
				_ = p.Signal(terminate) // the end is seen by Stop
			case <-ended:
				return
			}
		}
	})
	return p.Stop(ctx, terminate)
}
