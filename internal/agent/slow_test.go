//go:build unix

package agent_test

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
)

// TestSlowNode: a server of mode Cluster that is silent for longer than the node timeout, and in whose place nobody can serve, keeps
// running. The agent says that it does not answer meanwhile.
func TestSlowNode(t *testing.T) {
	const nodeTimeout = time.Second
	c := newCluster(t, v1alpha1.ModeCluster, 1, func(a *v1alpha1.AgentConfig) { a.NodeTimeoutMS = nodeTimeout.Milliseconds() })
	p := c.members()[0]
	up := func(want bool) func() error {
		return func() error {
			s, err := p.status(t.Context())
			if err == nil && s.Server.Up != want {
				err = errors.New(s.Message)
			}
			return err
		}
	}
	eventually(t, "the server is up", up(true))
	pid := serverPID(t, p)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server is not up", up(false))
	silent := time.NewTimer(2 * nodeTimeout)
	<-silent.C
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server is up again", up(true))
	if got := serverPID(t, p); got != pid {
		t.Errorf("it is process %d now, and was %d: a slow server was restarted", got, pid)
	}
}
