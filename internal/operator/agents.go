package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
)

const (
	// statusTimeout bounds one look at all agents of a Redis, which are asked at the same time.
	statusTimeout = 500 * time.Millisecond
	// handoverTimeout bounds a handover; the agent gives up earlier.
	handoverTimeout = 35 * time.Second
	// retryTimeout is how long a handover that fails is tried again, and retryEvery how often. The Sentinels look at the
	// replicas each ten seconds, and refuse until they did.
	retryTimeout = 12 * time.Second
	retryEvery   = 500 * time.Millisecond
	// retryBelow is how long writers may have waited for a handover in vain, in milliseconds, for it to be tried again.
	retryBelow = 100
	// maxAnswer is the longest answer of an agent that is read, in bytes.
	maxAnswer = 1 << 20
)

// agents speaks to the HTTP API of the agents.
type agents struct{ http *http.Client }

func newAgents() agents {
	return agents{&http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 1,
		// Longer than the pause between the looks while something goes on. When all is calm, hundreds of agents are asked seldom: a
		// connection to each takes more than a new one costs.
		IdleConnTimeout: 15 * time.Second,
	}}}
}

// look asks the agents of all pods for their status, and gives those that do not answer in time none.
func (a agents) look(ctx context.Context, token string, all []instance) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for i := range all {
		if all[i].pod == nil {
			continue
		}
		address := v1alpha1.PodAddress(all[i].pod, v1alpha1.PortAgent)
		if address == "" {
			continue
		}
		wg.Go(func() {
			var status v1alpha1.AgentStatus
			if err := a.call(ctx, http.MethodGet, address, "/status", token, nil, &status); err != nil {
				all[i].unanswered = err
			} else {
				all[i].agent = &status
			}
		})
	}
	wg.Wait()
}

// handOver asks a member's agent, the master's unless the handover is forced, for a handover and waits for its end. The agent
// and the Sentinels know the members by looks of their own: when they refuse, and no writer had to wait, they are asked again.
func (a agents) handOver(ctx context.Context, token string, member instance, req v1alpha1.HandoverRequest) (v1alpha1.HandoverStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, handoverTimeout)
	defer cancel()
	enough := time.NewTimer(retryTimeout)
	defer enough.Stop()
	again := time.NewTicker(retryEvery)
	defer again.Stop()
	for {
		var done v1alpha1.HandoverStatus
		err := a.call(ctx, http.MethodPost, v1alpha1.PodAddress(member.pod, v1alpha1.PortAgent), "/handover", token, req, &done)
		if err != nil {
			return done, fmt.Errorf("ask %s for a handover: %w", member.name, err)
		}
		if !failed(&done) || done.Milliseconds >= retryBelow {
			return done, nil
		}
		select {
		case <-again.C:
		case <-enough.C:
			return done, nil
		case <-ctx.Done():
			return done, nil
		}
	}
}

// call makes one request. An answer other than 200 is an error with the text of the answer.
func (a agents) call(ctx context.Context, method, address, path, token string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", address, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s%s answered %s: %s", address, path, resp.Status, strings.TrimSpace(string(b)))
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("read the answer of %s%s: %w", address, path, err)
	}
	return nil
}
