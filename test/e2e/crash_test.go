package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ownCluster is a cluster on this machine with a state directory of its own, which runs nothing yet.
func ownCluster(t *testing.T) (c *cluster, state string) {
	t.Helper()
	dir := t.TempDir()
	bin, err := redstartBinary(dir)
	if err != nil {
		t.Fatal(err)
	}
	state = filepath.Join(dir, "state")
	return embeddedIn(bin, state), state
}

// killUp kills "redstart up" and waits until no process of its cluster is left.
func killUp(t *testing.T, state string) {
	t.Helper()
	signalPID(t, upPID(t, state), syscall.SIGKILL)
	eventually(t, 30*time.Second, "all processes to be gone", func(context.Context) bool { return len(processesOf(t, state)) == 0 })
}

// TestCrash kills "redstart up" itself: no process may outlive it, and the next start goes on with the data.
func TestCrash(t *testing.T) {
	onlyEmbedded(t)
	c, state := ownCluster(t)
	example := guestbookOnFreePort(t)
	up := func() {
		t.Helper()
		if out, err := c.redstart("up", "-d", "-f", example); err != nil {
			t.Fatalf("redstart up: %v\n%s", err, out)
		}
	}
	up()
	t.Cleanup(func() {
		if out, err := c.redstart("down"); err != nil {
			t.Errorf("redstart down: %v\n%s", err, out)
		}
		if left := processesOf(t, state); len(left) > 0 {
			t.Errorf("still running after redstart down: %v", left)
		}
	})
	if err := c.connect(); err != nil {
		t.Fatal(err)
	}
	if out, err := c.redstart("cli", "cache", "--", "SET", "kept", "yes"); err != nil || !strings.Contains(out, "OK") {
		t.Fatalf("redstart cli: %v\n%s", err, out)
	}
	// One second is what appendfsync everysec may lose with the machine; the process alone loses nothing.
	in := &instance{t: t, cluster: c, name: "cache", namespace: "default"}
	before := in.redis(context.Background()).UID

	running := processesOf(t, state)
	if len(running) < 8 {
		t.Fatalf("only %d processes of this cluster were found: %v", len(running), running)
	}
	killUp(t, state)

	start := time.Now()
	up()
	t.Logf("up again after %s", time.Since(start).Round(time.Millisecond))
	if err := c.connect(); err != nil {
		t.Fatal(err)
	}
	in.waitReady()
	if now := in.redis(context.Background()).UID; now != before {
		t.Errorf("the Redis is another object than before: %s, was %s", now, before)
	}
	if out, err := c.redstart("cli", "cache", "--", "GET", "kept"); err != nil || !strings.Contains(out, "yes") {
		t.Errorf("redstart cli: %v\n%s", err, out)
	}
}

// TestCrashWhileSlotsMove kills "redstart up", and with it the operator and every member, in the middle of a migration of slots: the
// next one finishes it, with all data.
func TestCrashWhileSlotsMove(t *testing.T) {
	onlyEmbedded(t)
	c, state := ownCluster(t)
	up := func(args ...string) {
		t.Helper()
		if out, err := c.redstart(append([]string{"up", "-d"}, args...)...); err != nil {
			t.Fatalf("redstart up: %v\n%s", err, out)
		}
		if err := c.connect(); err != nil {
			t.Fatal(err)
		}
	}
	up("-f", "../../examples/cluster")
	t.Cleanup(func() {
		if out, err := c.redstart("down"); err != nil {
			t.Errorf("redstart down: %v\n%s", err, out)
		}
	})
	in := c.instance(t, "default", "cache")
	in.waitReady()
	fill(t, in.writes(), scaleKeys)
	// One second is what appendfsync everysec may lose with the machine; the processes alone lose nothing that a server wrote.
	in.startMigration()
	killUp(t, state)
	up()
	in.waitReady()
	if shards := len(in.redis(context.Background()).Status.Shards); shards != 4 {
		t.Errorf("there are %d shards, want 4", shards)
	}
	checkFilled(t, in, scaleKeys)
	in.checkKnown()
}

// TestFootprint prints what "redstart up" itself needs with the example running; docs/benchmarks.md quotes it.
func TestFootprint(t *testing.T) {
	onlyEmbedded(t)
	c, state := ownCluster(t)
	example := guestbookOnFreePort(t)
	start := time.Now()
	if out, err := c.redstart("up", "-d", "-f", example); err != nil {
		t.Fatalf("redstart up: %v\n%s", err, out)
	}
	first := time.Since(start)
	t.Cleanup(func() {
		if out, err := c.redstart("down"); err != nil {
			t.Errorf("redstart down: %v\n%s", err, out)
		}
	})
	info, err := os.Stat(c.binary)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.connect(); err != nil {
		t.Fatal(err)
	}
	in := c.instance(t, "default", "cache")
	in.waitReady()
	in.waitSettled()
	pid := upPID(t, state)
	before := cpuTicks(t, pid)
	const idle = 10 * time.Second
	time.Sleep(idle)
	cpu := float64(cpuTicks(t, pid)-before) / 100 / idle.Seconds()
	t.Logf("first start %s; redstart up: resident %.1f MiB, idle CPU %.2f %% of a core; binary %.1f MiB",
		first.Round(time.Millisecond), float64(residentKiB(t, pid))/1024, 100*cpu, float64(info.Size())/(1<<20))
	if s, err := in.status(in.master()); err == nil {
		t.Logf("an agent: resident %.1f MiB", float64(residentKiB(t, parent(t, s.Server.PID)))/1024)
	}
}

func upPID(t *testing.T, stateDir string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(stateDir, "up.lock"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatalf("up.lock: %v", err)
	}
	return pid
}

// processesOf lists the processes that have the state directory in their command line or environment.
func processesOf(t *testing.T, stateDir string) (found []string) {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(d))
		if pid == os.Getpid() || pid == os.Getppid() {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join(d, "cmdline"))
		environ, _ := os.ReadFile(filepath.Join(d, "environ"))
		cwd, _ := os.Readlink(filepath.Join(d, "cwd"))
		if len(cmdline) > 0 && strings.Contains(string(cmdline)+string(environ)+cwd, stateDir) {
			found = append(found, fmt.Sprintf("%d %s", pid, strings.ReplaceAll(string(cmdline), "\x00", " ")))
		}
	}
	return found
}

func procStat(t *testing.T, pid int) []string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
}

func parent(t *testing.T, pid int) int {
	t.Helper()
	n, err := strconv.Atoi(procStat(t, pid)[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// cpuTicks is user and system time in hundredths of a second, as Linux counts for user space.
func cpuTicks(t *testing.T, pid int) int {
	t.Helper()
	f := procStat(t, pid)
	user, err1 := strconv.Atoi(f[11])
	system, err2 := strconv.Atoi(f[12])
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	return user + system
}

func residentKiB(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no VmRSS of process %d", pid)
	return 0
}
