// Package clustertest runs real redis-servers in cluster mode for tests, on loopback addresses of their own, and
// forms clusters of them.
package clustertest

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/redis"
)

// Node is a redis-server in cluster mode.
type Node struct {
	*redis.Client
	// ID is its node ID, Addr its HOST:PORT.
	ID, Addr string

	tb   testing.TB
	bin  string
	conf string
	log  bytes.Buffer
	cmd  *exec.Cmd
}

// UseValkey makes the test's servers those of the Valkey in the directory $REDSTART_TEST_VALKEY, where it is called redis-server;
// without one the test is skipped. "make test" gets one.
func UseValkey(t *testing.T) {
	t.Helper()
	dir := os.Getenv("REDSTART_TEST_VALKEY")
	if dir == "" {
		t.Skip("skipped: REDSTART_TEST_VALKEY names no directory with a Valkey of 9.0 or later")
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// Version is that of the servers that Start runs.
func Version(tb testing.TB) redis.Version {
	tb.Helper()
	bin, err := redis.FindServer()
	if err != nil {
		tb.Fatal(err)
	}
	v, err := redis.Detect(tb.Context(), bin)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// Settings of redis.conf beside those that make a cluster node.
type Settings map[string]string

// Start runs n servers until the end of the test: append-only files, a node time-out of two seconds, and whatever
// settings say. They do not know each other yet.
func Start(tb testing.TB, n int, settings Settings) []*Node {
	tb.Helper()
	bin, err := redis.FindServer()
	if err != nil {
		tb.Fatal(err)
	}
	// A network of this test's own: 127.A.B.1 and following, so that ports can be those of a real cluster.
	var net [2]byte
	_, _ = rand.Read(net[:])
	nodes := make([]*Node, n)
	for i := range nodes {
		nodes[i] = newNode(tb, bin, fmt.Sprintf("127.%d.%d.%d", 64+net[0]%128, net[1], i+1), settings)
		nodes[i].Run()
	}
	for _, node := range nodes {
		node.await()
		node.ID, err = node.ClusterMyID(tb.Context())
		if err != nil {
			tb.Fatal(err)
		}
	}
	return nodes
}

func newNode(tb testing.TB, bin, ip string, settings Settings) *Node {
	dir := tb.TempDir()
	all := Settings{
		"bind": ip, "cluster-announce-ip": ip, "port": "6379", "dir": dir, "cluster-enabled": "yes", "cluster-node-timeout": "2000", "appendonly": "yes", "save": `""`,
		"cluster-replica-validity-factor": "0", "repl-diskless-sync-delay": "0", "protected-mode": "no",
	}
	for name, value := range settings {
		all[name] = value
	}
	var conf bytes.Buffer
	for name, value := range all {
		fmt.Fprintf(&conf, "%s %s\n", name, value)
	}
	node := &Node{tb: tb, bin: bin, Addr: ip + ":6379", conf: filepath.Join(dir, "redis.conf")}
	if err := os.WriteFile(node.conf, conf.Bytes(), 0o600); err != nil {
		tb.Fatal(err)
	}
	node.Client = redis.NewClient(node.Addr, settings["requirepass"])
	tb.Cleanup(func() {
		_ = node.Close()
		node.Kill()
		if tb.Failed() {
			tb.Logf("log of %s:\n%s", node.Addr, node.log.String())
		}
	})
	return node
}

// Run starts the server; it returns before the server answers.
func (n *Node) Run() {
	n.tb.Helper()
	n.cmd = exec.Command(n.bin, n.conf)
	n.cmd.Stdout, n.cmd.Stderr = &n.log, &n.log
	if err := n.cmd.Start(); err != nil {
		n.tb.Fatal(err)
	}
}

// Kill ends the server by SIGKILL.
func (n *Node) Kill() {
	if n.cmd != nil {
		_ = n.cmd.Process.Kill()
		_ = n.cmd.Wait()
		n.cmd = nil
	}
}

// Restart runs a killed server on the same data and waits until it answers.
func (n *Node) Restart() {
	n.tb.Helper()
	n.Run()
	n.await()
}

// Process is the process of the running server.
func (n *Node) Process() *os.Process { return n.cmd.Process }

func (n *Node) await() {
	n.tb.Helper()
	Eventually(n.tb, n.Addr+" answers", func(ctx context.Context) error { return n.Ping(ctx) })
}

// Form makes one cluster of nodes: the first masters own the slots in equal parts (those of shares, where given),
// node i beyond them replicates master i modulo masters. It waits until all agree.
func Form(tb testing.TB, nodes []*Node, masters int, shares ...v1alpha1.SlotSet) {
	tb.Helper()
	ctx := tb.Context()
	for i := len(shares); i < masters; i++ {
		first, end := i*v1alpha1.SlotCount/masters, (i+1)*v1alpha1.SlotCount/masters
		shares = append(shares, v1alpha1.SlotSet{{First: first, Last: end - 1}})
	}
	for i, node := range nodes {
		check(tb, node.ClusterSetConfigEpoch(ctx, int64(i+1)))
		if i < masters && len(shares[i]) > 0 {
			check(tb, node.ClusterAddSlots(ctx, shares[i]))
		}
		if i > 0 {
			check(tb, node.ClusterMeet(ctx, nodes[0].Addr, 0))
		}
	}
	Eventually(tb, "all nodes know each other", func(ctx context.Context) error { return agree(ctx, nodes, false) })
	for i := masters; i < len(nodes); i++ {
		check(tb, nodes[i].ClusterReplicate(ctx, nodes[i%masters].ID))
	}
	AwaitFormed(tb, nodes)
}

// AwaitFormed waits until all nodes know all, serve their slots, and have copied their masters.
func AwaitFormed(tb testing.TB, nodes []*Node) {
	tb.Helper()
	Eventually(tb, "the cluster is ok", func(ctx context.Context) error { return agree(ctx, nodes, true) })
}

// Join makes one more node known to a cluster, as a master without slots.
func Join(tb testing.TB, cluster []*Node, node *Node) {
	tb.Helper()
	check(tb, node.ClusterMeet(tb.Context(), cluster[0].Addr, 0))
	Eventually(tb, node.Addr+" is known to all", func(ctx context.Context) error {
		return agree(ctx, append(append([]*Node(nil), cluster...), node), true)
	})
}

// agree is nil when every node knows as many others, none of them in handshake, and (ok) says that the state is ok.
func agree(ctx context.Context, nodes []*Node, ok bool) error {
	replicas := 0
	for _, node := range nodes {
		v, err := node.ClusterView(ctx)
		if err != nil {
			return err
		}
		if len(v.Nodes) != len(nodes) {
			return fmt.Errorf("%s knows %d nodes", node.Addr, len(v.Nodes))
		}
		seen := 0
		for _, n := range v.Nodes {
			if n.Handshake || !n.LinkUp && !n.Myself {
				return fmt.Errorf("%s has no link to %s", node.Addr, n.Address)
			}
			if n.Role == v1alpha1.RoleReplica {
				seen++
			}
		}
		if node != nodes[0] && seen != replicas {
			return fmt.Errorf("%s knows %d replicas, another %d", node.Addr, seen, replicas)
		}
		replicas = seen
		if ok && !v.Info.OK {
			return fmt.Errorf("%s says that the cluster is not ok: %+v", node.Addr, v.Info)
		}
		if err := linked(ctx, node, ok && v.Myself().Role == v1alpha1.RoleReplica); err != nil {
			return err
		}
	}
	return nil
}

func linked(ctx context.Context, node *Node, replica bool) error {
	if !replica {
		return nil
	}
	s, err := node.Status(ctx)
	if err == nil && !s.LinkUp {
		err = fmt.Errorf("%s has not copied its master yet", node.Addr)
	}
	return err
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// Eventually polls until try has no error, at most 60 seconds.
func Eventually(tb testing.TB, what string, try func(context.Context) error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 60*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			tb.Fatalf("waited 60 s until %s: %v", what, err)
		case <-tick.C:
		}
	}
}
