package redis

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// MemberConf is what the redis.conf of a member is rendered from.
type MemberConf struct {
	// IP and Port that the server binds to and announces.
	IP   string
	Port int32
	// MoreIPs are further addresses to bind to.
	MoreIPs []string
	// Announce is HOST:PORT that clients are told instead; empty for IP and Port.
	Announce string
	// Dir is where the data is.
	Dir string
	// Password of the default user and of the replication link; empty for none.
	Password string
	// MaxLagSeconds is min-replicas-max-lag.
	MaxLagSeconds int32
	// Settings are those of the user, by name.
	Settings map[string]string
	// Cluster is set for a member of mode Cluster.
	Cluster *ClusterConf
}

// ClusterConf is what makes a server a node of a cluster.
type ClusterConf struct {
	// BusPort of the cluster bus.
	BusPort int32
	// NodeTimeoutMS is cluster-node-timeout, in milliseconds.
	NodeTimeoutMS int64
	// KeepReplicas: the engine knows cluster-allow-replica-migration.
	KeepReplicas bool
	// Hostname that clients are told instead of the address, empty for none. Only an engine that announces host names knows it.
	Hostname string
}

// render writes the settings of the cluster. Who serves which slots, and who follows whom, is not among them: the server keeps that in
// nodes.conf beside its data. A shard that is lost keeps no other from serving, and the server itself moves no replica
// to another shard: that would be a second mind beside the operator's.
func (c *ClusterConf) render(w *confWriter, m *MemberConf) {
	w.line("cluster-enabled", "yes")
	w.line("cluster-config-file", "nodes.conf")
	w.line("cluster-node-timeout", strconv.FormatInt(c.NodeTimeoutMS, 10))
	w.line("cluster-require-full-coverage", "no")
	w.line("cluster-migration-barrier", "1000")
	if c.KeepReplicas {
		w.line("cluster-allow-replica-migration", "no")
	}
	w.line("cluster-announce-ip", m.IP)
	if c.Hostname != "" {
		w.line("cluster-announce-hostname", c.Hostname)
		w.line("cluster-preferred-endpoint-type", endpointHostname)
	}
	if c.BusPort != m.Port+10000 {
		w.line("cluster-port", strconv.Itoa(int(c.BusPort)))
	}
}

// Values of cluster-preferred-endpoint-type: what MOVED, CLUSTER SLOTS and CLUSTER SHARDS name a node by.
const (
	endpointHostname = "hostname"
	endpointIP       = "ip"
)

// defaults are those that Redstart changes where the user does not say otherwise. A replica that has to be copied is
// copied at once: Redis would wait five seconds for others to join.
var defaults = map[string]string{"repl-diskless-sync-delay": "0"}

// copyNever is repl-diskless-sync-delay, in seconds, of a server that its agent has not opened: should somebody make it a master,
// though it is empty perhaps, no replica gets a full synchronisation, which would throw the replica's data away.
const copyNever = "86400"

// Nowhere is the master of a server that is closed: its own address, at a port where nobody ever listens. The kernel
// refuses the connection at once, wherever the server runs.
func Nowhere(ip string) string { return net.JoinHostPort(ip, nowherePort) }

const nowherePort = "1"

