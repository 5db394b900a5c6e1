package redis

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// SettingsHash is the short hash by which two sets of settings are compared (AgentStatus.ConfigHash).
func SettingsHash(settings map[string]string) string {
	h := sha256.New()
	for _, name := range sortedKeys(settings) {
		fmt.Fprintf(h, "%q=%q\n", name, settings[name])
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// owned are the settings that Redstart sets itself, and why a user cannot. Which of the others can be changed while
// the server runs is the server's to say.
var owned = map[string]string{
	"aclfile":               "users are managed by spec.users",
	"bind":                  "a member listens on its pod's address",
	"daemonize":             "the agent is the server's parent",
	"dir":                   "the data is on the volume of spec.storage",
	"include":               "a member has no files but its data",
	"logfile":               "the log goes to the pod's output",
	"masterauth":            "the password is in the Secret of spec.auth",
	"masteruser":            "members use the default user",
	"min-replicas-max-lag":  "set spec.durability.maxLag",
	"min-replicas-to-write": "set spec.durability.minReplicasToWrite",
	"min-slaves-max-lag":    "set spec.durability.maxLag",
	"min-slaves-to-write":   "set spec.durability.minReplicasToWrite",
	"pidfile":               "the agent is the server's parent",
	"port":                  "a member listens on port 6379",
	"protected-mode":        "access is ruled by spec.auth and spec.networkPolicy",
	"rename-command":        "Redstart and Sentinel need the commands; use ACL rules in spec.users",
	"replica-announce-ip":   "a member is announced by its pod's address",
	"replica-announce-port": "a member is announced by its pod's address",
	"replica-announced":     "Sentinels have to know every member",
	"replica-priority":      "handovers use it to choose the next master",
	"replica-read-only":     "a writable replica loses its writes",
	"replicaof":             "roles follow the master",
	"requirepass":           "the password is in the Secret of spec.auth",
	"slave-announce-ip":     "a member is announced by its pod's address",
	"slave-announce-port":   "a member is announced by its pod's address",
	"slave-priority":        "handovers use it to choose the next master",
	"slave-read-only":       "a writable replica loses its writes",
	"slaveof":               "roles follow the master",
	"supervised":            "the agent is the server's parent",
	"syslog-enabled":        "the log goes to the pod's output",
	"user":                  "users are managed by spec.users",
}

// Owned tells whether Redstart sets the setting name itself, and what to do instead.
func Owned(name string) (why string, yes bool) {
	name = strings.ToLower(name)
	if why, yes = owned[name]; yes {
		return why, true
	}
	if strings.HasPrefix(name, "cluster-") {
		return "set spec.mode", true
	}
	if strings.HasPrefix(name, "tls-") {
		return "set spec.tls", true
	}
	if strings.HasPrefix(name, "sentinel") {
		return "set spec.sentinel", true
	}
	return "", false
}

// ApplySettings changes a running server from the settings in force to those wanted. It returns the settings now in
// force and the names of those that only a restart changes: those that the server refuses to change while it runs, and
// those that are no longer wanted, whose default only a restart brings back. A value that the server does not accept
// is an error that names the setting; the others are applied all the same.
func (c *Client) ApplySettings(ctx context.Context, inForce, wanted map[string]string) (now map[string]string, restart []string, err error) {
	now = map[string]string{}
	for name, value := range inForce {
		now[name] = value
		if _, ok := wanted[name]; !ok {
			restart = append(restart, name)
		}
	}
	var errs []error
	for _, name := range sortedKeys(wanted) {
		value := wanted[name]
		if old, ok := inForce[name]; ok && old == value {
			continue
		}
		if _, mine := Owned(name); mine {
			continue
		}
		switch err := c.ConfigSet(ctx, name, value); {
		case err == nil:
			now[name] = value
		case needsRestart(err):
			restart = append(restart, name)
		default:
			errs = append(errs, fmt.Errorf("set %s to %q: %w", name, value, err))
		}
	}
	slices.Sort(restart)
	return now, restart, errors.Join(errs...)
}

// needsRestart knows the server's refusal to change a setting that it has, or that only its file may have: "can't set
// immutable config" since 7.0, "Unsupported CONFIG parameter" before.
func needsRestart(err error) bool {
	var e goredis.Error
	if !errors.As(err, &e) {
		return false
	}
	msg := e.Error()
	return strings.Contains(msg, "immutable config") || strings.Contains(msg, "Unsupported CONFIG parameter") ||
		strings.Contains(msg, "can't set protected config")
}
