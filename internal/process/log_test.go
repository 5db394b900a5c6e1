//go:build unix

package process

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/utils/ptr"
)

func createLog(t *testing.T) (*Log, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "0.log")
	l, err := CreateLog(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, path
}

func read(t *testing.T, path string, o LogOptions) string {
	t.Helper()
	var b bytes.Buffer
	if err := ReadLog(t.Context(), path, o, &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestLogForm(t *testing.T) {
	l, path := createLog(t)
	out, errs := l.Stream("stdout"), l.Stream("stderr")
	_, _ = fmt.Fprint(out, "one\ntw")
	_, _ = fmt.Fprint(errs, "oops\n")
	_, _ = fmt.Fprint(out, "o\nno newline")
	_ = out.Close()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	stamp := `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z `
	want := "^" + stamp + "stdout F one\n" + stamp + "stderr F oops\n" + stamp + "stdout F two\n" + stamp + "stdout F no newline\n$"
	if !regexp.MustCompile(want).Match(b) {
		t.Errorf("stored:\n%s", b)
	}
}

func TestLogOptions(t *testing.T) {
	l, path := createLog(t)
	out := l.Stream("stdout")
	_, _ = fmt.Fprint(out, "a\nb\nc\n")
	cut := time.Now()
	_, _ = fmt.Fprint(out, "d\ne\n")
	for _, c := range []struct {
		name string
		o    LogOptions
		want string
	}{
		{"all", LogOptions{}, "a\nb\nc\nd\ne\n"},
		{"tail", LogOptions{Tail: ptr.To[int64](2)}, "d\ne\n"},
		{"tail of more than there is", LogOptions{Tail: ptr.To[int64](9)}, "a\nb\nc\nd\ne\n"},
		{"tail of none", LogOptions{Tail: ptr.To[int64](0)}, ""},
		{"since", LogOptions{Since: cut}, "d\ne\n"},
		{"since and tail", LogOptions{Since: cut, Tail: ptr.To[int64](1)}, "e\n"},
		{"limit", LogOptions{LimitBytes: 3}, "a\nb"},
	} {
		if got := read(t, path, c.o); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if got := read(t, path, LogOptions{Timestamps: true, Tail: ptr.To[int64](1)}); !regexp.MustCompile(`^\d{4}-\S+Z e\n$`).MatchString(got) {
		t.Errorf("timestamps: %q", got)
	}
	if got := read(t, path+".none", LogOptions{}); got != "" {
		t.Errorf("no log: %q", got)
	}
}

func TestLongLine(t *testing.T) {
	l, path := createLog(t)
	long := strings.Repeat("x", 3*maxLogLine+5)
	out := l.Stream("stdout")
	_, _ = fmt.Fprintln(out, long)
	_, _ = fmt.Fprintln(out, "end")
	if got := read(t, path, LogOptions{}); got != long+"\nend\n" {
		t.Errorf("%d bytes came back of %d", len(got), len(long)+5)
	}
	if got := read(t, path, LogOptions{Tail: ptr.To[int64](2)}); got != long+"\nend\n" {
		t.Errorf("tail counts pieces: %d bytes", len(got))
	}
}

func TestRotation(t *testing.T) {
	l, path := createLog(t)
	l.maxSize = 1000
	out := l.Stream("stdout")
	for i := range 200 {
		_, _ = fmt.Fprintf(out, "line %d\n", i)
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != logFiles {
		t.Fatalf("files %v, %v", files, err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Size() > 1000 {
			t.Errorf("%s: %v, %v", f, info, err)
		}
	}
	got := strings.Fields(strings.ReplaceAll(read(t, path, LogOptions{}), "line ", ""))
	if got[len(got)-1] != "199" || len(got) < 40 {
		t.Errorf("%d lines, the last %s", len(got), got[len(got)-1])
	}
	for i, n := range got {
		if n != fmt.Sprint(200-len(got)+i) {
			t.Fatalf("line %d is %s", i, n)
		}
	}
	RemoveLog(path)
	if files, _ := filepath.Glob(path + "*"); len(files) != 0 {
		t.Errorf("left: %v", files)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestFollow(t *testing.T) {
	l, path := createLog(t)
	l.maxSize = 1000
	out := l.Stream("stdout")
	_, _ = fmt.Fprintln(out, "first")
	var got lockedBuffer
	end, done := make(chan struct{}), make(chan error)
	go func() { done <- ReadLog(context.Background(), path, LogOptions{Follow: end}, &got) }()
	want := "first\n"
	for i := range 60 { // over two rotations
		_, _ = fmt.Fprintf(out, "line %d\n", i)
		want += fmt.Sprintf("line %d\n", i)
		eventually(t, "the line is seen", func() bool { return got.String() == want })
	}
	_, _ = fmt.Fprintln(out, "last")
	close(end)
	select {
	case err := <-done:
		if err != nil || got.String() != want+"last\n" {
			t.Errorf("%v, %d bytes", err, len(got.String()))
		}
	case <-time.After(patience):
		t.Fatal("follow does not end")
	}
}
