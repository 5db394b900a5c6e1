package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// plain is what a tutorial sets up: a master, two replicas and three Sentinels, nothing else. Redstart is measured
// against it in the same run.
type plain struct {
	t         *testing.T
	dir       string
	servers   []*plainProcess
	sentinels []*plainProcess
}

type plainProcess struct {
	addr string
	cmd  *exec.Cmd
}

const plainMaster = "plain"

func startPlain(t *testing.T, downAfter time.Duration) *plain {
	t.Helper()
	p := &plain{t: t, dir: t.TempDir()}
	for i := range 3 {
		port := freePort(t)
		conf := []string{"bind 127.0.0.1", "port " + port, "save \"\"", "appendonly yes", "dir " + p.subdir("server", i)}
		if i > 0 {
			conf = append(conf, "replicaof "+strings.ReplaceAll(p.servers[0].addr, ":", " "))
		}
		p.servers = append(p.servers, p.start(filepath.Join(p.dir, "server"+strconv.Itoa(i), "redis.conf"), port, conf, "redis-server"))
	}
	for _, s := range p.servers[1:] {
		p.wait("a replica in sync", func(ctx context.Context) bool {
			c := redis.NewClient(&redis.Options{Addr: s.addr})
			defer func() { _ = c.Close() }()
			info, err := c.Info(ctx, "replication").Result()
			return err == nil && strings.Contains(info, "master_link_status:up")
		})
	}
	for i := range 3 {
		port := freePort(t)
		host, masterPort, _ := net.SplitHostPort(p.servers[0].addr)
		conf := []string{
			"bind 127.0.0.1", "port " + port, "dir " + p.subdir("sentinel", i),
			fmt.Sprintf("sentinel monitor %s %s %s 2", plainMaster, host, masterPort),
			fmt.Sprintf("sentinel down-after-milliseconds %s %d", plainMaster, downAfter.Milliseconds()),
		}
		p.sentinels = append(p.sentinels, p.start(filepath.Join(p.dir, "sentinel"+strconv.Itoa(i), "sentinel.conf"), port, conf, "redis-server", "--sentinel"))
	}
	p.wait("the Sentinels to know each other", func(ctx context.Context) bool { return sentinelsWhole(ctx, p.sentinelAddrs()) })
	return p
}

// sentinelsWhole tells whether all Sentinels know all others, and a master with two replicas in sync.
func sentinelsWhole(ctx context.Context, addrs []string) bool {
	for _, addr := range addrs {
		c := redis.NewSentinelClient(&redis.Options{Addr: addr})
		others, err := c.Sentinels(ctx, plainMaster).Result()
		replicas, err2 := c.Replicas(ctx, plainMaster).Result()
		_ = c.Close()
		if err != nil || err2 != nil || len(others) != len(addrs)-1 || len(replicas) != 2 {
			return false
		}
		for _, r := range replicas {
			if r["flags"] != "slave" || r["master-link-status"] != "ok" {
				return false
			}
		}
	}
	return true
}

func (p *plain) subdir(kind string, i int) string {
	dir := filepath.Join(p.dir, kind+strconv.Itoa(i))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		p.t.Fatal(err)
	}
	return dir
}

func (p *plain) start(file, port string, conf []string, argv ...string) *plainProcess {
	p.t.Helper()
	if err := os.WriteFile(file, []byte(strings.Join(conf, "\n")+"\n"), 0o600); err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.Command(argv[0], append([]string{file}, argv[1:]...)...)
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	p.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
	})
	s := &plainProcess{addr: net.JoinHostPort("127.0.0.1", port), cmd: cmd}
	p.wait(file+" to be served", func(ctx context.Context) bool {
		c := redis.NewClient(&redis.Options{Addr: s.addr})
		defer func() { _ = c.Close() }()
		return c.Ping(ctx).Err() == nil
	})
	return s
}

func (p *plain) wait(what string, ok func(context.Context) bool) {
	p.t.Helper()
	eventually(p.t, time.Minute, what, ok)
}

func (p *plain) sentinelAddrs() (addrs []string) {
	for _, s := range p.sentinels {
		addrs = append(addrs, s.addr)
	}
	return addrs
}

// fault injects one fault into a fresh plain set-up under load.
func (p *plain) fault(inject func(p *plain)) outcome {
	p.t.Helper()
	return underLoad(p.t, throughSentinels(p.sentinelAddrs(), plainMaster, ""), []string{"plain"}, func() {
		inject(p)
		p.wait("writes on a new master", func(ctx context.Context) bool {
			c := redis.NewSentinelClient(&redis.Options{Addr: p.sentinels[0].addr})
			defer func() { _ = c.Close() }()
			addr, err := c.GetMasterAddrByName(ctx, plainMaster).Result()
			return err == nil && net.JoinHostPort(addr[0], addr[1]) != p.servers[0].addr
		})
	})
}

// TestPlain measures plain redis-server and redis-sentinel under the faults that Redstart is measured under.
func TestPlain(t *testing.T) {
	onlyEmbedded(t)
	for _, tuning := range []struct {
		name      string
		downAfter time.Duration
	}{{"plain Sentinel, 5 s", 5 * time.Second}, {"plain Sentinel, 500 ms", 500 * time.Millisecond}} {
		for _, f := range []struct {
			scenario string
			inject   func(p *plain)
		}{
			{"kill -9 of the master's server", func(p *plain) {
				signalPID(p.t, p.servers[0].cmd.Process.Pid, syscall.SIGKILL)
			}},
			{"planned failover", func(p *plain) {
				c := redis.NewSentinelClient(&redis.Options{Addr: p.sentinels[0].addr})
				defer func() { _ = c.Close() }()
				if err := c.Failover(context.Background(), plainMaster).Err(); err != nil {
					p.t.Fatal(err)
				}
			}},
		} {
			t.Run(f.scenario+"/"+tuning.name, func(t *testing.T) {
				for range *trials {
					o := startPlain(t, tuning.downAfter).fault(f.inject)
					results.add(result{scenario: f.scenario, system: tuning.name, took: o.gap, lost: o.lost})
				}
			})
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func signalPID(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	if pid <= 1 {
		t.Fatalf("refusing to signal process %d", pid)
	}
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatalf("signal %v to process %d: %v", sig, pid, err)
	}
}

// eventually polls for a condition, each try bounded by five seconds: the machine may be slow.
func eventually(t *testing.T, limit time.Duration, what string, ok func(context.Context) bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		done := ok(ctx)
		cancel()
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s", limit, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
