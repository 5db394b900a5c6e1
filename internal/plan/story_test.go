package plan

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"redstart.dev/redstart/api/v1alpha1"
)

// TestStories tells the stories of testdata. "set" says how things are, or what changed; "decide" shows what the members
// decide then, all seeing the same. Nothing that they decide happens until the story says so.
//
//	set
//	mode Sentinel                      # Replication unless set
//	replicas 3
//	api up|down
//	lease cache-0/a term=3             # "lease -" for no holder; it is renewed at this moment
//	cache-0 open offset=100            # open, fenced, closed, loading, dead, hung, or a replica: follows=cache-1 [link=down]
//	cache-1 noapi unreachable refused terminated stopping empty boot=b term=2 id=h keys=5 address=... remembers=h:90
//	sentinel-0 names=cache-0 epoch=1   # or: failover, down, gone, unmonitored, knows=ADDRESS,ADDRESS
//	pass 5s
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &story{now: time.Hour, members: map[string]*told{}, sentinels: map[string]*Sentinel{}, api: true}
		s.config = v1alpha1.AgentConfig{
			Redis: "cache", Mode: v1alpha1.ModeReplication, Replicas: 3, LeaseSeconds: 5,
			Sentinels: 3, Quorum: 2, DownAfterMS: 5000,
		}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "set":
				for _, line := range strings.Split(d.Input, "\n") {
					if err := s.set(line); err != nil {
						d.Fatalf(t, "%s: %v", line, err)
					}
				}
				return ""
			case "decide":
				return s.decide(d.CmdArgs)
			}
			d.Fatalf(t, "unknown command %s: expected set or decide", d.Cmd)
			return ""
		})
	})
}

type story struct {
	now       time.Duration
	config    v1alpha1.AgentConfig
	api       bool
	apiSince  time.Duration
	lease     Lease
	members   map[string]*told
	order     []string
	sentinels map[string]*Sentinel
	senOrder  []string
}

// told is a member as the story has it.
type told struct {
	Member
	noAPI, dead, hung bool
	hungAt            time.Duration
	renewedAt         time.Duration
	wants             *string
	takeover          *Takeover
	failedAt          time.Duration
	force             bool
	memory            Memory
}

func (s *story) set(line string) error {
	f := strings.Fields(strings.SplitN(line, "#", 2)[0])
	if len(f) == 0 {
		return nil
	}
	switch f[0] {
	case "mode":
		s.config.Mode = v1alpha1.Mode(f[1])
	case "replicas":
		n, err := strconv.Atoi(f[1])
		s.config.Replicas = int32(n)
		return err
	case "api":
		if up := f[1] == "up"; up != s.api {
			s.api, s.apiSince = up, s.now
		}
	case "pass":
		d, err := time.ParseDuration(f[1])
		s.now += d
		return err
	case "lease":
		return s.setLease(f[1:])
	default:
		if strings.HasPrefix(f[0], "sentinel-") {
			return s.setSentinel(f[0], f[1:])
		}
		return s.setMember(f[0], f[1:])
	}
	return nil
}

func (s *story) setLease(f []string) error {
	l := &s.lease
	l.Known, l.Members, l.Duration, l.ChangedAt, l.From = true, s.config.Replicas, 5*second, s.now, ""
	if f[0] == "-" {
		l.LastHolder, l.Holder, l.Boot = max(l.Holder, l.LastHolder), "", ""
	} else {
		l.Holder, l.Boot, _ = strings.Cut(f[0], "/")
		l.LastHolder = l.Holder
		if m := s.members[l.Holder]; m != nil {
			m.renewedAt = s.now
		}
	}
	for _, a := range f[1:] {
		k, v, _ := strings.Cut(a, "=")
		if k == "from" {
			l.From = v
			if m := s.members[l.Holder]; m != nil {
				m.renewedAt = 0
			}
			continue
		}
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return err
		}
		switch k {
		case "term":
			l.Term = n
		case "members":
			l.Members = int32(n)
		default:
			return fmt.Errorf("unknown %s", k)
		}
	}
	l.ResourceVersion = "1"
	return nil
}

func (s *story) address(name string) string {
	if m := s.members[name]; m != nil {
		return m.Address
	}
	return name
}

