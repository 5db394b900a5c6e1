package migrate

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/redis"
)

// Credentials of an administrator of all nodes.
type Credentials struct {
	// Username is empty for the default user; Password is empty for none.
	Username, Password string
	// TLS, where it is set, is used for every connection of ours. Between the servers it is their tls-cluster that counts.
	TLS *tls.Config
}

// Cluster is connections to all nodes of a Redis Cluster, and what they believe. It is safe for concurrent use.
type Cluster struct {
	credentials Credentials
	seeds       []string

	// here has room for the batches between servers on this machine: both ends of each, and whoever serves the clients,
	// want a processor.
	here chan struct{}

	mu    sync.Mutex
	nodes map[string]*node // by ID
	views []View
}

// View is what the node ID believes, or why it could not be asked.
type View struct {
	ID      string
	Address string
	View    v1alpha1.ClusterView
	// RunID of the server; it changes when the server restarts.
	RunID string
	// Version of the server, zero where it tells none.
	Version redis.Version
	Err     error
}

// node is one server.
type node struct {
	id, addr string
	rdb      *goredis.Client
	// sending is held by the pair whose batch this source works at: one at a time. It guards pace.
	sending sync.Mutex
	pace    pace
	// receiving has room for the batches that this target works at.
	receiving chan struct{}
}

// receivers: two sources may have a batch on its way to the same target, so that it need not wait for either.
const receivers = 2

// callTimeout bounds every call that moves no keys.
const callTimeout = 10 * time.Second

// Connect asks the nodes at addrs, HOST:PORT, one after the other until one answers, for all nodes of its cluster, and
// those for their views. Nodes are reached at the addresses that they announce. Close it after use.
func Connect(ctx context.Context, addrs []string, credentials Credentials) (*Cluster, error) {
	c := &Cluster{credentials: credentials, seeds: addrs, nodes: map[string]*node{}, here: make(chan struct{}, max(1, runtime.NumCPU()/2))}
	if err := c.Refresh(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close drops all connections.
func (c *Cluster) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.nodes {
		_ = n.rdb.Close()
	}
	c.nodes = map[string]*node{}
}

// Views are what the nodes believed at the last Refresh.
func (c *Cluster) Views() []View {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.views
}

func (c *Cluster) node(id string) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[id]
}

