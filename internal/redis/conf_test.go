package redis

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestRender(t *testing.T) {
	for name, got := range map[string][]byte{
		"member.conf": MemberConf{
			IP: "10.0.0.7", Port: 6379, Dir: "/data", Password: "p\"a ss\\\n\x00é#", MaxLagSeconds: 10,
			Settings: map[string]string{
				"maxmemory": "512mb", "appendonly": "yes", "save": "900 1 300 10", "notify-keyspace-events": "",
				"client-output-buffer-limit": "normal 0 0 0 replica 256mb 64mb 60", "oom-score-adj-values": "0 200 800",
				"proc-title-template": "{title} {listen-addr}",
			},
		}.Render(),
		"plain.conf": MemberConf{IP: "fd00::7", Port: 6379, Dir: "/data with space", Settings: map[string]string{
			"save": "", "repl-diskless-sync-delay": "3",
		}}.Render(),
		"announce.conf":   MemberConf{IP: "10.0.0.7", Announce: "redis.example.com:30079", Port: 6379, Dir: "/data"}.Render(),
		"dual-stack.conf": MemberConf{IP: "10.0.0.7", MoreIPs: []string{"fd00::7"}, Port: 6379, Dir: "/data"}.Render(),
		"sentinel-ipv6.conf": SentinelConf{
			IP: "fd00::8", MoreIPs: []string{"10.0.0.8"}, Port: 26379, Dir: "/data", ID: SentinelID("uid-1", "cache-sentinel-0"), Epoch: 7,
		}.Render(),
		"sentinel.conf": SentinelConf{
			IP: "10.0.0.8", Port: 26379, Dir: "/data", ID: SentinelID("uid-1", "cache-sentinel-0"), Password: "secret", Epoch: 7,
		}.Render(),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSentinelIDsDiffer(t *testing.T) {
	a, b, c := SentinelID("uid-1", "cache-sentinel-0"), SentinelID("uid-1", "cache-sentinel-1"), SentinelID("uid-2", "cache-sentinel-0")
	if a == b || a == c || len(a) != 40 {
		t.Errorf("IDs %s, %s, %s: want three different ones of 40 digits", a, b, c)
	}
}
