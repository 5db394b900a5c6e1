package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
)

// start runs a real server with conf until the end of the test, and waits until it answers.
func start(t *testing.T, conf []byte, addr, password string, args ...string) *Client {
	t.Helper()
	c := launch(t, conf, addr, password, args...)
	eventually(t, "the server answers", func() error { return c.Ping(t.Context()) })
	return c
}

// launch is start without the wait.
func launch(t *testing.T, conf []byte, addr, password string, args ...string) *Client {
	t.Helper()
	bin, err := FindServer()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "server.conf")
	if err := os.WriteFile(path, conf, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(bin, append([]string{path}, args...)...)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := NewClient(addr, password)
	t.Cleanup(func() {
		_ = c.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("log of %s:\n%s", addr, log.String())
		}
	})
	return c
}

// eventually polls until check has no error, at most 30 seconds.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("waited 30 s until %s: %v", what, err)
		case <-tick.C:
		}
	}
}

func freePort(t *testing.T, ip string) int32 {
	t.Helper()
	l, err := net.Listen("tcp", ip+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return int32(l.Addr().(*net.TCPAddr).Port)
}

func member(t *testing.T, settings map[string]string) (*Client, MemberConf) {
	t.Helper()
	password := "p\"a '#{$\\é密" + strings.Repeat("x", 500)
	m := MemberConf{IP: "127.11.0.1", Port: freePort(t, "127.11.0.1"), Dir: t.TempDir(), Password: password, Settings: settings}
	return start(t, m.Render(), fmt.Sprintf("%s:%d", m.IP, m.Port), m.Password), m
}

// replicate opens a master, and waits until a replica has its data.
func replicate(t *testing.T, master, replica *Client) {
	t.Helper()
	ctx := t.Context()
	if err := master.Open(ctx, 0, nil); err != nil {
		t.Fatal(err)
	}
	if err := replica.ReplicaOf(ctx, master.Address()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the link is up", func() error { return linkUp(ctx, replica) })
}

func TestServerStartsClosedAndOpens(t *testing.T) {
	ctx := t.Context()
	c, _ := member(t, map[string]string{"appendonly": "yes", "save": "900 1 300 10"})
	s, err := c.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if s.Role != v1alpha1.RoleReplica || s.LinkUp || s.MasterAddress != "" {
		t.Errorf("a fresh server is %+v, want a replica of nobody", s)
	}
	if err := c.rdb.Set(ctx, "k", "v", 0).Err(); !hasPrefix(err, "READONLY") {
		t.Errorf("a closed server answered a write with %v", err)
	}
	if err := c.Open(ctx, 0, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.rdb.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Errorf("an open server: %v", err)
	}
	if err := c.Fence(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.rdb.Set(ctx, "k", "w", 0).Err(); !hasPrefix(err, "NOREPLICAS") {
		t.Errorf("a fenced master answered a write with %v", err)
	}
	if got := c.rdb.Get(ctx, "k").Val(); got != "v" {
		t.Errorf("a fenced master reads %q", got)
	}
}

func TestServerThatComesUpIsNoticedAtOnce(t *testing.T) {
	port := freePort(t, "127.11.0.1")
	m := MemberConf{IP: "127.11.0.1", Port: port, Dir: t.TempDir(), Password: "secret"}
	addr := net.JoinHostPort(m.IP, strconv.Itoa(int(port)))
	c := NewClient(addr, m.Password)
	defer c.Close()
	for range 100 {
		if err := c.Ping(t.Context()); err == nil {
			t.Fatal("a server answered that does not run")
		}
	}
	launch(t, m.Render(), addr, m.Password)
	eventually(t, "the server listens", func() error {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err
	})
	if err := c.Ping(t.Context()); err != nil {
		t.Errorf("the server answers others, but not who asked in vain before: %v", err)
	}
}

// TestAnnounceIsTold to the master at once, and costs no copy of the data.
func TestAnnounceIsTold(t *testing.T) {
	ctx := t.Context()
	a, _ := member(t, nil)
	b, _ := member(t, nil)
	replicate(t, a, b)
	const outside = "192.0.2.7:16379"
	for range 2 { // the second changes nothing
		if err := errors.Join(a.SetAnnounce(ctx, "192.0.2.6:6379"), b.SetAnnounce(ctx, outside)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the master lists its replica by "+outside, func() error {
			s, err := a.Status(ctx)
			if err == nil && (len(s.Replicas) != 1 || s.Replicas[0].Address != outside) {
				err = fmt.Errorf("it has %+v", s.Replicas)
			}
			return err
		})
	}
	info, err := a.Info(ctx)
	if err != nil || info["sync_full"] != "1" || info["sync_partial_ok"] != "1" {
		t.Errorf("%s full and %s partial copies, %v; want one of each", info["sync_full"], info["sync_partial_ok"], err)
	}
}

func TestReplicationHandsOver(t *testing.T) {
	ctx := t.Context()
	a, _ := member(t, nil)
	b, _ := member(t, nil)
	replicate(t, a, b)
	if err := a.PauseWrites(ctx, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	blocked, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := a.rdb.Set(blocked, "k", "v", 0).Err(); err == nil {
		t.Error("a write got through a pause")
	}
	if n, err := a.Wait(ctx, 1, 5*time.Second); n != 1 || err != nil {
		t.Errorf("WAIT = %d, %v", n, err)
	}
	eventually(t, "the replica is known at the master's offset", func() error {
		s, err := a.Status(ctx)
		if err == nil && (len(s.Replicas) != 1 || s.Replicas[0].Address != b.Address() || s.Replicas[0].Offset != s.Offset) {
			err = fmt.Errorf("the status is %+v", s)
		}
		return err
	})
	if err := a.ReplicaOf(ctx, b.Address()); err != nil {
		t.Fatal(err)
	}
	if err := b.Open(ctx, 0, nil); err != nil {
		t.Fatal(err)
	}
	if err := a.KillClients(ctx); err != nil {
		t.Fatal(err)
	}
	if err := a.Unpause(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the old master follows", func() error { return linkUp(ctx, a) })
}

func linkUp(ctx context.Context, c *Client) error {
	if s, err := c.Status(ctx); err != nil || !s.LinkUp {
		return fmt.Errorf("link of %s: %+v, %w", c.Address(), s, err)
	}
	return nil
}

func TestApplySettings(t *testing.T) {
	ctx := t.Context()
	started := map[string]string{"maxmemory": "100mb", "databases": "16", "hz": "20"}
	c, _ := member(t, started)
	now, restart, err := c.ApplySettings(ctx, started, map[string]string{
		"maxmemory": "200mb", "databases": "4", "save": "100 5", "port": "1", "maxclients": "none", "nonesuch": "1",
	})
	if want := "[databases hz]"; fmt.Sprint(restart) != want {
		t.Errorf("settings that need a restart: %v, want %s", restart, want)
	}
	if err == nil || !strings.Contains(err.Error(), `set maxclients to "none"`) || !strings.Contains(err.Error(), "nonesuch") {
		t.Errorf("error %v, want one that names maxclients and nonesuch", err)
	}
	if now["maxmemory"] != "200mb" || now["databases"] != "16" || now["save"] != "100 5" || now["hz"] != "20" {
		t.Errorf("in force: %v", now)
	}
	if got, err := c.ConfigGet(ctx, "maxmemory"); err != nil || got["maxmemory"] != "209715200" {
		t.Errorf("maxmemory is %v, %v", got, err)
	}
}

func TestPasswords(t *testing.T) {
	ctx := t.Context()
	c, m := member(t, nil)
	const next = "n\"e w\\\n"
	if err := c.AddPassword(ctx, next); err != nil {
		t.Fatal(err)
	}
	for _, password := range []string{m.Password, next} {
		other := NewClient(c.Address(), password)
		if err := other.Ping(ctx); err != nil {
			t.Errorf("password %q: %v", password, err)
		}
		_ = other.Close()
	}
	c.SetPassword(next)
	if err := c.OnlyPassword(ctx, next); err != nil {
		t.Fatal(err)
	}
	old := NewClient(c.Address(), m.Password)
	defer old.Close()
	if err := old.Ping(ctx); !IsWrongPassword(err) {
		t.Errorf("the old password: %v", err)
	}
}

func TestShutdownIsNoError(t *testing.T) {
	c, _ := member(t, nil)
	if err := c.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	eventually(t, "the server is gone", func() error {
		if err := c.Ping(t.Context()); err == nil {
			return fmt.Errorf("it still answers")
		}
		return nil
	})
}

// TestConnections: a Sentinel tells for how long a client has asked nothing, while the connection is there.
func TestConnections(t *testing.T) {
	ctx := t.Context()
	conf := SentinelConf{IP: "127.11.0.2", Port: freePort(t, "127.11.0.2"), Dir: t.TempDir(), ID: SentinelID("u", "s-0"), Password: "p"}
	addr := fmt.Sprintf("%s:%d", conf.IP, conf.Port)
	start(t, conf.Render(), addr, "p", "--sentinel")
	named, other := NewNamedSentinel("a/b", addr, "p"), NewSentinel(addr, "p")
	defer named.Close()
	defer other.Close()
	if err := named.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	asked := time.Now()
	eventually(t, "a second of silence is told", func() error {
		all, err := other.Connections(ctx)
		if err != nil || len(all) != 1 || all[0].Name != "a/b" {
			return fmt.Errorf("connections %+v, %w", all, err)
		}
		if passed := time.Since(asked); all[0].Silent > passed+200*time.Millisecond {
			t.Errorf("silent for %s after %s", all[0].Silent, passed)
		}
		if all[0].Silent < time.Second {
			return fmt.Errorf("silent for %s", all[0].Silent)
		}
		return nil
	})
	_ = named.Close()
	eventually(t, "a closed connection is gone", func() error {
		if all, err := other.Connections(ctx); err != nil || len(all) > 0 {
			return fmt.Errorf("connections %+v, %w", all, err)
		}
		return nil
	})
}

func TestSentinel(t *testing.T) {
	ctx := t.Context()
	a, m := member(t, nil)
	b, _ := member(t, nil)
	if err := a.Open(ctx, 0, nil); err != nil {
		t.Fatal(err)
	}
	if err := b.ReplicaOf(ctx, a.Address()); err != nil {
		t.Fatal(err)
	}
	conf := SentinelConf{IP: "127.11.0.2", Port: freePort(t, "127.11.0.2"), Dir: t.TempDir(), ID: SentinelID("u", "s-0"), Password: m.Password}
	addr := fmt.Sprintf("%s:%d", conf.IP, conf.Port)
	start(t, conf.Render(), addr, m.Password, "--sentinel")
	s := NewSentinel(addr, m.Password)
	defer s.Close()

	if id, err := s.MyID(ctx); err != nil || id != conf.ID {
		t.Errorf("myid %s, %v; want %s", id, err, conf.ID)
	}
	if _, err := s.Master(ctx, "cache"); !IsNoSuchMaster(err) {
		t.Errorf("a master that is not monitored: %v", err)
	}
	if addr, err := s.MasterAddress(ctx, "cache"); addr != "" || err != nil {
		t.Errorf("address of a master that is not monitored: %q, %v", addr, err)
	}
	o := MonitorOptions{Quorum: 1, DownAfter: 700 * time.Millisecond, FailoverTimeout: 5 * time.Second, ParallelSyncs: 2, Password: m.Password}
	if err := s.Monitor(ctx, "cache", a.Address(), o); err != nil {
		t.Fatal(err)
	}
	got, err := s.Master(ctx, "cache")
	if err != nil || got.Address != a.Address() || got.DownAfter != o.DownAfter || got.ParallelSyncs != 2 || got.FailoverTimeout != o.FailoverTimeout {
		t.Errorf("master %+v, %v", got, err)
	}
	eventually(t, "the Sentinel may choose the replica", func() error {
		replicas, err := s.Replicas(ctx, "cache")
		if err == nil && (len(replicas) != 1 || replicas[0].Address != b.Address() || !replicas[0].Eligible) {
			err = fmt.Errorf("it knows %+v", replicas)
		}
		return err
	})
	subscribed, switched := make(chan struct{}), make(chan SentinelEvent, 1)
	ended := make(chan error, 1)
	listening, stop := context.WithCancel(ctx)
	go func() {
		ended <- s.Events(listening, func(e SentinelEvent) {
			if e.Channel == "" {
				close(subscribed)
			} else {
				switched <- e
			}
		}, EventSwitchMaster)
	}()
	<-subscribed
	eventually(t, "a failover starts", func() error {
		replicas, err := s.Replicas(ctx, "cache")
		if err != nil || len(replicas) != 1 || !replicas[0].LinkUp {
			return fmt.Errorf("replicas %+v, %w", replicas, err)
		}
		return s.Failover(ctx, "cache")
	})
	select {
	case e := <-switched:
		if len(e.Fields) != 5 || e.Fields[0] != "cache" || net.JoinHostPort(e.Fields[3], e.Fields[4]) != b.Address() {
			t.Errorf("event %+v, want a switch to %s", e, b.Address())
		}
	case <-time.After(30 * time.Second):
		t.Error("no +switch-master within 30 s")
	}
	stop()
	if err := <-ended; err == nil {
		t.Error("the end of a subscription has no reason")
	}
	if err := s.Reset(ctx, "cache"); err != nil {
		t.Error(err)
	}
	if err := s.Remove(ctx, "cache"); err != nil {
		t.Error(err)
	}
	if all, err := s.Masters(ctx); err != nil || len(all) != 0 {
		t.Errorf("after REMOVE it monitors %v, %v", all, err)
	}
}

// TestIPv6 runs a master, a replica and a Sentinel at ::1, the replica on both families.
func TestIPv6(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("this machine has no IPv6 loopback: %v", err)
	}
	_ = l.Close()
	ctx := t.Context()
	conf := func(more ...string) MemberConf {
		return MemberConf{IP: "::1", MoreIPs: more, Port: freePort(t, "[::1]"), Dir: t.TempDir(), Password: "p"}
	}
	run := func(m MemberConf) *Client {
		return start(t, m.Render(), net.JoinHostPort(m.IP, strconv.Itoa(int(m.Port))), m.Password)
	}
	dual := conf("127.11.0.6")
	a, b := run(conf()), run(dual)
	replicate(t, a, b)
	if s, err := b.Status(ctx); err != nil || s.MasterAddress != a.Address() {
		t.Errorf("the replica follows %q, %v; want %s", s.MasterAddress, err, a.Address())
	}
	if s, err := a.Status(ctx); err != nil || len(s.Replicas) != 1 || s.Replicas[0].Address != b.Address() {
		t.Errorf("the master's replicas are %+v, %v; want %s", s.Replicas, err, b.Address())
	}
	other := NewClient(net.JoinHostPort("127.11.0.6", strconv.Itoa(int(dual.Port))), "p")
	defer other.Close()
	if _, err := other.Status(ctx); err != nil {
		t.Errorf("the replica does not answer at its other address: %v", err)
	}
	sc := SentinelConf{IP: "::1", Port: freePort(t, "[::1]"), Dir: t.TempDir(), ID: SentinelID("u", "s-0"), Password: "p"}
	addr := net.JoinHostPort(sc.IP, strconv.Itoa(int(sc.Port)))
	start(t, sc.Render(), addr, "p", "--sentinel")
	s := NewSentinel(addr, "p")
	defer s.Close()
	o := MonitorOptions{Quorum: 1, DownAfter: 5 * time.Second, FailoverTimeout: 30 * time.Second, ParallelSyncs: 1, Password: "p"}
	if err := s.Monitor(ctx, "cache", a.Address(), o); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the Sentinel finds the replica", func() error {
		replicas, err := s.Replicas(ctx, "cache")
		if err != nil || len(replicas) != 1 || replicas[0].Address != b.Address() {
			return fmt.Errorf("replicas %+v, %w; want %s", replicas, err, b.Address())
		}
		return nil
	})
	if got, err := s.MasterAddress(ctx, "cache"); err != nil || got != a.Address() {
		t.Errorf("clients are told %q, %v; want %s", got, err, a.Address())
	}
}

func TestDetect(t *testing.T) {
	bin, err := FindServer()
	if err != nil {
		t.Fatal(err)
	}
	if v, err := Detect(t.Context(), bin); err != nil || v.Major < 6 {
		t.Errorf("%s is %v, %v", bin, v, err)
	}
	fake := filepath.Join(t.TempDir(), "redis-server")
	if err := os.WriteFile(fake, []byte("#!/bin/sh\necho 'Redis server v=5.0.14 sha=0'\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	want := fake + ": redis 5.0.14 is too old: install Redis 6.2 or later, or Valkey 7.2 or later"
	if _, err := Detect(t.Context(), fake); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// TestUnopenedMasterIsNotCopied: a master that nobody opened must not replace what its replicas hold.
func TestUnopenedMasterIsNotCopied(t *testing.T) {
	ctx := t.Context()
	empty, _ := member(t, nil)
	b, _ := member(t, nil)
	if err := b.Open(ctx, 0, nil); err != nil {
		t.Fatal(err)
	}
	if err := b.rdb.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := empty.rdb.ReplicaOf(ctx, "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	if err := b.ReplicaOf(ctx, empty.Address()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the replica waits to be copied to", func() error {
		if s := empty.rdb.Info(ctx, "replication").Val(); !strings.Contains(s, "state=wait_bgsave") {
			return fmt.Errorf("the master says %s", s)
		}
		return nil
	})
	if got := b.rdb.Get(ctx, "k").Val(); got != "v" {
		t.Errorf("the replica reads %q", got)
	}
	if err := empty.Open(ctx, 0, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an opened one is copied", func() error { return linkUp(ctx, b) })
}