func (c *Cluster) dial(id, addr string) *node {
	rdb := goredis.NewClient(&goredis.Options{
		Addr: addr, Protocol: 2, Username: c.credentials.Username, Password: c.credentials.Password, TLSConfig: c.credentials.TLS,
		// A command is never repeated by itself; each call has its own bound.
		MaxRetries: -1, DialerRetries: 1, DialTimeout: 2 * time.Second, ReadTimeout: time.Hour, WriteTimeout: callTimeout, ContextTimeoutEnabled: true,
		PoolSize: 16, DisableIdentity: true, MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	return &node{id: id, addr: addr, rdb: rdb, receiving: make(chan struct{}, receivers)}
}

// Refresh looks at the cluster again. It fails when no node answers; a single one that does not is told in its View.
func (c *Cluster) Refresh(ctx context.Context) error {
	known, err := c.askAny(ctx)
	if err != nil {
		return err
	}
	views := make([]View, 0, len(known.Nodes))
	for _, n := range known.Nodes {
		if n.Handshake || n.Address == "" || strings.HasPrefix(n.Address, ":") {
			if !n.Myself {
				views = append(views, View{ID: n.ID, Address: n.Address, Err: errors.New("its address is not known")})
			}
			continue
		}
		c.keep(n.ID, n.Address)
		views = append(views, View{ID: n.ID, Address: n.Address})
	}
	var asked sync.WaitGroup
	for i := range views {
		if n := c.node(views[i].ID); n != nil && views[i].Err == nil {
			asked.Go(func() {
				v, info, err := n.view(ctx)
				views[i].View, views[i].RunID, views[i].Err = v, info["run_id"], err
				views[i].Version, _ = info.Version() // of an unheard-of kind nothing special is asked
			})
		}
	}
	asked.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.views = views
	return nil
}

// keep makes sure that there are connections to the node id at addr.
func (c *Cluster) keep(id, addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.nodes[id]; n != nil {
		if n.addr == addr {
			return
		}
		_ = n.rdb.Close()
	}
	c.nodes[id] = c.dial(id, addr)
}

// askAny is the view of a node that answers: a seed, or one known from before.
func (c *Cluster) askAny(ctx context.Context) (v1alpha1.ClusterView, error) {
	var errs []error
	c.mu.Lock()
	known := make([]*node, 0, len(c.nodes))
	for _, n := range c.nodes {
		known = append(known, n)
	}
	c.mu.Unlock()
	for _, addr := range c.seeds {
		seed := c.dial("", addr)
		v, _, err := seed.view(ctx)
		_ = seed.rdb.Close()
		if err == nil {
			return withAddress(v, addr), nil
		}
		errs = append(errs, err)
	}
	for _, n := range known {
		v, _, err := n.view(ctx)
		if err == nil {
			return withAddress(v, n.addr), nil
		}
	}
	return v1alpha1.ClusterView{}, errors.Join(errs...)
}

// withAddress fills in the address of a node that does not know its own, because nobody has met it.
func withAddress(v v1alpha1.ClusterView, addr string) v1alpha1.ClusterView {
	if me := v.Myself(); me != nil && strings.HasPrefix(me.Address, ":") {
		me.Address = addr
	}
	return v
}

// onThisMachine tells whether the server has a loopback address.
func (n *node) onThisMachine() bool {
	host, _, err := net.SplitHostPort(n.addr)
	return err == nil && net.ParseIP(host).IsLoopback()
}

// view asks for what the node believes, and for INFO server.
func (n *node) view(ctx context.Context) (v1alpha1.ClusterView, redis.Info, error) {
	questions := [][]any{{"CLUSTER", "INFO"}, {"CLUSTER", "NODES"}, infoServer}
	answers, err := n.pipe(ctx, len(questions), func(i int) []any { return questions[i] })
	if err == nil {
		err = firstError(answers)
	}
	if err != nil {
		return v1alpha1.ClusterView{}, nil, fmt.Errorf("ask %s for the nodes of its cluster: %w", n.addr, err)
	}
	info, _ := answers[0].Text()
	text, err := answers[1].Text()
	if err != nil {
		return v1alpha1.ClusterView{}, nil, fmt.Errorf("ask %s for the nodes of its cluster: %w", n.addr, err)
	}
	nodes, err := redis.ParseClusterNodes(text)
	if err != nil {
		return v1alpha1.ClusterView{}, nil, fmt.Errorf("at %s: %w", n.addr, err)
	}
	return v1alpha1.ClusterView{Info: redis.ParseClusterInfo(info), Nodes: nodes}, infoOf(answers[2]), nil
}

// pipe sends count commands in one round trip and returns their answers. It fails where the connection does; errors
// that the server answers are in the answers.
func (n *node) pipe(ctx context.Context, count int, command func(int) []any) ([]*goredis.Cmd, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return n.pipeUntil(ctx, count, command)
}

func (n *node) pipeUntil(ctx context.Context, count int, command func(int) []any) ([]*goredis.Cmd, error) {
	answers := make([]*goredis.Cmd, count)
	_, err := n.rdb.Pipelined(ctx, func(p goredis.Pipeliner) error {
		for i := range answers {
			answers[i] = p.Do(ctx, command(i)...)
		}
		return nil
	})
	// Where no answer has the error the connection was refused, by the password: nothing was asked.
	if err != nil && (!redis.IsRefusal(err) || firstError(answers) == nil) {
		return nil, fmt.Errorf("%s: %w", n.addr, err)
	}
	return answers, nil
}
