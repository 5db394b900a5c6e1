// Package redis talks to redis-server and redis-sentinel (and their Valkey twins) as their administrator: a typed client
// over one connection with short time-outs, INFO and SENTINEL parsing, rendering of redis.conf and sentinel.conf,
// and detection of the engine. It decides nothing.
package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"redstart.dev/redstart/api/v1alpha1"
)

// Timeouts of an administrator's commands, where the caller's context has no shorter one.
const (
	dialTimeout    = 500 * time.Millisecond
	commandTimeout = time.Second
)

// Client is an administrator's connection to one redis-server. It is safe for concurrent use. A call that
// fails is never repeated by itself, so an error means "not known to be done"; the next call dials again.
type Client struct {
	addr string
	rdb  *goredis.Client
	auth *credentials
}

// credentials is a password that may change while connections are open; new connections use the newest.
type credentials struct{ password atomic.Pointer[string] }

func (c *credentials) get(context.Context) (string, string, error) {
	return "", *c.password.Load(), nil
}

// NewClient makes a client of the server at addr, HOST:PORT. It does not connect yet. An empty password means
// none. Close it after use.
func NewClient(addr, password string) *Client { return newClient("", addr, password) }

func newClient(name, addr, password string) *Client {
	c := &Client{addr: addr, auth: &credentials{}}
	c.auth.password.Store(&password)
	o := clientOptions(addr, c.auth)
	o.ClientName = name
	c.rdb = goredis.NewClient(o)
	return c
}

func clientOptions(addr string, auth *credentials) *goredis.Options {
	return &goredis.Options{
		Addr:                       addr,
		Protocol:                   2,
		CredentialsProviderContext: auth.get,
		MaxRetries:                 -1,
		DialTimeout:                dialTimeout,
		DialerRetries:              1,
		ReadTimeout:                commandTimeout,
		WriteTimeout:               commandTimeout,
		PoolTimeout:                commandTimeout,
		ContextTimeoutEnabled:      true,
		// One connection is kept; a WAIT that blocks it lets the others through on a second.
		MaxIdleConns: 1,
		// After as many failed dials as this go-redis looks only once a second, and so would miss for that long that a server
		// that starts, or comes back, answers. Few callers use one client at a time: that many connections there never are.
		PoolSize:                 1024,
		ConnMaxIdleTime:          -1,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

// Close drops the connections.
func (c *Client) Close() error { return c.rdb.Close() }

// Address is the HOST:PORT that the client talks to.
func (c *Client) Address() string { return c.addr }

// SetPassword is used by connections dialled from now on.
func (c *Client) SetPassword(password string) { c.auth.password.Store(&password) }

func (c *Client) do(ctx context.Context, args ...any) (any, error) {
	v, err := c.rdb.Do(ctx, args...).Result()
	if err != nil {
		return nil, fmt.Errorf("%s at %s: %w", commandName(args), c.addr, err)
	}
	return v, nil
}

// commandName names a command in an error without its arguments, which may be secret.
func commandName(args []any) string {
	name := strings.ToUpper(fmt.Sprint(args[0]))
	switch name {
	case "CONFIG", "CLIENT", "ACL", "CLUSTER":
		return name + " " + strings.ToUpper(fmt.Sprint(args[1]))
	case "SENTINEL":
		return name + " " + strings.ToLower(fmt.Sprint(args[1]))
	}
	return name
}

// Ping asks whether the server answers; a server that loads its data set or has no master is an error too where it
// says so.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.do(ctx, "PING")
	return err
}

// PingPatiently is Ping with d as the time for the answer.
func (c *Client) PingPatiently(ctx context.Context, d time.Duration) error {
	if err := c.rdb.WithTimeout(d).Ping(ctx).Err(); err != nil {
		return fmt.Errorf("PING at %s: %w", c.addr, err)
	}
	return nil
}

// Info fetches INFO (all default sections) and parses it.
func (c *Client) Info(ctx context.Context) (Info, error) {
	v, err := c.do(ctx, "INFO")
	if err != nil {
		return nil, err
	}
	s, ok := v.(string)
	if !ok {
		return nil, fmt.Errorf("INFO at %s: expected text, got %T", c.addr, v)
	}
	return ParseInfo(s), nil
}

// ReplicaOf makes the server a replica of the master at addr, HOST:PORT.
func (c *Client) ReplicaOf(ctx context.Context, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("REPLICAOF at %s: %w", c.addr, err)
	}
	_, err = c.do(ctx, "REPLICAOF", host, port)
	return err
}

