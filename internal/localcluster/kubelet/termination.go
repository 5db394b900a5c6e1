package kubelet

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"redstart.dev/redstart/internal/process"
)

// EnvTerminationLog names the file in which a process may say why it ends.
const EnvTerminationLog = "REDSTART_TERMINATION_LOG"

// The bounds of a termination message, as every kubelet has them.
const (
	maxMessage       = 4096 // bytes of the file
	maxMessageOfLog  = 2048 // bytes of the log
	maxLinesOfTheLog = 80
)

// messagePath is the file that terminationMessagePath stands for: in a volume if it is in one that the container
// mounts, and the pod's own otherwise. Processes share the machine's /dev.
func (c *container) messagePath(at place) string {
	if path, ok := mounted(c.spec, c.spec.TerminationMessagePath, at); ok {
		return path
	}
	return filepath.Join(c.w.k.podDir(c.w.uid), "termination", c.spec.Name)
}

// mounted is where a path in the container's mounts is on this machine.
func mounted(c *corev1.Container, path string, at place) (string, bool) {
	for _, m := range c.VolumeMounts {
		rest, ok := strings.CutPrefix(path, strings.TrimSuffix(m.MountPath, "/"))
		if ok && path != "" && (rest == "" || rest[0] == '/') {
			return filepath.Join(at.mounts[m.Name], rest), true
		}
	}
	return "", false
}

// emptyMessage makes the file for a run, and returns its path.
func (c *container) emptyMessage(at place) (string, error) {
	path := c.messagePath(at)
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = os.WriteFile(path, nil, 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("make the file of the termination message: %w", err)
	}
	return path, nil
}

// message is what a run that has ended says of its end: the file, or the end of its output if its policy asks for that.
// What cannot be read is nothing said.
func (c *container) message(exit process.Exit) string {
	var said tail
	if f, err := os.Open(c.messagePath(c.w.place())); err == nil {
		said.most = maxMessage
		_, _ = io.Copy(&said, io.LimitReader(f, maxMessage))
		_ = f.Close()
	}
	policy := cmp.Or(c.spec.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	if len(said.b) == 0 && exit.Code != 0 && policy == corev1.TerminationMessageFallbackToLogsOnError {
		said.most = maxMessageOfLog
		_ = process.ReadLog(context.WithoutCancel(c.w.ctx), c.log, process.LogOptions{Tail: ptr.To[int64](maxLinesOfTheLog)}, &said)
	}
	return strings.ToValidUTF8(string(said.b), "\uFFFD")
}

// tail keeps the last bytes.
type tail struct {
	b    []byte
	most int
}

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if n := len(t.b) - t.most; n > 0 {
		t.b = append(t.b[:0], t.b[n:]...)
	}
	return len(p), nil
}
