// Package redistest starts real redis-servers and Sentinels for tests, and forwards connections as a Service does.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// patience is how long a test waits for what has to happen: the machine may be busy.
const patience = 30 * time.Second

// Server is a redis-server or a Sentinel of its own.
type Server struct {
	Addr string
	t    testing.TB
	cmd  *exec.Cmd
	done chan struct{}
}

// Start starts a redis-server with the given options, for example "--replicaof", "127.0.0.1 6379".
func Start(t testing.TB, options ...string) *Server {
	t.Helper()
	return start(t, nil, options...)
}

// Replica starts a replica of master and waits until that one finds it online.
func Replica(t testing.TB, master *Server, options ...string) *Server {
	t.Helper()
	host, port, _ := net.SplitHostPort(master.Addr)
	s := Start(t, append([]string{"--replicaof", host + " " + port}, options...)...)
	_, own, _ := net.SplitHostPort(s.Addr)
	// The master finds it online a moment after its own link is up.
	online := regexp.MustCompile(`(?m)^slave\d+:.*\bport=` + own + `,state=online,`)
	c := master.Client()
	Wait(t, "the replica is online", func() bool {
		info, err := c.Info(context.Background(), "replication").Result()
		return err == nil && online.MatchString(info)
	})
	return s
}

// Sentinels starts three Sentinels that watch master under the name and waits until they know its replicas and each
// other.
func Sentinels(t testing.TB, name string, master *Server, replicas int, downAfter time.Duration) []string {
	t.Helper()
	host, port, _ := net.SplitHostPort(master.Addr)
	var addrs []string
	for range 3 {
		conf := fmt.Sprintf("sentinel monitor %[1]s %[2]s %[3]s 2\nsentinel down-after-milliseconds %[1]s %[4]d\nsentinel failover-timeout %[1]s 5000\n",
			name, host, port, downAfter.Milliseconds())
		addrs = append(addrs, start(t, []byte(conf), "--sentinel").Addr)
	}
	for _, addr := range addrs {
		c := redis.NewSentinelClient(&redis.Options{Addr: addr})
		t.Cleanup(func() { c.Close() })
		Wait(t, "Sentinel knows everybody", func() bool {
			r, err := c.Replicas(context.Background(), name).Result()
			o, errOthers := c.Sentinels(context.Background(), name).Result()
			return err == nil && errOthers == nil && len(r) == replicas && len(o) == 2
		})
	}
	return addrs
}

func start(t testing.TB, conf []byte, options ...string) *Server {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("no redis-server on PATH")
	}
	// A free port may be taken between the look and the start: try again then.
	for range 5 {
		dir := t.TempDir()
		port := FreePort(t)
		file := filepath.Join(dir, "redis.conf")
		if err := os.WriteFile(file, conf, 0o600); err != nil {
			t.Fatal(err)
		}
		args := append([]string{file, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir, "--save", ""}, options...)
		if len(conf) == 0 {
			args = append(args, "--repl-diskless-sync-delay", "0") // not five seconds for each replica
		}
		s := &Server{Addr: fmt.Sprintf("127.0.0.1:%d", port), t: t, cmd: exec.Command(path, args...), done: make(chan struct{})}
		if err := s.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go func() { defer close(s.done); _ = s.cmd.Wait() }()
		t.Cleanup(s.Kill)
		if s.answers() {
			return s
		}
		s.Kill()
	}
	t.Fatalf("redis-server %v does not start", options)
	return nil
}

func (s *Server) answers() bool {
	c := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1, DialerRetries: 1})
	defer c.Close()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if err := c.Ping(context.Background()).Err(); err == nil || redis.IsAuthError(err) {
			return true
		}
		select {
		case <-s.done:
			return false
		case <-time.After(5 * time.Millisecond):
		}
	}
	return false
}

// PID of the process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Kill ends the server by SIGKILL and waits for that.
func (s *Server) Kill() {
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Errorf("kill redis-server %d: %v", s.PID(), err)
	}
	<-s.done
}

// Signal sends a signal, SIGSTOP for example.
func (s *Server) Signal(sig syscall.Signal) {
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Errorf("signal redis-server %d: %v", s.PID(), err)
	}
}

// Client connects to the server until the test ends.
func (s *Server) Client() *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1, DialerRetries: 1})
	s.t.Cleanup(func() { c.Close() })
	return c
}

// Offset is the server's replication offset, -1 when it does not answer.
func (s *Server) Offset() int64 {
	c := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1, DialerRetries: 1})
	defer c.Close()
	info, err := c.Info(context.Background(), "replication").Result()
	if err != nil {
		return -1
	}
	field := "master_repl_offset:"
	if strings.Contains(info, "role:slave") {
		field = "slave_repl_offset:"
	}
	_, rest, _ := strings.Cut(info, field)
	line, _, _ := strings.Cut(rest, "\r\n")
	n, err := strconv.ParseInt(line, 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// Promote makes the server a master.
func (s *Server) Promote() {
	if err := s.Client().ReplicaOf(context.Background(), "NO", "ONE").Err(); err != nil {
		s.t.Fatalf("promote %s: %v", s.Addr, err)
	}
}

// Follow makes the server a replica of master.
func (s *Server) Follow(master *Server) {
	host, port, _ := net.SplitHostPort(master.Addr)
	if err := s.Client().ReplicaOf(context.Background(), host, port).Err(); err != nil {
		s.t.Fatalf("make %s follow %s: %v", s.Addr, master.Addr, err)
	}
}

// Failover promotes the replica that has most, makes the others follow it, and returns it. It is what an operator does
// after a master's death.
func Failover(replicas ...*Server) *Server {
	best := replicas[0]
	for _, r := range replicas[1:] {
		if r.Offset() > best.Offset() {
			best = r
		}
	}
	best.Promote()
	for _, r := range replicas {
		if r != best {
			r.Follow(best)
		}
	}
	return best
}

// FreePort is a port of 127.0.0.1 that nobody listens on now.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// Wait polls until the condition holds and fails the test if it never does.
func Wait(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain until %s", patience, what)
		}
		<-time.After(10 * time.Millisecond)
	}
}
