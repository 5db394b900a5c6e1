//go:build unix

package agent_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
)

// signalServer sends a signal to the server of a pod, whose agent goes on.
func signalServer(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
}

// TestHandoverIsNotPutOff: one that cannot be done now fails now, and one whose caller has gone is not done behind his back.
func TestHandoverIsNotPutOff(t *testing.T) {
	c := newCluster(t, v1alpha1.ModeSentinel, 3, nil)
	ctx := t.Context()
	master := c.ready()
	replica := c.members()[0]
	if replica == master {
		replica = c.members()[1]
	}

	t.Run("a replica out of sight that the Sentinels may choose", func(t *testing.T) {
		pid := serverPID(t, replica)
		signalServer(t, pid, syscall.SIGSTOP)
		signalServer(t, replica.cmd.Process.Pid, syscall.SIGSTOP)
		begin := time.Now()
		b, err := master.call(ctx, "POST", "/handover", `{"id":"1"}`, token)
		if err != nil || !strings.Contains(string(b), `"Failed"`) || !strings.Contains(string(b), "the Sentinels may choose it") {
			t.Errorf("after %s: %s, %v", time.Since(begin).Round(time.Millisecond), b, err)
		}
		signalServer(t, pid, syscall.SIGCONT)
		signalServer(t, replica.cmd.Process.Pid, syscall.SIGCONT)
		if again := c.ready(); again != master {
			t.Errorf("%s is master, want %s", again.name, master.name)
		}
	})
	t.Run("no Sentinel is there, and the caller goes", func(t *testing.T) {
		var sentinels []*pod
		for _, p := range c.pods {
			if p.component == v1alpha1.ComponentSentinel {
				p.kill()
				sentinels = append(sentinels, p)
			}
		}
		impatient, gone := context.WithTimeout(ctx, 2*time.Second)
		defer gone()
		if b, err := master.call(impatient, "POST", "/handover", `{"id":"2"}`, token); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s, %v", b, err)
		}
		for _, p := range sentinels {
			c.start(p)
		}
		if again := c.ready(); again != master {
			t.Errorf("%s is master, want %s", again.name, master.name)
		}
		b, err := c.ready().call(ctx, "POST", "/handover", `{"id":"3"}`, token)
		if err != nil || !strings.Contains(string(b), `"Succeeded"`) {
			t.Errorf("a handover later: %s, %v", b, err)
		}
	})
}

// TestForceIsUsedOnce: that a member was once made master though it lacks writes gives it no right to that later.
func TestForceIsUsedOnce(t *testing.T) {
	c := newCluster(t, v1alpha1.ModeReplication, 3, nil)
	ctx := t.Context()
	// leaveBehind makes a member, which is no master, miss a change of master, and ends all others.
	leaveBehind := func(behind *pod) {
		t.Helper()
		master := c.ready()
		if err := behind.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		master.kill()
		var next *pod
		eventually(t, "another member is master", func() error {
			for _, p := range c.members() {
				if p == master || p == behind {
					continue
				}
				if s, err := p.status(ctx); err != nil || s.Role != v1alpha1.RoleMaster {
					return fmt.Errorf("%s is %s, %w", p.name, s.Role, err)
				}
				next = p
			}
			return nil
		})
		next.kill()
		if err := behind.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	// waits until a member says that its data is too old for it to be master.
	waits := func(p *pod) {
		t.Helper()
		eventually(t, p.name+" says that it lacks writes", func() error {
			s, err := p.status(ctx)
			if err != nil || s.Role == v1alpha1.RoleMaster || !strings.Contains(s.Message, "older than the Lease's") {
				return fmt.Errorf("it is %q: %s, %w", s.Role, s.Message, err)
			}
			return nil
		})
	}
	old := c.ready()
	behind := c.members()[0]
	if behind == old {
		behind = c.members()[1]
	}
	leaveBehind(behind)
	waits(behind)
	if _, err := behind.call(ctx, "POST", "/handover", `{"id":"1","force":true}`, token); err != nil {
		t.Fatal(err)
	}
	eventually(t, behind.name+" is master by force", func() error {
		s, err := behind.status(ctx)
		if err == nil && s.Role != v1alpha1.RoleMaster {
			err = errors.New(s.Message)
		}
		return err
	})
	for _, p := range c.members() {
		if p != behind {
			c.start(p)
		}
	}
	if master := c.ready(); master != behind {
		t.Fatalf("%s is master, want %s", master.name, behind.name)
	}
	if b, err := behind.call(ctx, "POST", "/handover", `{"id":"2"}`, token); err != nil || !strings.Contains(string(b), `"Succeeded"`) {
		t.Fatalf("%s, %v", b, err)
	}
	leaveBehind(behind)
	waits(behind)
}
