package redis

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// Sentinel is an administrator's connection to one Sentinel.
type Sentinel struct{ *Client }

// NewSentinel makes a client of the Sentinel at addr, HOST:PORT. It does not connect yet. Close it after use.
func NewSentinel(addr, password string) *Sentinel { return &Sentinel{NewClient(addr, password)} }

// NewNamedSentinel makes one whose connections have a name, without spaces, which Connections of others show.
func NewNamedSentinel(name, addr, password string) *Sentinel {
	return &Sentinel{newClient(name, addr, password)}
}

// Connection is an open connection to a Sentinel that has a name. Silent is for how long at least it has sent nothing, in whole seconds.
type Connection struct {
	Name   string
	Silent time.Duration
}

// Connections lists the open connections that have a name.
func (s *Sentinel) Connections(ctx context.Context) ([]Connection, error) {
	v, err := s.do(ctx, "CLIENT", "LIST")
	if err != nil {
		return nil, err
	}
	return connectionsOf(fmt.Sprint(v)), nil
}

func connectionsOf(list string) (all []Connection) {
	for line := range strings.Lines(list) {
		name, idle := "", int64(0)
		for _, f := range strings.Fields(line) {
			switch k, v, _ := strings.Cut(f, "="); k {
			case "name":
				name = v
			case "idle":
				idle, _ = strconv.ParseInt(v, 10, 64)
			}
		}
		if name != "" {
			// The server counts in whole seconds of its clock: between two of them may be one less.
			all = append(all, Connection{name, time.Duration(max(idle-1, 0)) * time.Second})
		}
	}
	return all
}

// Master is what a Sentinel knows of a master.
type Master struct {
	Name, Address       string
	ConfigEpoch         int64
	Quorum              int
	SubjectivelyDown    bool
	ObjectivelyDown     bool
	FailoverInProgress  bool
	Replicas, Sentinels int
	DownAfter           time.Duration
	FailoverTimeout     time.Duration
	ParallelSyncs       int
}

// Peer is a replica or another Sentinel as a Sentinel knows it.
type Peer struct {
	Address string
	// ID is the run ID of a replica, the myid of a Sentinel.
	ID   string
	Down bool
	// MasterAddress, LinkUp, Offset and Priority are a replica's.
	MasterAddress string
	LinkUp        bool
	Offset        int64
	Priority      int
	// Promoted: the Sentinel leads a failover and has chosen this replica.
	Promoted bool
	// Eligible: it may choose this replica, were it asked for a failover now. Of one that is new to it, it may know too little for seconds.
	Eligible bool
}

// IsNoSuchMaster tells whether err is a Sentinel's answer that it does not monitor that name.
func IsNoSuchMaster(err error) bool { return hasPrefix(err, "ERR No such master") }

// Master tells what the Sentinel knows of the master name; see IsNoSuchMaster.
func (s *Sentinel) Master(ctx context.Context, name string) (Master, error) {
	v, err := s.do(ctx, "SENTINEL", "MASTER", name)
	if err != nil {
		return Master{}, err
	}
	return masterOf(fieldsOf(v)), nil
}

// Masters lists all that the Sentinel monitors.
func (s *Sentinel) Masters(ctx context.Context) ([]Master, error) {
	v, err := s.do(ctx, "SENTINEL", "MASTERS")
	if err != nil {
		return nil, err
	}
	var out []Master
	for _, m := range listOf(v) {
		out = append(out, masterOf(m))
	}
	return out, nil
}

// Replicas lists the replicas that the Sentinel knows of the master name.
func (s *Sentinel) Replicas(ctx context.Context, name string) ([]Peer, error) {
	return s.peers(ctx, "REPLICAS", name)
}

// Sentinels lists the other Sentinels that the Sentinel knows of the master name.
func (s *Sentinel) Sentinels(ctx context.Context, name string) ([]Peer, error) {
	return s.peers(ctx, "SENTINELS", name)
}

// For how long a Sentinel counts on what a replica answered last, when it chooses one for a failover (sentinelSelectSlave): INFO, which it
// asks for each ten seconds, and pings.
const (
	infoValid = 30 * time.Second
	pingValid = 5 * time.Second
)

