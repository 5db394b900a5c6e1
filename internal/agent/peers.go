package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/plan"
	"redstart.dev/redstart/internal/redis"
)

// maxStatusBytes bounds what is read of another agent's answer.
const maxStatusBytes = 1 << 20

// peers asks the other members' agents, and all Sentinels, how they are. It is safe for concurrent use.
type peers struct {
	b    *base
	http *http.Client

	mu        sync.Mutex
	members   map[string]*peer
	sentinels map[string]*sentinelPeer
	password  string
	asking    bool
	askedAt   time.Duration
}

// peer is another member.
type peer struct {
	pod    Pod
	gone   bool // the pod is
	member plan.Member
	client *redis.Client // to its server; nil while it has no address
}

// sentinelPeer is one Sentinel.
type sentinelPeer struct {
	pod    Pod
	view   plan.Sentinel
	client *redis.Sentinel
	stop   context.CancelFunc // of its subscription
}

func newPeers(b *base) *peers {
	dialer := &net.Dialer{Timeout: askTime}
	return &peers{b: b, members: map[string]*peer{}, sentinels: map[string]*sentinelPeer{}, http: &http.Client{
		Transport: &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute},
	}}
}

// update takes the pods that exist. A pod that is gone stays as a terminated member; one that came back under its
// name is another: what was known of it is void.
func (p *peers) update(ctx context.Context, v View, password string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.b.now()
	p.password = password
	present := map[string]bool{}
	for _, pod := range v.Pods {
		present[pod.Name] = true
		switch pod.Component {
		case v1alpha1.ComponentMember:
			if pod.Name != p.b.opts.Name {
				p.updateMember(pod, now)
			}
		case v1alpha1.ComponentSentinel:
			if pod.Name != p.b.opts.Name {
				p.updateSentinel(ctx, pod)
			}
		}
	}
	if !v.PodsKnown {
		return
	}
	for name, m := range p.members {
		if !present[name] && !m.gone {
			m.terminate(now)
			m.close()
			m.gone, m.member.Address = true, ""
		}
	}
	for name, s := range p.sentinels {
		if !present[name] {
			s.close()
			delete(p.sentinels, name)
		}
	}
}

func (p *peers) updateMember(pod Pod, now time.Duration) {
	m := p.members[pod.Name]
	if m == nil || m.gone || m.pod.UID != pod.UID {
		if m != nil {
			m.close()
		}
		fresh := &peer{member: plan.Member{AgentStatus: v1alpha1.AgentStatus{Name: pod.Name}}}
		if m != nil {
			// The run of the agent that was there is over, whatever comes after it.
			fresh.member.Boot, fresh.member.Terminated, fresh.member.TerminatedAt = m.member.Boot, true, now
		}
		m = fresh
		p.members[pod.Name] = m
	}
	if m.client == nil || m.client.Address() != pod.Server {
		m.close()
		if pod.Server != "" {
			m.client = redis.NewClient(pod.Server, p.password)
		}
	}
	if m.client != nil {
		m.client.SetPassword(p.password)
	}
	switch {
	case pod.Terminated && (!m.pod.Terminated || m.pod.Restarts != pod.Restarts):
		m.terminate(now)
	case pod.Running:
		// A new container may do anything, whether it answers or not.
		m.member.Terminated, m.member.TerminatedAt = false, 0
	}
	m.pod, m.member.Address, m.member.Label = pod, pod.Server, pod.Label
}

// terminate takes note that the run of the agent that was there is over.
func (m *peer) terminate(now time.Duration) {
	m.member.Terminated, m.member.TerminatedAt = true, now
	m.member.Reachable, m.member.ServerOpen = false, false
}

func (m *peer) close() {
	if m.client != nil {
		_ = m.client.Close()
		m.client = nil
	}
}

func (p *peers) updateSentinel(ctx context.Context, pod Pod) {
	s := p.sentinels[pod.Name]
	if s != nil && (s.pod.UID != pod.UID || s.pod.Server != pod.Server) {
		s.close()
		s = nil
	}
	if s == nil {
		s = &sentinelPeer{view: plan.Sentinel{Name: pod.Name}}
		if pod.Server != "" {
			s.client = redis.NewNamedSentinel(p.b.clientName(), pod.Server, p.password)
			s.stop = p.b.subscribe(ctx, pod.Server, func(redis.SentinelEvent) { p.b.nudge() }, redis.EventSwitchMaster)
		}
		p.sentinels[pod.Name] = s
	}
	if s.client != nil {
		s.client.SetPassword(p.password)
	}
	s.pod, s.view.Address, s.view.Stopping = pod, pod.Server, pod.Stopping
	if pod.Terminated {
		s.view.Gone, s.view.Reachable = true, false
	}
}

func (s *sentinelPeer) close() {
	if s.stop != nil {
		s.stop()
	}
	if s.client != nil {
		_ = s.client.Close()
		s.client = nil
	}
}

