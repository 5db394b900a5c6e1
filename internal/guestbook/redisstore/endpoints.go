package redisstore

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Endpoints is where the servers are: two addresses, or the Sentinels that know them.
type Endpoints struct {
	// Leader takes writes; Follower reads, and may be empty. HOST:PORT.
	Leader, Follower string
	// Sentinels, HOST:PORT each, and the name by which they know the master. With these, Leader and Follower are unused.
	Sentinels  []string
	MasterName string
	// Password of the servers and of the Sentinels; empty for none.
	Password, SentinelPassword string
}

// Discovery says how to find the servers.
type Discovery struct {
	// From is dns, env or sentinel.
	From string
	// LeaderName and FollowerName are the names of the Services, with an optional port for dns.
	LeaderName, FollowerName string
	// SentinelAddrs, or else the Service SentinelName in the environment; MasterName is what Sentinels call the master.
	SentinelAddrs []string
	SentinelName  string
	MasterName    string
	// Password and SentinelPassword, empty for none.
	Password, SentinelPassword string
}

// Names of the Services in the well-known tutorial, today and in its old form.
const (
	DefaultLeader   = "redis-leader"
	DefaultFollower = "redis-follower"
	oldLeader       = "redis-master"
	oldFollower     = "redis-slave"
)

// Find gives the Endpoints; lookup is os.LookupEnv. The errors name the setting and what it should be.
func (d Discovery) Find(lookup func(string) (string, bool)) (Endpoints, error) {
	at := Endpoints{MasterName: d.MasterName, Password: d.Password, SentinelPassword: d.SentinelPassword}
	switch d.From {
	case "dns":
		if d.LeaderName == "" {
			return at, errors.New("redis-leader-name: expected the name of the Service for writes, for example redis-leader")
		}
		at.Leader = withPort(d.LeaderName, "6379")
		if d.FollowerName != "" {
			at.Follower = withPort(d.FollowerName, "6379")
		}
	case "env":
		leaders, followers := []string{d.LeaderName}, []string{d.FollowerName}
		if d.LeaderName == DefaultLeader {
			leaders = append(leaders, oldLeader)
		}
		if d.FollowerName == DefaultFollower {
			followers = append(followers, oldFollower)
		}
		if at.Leader = serviceAddress(lookup, leaders); at.Leader == "" {
			return at, fmt.Errorf("get-hosts-from=env: %s is not set: expected a Service named %s to exist before this pod starts",
				envName(d.LeaderName)+"_SERVICE_HOST", d.LeaderName)
		}
		at.Follower = serviceAddress(lookup, followers)
	case "sentinel":
		if d.MasterName == "" {
			return at, errors.New("sentinel-master-name: expected the name by which the Sentinels know the master")
		}
		for _, a := range d.SentinelAddrs {
			if a = strings.TrimSpace(a); a != "" {
				at.Sentinels = append(at.Sentinels, withPort(a, "26379"))
			}
		}
		if len(at.Sentinels) == 0 {
			if a := serviceAddress(lookup, []string{d.SentinelName}); a != "" {
				at.Sentinels = []string{a}
			}
		}
		if len(at.Sentinels) == 0 {
			return at, fmt.Errorf("get-hosts-from=sentinel: expected sentinel-addrs, for example sentinel-0:26379,sentinel-1:26379, or %s_SERVICE_HOST",
				envName(d.SentinelName))
		}
	default:
		return at, fmt.Errorf("get-hosts-from: expected dns, env or sentinel, not %q", d.From)
	}
	return at, nil
}

// serviceAddress is that of the first Service that the environment has, "" when it has none.
func serviceAddress(lookup func(string) (string, bool), names []string) string {
	for _, name := range names {
		host, _ := lookup(envName(name) + "_SERVICE_HOST")
		port, _ := lookup(envName(name) + "_SERVICE_PORT")
		if name != "" && host != "" && port != "" {
			return net.JoinHostPort(host, port)
		}
	}
	return ""
}

func envName(service string) string {
	return strings.ToUpper(strings.ReplaceAll(service, "-", "_"))
}

func withPort(host, port string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), port)
}

// clients connects as little as it can hold on to: after a change of master, idle connections lead to the old one.
func (at Endpoints) clients() (master, replica *redis.Client) {
	const (
		dial    = time.Second
		maxIdle = 4
	)
	if len(at.Sentinels) > 0 {
		opts := func(replicaOnly bool) *redis.FailoverOptions {
			return &redis.FailoverOptions{
				MasterName: at.MasterName, SentinelAddrs: at.Sentinels, SentinelPassword: at.SentinelPassword,
				Password: at.Password, ReplicaOnly: replicaOnly,
				MaxRetries: -1, DialTimeout: dial, DialerRetries: 1, ContextTimeoutEnabled: true, MaxIdleConns: maxIdle,
			}
		}
		return redis.NewFailoverClient(opts(false)), redis.NewFailoverClient(opts(true))
	}
	opts := func(address string) *redis.Options {
		return &redis.Options{
			Addr: address, Password: at.Password,
			MaxRetries: -1, DialTimeout: dial, DialerRetries: 1, ContextTimeoutEnabled: true, MaxIdleConns: maxIdle,
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		}
	}
	master = redis.NewClient(opts(at.Leader))
	if at.Follower != "" && at.Follower != at.Leader {
		replica = redis.NewClient(opts(at.Follower))
	}
	return master, replica
}