func (s *Sentinel) peers(ctx context.Context, what, name string) ([]Peer, error) {
	v, err := s.do(ctx, "SENTINEL", what, name)
	if err != nil {
		return nil, err
	}
	var out []Peer
	for _, f := range listOf(v) {
		p := Peer{
			Address:  net.JoinHostPort(f["ip"], f["port"]),
			ID:       f["runid"],
			Down:     hasFlag(f, "s_down") || hasFlag(f, "o_down"),
			LinkUp:   f["master-link-status"] == "ok",
			Offset:   f.Int("slave-repl-offset"),
			Priority: int(f.Int("slave-priority")),
			Promoted: hasFlag(f, "promoted"),
			Eligible: !hasFlag(f, "s_down") && !hasFlag(f, "o_down") && !hasFlag(f, "disconnected") && f["slave-priority"] != "0" &&
				f.Int("info-refresh") < infoValid.Milliseconds() && f.Int("last-ok-ping-reply") < pingValid.Milliseconds(),
		}
		if host := f["master-host"]; host != "" && host != "?" {
			p.MasterAddress = net.JoinHostPort(host, f["master-port"])
		}
		out = append(out, p)
	}
	return out, nil
}

// MasterAddress is SENTINEL GET-MASTER-ADDR-BY-NAME: what clients are told; "" where it is not monitored.
func (s *Sentinel) MasterAddress(ctx context.Context, name string) (string, error) {
	v, err := s.do(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
	if err != nil {
		if strings.Contains(err.Error(), goredis.Nil.Error()) {
			return "", nil
		}
		return "", err
	}
	if a, ok := v.([]any); ok && len(a) == 2 {
		return net.JoinHostPort(fmt.Sprint(a[0]), fmt.Sprint(a[1])), nil
	}
	return "", nil
}

// MonitorOptions are the times of a monitored master.
type MonitorOptions struct {
	Quorum          int32
	DownAfter       time.Duration
	FailoverTimeout time.Duration
	ParallelSyncs   int32
	// Password of the members; empty for none.
	Password string
}

// Monitor makes the Sentinel watch the master at addr under name, and sets o.
func (s *Sentinel) Monitor(ctx context.Context, name, addr string, o MonitorOptions) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("SENTINEL monitor at %s: %w", s.addr, err)
	}
	if _, err := s.do(ctx, "SENTINEL", "MONITOR", name, host, port, o.Quorum); err != nil {
		return err
	}
	return s.Set(ctx, name, o)
}

// Set changes the settings of a monitored master to o.
func (s *Sentinel) Set(ctx context.Context, name string, o MonitorOptions) error {
	args := []any{
		"SENTINEL", "SET", name,
		"quorum", o.Quorum,
		"down-after-milliseconds", o.DownAfter.Milliseconds(),
		"failover-timeout", o.FailoverTimeout.Milliseconds(),
		"parallel-syncs", o.ParallelSyncs,
		"auth-pass", o.Password,
	}
	_, err := s.do(ctx, args...)
	return err
}

// Remove makes the Sentinel forget the master name.
func (s *Sentinel) Remove(ctx context.Context, name string) error {
	_, err := s.do(ctx, "SENTINEL", "REMOVE", name)
	return err
}

// Reset makes the Sentinel forget all replicas and Sentinels of the master name, and find those that are there anew.
func (s *Sentinel) Reset(ctx context.Context, name string) error {
	_, err := s.do(ctx, "SENTINEL", "RESET", name)
	return err
}

// Failover makes the Sentinel start a failover of the master name without asking the others. It answers before the
// failover is done.
func (s *Sentinel) Failover(ctx context.Context, name string) error {
	_, err := s.do(ctx, "SENTINEL", "FAILOVER", name)
	return err
}

// SetSentinelPassword sets the password that the Sentinel gives to other Sentinels.
func (s *Sentinel) SetSentinelPassword(ctx context.Context, password string) error {
	_, err := s.do(ctx, "SENTINEL", "CONFIG", "SET", "sentinel-pass", password)
	return err
}

