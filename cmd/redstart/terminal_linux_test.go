package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// What people see: up, status -w and failover in small windows, and Ctrl-C in each.
func TestTerminal(t *testing.T) {
	s := newSession(t)
	s.write("cache.yaml", cacheYAML)

	// A window that is lower than the picture: it is drawn in place all the same.
	up := s.window(44, 6, "up", "-f", "cache.yaml")
	up.see(time.Minute, `Ctrl-C stops everything`)
	if n := strings.Count(up.all(), "Redis cache "); n != 1 {
		t.Errorf("the Redis is there %d times, want once:\n%s", n, up.all())
	}

	status := s.window(60, 8, "status", "redis/cache", "-w")
	status.see(10*time.Second, `(?s)^cache  Sentinel  Ready.*\.\.\. \d+ more lines\n$`)
	before := regexp.MustCompile(`cache-\d +master`).FindString(status.visible())
	failover := s.window(60, 8, "failover", "cache")
	failover.see(30*time.Second, `cache: master moved from cache-\d to cache-\d in \d+ ms`)
	failover.exits(0)
	status.see(10*time.Second, `cache-\d +master`)
	deadline := time.Now().Add(10 * time.Second)
	for strings.Contains(status.visible(), before) && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	if after := status.visible(); strings.Contains(after, before) {
		t.Errorf("status still shows %q:\n%s", before, after)
	}
	if n := strings.Count(status.all(), "cache  Sentinel"); n != 1 {
		t.Errorf("the pictures are below each other:\n%s", status.all())
	}

	// The cluster ends before its viewer does.
	up.interrupt()
	up.see(time.Minute, `Stopped\.`)
	up.exits(0)
	status.see(10*time.Second, `The API server does not answer now`)
	status.interrupt()
	status.exits(0)

	early := s.window(80, 24, "up")
	early.see(30*time.Second, `Redis cache`)
	early.interrupt()
	early.see(time.Minute, `redstart: interrupted before everything was ready`)
	early.exits(1)
	if out := s.must("down"); !strings.HasPrefix(out, "Nothing runs with the state directory ") {
		t.Errorf("redstart down prints %s", out)
	}
}

// window is one in which the program runs.
type window struct {
	t     *testing.T
	tty   *os.File
	ended chan error

	mu sync.Mutex
	screen
}

// window starts the program in a window of its own.
func (s *session) window(columns, rows uint16, args ...string) *window {
	s.t.Helper()
	tty, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		s.t.Skipf("no pseudo-terminals: %v", err)
	}
	fd := int(tty.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
	}
	if err != nil {
		s.t.Fatal(err)
	}
	inside, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer inside.Close()
	cmd := exec.Command(s.bin, args...)
	cmd.Dir, cmd.Env = s.dir, append(s.env, "TERM=xterm")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inside, inside, inside
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	w := &window{t: s.t, tty: tty, ended: make(chan error, 1), screen: screen{columns: int(columns), rows: int(rows), lines: [][]rune{nil}}}
	read := make(chan struct{})
	go func() {
		defer close(read)
		b := make([]byte, 4096)
		for {
			n, err := tty.Read(b) // ends with the last program in the window
			if n == 0 && err != nil {
				return
			}
			w.mu.Lock()
			w.write(b[:n])
			w.mu.Unlock()
		}
	}()
	go func() { w.ended <- cmd.Wait() }()
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill() // long gone, unless the test failed
		<-read
		_ = tty.Close()
	})
	return w
}

func (w *window) interrupt() {
	w.t.Helper()
	if _, err := w.tty.Write([]byte{3}); err != nil {
		w.t.Fatal(err)
	}
}

// see waits until what is in the window matches.
func (w *window) see(patience time.Duration, want string) {
	w.t.Helper()
	re := regexp.MustCompile(want)
	for end := time.Now().Add(patience); !re.MatchString(w.visible()); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("after %s the window shows\n%s\nwant %s", patience, w.visible(), want)
		}
	}
}

func (w *window) exits(code int) {
	w.t.Helper()
	select {
	case err := <-w.ended:
		got := 0
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			got = exit.ExitCode()
		}
		if got != code {
			w.t.Errorf("exit code %d, want %d; the window shows\n%s", got, code, w.visible())
		}
	case <-time.After(10 * time.Second):
		w.t.Fatalf("it does not end; the window shows\n%s", w.visible())
	}
}

func (w *window) visible() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text(w.top())
}

// all is what is in the window and what was scrolled out of it.
func (w *window) all() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text(0)
}

// screen is what a terminal makes of what it is sent: as little of one as the program needs.
type screen struct {
	columns, rows int
	lines         [][]rune
	row, column   int
	rest          []byte // of a sequence that is not complete
}

var sequence = regexp.MustCompile(`^\x1b\[([0-9;]*)([A-Za-z])`)

func (s *screen) top() int { return max(0, len(s.lines)-s.rows) }

func (s *screen) text(from int) string {
	var b strings.Builder
	for _, line := range s.lines[from:] {
		b.WriteString(strings.TrimRight(string(line), " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func (s *screen) write(b []byte) {
	b = append(s.rest, b...)
	for len(b) > 0 {
		if b[0] == '\x1b' {
			m := sequence.FindSubmatch(b)
			if m == nil {
				break
			}
			s.control(string(m[1]), m[2][0])
			b = b[len(m[0]):]
			continue
		}
		if !utf8.FullRune(b) {
			break
		}
		r, n := utf8.DecodeRune(b)
		s.put(r)
		b = b[n:]
	}
	s.rest = append([]byte(nil), b...)
}

func (s *screen) control(parameter string, what byte) {
	n, _ := strconv.Atoi(parameter)
	switch what {
	case 'A':
		s.row = max(s.top(), s.row-n)
	case 'K':
		s.lines[s.row] = s.lines[s.row][:min(s.column, len(s.lines[s.row]))]
	case 'J':
		s.control("", 'K')
		for i := s.row + 1; i < len(s.lines); i++ {
			s.lines[i] = nil
		}
	}
}

func (s *screen) put(r rune) {
	switch {
	case r == '\r':
		s.column = 0
		return
	case r == '\n', s.column == s.columns:
		if s.row++; s.row == len(s.lines) {
			s.lines = append(s.lines, nil)
		}
		if r == '\n' {
			return
		}
		s.column = 0
	}
	line := s.lines[s.row]
	for len(line) <= s.column {
		line = append(line, ' ')
	}
	line[s.column] = r
	s.lines[s.row] = line
	s.column++
}