// pipeline sends commands in one round trip. The first error is returned; the server tries all of them.
func (c *Client) pipeline(ctx context.Context, commands ...[]any) error {
	_, err := c.rdb.Pipelined(ctx, func(p goredis.Pipeliner) error {
		for _, args := range commands {
			p.Do(ctx, args...)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s at %s: %w", commandName(commands[0]), c.addr, err)
	}
	return nil
}

// FollowFenced makes the server a replica of the master at addr, HOST:PORT. It is fenced first, so that it refuses
// writes also when somebody makes it a master again.
func (c *Client) FollowFenced(ctx context.Context, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("REPLICAOF at %s: %w", c.addr, err)
	}
	return c.pipeline(ctx,
		[]any{"CONFIG", "SET", "min-replicas-to-write", FenceReplicas},
		[]any{"REPLICAOF", host, port})
}

// Open makes the server a master that may be copied, as settings (those of the user) say, and lifts its fence
// (min-replicas-to-write), in one round trip.
func (c *Client) Open(ctx context.Context, minReplicas int32, settings map[string]string) error {
	diskless, delay := disklessOf(settings)
	return c.pipeline(ctx,
		[]any{"CONFIG", "SET", "repl-diskless-sync", diskless},
		[]any{"CONFIG", "SET", "repl-diskless-sync-delay", delay},
		[]any{"REPLICAOF", "NO", "ONE"},
		[]any{"CONFIG", "SET", "min-replicas-to-write", minReplicas})
}

// OpenNode lets a node of a cluster be copied, as settings (those of the user) say, and lifts its fence, in one round trip.
// Whether it is a master is the cluster's affair.
func (c *Client) OpenNode(ctx context.Context, minReplicas int32, settings map[string]string) error {
	diskless, delay := disklessOf(settings)
	return c.pipeline(ctx,
		[]any{"CONFIG", "SET", "repl-diskless-sync", diskless},
		[]any{"CONFIG", "SET", "repl-diskless-sync-delay", delay},
		[]any{"CONFIG", "SET", "min-replicas-to-write", minReplicas})
}

// disklessOf is how a server that was opened is copied.
func disklessOf(settings map[string]string) (diskless, delay string) {
	diskless, delay = "yes", defaults["repl-diskless-sync-delay"]
	if v, ok := settings["repl-diskless-sync"]; ok {
		diskless = v
	}
	if v, ok := settings["repl-diskless-sync-delay"]; ok {
		delay = v
	}
	return diskless, delay
}

// FenceReplicas is min-replicas-to-write of a fenced master: more replicas than there ever are.
const FenceReplicas = 1 << 20

// Fence makes a master refuse writes and keep its history. Reads go on.
func (c *Client) Fence(ctx context.Context) error {
	return c.SetMinReplicas(ctx, FenceReplicas)
}

// SetMinReplicas sets min-replicas-to-write.
func (c *Client) SetMinReplicas(ctx context.Context, n int32) error {
	return c.ConfigSet(ctx, "min-replicas-to-write", strconv.Itoa(int(n)))
}

// PauseWrites suspends commands that may write for d, rounded up to a millisecond.
func (c *Client) PauseWrites(ctx context.Context, d time.Duration) error {
	ms := (d + time.Millisecond - 1) / time.Millisecond
	_, err := c.do(ctx, "CLIENT", "PAUSE", int64(ms), "WRITE")
	return err
}

// Unpause ends PauseWrites.
func (c *Client) Unpause(ctx context.Context) error {
	_, err := c.do(ctx, "CLIENT", "UNPAUSE")
	return err
}

// KillClients disconnects normal and Pub/Sub clients, but not the connection it is sent on, nor replicas.
func (c *Client) KillClients(ctx context.Context) error {
	return c.pipeline(ctx,
		[]any{"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"},
		[]any{"CLIENT", "KILL", "TYPE", "pubsub", "SKIPME", "yes"})
}

// Wait blocks until n replicas acknowledged all writes sent so far, at most d; it returns how many did.
func (c *Client) Wait(ctx context.Context, n int, d time.Duration) (int, error) {
	rdb := c.rdb.WithTimeout(d + commandTimeout)
	got, err := rdb.Wait(ctx, n, d).Result()
	if err != nil {
		return 0, fmt.Errorf("WAIT at %s: %w", c.addr, err)
	}
	return int(got), nil
}

// ConfigGet returns the settings that match pattern.
func (c *Client) ConfigGet(ctx context.Context, pattern string) (map[string]string, error) {
	m, err := c.rdb.ConfigGet(ctx, pattern).Result()
	if err != nil {
		return nil, fmt.Errorf("CONFIG GET at %s: %w", c.addr, err)
	}
	return m, nil
}

// ConfigSet changes one setting.
func (c *Client) ConfigSet(ctx context.Context, name, value string) error {
	if err := c.rdb.ConfigSet(ctx, name, value).Err(); err != nil {
		return fmt.Errorf("CONFIG SET %s at %s: %w", name, c.addr, err)
	}
	return nil
}

// AddPassword lets the default user in with one more password.
func (c *Client) AddPassword(ctx context.Context, password string) error {
	_, err := c.do(ctx, "ACL", "SETUSER", "default", "on", ">"+password)
	return err
}

// OnlyPassword makes password the only one of the default user; empty lets anybody in.
func (c *Client) OnlyPassword(ctx context.Context, password string) error {
	rule := ">" + password
	if password == "" {
		rule = "nopass"
	}
	_, err := c.do(ctx, "ACL", "SETUSER", "default", "on", "resetpass", rule)
	return err
}

// Shutdown stops the server, saving as its configuration says. The connection ends without an answer where that
// succeeds, so nil means "it is stopping" and the caller waits for the process.
func (c *Client) Shutdown(ctx context.Context) error {
	err := c.rdb.Do(ctx, "SHUTDOWN").Err()
	if err == nil || disconnected(err) {
		return nil
	}
	return fmt.Errorf("SHUTDOWN at %s: %w", c.addr, err)
}

// disconnected tells an ended connection from an answer and from a time-out.
func disconnected(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && !op.Timeout() && op.Op == "read" {
		return true
	}
	return errors.Is(err, io.EOF)
}

// IsLoading tells whether err is a server's answer that it still loads its data set.
func IsLoading(err error) bool { return hasPrefix(err, "LOADING") }

// IsWrongPassword tells whether err is a server's refusal of the password.
func IsWrongPassword(err error) bool { return hasPrefix(err, "WRONGPASS") || hasPrefix(err, "NOAUTH") }

func hasPrefix(err error, prefix string) bool {
	var e goredis.Error
	return errors.As(err, &e) && strings.HasPrefix(e.Error(), prefix)
}

// Status asks the server for what v1alpha1.ServerStatus tells. A server that loads its data is up.
func (c *Client) Status(ctx context.Context) (v1alpha1.ServerStatus, error) {
	info, err := c.Info(ctx)
	if err != nil {
		return v1alpha1.ServerStatus{}, err
	}
	s := info.ServerStatus()
	s.Address = c.addr
	return s, nil
}

// SetDurability sets min-replicas-to-write and min-replicas-max-lag, in seconds.
func (c *Client) SetDurability(ctx context.Context, minReplicas, maxLagSeconds int32) error {
	return c.pipeline(ctx,
		[]any{"CONFIG", "SET", "min-replicas-to-write", minReplicas},
		[]any{"CONFIG", "SET", "min-replicas-max-lag", max(maxLagSeconds, 1)})
}

// SetAnnounce sets HOST:PORT that clients are told. A replica tells its master when it connects, so it does so again where this is a
// change; the two go on where they were.
func (c *Client) SetAnnounce(ctx context.Context, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("announce %q: %w", addr, err)
	}
	now, err := c.ConfigGet(ctx, "replica-announce-*")
	if err != nil || now["replica-announce-ip"] == host && now["replica-announce-port"] == port {
		return err
	}
	return c.pipeline(ctx,
		[]any{"CONFIG", "SET", "replica-announce-ip", host},
		[]any{"CONFIG", "SET", "replica-announce-port", port},
		[]any{"CLIENT", "KILL", "TYPE", "master"})
}

// SetHostname sets the host name that clients of a cluster are told, at once; empty for the address. The engine must announce host names.
func (c *Client) SetHostname(ctx context.Context, name string) error {
	endpoint := endpointIP
	if name != "" {
		endpoint = endpointHostname
	}
	return c.pipeline(ctx,
		[]any{"CONFIG", "SET", "cluster-announce-hostname", name},
		[]any{"CONFIG", "SET", "cluster-preferred-endpoint-type", endpoint})
}

// IsRefusal tells whether err is an answer of the server: the command certainly had no effect.
func IsRefusal(err error) bool {
	var e goredis.Error
	return errors.As(err, &e)
}
