package process

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
)

// The ledger is a text of lines: "+ GROUP IDENTITY" for a tree that was started, "- GROUP" for one that ended, and
// "bye" when all is in order. It is written to the reaper's standard input and to a file alike.
const (
	lineStarted = "+ %d %s\n"
	lineEnded   = "- %d\n"
	lineBye     = "bye\n"
)

// maxLedgerLine bounds what is read of a line; a longer one is not ours.
const maxLedgerLine = 4096

// killTime is how long KillLeftovers and the reaper go on killing a tree that does not vanish.
const killTime = 2 * time.Second

// readLedger returns the trees that were started and not ended, by group with the identity of their first process.
// It reads to the end; a line that is cut short or makes no sense is skipped.
func readLedger(r io.Reader) (groups map[int]string, bye bool) {
	groups = map[int]string{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLedgerLine)
	for lines.Scan() {
		var group int
		var id string
		line := lines.Text() + "\n"
		switch {
		case line == lineBye:
			bye = true
		case scan(line, lineStarted, &group, &id) && group > 1:
			groups[group], bye = id, false
		case scan(line, lineEnded, &group):
			delete(groups, group)
		}
	}
	return groups, bye
}

func scan(line, format string, into ...any) bool {
	n, err := fmt.Sscanf(line, format, into...)
	return err == nil && n == len(into)
}

// KillLeftovers kills the trees that the ledger file at path still lists, those of a run that died without doing
// it, and returns how many there were. It must not be called while that run is alive. A tree whose number belongs
// to another process by now is left alone. No file is no error.
func KillLeftovers(path string) (int, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the list of running processes: %w", err)
	}
	groups, _ := readLedger(f)
	_ = f.Close()
	return killAll(groups), nil
}

// killAll kills those of the groups that are still the recorded ones, and returns how many were.
func killAll(groups map[int]string) int {
	alive := map[int]string{}
	for group, id := range groups {
		if sameTree(group, id) && groupAlive(group) {
			alive[group] = id
		}
	}
	count := len(alive)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(killTime); len(alive) > 0 && time.Now().Before(end); <-tick.C {
		for group, id := range alive {
			if !sameTree(group, id) || !groupAlive(group) {
				delete(alive, group)
				continue
			}
			_ = killGroup(group)
		}
	}
	return count
}

// sameTree tells whether group is still the one whose first process had the identity id. When that process is gone
// its number stays taken as long as anybody is in the group, within one boot of the machine.
func sameTree(group int, id string) bool {
	now := identity(group)
	return now == id || now == "" && bootOf(id) == bootID()
}

// bootOf is the boot in an identity.
func bootOf(id string) string {
	boot, _, _ := strings.Cut(id, "/")
	return boot
}
