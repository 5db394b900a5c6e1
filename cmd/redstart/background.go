package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"redstart.dev/redstart/internal/localcluster"
	"redstart.dev/redstart/internal/manifest"
)

const (
	// apiTimeout bounds how long the background process may take until its API answers.
	apiTimeout = 30 * time.Second
	// logTail is how much of the log is shown when it fails, in bytes and in lines.
	logTailBytes = 16 << 10
	logTailLines = 15
)

// runBackground starts this program again, detached, and does from here what the foreground does.
func (u *up) runBackground(ctx context.Context, docs []manifest.Document) error {
	logPath := filepath.Join(u.state, "up.log")
	child, start, err := u.startChild(logPath)
	if err != nil {
		return err
	}
	exited := make(chan error, 1)
	waiting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		err := child.Wait()
		exited <- err
		if err == nil {
			err = errStopped
		}
		cancel(fmt.Errorf("the background process: %w", err))
	}()

	fail := func(err error) error {
		cause := context.Cause(waiting)
		stop(child, exited)
		switch {
		case ctx.Err() != nil:
			return errInterrupted
		case errors.Is(cause, errStopped):
			return cause
		case cause != nil:
			err = cause
		}
		return errors.Join(err, lastLines(logPath))
	}
	config, err := u.awaitAPI(ctx, child.Process.Pid, exited)
	if err != nil {
		return fail(err)
	}
	err = u.check(docs)(ctx, config)
	if err == nil {
		_, err = start.Write([]byte("\n"))
	}
	if err != nil {
		stop(child, exited)
		return unlessInterrupted(ctx, err)
	}
	err = u.rollOut(waiting, config, docs, true)
	var notReady notReadyError
	if errors.As(err, &notReady) && waiting.Err() == nil {
		return errors.Join(fmt.Errorf("%w; it keeps running: look with redstart status, end it with redstart down", err), lastLines(logPath))
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// errStopped is a clean end that somebody asked for, by redstart down.
var errStopped = errors.New("stopped before everything was ready")

// startChild starts the background process, which starts nothing itself before it reads a line from start: see awaitGo.
func (u *up) startChild(logPath string) (child *exec.Cmd, start io.Writer, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, fmt.Errorf("finding this program: %w", err)
	}
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = log.Close() }()
	args := []string{"up", "--serve", "--state-dir", u.state}
	if u.config != "" {
		args = append(args, "--config", u.config)
	}
	if u.addresses != "" {
		args = append(args, "--addresses", u.addresses)
	}
	if u.verbose {
		args = append(args, "--verbose")
	}
	child = exec.Command(self, args...)
	child.Stdout, child.Stderr = log, log
	child.SysProcAttr = detached()
	if start, err = child.StdinPipe(); err == nil {
		err = child.Start()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("starting in the background: %w", err)
	}
	return child, start, nil
}

// awaitGo is the check of the background process: the one that started it makes it, and says so by a line.
func (u *up) awaitGo(ctx context.Context, _ *rest.Config) error {
	read := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(u.in, make([]byte, 1))
		read <- err
	}()
	select {
	case err := <-read:
		if err != nil {
			return errors.New("the command that started this process ended before it had checked everything")
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stop ends the background process when its start failed.
func stop(child *exec.Cmd, exited <-chan error) {
	if terminate(child.Process) != nil {
		return // it has ended
	}
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-exited: //nolint:errcheck // it was told to end
	case <-timer.C:
		_ = child.Process.Kill()
	}
}

// awaitAPI returns when the API of the background process answers.
func (u *up) awaitAPI(ctx context.Context, pid int, exited chan error) (*rest.Config, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		running, err := localcluster.Find(u.state)
		if err == nil && running != nil && running.PID == pid {
			if config := answering(ctx, running.KubeconfigPath); config != nil {
				return config, nil
			}
		}
		select {
		case err := <-exited:
			exited <- err
			return nil, errors.New("the background process ended at once; the end of its log:")
		case <-ctx.Done():
			return nil, fmt.Errorf("the API of the background process does not answer: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// answering is the configuration of an API server that answers, nil otherwise.
func answering(ctx context.Context, kubeconfig string) *rest.Config {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil
	}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, err := kube.RESTClient().Get().AbsPath("/version").DoRaw(ctx); err != nil {
		return nil
	}
	return config
}

// lastLines is the end of a log file, as an error that is printed after what went wrong.
func lastLines(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err == nil && info.Size() > logTailBytes {
		_, _ = f.Seek(-logTailBytes, 2)
	}
	buf := make([]byte, logTailBytes)
	n, _ := f.Read(buf)
	lines := bytes.Split(bytes.TrimSpace(buf[:n]), []byte("\n"))
	if len(lines) > logTailLines {
		lines = lines[len(lines)-logTailLines:]
	}
	if text := bytes.Join(lines, []byte("\n")); len(text) > 0 {
		return fmt.Errorf("log: %s", bytes.ReplaceAll(text, []byte("\n"), []byte("\nlog: ")))
	}
	return nil
}