// closeAll drops all connections.
func (p *peers) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.members {
		m.close()
	}
	for _, s := range p.sentinels {
		s.close()
	}
	p.http.CloseIdleConnections()
}

// askSoon asks all in the background, unless that is under way or was done less than calm ago.
func (p *peers) askSoon(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asking || p.askedAt != 0 && p.b.now()-p.askedAt < calm {
		return
	}
	p.asking = true
	p.b.working.Go(func() {
		p.ask(ctx)
		p.mu.Lock()
		p.asking = false
		p.mu.Unlock()
		p.b.poke()
	})
}

// errNoAnswer is the end of askTime.
var errNoAnswer = errors.New("no answer in time")

// ask asks all at the same time and returns when all answered or askTime is over. When ctx ends before, that says nothing of
// those who have not answered yet.
func (p *peers) ask(ctx context.Context) {
	ctx, cancel := context.WithTimeoutCause(ctx, askTime, errNoAnswer)
	defer cancel()
	p.mu.Lock()
	p.askedAt = p.b.now()
	var all sync.WaitGroup
	missed := false
	for _, m := range p.members {
		missed = missed || !m.member.Reachable && !m.member.Terminated
		if pod, client := m.pod, m.client; client != nil && pod.Agent != "" {
			all.Go(func() { p.askMember(ctx, pod, client) })
		}
	}
	for _, s := range p.sentinels {
		if pod, client := s.pod, s.client; client != nil {
			all.Go(func() { p.askSentinel(ctx, pod, client, missed) })
		}
	}
	p.mu.Unlock()
	all.Wait()
}

