package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

var began = time.Now()

// say tells the user what is being done, with the seconds since the start.
func say(format string, args ...any) {
	_, _ = fmt.Fprintf(os.Stderr, "[%5.1f s] %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
}

// quiet runs a program with an optional input, and shows what it wrote only when it failed.
func quiet(ctx context.Context, input string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(input)
	return runQuiet(cmd)
}

func runQuiet(cmd *exec.Cmd) error {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	// A grandchild that keeps the pipe open must not keep us.
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args[:min(len(cmd.Args), 6)], " "), err, lastLines(out.String(), 5))
	}
	return nil
}

// lastLines is the end of a program's output on one line.
func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}

// waitFor tries until ok has no error, and returns its last error when the limit is over.
func waitFor(ctx context.Context, limit time.Duration, what string, ok func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	retry := time.NewTicker(100 * time.Millisecond)
	defer retry.Stop()
	for {
		attempt, stop := context.WithTimeout(ctx, 10*time.Second)
		err := ok(attempt)
		stop()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %s for %s: %w", limit, what, err)
		case <-retry.C:
		}
	}
}
