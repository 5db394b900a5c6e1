package redis

import (
	"bufio"
	"net"
	"strconv"
	"strings"

	"redstart.dev/redstart/api/v1alpha1"
)

// Info is the answer to INFO: field to value. Fields of unknown names are kept, sections are not.
type Info map[string]string

// maxInfoBytes is far above what any server answers; the rest is ignored.
const maxInfoBytes = 1 << 20

// ParseInfo parses the answer to INFO. It never fails: lines that it does not understand are left out.
func ParseInfo(s string) Info {
	if len(s) > maxInfoBytes {
		s = s[:maxInfoBytes]
	}
	info := Info{}
	lines := bufio.NewScanner(strings.NewReader(s))
	lines.Buffer(nil, maxInfoBytes+1)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), ":")
		if ok && name != "" && name[0] != '#' {
			info[name] = value
		}
	}
	return info
}

// Int is a field as a number, 0 where it is absent or is none.
func (i Info) Int(name string) int64 {
	n, err := strconv.ParseInt(i[name], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// ServerStatus is what the server says of itself in the shared vocabulary. Address is left to the caller. A closed
// server (see Nowhere) is a replica without a master.
func (i Info) ServerStatus() v1alpha1.ServerStatus {
	s := v1alpha1.ServerStatus{
		Up:           true,
		Loading:      i["loading"] == "1" || i["async_loading"] == "1",
		PID:          int(i.Int("process_id")),
		Engine:       i.engine(),
		Version:      i.version(),
		RunID:        i["run_id"],
		Role:         i.role(),
		ReplID:       i["master_replid"],
		ReplID2:      i.replID2(),
		SecondOffset: i.Int("second_repl_offset"),
		Offset:       i.Int("master_repl_offset"),
		Replicas:     i.replicas(),
		Keys:         i.keys(),
		Clients:      i.Int("connected_clients"),
		Memory:       i.Int("used_memory"),
	}
	if s.Role == v1alpha1.RoleReplica {
		if i["master_port"] != nowherePort {
			s.MasterAddress = net.JoinHostPort(i["master_host"], i["master_port"])
		}
		s.LinkUp = i["master_link_status"] == "up"
		if !s.LinkUp {
			s.LinkDownSeconds = -1
			if _, ok := i["master_link_down_since_seconds"]; ok {
				s.LinkDownSeconds = i.Int("master_link_down_since_seconds")
			}
		}
	}
	return s
}

func (i Info) engine() string {
	if i["valkey_version"] != "" || i["server_name"] == "valkey" {
		return EngineValkey
	}
	return EngineRedis
}

// Version is that of the server.
func (i Info) Version() (Version, error) { return NewVersion(i.engine(), i.version()) }

func (i Info) version() string {
	if v := i["valkey_version"]; v != "" {
		return v
	}
	return i["redis_version"]
}

func (i Info) role() v1alpha1.Role {
	switch i["role"] {
	case "master":
		return v1alpha1.RoleMaster
	case "slave", "replica":
		return v1alpha1.RoleReplica
	case "sentinel":
		return v1alpha1.RoleSentinel
	}
	return ""
}

// replID2 is the former history, which a server without one shows as forty zeros.
func (i Info) replID2() string {
	id := i["master_replid2"]
	if strings.Trim(id, "0") == "" {
		return ""
	}
	return id
}

// replicas reads slave0:ip=...,port=...,state=online,offset=...,lag=... and its successors.
func (i Info) replicas() []v1alpha1.ReplicaStatus {
	var out []v1alpha1.ReplicaStatus
	for n := 0; ; n++ {
		line, ok := i["slave"+strconv.Itoa(n)]
		if !ok {
			return out
		}
		f := fields(line)
		out = append(out, v1alpha1.ReplicaStatus{
			Address:    net.JoinHostPort(f["ip"], f["port"]),
			Online:     f["state"] == "online",
			Offset:     f.Int("offset"),
			LagSeconds: f.Int("lag"),
		})
	}
}

// keys adds up db0:keys=...,expires=... and its successors; databases without keys are not listed.
func (i Info) keys() int64 {
	var sum int64
	for name, value := range i {
		if number, ok := strings.CutPrefix(name, "db"); ok {
			if _, err := strconv.ParseUint(number, 10, 31); err == nil {
				sum += fields(value).Int("keys")
			}
		}
	}
	return sum
}

// fields splits a=1,b=2.
func fields(s string) Info {
	f := Info{}
	for pair := range strings.SplitSeq(s, ",") {
		if name, value, ok := strings.Cut(pair, "="); ok {
			f[name] = value
		}
	}
	return f
}