func (s *story) setMember(name string, f []string) error {
	m := s.members[name]
	if m == nil {
		m = &told{}
		m.Name, m.Boot, m.Address, m.Reachable = name, "a", "10.0.0."+strconv.Itoa(int(Ordinal(name))+1)+":6379", true
		m.Server = v1alpha1.ServerStatus{Up: true, Role: v1alpha1.RoleReplica, ReplID: "h", Keys: 5, RunID: "r"}
		m.Fenced, m.LinkUpSince, m.Label = true, 1, v1alpha1.RoleReplica
		m.memory.Settled = true
		s.members[name] = m
		s.order = append(s.order, name)
	}
	sv := &m.Server
	for _, a := range f {
		k, v, _ := strings.Cut(a, "=")
		n, _ := strconv.ParseInt(v, 10, 64)
		switch k {
		case "open":
			sv.Up, sv.Loading, sv.Role, sv.MasterAddress, sv.LinkUp, m.Fenced, m.dead, m.hung = true, false, v1alpha1.RoleMaster, "", false, false, false, false
			m.Label, m.memory.LiveRun = v1alpha1.RoleMaster, sv.RunID
		case "fenced":
			m.Fenced = true
		case "closed":
			sv.Up, sv.Loading, sv.Role, sv.MasterAddress, sv.LinkUp, m.Fenced, m.dead, m.hung = true, false, v1alpha1.RoleReplica, "", false, true, false, false
		case "promoted":
			sv.Role, sv.MasterAddress, sv.LinkUp = v1alpha1.RoleMaster, "", false
		case "follows":
			sv.Up, sv.Role, sv.MasterAddress, sv.LinkUp, m.Fenced = true, v1alpha1.RoleReplica, s.address(v), true, true
			m.Follows, m.memory.LiveRun = v, sv.RunID
		case "link":
			sv.LinkUp = v == "up"
		case "loading":
			sv.Up, sv.Loading, sv.Role, sv.MasterAddress, sv.LinkUp, m.Fenced, m.dead = true, true, v1alpha1.RoleReplica, "", false, true, false
		case "dead":
			m.dead, sv.Up, sv.LinkUp = true, false, false
		case "hung":
			m.hung, m.hungAt, sv.Up = true, s.now, false
		case "restarted":
			m.Boot, m.memory, sv.RunID, sv.Keys = v, Memory{}, "r"+v, 5
		case "label":
			m.Label = v1alpha1.Role(v)
		case "wants":
			m.wants = &v
		case "force":
			m.force = true
		case "takeover":
			m.takeover = &Takeover{Term: n, From: m.memory.Master, ReplID: sv.ReplID, Offset: sv.Offset, Since: s.now}
			if s.lease.Holder == name && s.lease.From != "" {
				m.renewedAt = s.lease.ChangedAt
			}
		case "failed":
			m.failedAt = s.now
		case "noapi":
			m.noAPI = true
		case "api":
			m.noAPI = false
		case "reachable":
			m.Reachable, m.Refused, m.Terminated = true, false, false
		case "unreachable":
			m.Reachable = false
			m.AskedAt = s.now
		case "refused":
			m.Refused, m.RefusedAt = true, s.now
		case "terminated":
			m.Reachable, m.Terminated, m.TerminatedAt = false, true, s.now
		case "serveropen":
			m.Reachable, m.ServerOpen = false, true
		case "stopping":
			m.Stopping = true
		case "empty":
			m.Term, sv.Keys, sv.ReplID, sv.Offset, m.LastReplID = 0, 0, "new-"+name, 0, ""
		case "term":
			m.Term = n
		case "offset":
			sv.Offset = n
		case "keys":
			sv.Keys = n
		case "id":
			sv.ReplID = v
		case "address":
			m.Address = v
		case "candidate":
			m.Candidate = true
		case "remembers":
			id, off, _ := strings.Cut(v, ":")
			m.LastReplID = id
			m.LastOffset, _ = strconv.ParseInt(off, 10, 64)
		default:
			return fmt.Errorf("unknown %s", k)
		}
	}
	return nil
}