// Render writes redis.conf. The server starts closed: as replica of nobody, it loads its data with their history,
// refuses writes and refuses to be copied; and fenced, should somebody make it a master before its agent opens it. The user's settings come first, so that none can undo Redstart's.
func (m MemberConf) Render() []byte {
	var w confWriter
	for _, name := range sortedKeys(defaults) {
		if _, ok := m.Settings[name]; !ok {
			w.line(name, defaults[name])
		}
	}
	for _, name := range sortedKeys(m.Settings) {
		w.setting(name, m.Settings[name])
	}
	port := strconv.Itoa(int(m.Port))
	w.line("bind", append([]string{m.IP}, m.MoreIPs...)...)
	w.line("port", port)
	w.line("protected-mode", "no")
	w.line("daemonize", "no")
	w.line("dir", m.Dir)
	if m.Password != "" {
		w.line("requirepass", m.Password)
		w.line("masterauth", m.Password)
	}
	announceHost, announcePort := m.IP, port
	if h, p, err := net.SplitHostPort(m.Announce); err == nil {
		announceHost, announcePort = h, p
	}
	w.line("replica-announce-ip", announceHost)
	w.line("replica-announce-port", announcePort)
	w.line("min-replicas-to-write", strconv.Itoa(FenceReplicas))
	w.line("min-replicas-max-lag", strconv.Itoa(int(max(m.MaxLagSeconds, 1))))
	w.line("repl-diskless-sync", "yes")
	w.line("repl-diskless-sync-delay", copyNever)
	if m.Cluster != nil {
		m.Cluster.render(&w, &m)
		return []byte(w.String())
	}
	host, nobody, _ := net.SplitHostPort(Nowhere(m.IP))
	w.line("replicaof", host, nobody)
	return []byte(w.String())
}

// SentinelConf is what the sentinel.conf of a Sentinel is rendered from when it has none yet, or a foreign one.
type SentinelConf struct {
	// IP and Port that the Sentinel binds to and announces.
	IP   string
	Port int32
	// MoreIPs are further addresses to bind to.
	MoreIPs []string
	Dir     string
	// ID is its sentinel myid, of SentinelID.
	ID string
	// Password of the Sentinel itself and towards the other Sentinels; empty for none.
	Password string
	// Epoch is the highest epoch it knew, which it must not forget.
	Epoch int64
}

// SentinelID derives the ID of a Sentinel, forty hexadecimal digits, from the UID of its Redis and its pod's name: the
// same pod comes back as the same Sentinel, and no other Redis has it.
func SentinelID(uid, pod string) string {
	sum := sha1.Sum([]byte(uid + "/" + pod))
	return hex.EncodeToString(sum[:])
}

// Render writes sentinel.conf. It monitors nothing: the agent tells the Sentinel its master when it knows it.
func (s SentinelConf) Render() []byte {
	var w confWriter
	port := strconv.Itoa(int(s.Port))
	w.line("bind", append([]string{s.IP}, s.MoreIPs...)...)
	w.line("port", port)
	w.line("protected-mode", "no")
	w.line("daemonize", "no")
	w.line("dir", s.Dir)
	if s.Password != "" {
		w.line("requirepass", s.Password)
		w.line("sentinel sentinel-pass", s.Password)
	}
	w.line("sentinel myid", s.ID)
	w.line("sentinel announce-ip", s.IP)
	w.line("sentinel announce-port", port)
	w.line("sentinel current-epoch", strconv.FormatInt(s.Epoch, 10))
	return []byte(w.String())
}

// confWriter writes lines of a configuration file.
type confWriter struct{ strings.Builder }

// line writes name, which is a keyword of ours, and its quoted arguments.
func (w *confWriter) line(name string, args ...string) {
	w.WriteString(name)
	for _, a := range args {
		w.WriteByte(' ')
		w.WriteString(Quote(a))
	}
	w.WriteByte('\n')
}

// setting writes one setting of the user. The few that take several arguments are written as every supported version
// reads them: one group to a line.
func (w *confWriter) setting(name, value string) {
	words := strings.Fields(value)
	group := 0
	switch strings.ToLower(name) {
	case "save":
		group = 2
	case "client-output-buffer-limit":
		group = 4
	case "oom-score-adj-values", "loadmodule":
		group = len(words)
	}
	if group == 0 || len(words) == 0 || len(words)%group != 0 {
		w.line(Quote(name), value)
		return
	}
	for args := range slices.Chunk(words, group) {
		w.line(Quote(name), args...)
	}
}

// Quote makes one argument of a configuration line of s, whatever bytes it has.
func Quote(s string) string {
	plain := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("-_./:@%+,", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(s) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
