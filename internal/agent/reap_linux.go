package agent

import (
	"bytes"
	"context"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// reapEvery is how often orphans are looked for when no signal told of one.
const reapEvery = 10 * time.Second

// reapOrphans collects, as PID 1 has to, the exits of processes whose parents died before them, such as the child
// with which a killed server was saving. The server itself is left to its supervisor. Elsewhere it does nothing.
func reapOrphans(ctx context.Context, b *base) {
	if os.Getpid() != 1 {
		return
	}
	exits := make(chan os.Signal, 1)
	signal.Notify(exits, syscall.SIGCHLD)
	b.working.Go(func() {
		defer signal.Stop(exits)
		every := time.NewTicker(reapEvery)
		defer every.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-exits:
			case <-every.C:
			}
			for _, pid := range zombies(os.Getpid()) {
				if pid != int(b.server.child.Load()) {
					_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
				}
			}
		}
	})
}

// zombies are the ended children of parent.
func zombies(parent int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		// "PID (NAME) STATE PPID ...", where NAME may have anything in it.
		f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(f) > 1 && string(f[0]) == "Z" && string(f[1]) == strconv.Itoa(parent) {
			out = append(out, pid)
		}
	}
	return out
}
