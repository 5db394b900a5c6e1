package services

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// holder finds the process that listens on address, as "NAME (PID 123)"; empty if it cannot be seen.
func holder(address string) string {
	a, err := netip.ParseAddrPort(address)
	if err != nil || !a.Addr().Is4() {
		return ""
	}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		if inode := listenerInode(table, a); inode != "" {
			return processWith("socket:[" + inode + "]")
		}
	}
	return ""
}

// listenerInode finds the listening socket that has a, on its own address or on all.
func listenerInode(table string, a netip.AddrPort) string {
	f, err := os.Open(table)
	if err != nil {
		return ""
	}
	defer f.Close()
	ip := a.Addr().As4()
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], binary.BigEndian.Uint32(ip[:]))
	own := strings.ToUpper(hex.EncodeToString(b[:]))
	port := fmt.Sprintf("%04X", a.Port())
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		const listening = "0A"
		if len(fields) < 10 || fields[3] != listening {
			continue
		}
		host, p, _ := strings.Cut(fields[1], ":")
		if p == port && (host == own || strings.Trim(host, "0") == "") {
			return fields[9]
		}
	}
	return ""
}

// processWith finds the process that has a file open; only one's own processes can be seen, unless one is root.
func processWith(file string) string {
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return ""
	}
	for _, l := range links {
		if to, err := os.Readlink(l); err != nil || to != file {
			continue
		}
		pid := strings.Split(l, "/")[2]
		if _, err := strconv.Atoi(pid); err != nil {
			continue
		}
		name, err := os.ReadFile(filepath.Join("/proc", pid, "comm"))
		if err != nil {
			return "PID " + pid
		}
		return fmt.Sprintf("%s (PID %s)", strings.TrimSpace(string(name)), pid)
	}
	return ""
}
