//go:build unix

package agent

import (
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/redis"
)

// TestPulse: a server that is slower than any look is not silent for longer than it takes to answer, and an agent that stood still has not
// listened.
func TestPulse(t *testing.T) {
	bin, err := redis.FindServer()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	_, port, _ := net.SplitHostPort(addr)
	server := exec.Command(bin, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir())
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	b := &base{log: slog.New(slog.DiscardHandler), began: time.Now(), wake: make(chan struct{}, 1)}
	b.config = &v1alpha1.AgentConfig{Mode: v1alpha1.ModeCluster, NodeTimeoutMS: 3000}
	m := &member{base: b, client: redis.NewClient(addr, "")}
	t.Cleanup(func() { _ = m.client.Close(); b.working.Wait() })
	within(t, "the server answers", func() error { return m.client.Ping(t.Context()) })
	m.answeredAt, m.pulse.lookedAt = m.now(), m.now()

	if err := server.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	within(t, "it is silent for a second", func() error {
		m.feelPulse(t.Context(), m.now())
		if m.pulse.silent < time.Second {
			return fmt.Errorf("silent for %s", m.pulse.silent)
		}
		return nil
	})
	if look, up := m.patience(); look > 2*time.Second || up != 3*time.Second {
		t.Errorf("a look takes %s, a server is up for %s", look, up)
	}
	before := m.pulse.silent
	m.feelPulse(t.Context(), m.now()+time.Hour)
	if got := m.pulse.silent - before; got != stoodStill {
		t.Errorf("an agent that stood still for an hour counts %s of silence, want %s", got, stoodStill)
	}
	m.pulse.lookedAt = m.now()
	if err := server.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	within(t, "the question that waits is answered", func() error {
		m.feelPulse(t.Context(), m.now())
		if m.pulse.silent > 0 {
			return fmt.Errorf("silent for %s", m.pulse.silent)
		}
		return nil
	})
}

func within(t *testing.T, what string, check func() error) {
	t.Helper()
	end := time.After(30 * time.Second)
	every := time.NewTicker(10 * time.Millisecond)
	defer every.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-end:
			t.Fatalf("%s: %v", what, err)
		case <-every.C:
		}
	}
}
