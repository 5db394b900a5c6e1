package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// identity tells the process pid from any other that ever had or will have the same number: boot and start time.
// Empty when there is no such process.
func identity(pid int) string {
	stat, err := readStat(pid)
	if err != nil {
		return ""
	}
	return bootID() + "/" + stat.start
}

// bootID changes with every boot of the machine.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "boot"
	}
	return string(bytes.TrimSpace(b))
}

// groupAlive tells whether any process is in the group that has not ended (a zombie has).
func groupAlive(group int) bool {
	dir, err := os.Open("/proc")
	if err != nil {
		return false
	}
	defer func() { _ = dir.Close() }()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if s, err := readStat(pid); err == nil && s.group == group && s.state != "Z" && s.state != "X" {
			return true
		}
	}
	return false
}

type stat struct {
	state string
	group int
	start string // in clock ticks since boot
}

var errStat = errors.New("unexpected format")

// readStat reads /proc/PID/stat; the name in it is in parentheses and may hold anything.
func readStat(pid int) (stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 {
		return stat{}, errStat
	}
	group, err := strconv.Atoi(f[2])
	if err != nil {
		return stat{}, errStat
	}
	return stat{state: f[0], group: group, start: f[19]}, nil
}