// MyID is the ID of the Sentinel.
func (s *Sentinel) MyID(ctx context.Context) (string, error) {
	v, err := s.do(ctx, "SENTINEL", "MYID")
	if err != nil {
		return "", err
	}
	return fmt.Sprint(v), nil
}

// Channels of a Sentinel's events.
const (
	// EventSwitchMaster: it takes another server for the master: NAME OLD-IP OLD-PORT NEW-IP NEW-PORT.
	EventSwitchMaster = "+switch-master"
	// EventVote: it voted in an epoch: LEADER-ID EPOCH.
	EventVote = "+vote-for-leader"
	// EventWaitPromotion: it leads a failover and has just told a replica to be master: slave NAME IP PORT @ ...
	EventWaitPromotion = "+failover-state-wait-promotion"
)

// SentinelEvent is what a Sentinel published on one of its channels.
type SentinelEvent struct {
	// Channel is "" once, when the subscription is in place.
	Channel string
	// Fields are the words of the message.
	Fields []string
}

// Events calls fn with every event on channels, until ctx ends or the connection does; the error then says why.
func (s *Sentinel) Events(ctx context.Context, fn func(SentinelEvent), channels ...string) error {
	ps := s.rdb.Subscribe(ctx, channels...)
	stop := context.AfterFunc(ctx, func() { _ = ps.Close() })
	defer func() {
		stop()
		_ = ps.Close()
	}()
	subscribed := 0
	for {
		m, err := ps.Receive(ctx)
		if err != nil {
			return fmt.Errorf("SUBSCRIBE at %s: %w", s.addr, err)
		}
		switch m := m.(type) {
		case *goredis.Subscription:
			if subscribed++; subscribed == len(channels) {
				fn(SentinelEvent{})
			}
		case *goredis.Message:
			fn(SentinelEvent{Channel: m.Channel, Fields: strings.Fields(m.Payload)})
		}
	}
}

// Hello tells the Sentinel what another one, whose ID and address are given, believes of the master name: the message that
// Sentinels publish to each other every two seconds (__sentinel__:hello), now.
func (s *Sentinel) Hello(ctx context.Context, id, addr string, m Master) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("PUBLISH at %s: %w", s.addr, err)
	}
	masterHost, masterPort, err := net.SplitHostPort(m.Address)
	if err != nil {
		return fmt.Errorf("PUBLISH at %s: %w", s.addr, err)
	}
	epoch := strconv.FormatInt(m.ConfigEpoch, 10)
	_, err = s.do(ctx, "PUBLISH", "__sentinel__:hello",
		strings.Join([]string{host, port, id, epoch, m.Name, masterHost, masterPort, epoch}, ","))
	return err
}

func masterOf(f Info) Master {
	return Master{
		Name:               f["name"],
		Address:            net.JoinHostPort(f["ip"], f["port"]),
		ConfigEpoch:        f.Int("config-epoch"),
		Quorum:             int(f.Int("quorum")),
		SubjectivelyDown:   hasFlag(f, "s_down"),
		ObjectivelyDown:    hasFlag(f, "o_down"),
		FailoverInProgress: hasFlag(f, "failover_in_progress"),
		Replicas:           int(f.Int("num-slaves")),
		Sentinels:          int(f.Int("num-other-sentinels")),
		DownAfter:          time.Duration(f.Int("down-after-milliseconds")) * time.Millisecond,
		FailoverTimeout:    time.Duration(f.Int("failover-timeout")) * time.Millisecond,
		ParallelSyncs:      int(f.Int("parallel-syncs")),
	}
}

func hasFlag(f Info, flag string) bool {
	for have := range strings.SplitSeq(f["flags"], ",") {
		if have == flag {
			return true
		}
	}
	return false
}

func listOf(v any) []Info {
	list, _ := v.([]any)
	out := make([]Info, 0, len(list))
	for _, item := range list {
		out = append(out, fieldsOf(item))
	}
	return out
}

// fieldsOf reads a flat list of names and values.
func fieldsOf(v any) Info {
	list, _ := v.([]any)
	f := Info{}
	for n := 0; n+1 < len(list); n += 2 {
		f[text(list[n])] = text(list[n+1])
	}
	return f
}

func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	}
	return ""
}
