package agent

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"redstart.dev/redstart/api/v1alpha1"
)

const (
	// maxBodyBytes bounds what a caller may post.
	maxBodyBytes = 64 << 10
	// handoverWait is how long POST /handover waits for the end of the handover.
	handoverWait = 30 * time.Second
	// stuckTime is how long a turn of the loop may take before the agent is not live.
	stuckTime = 30 * time.Second
)

// takeoverBody is the body of POST /takeover.
type takeoverBody struct {
	Term     int64  `json:"term"`
	From     string `json:"from"`
	ReplID   string `json:"replID"`
	Offset   int64  `json:"offset"`
	PausedMS int64  `json:"pausedMilliseconds,omitempty"`
	Reason   string `json:"reason,omitempty"`
	// Unplanned: the server of From died. Lease is what From wrote to give it to the receiver, nil in mode Sentinel. ClockNS is what the
	// receiver told of its clock: see plan.Takeover.
	Unplanned bool   `json:"unplanned,omitempty"`
	Lease     *Lease `json:"lease,omitempty"`
	ClockNS   int64  `json:"clockNanoseconds,omitempty"`
}

// hooks are the calls that only one kind of agent answers.
type hooks struct {
	status   func(context.Context) v1alpha1.AgentStatus
	handover func(context.Context, *handoverCall) (v1alpha1.HandoverStatus, error)
	takeover func(context.Context, *takeoverCall) error
}

// handler is the HTTP API of docs/architecture.md.
func (b *base) handler(h hooks) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(&collector{b}, b.metrics.handoverSeconds)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, r *http.Request) {
		if quiet := b.now() - time.Duration(b.turned.Load()); quiet > stuckTime {
			http.Error(w, fmt.Sprintf("the agent's loop has not turned for %s", quiet.Round(time.Second)), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if s := b.status.Load(); !s.Ready {
			http.Error(w, "not ready: "+s.Message, http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /status", b.guarded(func(w http.ResponseWriter, r *http.Request) {
		answer(w, h.status(r.Context()))
	}))
	mux.HandleFunc("POST /nudge", b.guarded(func(w http.ResponseWriter, r *http.Request) {
		b.nudge()
		_, _ = io.WriteString(w, "ok\n")
	}))
	if h.handover != nil {
		mux.HandleFunc("POST /handover", b.guarded(func(w http.ResponseWriter, r *http.Request) {
			c := &handoverCall{reply: make(chan v1alpha1.HandoverStatus, 1)}
			if !decode(w, r, c) {
				return
			}
			s, err := h.handover(r.Context(), c)
			if err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			answer(w, s)
		}))
	}
	if h.takeover != nil {
		mux.HandleFunc("POST /takeover", b.guarded(func(w http.ResponseWriter, r *http.Request) {
			var body takeoverBody
			if !decode(w, r, &body) {
				return
			}
			c := &takeoverCall{takeoverBody: body, reply: make(chan error, 1)}
			if err := h.takeover(r.Context(), c); err != nil {
				http.Error(w, err.Error(), http.StatusConflict)
				return
			}
			_, _ = io.WriteString(w, "ok\n")
		}))
	}
	return mux
}

// guarded lets callers with the token in. While the token is not known nobody has it.
func (b *base) guarded(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token := *b.token.Load()
		given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if token == "" || !ok || subtle.ConstantTimeCompare([]byte(given), []byte(token)) != 1 {
			http.Error(w, "this call needs the agents' token (Authorization: Bearer)", http.StatusUnauthorized)
			return
		}
		next(w, r)
	}
}

func decode(w http.ResponseWriter, r *http.Request, v any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if err := d.Decode(v); err != nil {
		http.Error(w, "the body is not the JSON expected: "+err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	// An error here is the caller's connection: it notices by itself.
	_ = json.NewEncoder(w).Encode(v)
}

// serve serves the API until ctx ends.
func (b *base) serve(ctx context.Context, h hooks) error {
	address := net.JoinHostPort(b.opts.IP, strconv.Itoa(int(b.opts.AgentPort)))
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("serve the agent's API: %w", err)
	}
	s := &http.Server{
		Handler: b.handler(h), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10, BaseContext: func(net.Listener) context.Context { return ctx },
	}
	b.working.Go(func() {
		<-ctx.Done()
		_ = s.Close()
	})
	b.working.Go(func() {
		if err := s.Serve(l); err != nil && ctx.Err() == nil {
			b.log.Error("the agent's API ended", "error", err)
		}
	})
	return nil
}

// freshStatus is the status with a new look at the server: the offset of a candidate must not be an old one.
func (m *member) freshStatus(ctx context.Context) v1alpha1.AgentStatus {
	s := *m.status.Load()
	s.ClockNS = m.now().Nanoseconds()
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	if !s.Server.Up || s.Server.Loading {
		return s
	}
	if server, err := m.client.Status(ctx); err == nil {
		server.PID, server.Address = s.Server.PID, s.Server.Address
		s.Server = server
	}
	return s
}

// askHandover brings a request for a handover into the loop and waits for its end.
func (m *member) askHandover(ctx context.Context, c *handoverCall) (v1alpha1.HandoverStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, handoverWait)
	defer cancel()
	c.gone = ctx.Done()
	if _, sentinels := m.peers.observed(); c.To != "" && !c.Force && len(sentinels) > 0 {
		restore, err := m.prepare(ctx, c)
		defer restore()
		if err != nil {
			return v1alpha1.HandoverStatus{ID: c.ID, Phase: v1alpha1.HandoverFailed, From: m.opts.Name, Message: err.Error()}, nil
		}
	}
	select {
	case m.calls <- c:
	case <-ctx.Done():
		return v1alpha1.HandoverStatus{}, fmt.Errorf("hand over: %w", ctx.Err())
	}
	select {
	case s := <-c.reply:
		return s, nil
	case <-ctx.Done():
		return v1alpha1.HandoverStatus{}, fmt.Errorf("hand over: it did not end within %s: %s", handoverWait, m.status.Load().Message)
	}
}

// prepare makes a Sentinel choose the member that c names, before any writer has to wait. restore has to be called in any case.
func (m *member) prepare(ctx context.Context, c *handoverCall) (restore func(), err error) {
	nothing := func() {}
	if !m.preparing.TryLock() {
		return nothing, errors.New("a handover is under way")
	}
	ask := &candidateCall{to: c.To, reply: make(chan error, 1)}
	select {
	case m.calls <- ask:
	case <-ctx.Done():
		m.preparing.Unlock()
		return nothing, fmt.Errorf("hand over: %w", ctx.Err())
	}
	if err := <-ask.reply; err != nil {
		m.preparing.Unlock()
		return nothing, err
	}
	var unprefer func()
	c.sentinel, unprefer, err = m.prefer(ctx, c.To)
	return func() {
		unprefer()
		m.preparing.Unlock()
	}, err
}

// askTakeover brings a takeover into the loop and waits until the server is open.
func (m *member) askTakeover(ctx context.Context, c *takeoverCall) error {
	ctx, cancel := context.WithTimeout(ctx, 2*takeoverTime)
	defer cancel()
	select {
	case m.calls <- c:
	case <-ctx.Done():
		return fmt.Errorf("take over: %w", ctx.Err())
	}
	select {
	case err := <-c.reply:
		return err
	case <-ctx.Done():
		return fmt.Errorf("take over: %w", ctx.Err())
	}
}
