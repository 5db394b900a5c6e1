package process

import (
	"fmt"
	"os"
	"time"
)

// Exit tells how a process ended.
type Exit struct {
	// Code as a shell and Kubernetes have it: 128 + N for a death by signal N.
	Code int
	// Signal that killed it, 0 if none did.
	Signal int
	// Started and Finished, by the local clock.
	Started, Finished time.Time
}

// Reason is the word that Kubernetes has for it: Completed or Error.
func (e Exit) Reason() string {
	if e.Code == 0 {
		return "Completed"
	}
	return "Error"
}

// String says it for people.
func (e Exit) String() string {
	if e.Signal != 0 {
		return fmt.Sprintf("killed by signal %d", e.Signal)
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// exitOf reads a state; err is the rare failure to learn it, told as code 255.
func exitOf(state *os.ProcessState, err error) Exit {
	if err != nil {
		return Exit{Code: 255}
	}
	if sig := deathSignal(state); sig != 0 {
		return Exit{Code: 128 + sig, Signal: sig}
	}
	return Exit{Code: state.ExitCode()}
}

// RestartPolicy says whether to start an ended process again; the values are those of a pod.
type RestartPolicy string

// The restart policies.
const (
	Always    RestartPolicy = "Always"
	OnFailure RestartPolicy = "OnFailure"
	Never     RestartPolicy = "Never"
)

// Restarts tells whether a process that ended with code is started again.
func (p RestartPolicy) Restarts(code int) bool {
	switch p {
	case Never:
		return false
	case OnFailure:
		return code != 0
	default:
		return true
	}
}

// Backoff says how long to wait before a process is started again.
type Backoff struct {
	// First wait; each later one is twice as long, up to Max.
	First, Max time.Duration
	// Reset is how long a process has to run for the next wait to be First again.
	Reset time.Duration
}

// DefaultBackoff suits one machine: a process that died once is back at once, one that keeps dying costs little.
var DefaultBackoff = Backoff{First: 10 * time.Millisecond, Max: 30 * time.Second, Reset: time.Minute}

// Next is the wait after a process ran for ran; last is the wait before that run, 0 for the first run.
func (b Backoff) Next(last, ran time.Duration) time.Duration {
	if last <= 0 || ran >= b.Reset {
		return b.First
	}
	return min(2*last, b.Max)
}
