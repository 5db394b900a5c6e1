package redisstore_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"redstart.dev/redstart/internal/guestbook/redisstore"
)

func TestFind(t *testing.T) {
	names := redisstore.Discovery{LeaderName: "redis-leader", FollowerName: "redis-follower", SentinelName: "sentinel", MasterName: "cache"}
	with := func(from string, change func(*redisstore.Discovery)) redisstore.Discovery {
		d := names
		d.From = from
		if change != nil {
			change(&d)
		}
		return d
	}
	for _, test := range []struct {
		name string
		d    redisstore.Discovery
		env  map[string]string
		want redisstore.Endpoints
		err  string
	}{
		{name: "dns", d: with("dns", nil), want: redisstore.Endpoints{Leader: "redis-leader:6379", Follower: "redis-follower:6379"}},
		{
			name: "dns with port, no follower", d: with("dns", func(d *redisstore.Discovery) { d.LeaderName, d.FollowerName = "[::1]:7000", "" }),
			want: redisstore.Endpoints{Leader: "[::1]:7000"},
		},
		{
			name: "env", d: with("env", nil), env: map[string]string{
				"REDIS_LEADER_SERVICE_HOST": "10.0.0.1", "REDIS_LEADER_SERVICE_PORT": "6379",
				"REDIS_FOLLOWER_SERVICE_HOST": "10.0.0.2", "REDIS_FOLLOWER_SERVICE_PORT": "6380",
			},
			want: redisstore.Endpoints{Leader: "10.0.0.1:6379", Follower: "10.0.0.2:6380"},
		},
		{
			name: "env of the older tutorial", d: with("env", nil), env: map[string]string{
				"REDIS_MASTER_SERVICE_HOST": "10.0.0.1", "REDIS_MASTER_SERVICE_PORT": "6379",
				"REDIS_SLAVE_SERVICE_HOST": "10.0.0.2", "REDIS_SLAVE_SERVICE_PORT": "6379",
			},
			want: redisstore.Endpoints{Leader: "10.0.0.1:6379", Follower: "10.0.0.2:6379"},
		},
		{
			name: "env of other names", d: with("env", func(d *redisstore.Discovery) { d.LeaderName, d.FollowerName = "cache", "cache-replicas" }),
			env: map[string]string{
				"CACHE_SERVICE_HOST": "10.0.0.1", "CACHE_SERVICE_PORT": "6379",
				"CACHE_REPLICAS_SERVICE_HOST": "10.0.0.2", "CACHE_REPLICAS_SERVICE_PORT": "6379",
				"REDIS_MASTER_SERVICE_HOST": "10.0.0.9", "REDIS_MASTER_SERVICE_PORT": "6379",
			},
			want: redisstore.Endpoints{Leader: "10.0.0.1:6379", Follower: "10.0.0.2:6379"},
		},
		{name: "env without the Service", d: with("env", nil), err: "REDIS_LEADER_SERVICE_HOST is not set"},
		{
			name: "sentinel", d: with("sentinel", func(d *redisstore.Discovery) { d.SentinelAddrs = []string{"a", " b:1 "} }),
			want: redisstore.Endpoints{Sentinels: []string{"a:26379", "b:1"}},
		},
		{
			name: "sentinel by Service", d: with("sentinel", func(d *redisstore.Discovery) { d.SentinelName = "cache-sentinel" }),
			env:  map[string]string{"CACHE_SENTINEL_SERVICE_HOST": "10.0.0.3", "CACHE_SENTINEL_SERVICE_PORT": "26379"},
			want: redisstore.Endpoints{Sentinels: []string{"10.0.0.3:26379"}},
		},
		{name: "no sentinel", d: with("sentinel", nil), err: "expected sentinel-addrs"},
		{name: "unknown way", d: with("magic", nil), err: "expected dns, env or sentinel"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.d.Find(func(key string) (string, bool) { v, ok := test.env[key]; return v, ok })
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want one with %q", err, test.err)
				}
				return
			}
			test.want.MasterName = "cache"
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
				t.Errorf("error %v, difference (-want +got):\n%s", err, diff)
			}
		})
	}
}
