//go:build unix

package process

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const patience = 20 * time.Second

// eventually polls until ok says so.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		if ok() {
			return
		}
	}
	t.Fatalf("not within %s: %s", patience, what)
}

func start(t *testing.T, c Command) *Process {
	t.Helper()
	if c.Env == nil {
		c.Env = os.Environ()
	}
	p, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Kill(); <-p.Done() })
	return p
}

func wait(t *testing.T, p *Process) Exit {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(patience):
		t.Fatalf("process %d did not end", p.PID())
	}
	return p.Exit()
}

func sh(script string) Command { return Command{Path: "sh", Args: []string{"-c", script}} }

func TestExit(t *testing.T) {
	for _, c := range []struct {
		script string
		code   int
		reason string
	}{
		{"exit 0", 0, "Completed"},
		{"exit 3", 3, "Error"},
		{"kill -9 $$", 137, "Error"},
		{"kill -TERM $$", 143, "Error"},
	} {
		e := wait(t, start(t, sh(c.script)))
		if e.Code != c.code || e.Reason() != c.reason {
			t.Errorf("%s: code %d, reason %s; want %d, %s", c.script, e.Code, e.Reason(), c.code, c.reason)
		}
		if e.Started.IsZero() || e.Finished.Before(e.Started) {
			t.Errorf("%s: from %s to %s", c.script, e.Started, e.Finished)
		}
	}
}

func TestStartErrors(t *testing.T) {
	_, err := Start(Command{Path: "no-such-command-here"})
	if !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "no-such-command-here") {
		t.Errorf("unknown command: %v", err)
	}
	_, err = Start(Command{Path: "sh", Dir: "/no/such/dir"})
	if err == nil || !strings.Contains(err.Error(), "/no/such/dir") {
		t.Errorf("unknown directory: %v", err)
	}
}

func TestOutputAndEnvironment(t *testing.T) {
	var out, errs bytes.Buffer
	p := start(t, Command{
		Path: "sh", Args: []string{"-c", "env; pwd; echo oops >&2"}, Env: []string{"ONLY=this", "PATH=" + os.Getenv("PATH")},
		Dir: t.TempDir(), Stdout: &out, Stderr: &errs,
	})
	wait(t, p)
	if errs.String() != "oops\n" {
		t.Errorf("stderr %q", errs.String())
	}
	if !strings.Contains(out.String(), "ONLY=this\n") || strings.Contains(out.String(), "HOME=") {
		t.Errorf("the environment is not the given one:\n%s", out.String())
	}
}

func TestMainEndsTreeEnds(t *testing.T) {
	var out bytes.Buffer
	c := sh(`trap "" TERM; sleep 60 & echo $!; exit 0`)
	c.Stdout = &out
	e := wait(t, start(t, c))
	if e.Code != 0 {
		t.Fatal(e)
	}
	gone(t, pids(t, strings.Fields(out.String())))
}

func TestStop(t *testing.T) {
	polite := start(t, sh(`trap "exit 7" TERM; while :; do sleep 0.01; done`))
	deaf := start(t, sh(`trap "" TERM; echo; while :; do sleep 0.01; done`))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	// The shell may get the signal before it has set its trap.
	if e := polite.Stop(ctx, syscall.SIGTERM); e.Code != 7 && e.Code != 143 {
		t.Errorf("polite: %s", e)
	}
	short, cancelShort := context.WithCancel(t.Context())
	cancelShort()
	if e := deaf.Stop(short, syscall.SIGCONT); e.Code != 137 {
		t.Errorf("deaf: %s", e)
	}
	if err := deaf.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("signal to an ended process: %v", err)
	}
}

// The kernel's parent-death signal comes when the starting thread ends, not the process: threads must come and go
// without harm.
func TestLivesOnWhenThreadsEnd(t *testing.T) {
	p := start(t, sh("sleep 60"))
	for range 20 {
		done := make(chan struct{})
		go func() { runtime.LockOSThread(); close(done) }() // ends its thread
		<-done
	}
	ended := start(t, sh("sleep 0.1"))
	wait(t, ended)
	select {
	case <-p.Done():
		t.Fatalf("ended: %s", p.Exit())
	default:
	}
}

func TestParentKilled(t *testing.T) {
	for _, mode := range []string{"reaper", "leftovers"} {
		t.Run(mode, func(t *testing.T) {
			ledger := filepath.Join(t.TempDir(), "processes")
			parent := exec.Command(os.Args[0], "parent", mode, ledger)
			out, err := parent.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := parent.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			var said []string
			for len(said) < 6 && lines.Scan() {
				said = append(said, lines.Text())
			}
			tree := pids(t, said)
			t.Cleanup(func() {
				for _, pid := range tree {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			})
			if err := parent.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			killed := time.Now()
			_ = parent.Wait()
			if mode == "leftovers" {
				// The first process of each tree dies with its parent, by the parent-death signal, the others not.
				n, err := KillLeftovers(ledger)
				if err != nil || n != 2 {
					t.Errorf("killed %d leftovers, %v; want 2", n, err)
				}
			}
			gone(t, tree)
			t.Logf("all gone after %s", time.Since(killed))
		})
	}
}

func TestReaperComesBackAndSaysGoodbye(t *testing.T) {
	r, err := StartReaper(filepath.Join(t.TempDir(), "processes"), os.Args[0], "reaper")
	if err != nil {
		t.Fatal(err)
	}
	c := sh("sleep 60")
	c.Reaper = r
	p := start(t, c)
	first := reaperPID(r)
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another reaper", func() bool { now := reaperPID(r); return now != 0 && now != first })
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
		t.Errorf("killed in spite of the goodbye: %s", p.Exit())
	default:
	}
}

func reaperPID(r *Reaper) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pid
}

func pids(t *testing.T, words []string) []int {
	t.Helper()
	var all []int
	for _, w := range words {
		pid, err := strconv.Atoi(w)
		if err != nil {
			t.Fatalf("not a process ID: %q", words)
		}
		all = append(all, pid)
	}
	if len(all) == 0 {
		t.Fatal("no process IDs")
	}
	return all
}

// gone waits until none of the processes runs; zombies that nobody waits for count as gone.
func gone(t *testing.T, all []int) {
	t.Helper()
	for _, pid := range all {
		eventually(t, fmt.Sprintf("process %d is gone", pid), func() bool { return !running(pid) })
	}
}

func running(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	rest := string(b[bytes.LastIndexByte(b, ')')+1:])
	return !strings.HasPrefix(rest, " Z") && !strings.HasPrefix(rest, " X")
}