func (p *peers) askMember(ctx context.Context, pod Pod, client *redis.Client) {
	sent := p.b.now()
	status, err := p.fetchStatus(ctx, pod.Agent)
	if err == nil && status.Name != pod.Name {
		err = fmt.Errorf("it is %q", status.Name)
	}
	var open, refused bool
	if err != nil && ctx.Err() == nil {
		own := p.b.status.Load()
		// Its agent is gone or hangs: a look at the server itself tells more.
		direct, lookErr := client.Status(ctx)
		passedOn := own != nil && own.Server.RunID == direct.RunID // see forwardClients
		open = lookErr == nil && direct.Role == v1alpha1.RoleMaster && !passedOn
		refused = errors.Is(lookErr, syscall.ECONNREFUSED)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.members[pod.Name]
	if m == nil || m.pod.UID != pod.UID || m.pod.Server != pod.Server {
		return
	}
	if m.member.Terminated && sent < m.member.TerminatedAt {
		return // the answer is of the run that is over
	}
	if err != nil && cutShort(ctx) {
		return
	}
	m.member.Reachable, m.member.ServerOpen = err == nil, open
	if err == nil {
		m.member.AgentStatus, m.member.AskedAt = status, sent
		m.member.Refused = false
		// A new container runs, though the API may not say so yet.
		m.member.Terminated, m.member.TerminatedAt = false, 0
	}
	switch {
	case err != nil || !status.Server.LinkUp:
		m.member.LinkUpSince = 0
	case m.member.LinkUpSince == 0:
		m.member.LinkUpSince = sent
	}
	if err == nil {
		return
	}
	if refused {
		m.member.Refused, m.member.RefusedAt = true, sent
	} else if open {
		m.member.Refused = false
	}
}

// cutShort tells whether a question was given up before askTime.
func cutShort(ctx context.Context) bool {
	return ctx.Err() != nil && !errors.Is(context.Cause(ctx), errNoAnswer)
}

// askSentinel asks a Sentinel what it believes and, when a member is missed, who has not asked it for how long.
func (p *peers) askSentinel(ctx context.Context, pod Pod, client *redis.Sentinel, missed bool) {
	sent := p.b.now()
	view, err := sentinelView(ctx, client, p.b.opts.Redis)
	var askers []plan.Asker
	if err == nil && missed {
		askers = p.b.askers(ctx, client)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.sentinels[pod.Name]
	if s == nil || s.client != client {
		return
	}
	if err != nil && cutShort(ctx) {
		return
	}
	s.view.Reachable = err == nil
	s.view.Gone = err != nil && (errors.Is(err, syscall.ECONNREFUSED) || s.pod.Terminated)
	if err == nil {
		s.view.SentinelView, s.view.Askers, s.view.AskedAt = view, askers, sent
	}
}

// clientName is the name of this run's connections to Sentinels.
func (b *base) clientName() string { return clientPrefix + b.opts.Name + "/" + b.boot }

const clientPrefix = "redstart/"

// askers are the agents that have named connections to a Sentinel; none where it does not say, which proves nothing. It counts by the
// clock of its host, and a Sentinel whose clock jumped says so (TILT).
func (b *base) askers(ctx context.Context, s *redis.Sentinel) (all []plan.Asker) {
	connections, err := s.Connections(ctx)
	info, err2 := s.Info(ctx)
	if err := errors.Join(err, err2); err != nil {
		b.log.Debug("a Sentinel does not tell who asks it", "error", err)
		return nil
	}
	if info["sentinel_tilt"] != "0" {
		return nil
	}
	for _, c := range connections {
		if who, ours := strings.CutPrefix(c.Name, clientPrefix); ours {
			name, boot, _ := strings.Cut(who, "/")
			all = append(all, plan.Asker{Name: name, Boot: boot, Silent: c.Silent})
		}
	}
	return all
}

// sentinelView asks a Sentinel what it believes.
func sentinelView(ctx context.Context, s *redis.Sentinel, name string) (v1alpha1.SentinelView, error) {
	m, err := s.Master(ctx, name)
	if redis.IsNoSuchMaster(err) {
		return v1alpha1.SentinelView{}, nil
	}
	if err != nil {
		return v1alpha1.SentinelView{}, err
	}
	v := v1alpha1.SentinelView{
		Monitoring: true, MasterAddress: m.Address, ConfigEpoch: m.ConfigEpoch,
		MasterDown: m.SubjectivelyDown || m.ObjectivelyDown, FailoverInProgress: m.FailoverInProgress,
	}
	if m.FailoverInProgress {
		// From the promotion on clients are told the new one, while SENTINEL MASTER still shows the old one.
		if addr, err := s.MasterAddress(ctx, name); err == nil && addr != "" && addr != m.Address {
			v.MasterAddress, v.MasterDown = addr, false
		}
	}
	replicas, err := s.Replicas(ctx, name)
	if err != nil {
		return v, err
	}
	for _, r := range replicas {
		v.Replicas = append(v.Replicas, r.Address)
		if r.Promoted {
			v.Promoting = r.Address
		}
	}
	sentinels, err := s.Sentinels(ctx, name)
	if err != nil {
		return v, err
	}
	for _, o := range sentinels {
		v.Sentinels = append(v.Sentinels, o.Address)
	}
	return v, nil
}

// observed is everybody for internal/plan, by name.
func (p *peers) observed() (members []plan.Member, sentinels []plan.Sentinel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.members {
		members = append(members, m.member)
	}
	for _, s := range p.sentinels {
		sentinels = append(sentinels, s.view)
	}
	slices.SortFunc(members, func(a, b plan.Member) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(sentinels, func(a, b plan.Sentinel) int { return strings.Compare(a.Name, b.Name) })
	return members, sentinels
}

// member is what is known of one member, with the client of its server.
func (p *peers) find(name string) (plan.Member, Pod, *redis.Client, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.members[name]
	if m == nil || m.client == nil {
		return plan.Member{}, Pod{}, nil, false
	}
	return m.member, m.pod, m.client, true
}

// sentinelClients are those of all other Sentinels.
func (p *peers) sentinelClients() []*redis.Sentinel {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*redis.Sentinel
	for _, s := range p.sentinels {
		if s.client != nil {
			out = append(out, s.client)
		}
	}
	return out
}

func (p *peers) fetchStatus(ctx context.Context, agent string) (v1alpha1.AgentStatus, error) {
	var s v1alpha1.AgentStatus
	err := p.call(ctx, http.MethodGet, agent, "/status", nil, &s)
	return s, err
}

// call makes one call of another agent's API; in and out may be nil.
func (p *peers) call(ctx context.Context, method, agent, path string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return fmt.Errorf("%s %s at %s: %w", method, path, agent, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+agent+path, &body)
	if err != nil {
		return fmt.Errorf("%s %s at %s: %w", method, path, agent, err)
	}
	req.Header.Set("Authorization", "Bearer "+*p.b.token.Load())
	resp, err := p.http.Do(req)
	if err != nil {
		return err // says method and address
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxStatusBytes))
	if err != nil {
		return fmt.Errorf("%s %s at %s: %w", method, path, agent, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s at %s: %s: %s", method, path, agent, resp.Status, bytes.TrimSpace(b))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("%s %s at %s: %w", method, path, agent, err)
	}
	return nil
}

// nudge tells all other members' agents to look again. It does not wait.
func (p *peers) nudge(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.members {
		if m.pod.Agent != "" && !m.gone && !m.member.Terminated {
			p.send(ctx, m.pod.Agent)
		}
	}
}

// nudgeAll tells the Sentinels' agents too.
func (p *peers) nudgeAll(ctx context.Context) {
	p.nudge(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.sentinels {
		if s.pod.Agent != "" && !s.view.Gone {
			p.send(ctx, s.pod.Agent)
		}
	}
}

// send does not wait for the answer, and outlives the actions that it is one of.
func (p *peers) send(ctx context.Context, agent string) {
	ctx = context.WithoutCancel(ctx)
	p.b.working.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, askTime)
		defer cancel()
		if err := p.call(ctx, http.MethodPost, agent, "/nudge", nil, nil); err != nil {
			p.b.log.Debug("a nudge was lost", "error", err)
		}
	})
}
