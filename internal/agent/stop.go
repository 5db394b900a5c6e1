package agent

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"redstart.dev/redstart/api/v1alpha1"
)

// announceStop tells the others, and gives them a moment to say the same: where all are stopped at once nobody is left to
// hand over to, and trying would only take its time. The master serves on meanwhile. In a cluster it does so until the
// kube-proxies, who just took over that its pod is going, are ready to take over at once who comes after it.
func (m *member) announceStop(ctx context.Context) {
	m.publish("stopping")
	wait := stopNotice
	if m.decided.Role == v1alpha1.RoleMaster && m.config != nil && m.config.Mode != v1alpha1.ModeCluster {
		wait = max(wait, m.opts.ServiceLag)
	}
	pause(ctx, wait)
}

// linger keeps the server of a member that handed over, and refuses writes now, up for as long as Services may send clients
// here: a refusal lets them try again, where no answer would let them wait.
func (m *member) linger(ctx context.Context) {
	if m.handedOver > 0 {
		pause(ctx, m.handedOver+m.opts.ServiceLag-m.now())
	}
}

// pause waits for d, or until the context is over.
func pause(ctx context.Context, d time.Duration) {
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
	}
}

// stopBy is when a member that has to stop looks for a successor no longer: half of its time is for its server to end in.
func (m *member) stopBy(v View) time.Duration {
	grace := corev1.DefaultTerminationGracePeriodSeconds * time.Second
	for _, p := range v.Pods {
		if p.Name == m.opts.Name {
			grace = p.GracePeriod
		}
	}
	return m.stopAt + grace/2
}

// shutDown ends the server, which saves as it is configured to, and returns when it is gone.
func (m *member) shutDown(ctx context.Context) error {
	m.note()
	if err := m.keepNow(m.memory, false); err != nil {
		m.log.Warn("the offset is not written down", "error", err)
	}
	m.publish("stopping")
	if m.server.process == nil {
		return nil
	}
	m.linger(ctx)
	// The kubelet's SIGKILL is the bound that counts; a server that hangs is not waited for.
	bound := time.Hour
	if m.now()-m.answeredAt > upTime {
		bound = 0
	}
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	exit := m.server.process.Stop(ctx, terminate)
	m.log.Info("server stopped", "exit", exit.String())
	if exit.Code != 0 {
		return fmt.Errorf("stop the server: %s", exit)
	}
	return m.noteStopped()
}