func (s *story) setSentinel(name string, f []string) error {
	p := s.sentinels[name]
	if p == nil {
		p = &Sentinel{Name: name, Address: name + ":26379", Reachable: true}
		p.Monitoring = true
		s.sentinels[name] = p
		s.senOrder = append(s.senOrder, name)
	}
	for _, a := range f {
		k, v, _ := strings.Cut(a, "=")
		switch k {
		case "names":
			p.Monitoring, p.MasterAddress = true, s.address(v)
		case "epoch":
			p.ConfigEpoch, _ = strconv.ParseInt(v, 10, 64)
		case "failover":
			p.FailoverInProgress = v != "no"
		case "down":
			p.MasterDown = v != "no"
		case "unmonitored":
			p.Monitoring, p.MasterAddress = false, ""
		case "unreachable":
			p.Reachable = false
		case "reachable":
			p.Reachable, p.Gone = true, false
		case "gone":
			p.Reachable, p.Gone = false, true
		case "silent":
			who, d, _ := strings.Cut(v, ":")
			silent, err := time.ParseDuration(d)
			if err != nil {
				return err
			}
			p.Askers = []Asker{{Name: who, Boot: s.members[who].Boot, Silent: silent}}
		case "replicas":
			p.Replicas = nil
			for _, r := range strings.Split(v, ",") {
				p.Replicas = append(p.Replicas, s.address(r))
			}
		case "sentinels":
			p.Sentinels = nil
			for _, r := range strings.Split(v, ",") {
				p.Sentinels = append(p.Sentinels, r+":26379")
			}
		default:
			return fmt.Errorf("unknown %s", k)
		}
	}
	return nil
}

// view is a member as another one, or itself, sees it.
func (s *story) view(m *told) Member {
	v := m.Member
	v.APIReachable = s.api && !m.noAPI
	if v.APIReachable {
		v.APIReachableMS = (s.now - s.apiSince).Milliseconds()
	}
	for _, p := range s.sentinels {
		if p.Reachable {
			v.SentinelsReachableMS = 60000
		}
	}
	if v.Reachable {
		v.AskedAt = s.now
	}
	return v
}

func (s *story) decide(args []datadriven.CmdArg) string {
	names := make([]string, 0, len(args))
	for _, a := range args {
		names = append(names, a.Key)
	}
	if len(names) == 0 {
		names = s.order
	}
	var b strings.Builder
	for _, name := range names {
		if p := s.sentinels[name]; p != nil {
			tell(&b, name, DecideSentinel(s.sentinelObservation(p)))
			continue
		}
		m := s.members[name]
		d := DecideMember(s.observation(m))
		m.memory, m.Follows, m.Candidate = d.Memory, d.Follows, d.Candidate
		tell(&b, name, d)
	}
	return b.String()
}

func tell(b *strings.Builder, name string, d Decision) {
	fmt.Fprintf(b, "%s: %s\n", name, d.Why)
	for _, a := range d.Actions {
		fmt.Fprintf(b, "  %s\n", a)
	}
}

func (s *story) observation(m *told) Observation {
	o := Observation{
		Now: s.now, Config: s.config, Self: s.view(m), Lease: s.lease, ServerRunning: !m.dead, ServerStartedAt: second,
		ServerAnsweredAt: s.now, StopBy: s.now + 30*second, Memory: m.memory, Takeover: m.takeover, HandoverForce: m.force,
		HandoverFailedAt: m.failedAt,
	}
	if m.wants != nil {
		o.HandoverWanted, o.HandoverTo = true, *m.wants
	}
	if m.hung {
		o.ServerAnsweredAt = m.hungAt
	}
	o.Lease.APIReachable, o.Lease.ReachableSince, o.Lease.RenewedAt = s.api && !m.noAPI, s.apiSince, m.renewedAt
	for _, n := range s.order {
		if n != m.Name {
			o.Peers = append(o.Peers, s.view(s.members[n]))
		}
	}
	for _, n := range s.senOrder {
		p := *s.sentinels[n]
		if p.Reachable {
			p.AskedAt = s.now
		}
		o.Sentinels = append(o.Sentinels, p)
	}
	return o
}

func (s *story) sentinelObservation(p *Sentinel) SentinelObservation {
	o := SentinelObservation{Now: s.now, Config: s.config, Self: *p, Lease: s.lease}
	for _, n := range s.order {
		o.Members = append(o.Members, s.view(s.members[n]))
	}
	for _, n := range s.senOrder {
		if n != p.Name {
			o.Others = append(o.Others, *s.sentinels[n])
		}
	}
	return o
}
