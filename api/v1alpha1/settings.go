package v1alpha1

import "strings"

// settings that Redstart owns, and what to write instead.
var ownedSettings = map[string]string{
	"aclfile":                  "leave it out; users are managed by Redstart",
	"bind":                     "leave it out; a member listens on its pod's address",
	"bind-source-addr":         "leave it out; a member uses its pod's address",
	"daemonize":                "leave it out; the agent is the server's parent",
	"dir":                      "use spec.storage",
	"enable-debug-command":     "leave it out",
	"enable-module-command":    "leave it out",
	"enable-protected-configs": "leave it out",
	"include":                  "write the settings themselves into spec.config",
	"loadmodule":               "use an image that loads the module itself",
	"logfile":                  "leave it out; the log is that of the pod",
	"masterauth":               "use spec.auth",
	"masteruser":               "use spec.auth",
	"min-replicas-max-lag":     "use spec.durability.maxLag",
	"min-replicas-to-write":    "use spec.durability.minReplicasToWrite",
	"min-slaves-max-lag":       "use spec.durability.maxLag",
	"min-slaves-to-write":      "use spec.durability.minReplicasToWrite",
	"pidfile":                  "leave it out; the agent is the server's parent",
	"port":                     "leave it out; members listen on port 6379",
	"protected-mode":           "use spec.auth",
	"rename-command":           "leave it out; Redstart and Sentinel need the commands",
	"replica-announced":        "leave it out; Sentinels have to know every member",
	"replica-priority":         "leave it out; handovers use it to choose the next master",
	"replica-read-only":        "leave it out; a writable replica loses its writes",
	"replicaof":                "use spec.mode; roles are Redstart's to give",
	"requirepass":              "use spec.auth",
	"slave-priority":           "leave it out; handovers use it to choose the next master",
	"slave-read-only":          "leave it out; a writable replica loses its writes",
	"slaveof":                  "use spec.mode; roles are Redstart's to give",
	"supervised":               "leave it out; the agent is the server's parent",
	"syslog-enabled":           "leave it out; the log is that of the pod",
	"syslog-facility":          "leave it out; the log is that of the pod",
	"syslog-ident":             "leave it out; the log is that of the pod",
	"unixsocket":               "leave it out; clients connect to the Services",
	"unixsocketperm":           "leave it out; clients connect to the Services",
	"user":                     "use spec.auth",
}

// families of settings that Redstart owns.
var ownedFamilies = []struct{ prefix, instead string }{
	{"cluster-", "use spec.mode"},
	{"replica-announce-", "leave it out; a member is announced by its pod's address"},
	{"sentinel", "use spec.sentinel"},
	{"slave-announce-", "leave it out; a member is announced by its pod's address"},
	{"tls-", "use spec.tls"},
}

// OwnedSetting tells whether Redstart owns a setting of redis.conf, so that spec.config must not have it, and what to
// do instead.
func OwnedSetting(name string) (instead string, owned bool) {
	name = strings.ToLower(name)
	if instead, owned = ownedSettings[name]; owned {
		return instead, true
	}
	for _, f := range ownedFamilies {
		if strings.HasPrefix(name, f.prefix) {
			return f.instead, true
		}
	}
	return "", false
}
