//go:build unix

package agent_test

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	dead     chan struct{} // closed when nothing passes any more through the connections that there were
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
	g := &gate{listener: l, dead: make(chan struct{})}
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

// allThroughGate starts all members anew behind a gate.
func (c *cluster) allThroughGate() *gate {
	c.ready()
	g := c.throughGate()
	for _, p := range c.pods {
		p.kill()
		c.start(p)
	}
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
		dead := g.dead
		g.mu.Unlock()
		g.running.Go(func() { g.pass(in, out, dead) })
		g.running.Go(func() { g.pass(out, in, dead) })
	}
}

// loseBackend is what those see behind a balancer whose API server loses its power: the connections that there are say nothing any
// more, and new ones go to another.
func (g *gate) loseBackend() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.dead)
	g.dead = make(chan struct{})
}

func (g *gate) pass(from, to net.Conn, dead <-chan struct{}) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		select {
		case <-dead:
			continue
		default:
		}
		g.shut.RLock()
		_, err = to.Write(buf[:n])
		g.shut.RUnlock()
		if err != nil {
			return
		}
	}
}

// TestLostAPIServer: one of several API servers is gone, and the others answer whoever asks them. The master asks another in time.
func TestLostAPIServer(t *testing.T) {
	c := newCluster(t, v1alpha1.ModeReplication, 3, nil)
	first := c.ready()
	behind := c.members()[0]
	if behind == first {
		behind = c.members()[1]
	}
	g := c.throughGate()
	behind.kill()
	c.start(behind)
	c.ready()
	if b, err := first.call(t.Context(), "POST", "/handover", fmt.Sprintf(`{"id":"1","to":%q}`, behind.name), token); err != nil {
		t.Fatalf("%s, %v", b, err)
	}
	if master := c.ready(); master != behind {
		t.Fatalf("%s is master, want %s", master.name, behind.name)
	}
	w := c.write()
	w.longest(t)
	w.reset()
	g.loseBackend()
	lost := time.Now()
	eventually(t, "the Lease is renewed after all that it holds for", func() error {
		l, err := c.client.CoordinationV1().Leases("default").Get(t.Context(), redisName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if at := l.Spec.RenewTime.Sub(lost); at < 2*time.Duration(c.config.LeaseSeconds)*time.Second {
			return fmt.Errorf("renewed %s after the API server was lost, by %s", at, *l.Spec.HolderIdentity)
		}
		return nil
	})
	if master := c.ready(); master != behind {
		t.Errorf("%s is master, want %s", master.name, behind.name)
	}
	gap := w.longest(t)
	t.Logf("writers waited for at most %s", gap.Round(time.Millisecond))
	if gap > 2*time.Second {
		t.Errorf("writers waited for %s", gap)
	}
}

// TestMasterFencesInTime while all that it asks hangs: the API server, and the agents of the others.
func TestMasterFencesInTime(t *testing.T) {
	c := newCluster(t, v1alpha1.ModeReplication, 3, nil)
	g := c.allThroughGate()
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

// TestHandoverOfUnknownEnd: the API hangs when the Lease is to be given away. Whether it was is not known, and the answer says so.
func TestHandoverOfUnknownEnd(t *testing.T) {
	c := newCluster(t, v1alpha1.ModeReplication, 3, nil)
	g := c.allThroughGate()
	master := c.ready()
	w := c.write()
	w.longest(t)
	g.shut.Lock()
	b, err := master.call(t.Context(), "POST", "/handover", `{"id":"1"}`, token)
	g.shut.Unlock()
	if err != nil || !strings.Contains(string(b), `"Failed"`) || !strings.Contains(string(b), "may have become master all the same") {
		t.Errorf("%s, %v", b, err)
	}
	last := c.ready()
	t.Logf("%s was master, %s is: %s", master.name, last.name, b)
	w.longest(t)
	w.end()
	if lost, of := w.lost(t, last); lost != 0 {
		t.Errorf("%d of %d acknowledged writes are lost", lost, of)
	}
}
