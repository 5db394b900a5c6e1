//go:build unix

package process

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReadLedger(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       map[int]string
		bye        bool
	}{
		{"empty", "", map[int]string{}, false},
		{"started and ended", "+ 10 a/1\n+ 11 a/2\n- 10\n", map[int]string{11: "a/2"}, false},
		{"goodbye", "+ 10 a/1\nbye\n", map[int]string{10: "a/1"}, true},
		{"nonsense and a cut line", "hello\n+ x\n+ 12 a/3\n+ 1 a/1\n+ 13", map[int]string{12: "a/3"}, false},
		{"never everything", "+ 0 a\n+ -1 a\n", map[int]string{}, false},
	} {
		got, bye := readLedger(strings.NewReader(c.text))
		if diff := cmp.Diff(c.want, got); diff != "" || bye != c.bye {
			t.Errorf("%s: bye %t, %s", c.name, bye, diff)
		}
	}
}

func TestKillLeftoversSparesOthers(t *testing.T) {
	p := start(t, sh("sleep 60"))
	reused := map[int]string{p.PID(): bootID() + "/1"} // the same number, another start
	if n := killAll(reused); n != 0 {
		t.Errorf("killed %d", n)
	}
	if !running(p.PID()) {
		t.Error("a process with a reused number was killed")
	}
	if sameTree(1<<22+1, "another-boot/5") {
		t.Error("a group of another boot was taken for ours")
	}
	if _, err := KillLeftovers(t.TempDir() + "/none"); err != nil {
		t.Errorf("no file: %v", err)
	}
	if first, second := identity(os.Getpid()), identity(os.Getpid()); first == "" || first != second {
		t.Error("identity is not stable")
	}
}

func TestBackoff(t *testing.T) {
	b := DefaultBackoff
	var last time.Duration
	var got []time.Duration
	for range 14 {
		last = b.Next(last, time.Second)
		got = append(got, last/time.Millisecond)
	}
	want := []time.Duration{10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10240, 20480, 30000, 30000}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if d := b.Next(30*time.Second, time.Minute); d != b.First {
		t.Errorf("after a minute of running: %s", d)
	}
}

func TestRestarts(t *testing.T) {
	for _, c := range []struct {
		policy   RestartPolicy
		ok, fail bool
	}{{Always, true, true}, {OnFailure, false, true}, {Never, false, false}, {"", true, true}} {
		if c.policy.Restarts(0) != c.ok || c.policy.Restarts(1) != c.fail {
			t.Errorf("%q: %t %t", c.policy, c.policy.Restarts(0), c.policy.Restarts(1))
		}
	}
}
