package main

import (
	"context"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// The commands that go on until they are interrupted, and cli where there is no redis-cli.
func TestStreams(t *testing.T) {
	s := newSession(t)
	s.write("cache.yaml", strings.Replace(cacheYAML, "Sentinel", "Replication", 1))
	s.must("up", "-d", "-f", "cache.yaml")
	master := strings.TrimSpace(s.must("get", "pods", "-l", "redis-role=master", "-o", "name"))

	// A Redis without its kind leads to its master, whichever member is the first one.
	s.must("failover", "redis/cache")
	forward := s.window(120, 10, "port-forward", "cache", "0:6379")
	forward.see(10*time.Second, `Forwarding 127\.0\.0\.1:\d+ to port 6379 of pod cache-`)
	password := strings.TrimSpace(s.must("cli", "cache", "--", "CONFIG", "GET", "requirepass"))
	password = password[strings.LastIndex(password, "\n")+1:]
	rdb := goredis.NewClient(&goredis.Options{Addr: regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(forward.visible()), Password: password, Protocol: 2})
	defer rdb.Close()
	if role, err := rdb.Do(context.Background(), "ROLE").Slice(); err != nil || role[0] != "master" {
		t.Errorf("port-forward cache leads to a %v, %v", role, err)
	}

	changes := s.window(120, 40, "get", "pods", "-w")
	changes.see(10*time.Second, `(?m)^cache-2 +1/1 +Running`)
	logs := s.window(200, 40, "logs", "-f", "-l", "redstart.dev/redis=cache", "--tail", "1")
	for _, pod := range []string{"cache-0", "cache-1", "cache-2"} {
		logs.see(10*time.Second, `(?m)^\[`+pod+`\] `)
	}
	s.must("delete", master)
	changes.see(10*time.Second, `(?m)^cache-\d +\S+ +Terminating`)
	logs.see(10*time.Second, `(?m)^\[`+strings.TrimPrefix(master, "pod/")+`\] .*(?i)(SIGTERM|shutdown|stop)`)
	header := regexp.MustCompile(`(?m)^NAME .*STATUS`).FindString(changes.all())
	for _, line := range regexp.MustCompile(`(?m)^cache.*$`).FindAllString(changes.all(), -1) {
		if at := strings.Index(header, "STATUS"); len(line) < at || line[at-1] != ' ' || line[at] == ' ' {
			t.Errorf("the columns move:\n%s", changes.all())
			break
		}
	}
	for _, w := range []*window{forward, changes, logs} {
		w.interrupt()
		w.exits(0)
	}

	for i, v := range s.env {
		if strings.HasPrefix(v, "PATH=") {
			s.env[i] = "PATH=" + filepath.Dir(s.bin)
		}
	}
	s.env = append(s.env, "PATH="+filepath.Dir(s.bin))
	for _, tt := range []struct{ args, want string }{
		{"cli cache -- SET greeting hello", "OK\n"},
		{"cli cache -- GET greeting", "hello\n"},
		{"cli cache -- GET nothing", "\n"},
		{"cli cache -- CONFIG GET appendonly", "appendonly\nyes\n"},
		{"cli cache", "redstart: neither redis-cli nor valkey-cli is on PATH; install one (Debian: redis-tools), or give a command after --\n"},
	} {
		if out, _ := s.run("redstart", strings.Fields(tt.args)...); out != tt.want {
			t.Errorf("redstart %s prints %q, want %q", tt.args, out, tt.want)
		}
	}
}
