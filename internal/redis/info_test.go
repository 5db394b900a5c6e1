package redis

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"redstart.dev/redstart/api/v1alpha1"
)

const masterInfo = "# Server\r\nredis_version:7.0.15\r\nprocess_id:42\r\nrun_id:aa\r\nbrand_new_field:1:2:3\r\n" +
	"# Clients\r\nconnected_clients:3\r\n# Memory\r\nused_memory:1024\r\n# Persistence\r\nloading:0\r\n" +
	"# Replication\r\nrole:master\r\nconnected_slaves:2\r\n" +
	"slave0:ip=10.0.0.2,port=6379,state=online,offset=99,lag=1,type=replica\r\n" +
	"slave1:ip=10.0.0.3,port=6380,state=wait_bgsave,offset=0,lag=0\r\n" +
	"master_replid:c0\r\nmaster_replid2:0000000000000000000000000000000000000000\r\nmaster_repl_offset:100\r\nsecond_repl_offset:-1\r\n" +
	"# Keyspace\r\ndb0:keys=7,expires=1,avg_ttl=0\r\ndb12:keys=3,expires=0,avg_ttl=0\r\n"

func TestServerStatus(t *testing.T) {
	for _, c := range []struct {
		name, info string
		want       v1alpha1.ServerStatus
	}{
		{"master", masterInfo, v1alpha1.ServerStatus{
			Up: true, PID: 42, Engine: EngineRedis, Version: "7.0.15", RunID: "aa", Role: v1alpha1.RoleMaster, ReplID: "c0",
			Offset: 100, SecondOffset: -1, Keys: 10, Clients: 3, Memory: 1024,
			Replicas: []v1alpha1.ReplicaStatus{
				{Address: "10.0.0.2:6379", Online: true, Offset: 99, LagSeconds: 1},
				{Address: "10.0.0.3:6380"},
			},
		}},
		{"valkey replica whose link is down", "server_name:valkey\nvalkey_version:8.0.1\nredis_version:7.2.4\nrole:slave\n" +
			"master_host:fd00::1\nmaster_port:6379\nmaster_link_status:down\nmaster_link_down_since_seconds:12\nmaster_replid2:c1\n" +
			"loading:1\n", v1alpha1.ServerStatus{
			Up: true, Loading: true, Engine: EngineValkey, Version: "8.0.1", Role: v1alpha1.RoleReplica, MasterAddress: "[fd00::1]:6379",
			LinkDownSeconds: 12, ReplID2: "c1",
		}},
		{"nothing", "", v1alpha1.ServerStatus{Up: true, Engine: EngineRedis}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, ParseInfo(c.info).ServerStatus()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzParseInfo(f *testing.F) {
	f.Add(masterInfo)
	f.Add("role:slave\nmaster_host:\nmaster_link_down_since_seconds:-99999999999999999999\nslave0:\ndb0:keys\ndb:keys=1")
	f.Fuzz(func(t *testing.T, s string) {
		status := ParseInfo(s).ServerStatus()
		if !status.Up {
			t.Error("a server that answered is not up")
		}
		if status.Role != v1alpha1.RoleReplica && (status.MasterAddress != "" || status.LinkUp) {
			t.Errorf("role %q has a master: %+v", status.Role, status)
		}
	})
}

func TestParseVersion(t *testing.T) {
	for _, c := range []struct{ out, want, err string }{
		{"Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae4d7c971a948f0", "redis 7.0.15", ""},
		{"Redis server v=6.0.16 sha=00000000:0", "redis 6.0.16", "redis 6.0.16 is too old: install Redis 6.2 or later, or Valkey 7.2 or later"},
		{"Redis server v=6.2.0 sha=00000000:0", "redis 6.2.0", ""},
		{"Valkey server v=8.0.1 sha=00000000:0", "valkey 8.0.1", ""},
		{"Server v=7.2.5 sha=00000000:0", "valkey 7.2.5", ""},
		{"Valkey server v=7.1.9", "valkey 7.1.9", "valkey 7.1.9 is too old: install Redis 6.2 or later, or Valkey 7.2 or later"},
		{"sh: not a server\nmore", "", `"sh: not a server" is not the version line of a Redis or Valkey server`},
		{"Redis server v=99999999999.1.1", "", `"Redis server v=99999999999.1.1" is not the version line of a Redis or Valkey server`},
	} {
		v, err := ParseVersion(c.out)
		if err == nil {
			if v.String() != c.want {
				t.Errorf("%q: got %s, want %s", c.out, v, c.want)
			}
			err = v.CheckSupported()
		}
		if msg := errorText(err); msg != c.err {
			t.Errorf("%q: error %q, want %q", c.out, msg, c.err)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
