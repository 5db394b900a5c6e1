//go:build unix

package agent_test

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"redstart.dev/redstart/api/v1alpha1"
)

// gate is a way to the API server that can hang: connections stay open, and nothing passes.
type gate struct {
	listener net.Listener
	backend  string
	shut     sync.RWMutex
	running  sync.WaitGroup
	mu       sync.Mutex
	conns    []net.Conn
}

// throughGate makes all agents that are started from now on reach the API server through a gate.
func (c *cluster) throughGate() *gate {
	c.t.Helper()
	config, err := clientcmd.LoadFromFile(c.kubeconfig)
	if err != nil {
		c.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	g := &gate{listener: l}
	for _, api := range config.Clusters {
		u, err := url.Parse(api.Server)
		if err != nil {
			c.t.Fatal(err)
		}
		g.backend, u.Host = u.Host, l.Addr().String()
		api.Server = u.String()
	}
	c.kubeconfig = filepath.Join(c.dir, "gate.kubeconfig")
	if err := clientcmd.WriteToFile(*config, c.kubeconfig); err != nil {
		c.t.Fatal(err)
	}
	g.running.Go(g.serve)
	c.t.Cleanup(func() {
		_ = l.Close()
		g.mu.Lock()
		for _, conn := range g.conns {
			_ = conn.Close()
		}
		g.mu.Unlock()
		g.running.Wait()
	})
	return g
}

func (g *gate) serve() {
	for {
		in, err := g.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", g.backend)
		if err != nil {
			_ = in.Close()
			continue
		}
		g.mu.Lock()
		g.conns = append(g.conns, in, out)
		g.mu.Unlock()
		g.running.Go(func() { g.pass(in, out) })
		g.running.Go(func() { g.pass(out, in) })
	}
}

func (g *gate) pass(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		g.shut.RLock()
		_, err = to.Write(buf[:n])
		g.shut.RUnlock()
		if err != nil {
			return
		}
	}
}

// TestMasterFencesInTime while all that it asks hangs: the API server, and the agents of the others.
func TestMasterFencesInTime(t *testing.T) {
	c := newCluster(t, v1alpha1.ModeReplication, 3, nil)
	c.ready()
	g := c.throughGate()
	for _, p := range c.pods {
		p.kill()
		c.start(p)
	}
	master := c.ready()
	w := c.write()
	w.longest(t)
	g.shut.Lock()
	hung := time.Now()
	for _, p := range c.members() {
		if p != master {
			if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Error(err)
			}
		}
	}
	r := c.server(master)
	eventually(t, "the master refuses writes", func() error {
		got, err := r.ConfigGet(t.Context(), "min-replicas-to-write")
		if err == nil && len(got["min-replicas-to-write"]) < 4 {
			err = os.ErrDeadlineExceeded
		}
		return err
	})
	w.mu.Lock()
	last := w.last.Sub(hung)
	w.mu.Unlock()
	t.Logf("the last write was acknowledged after %s", last.Round(time.Millisecond))
	// The last renewal was sent at most a second before; it is good for four.
	if last < 2*time.Second || last > 4500*time.Millisecond {
		t.Errorf("the last write was acknowledged %s after everything hung, want it after 2 s to 4.5 s", last)
	}
	s, err := master.status(t.Context())
	if err != nil || !s.Fenced || !strings.Contains(s.Message, "Lease") {
		t.Errorf("the master says %+v, %v", s, err)
	}
	g.shut.Unlock()
	for _, p := range c.members() {
		if p != master {
			_ = p.cmd.Process.Signal(syscall.SIGCONT)
		}
	}
	w.longest(t)
	w.end()
	if lost, of := w.lost(t, c.ready()); lost != 0 {
		t.Errorf("%d of %d acknowledged writes are lost", lost, of)
	}
}
