// Command redstart runs highly available Redis and Valkey, on one machine or on Kubernetes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks for a clean end; from then on a second one ends the process at once.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes one command line and answers with its exit code.
func run(ctx context.Context, argv []string, in io.Reader, out, errOut io.Writer) int {
	a := &app{program: programName(argv[0]), in: in, out: out, errOut: errOut}
	root := newRootCommand(a)
	root.SetArgs(argv[1:])
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	return report(errOut, root.ExecuteContext(ctx))
}

// usageError is a mistake in the command line itself.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitError is the exit code of a program that ran on the user's behalf and has already said why it failed.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// report prints an error, one line for each thing that is wrong, and chooses the exit code.
func report(w io.Writer, err error) int {
	var exit exitError
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &exit):
		return int(exit)
	}
	for _, line := range strings.Split(strings.TrimSpace(err.Error()), "\n") {
		fmt.Fprintf(w, "redstart: %s\n", line)
	}
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}
