package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"redstart.dev/redstart/internal/guestbook"
	"redstart.dev/redstart/internal/guestbook/browsertest"
)

// guestbookPort is the port of the Service frontend in the examples.
const guestbookPort = 8080

// TestGuestbook looks at the example through two windows of a browser while the master dies and moves.
func TestGuestbook(t *testing.T) {
	beyondCore(t)
	first := browsertest.Start(t)
	second := first.Another()
	b := startBook(t, "guestbook", "cache")
	first.Screen(390, 780, false)
	second.Screen(1100, 800, false)
	for _, w := range []*browsertest.Window{first, second} {
		w.Open(b.url)
	}
	both := func(text string) {
		t.Helper()
		first.See("the first window shows it once: "+text, browsertest.Times(text)+" === 1")
		second.See("the second window shows it once: "+text, browsertest.Times(text)+" === 1")
	}
	first.Write("Ada", "Hello from my phone")
	both("Hello from my phone")

	b.in.waitSettled()
	master := b.in.master()
	b.in.kill(b.in.serverPID(master))
	second.Write("Grace", "Written while the master was gone")
	second.Picture("failover-desktop")
	both("Written while the master was gone")
	both("Hello from my phone")
	b.in.waitMoved(master)
	b.once("Hello from my phone", "Written while the master was gone")
	second.Picture("after-desktop")
	first.Picture("after-phone")

	b.in.waitReady()
	b.in.waitSettled()
	for _, text := range b.postDuringFailover() {
		second.See("the second window shows it once: "+text, browsertest.Times(text)+" === 1")
	}
}

// TestClassicGuestbook runs the tutorial's shape: a leader and followers, found by the Services of those names.
func TestClassicGuestbook(t *testing.T) {
	beyondCore(t)
	b := startBook(t, filepath.Join("guestbook", "classic"), "redis")
	for _, service := range []string{"redis-leader", "redis-follower"} {
		b.in.service(service, 6379) // fails the test when there is none
	}
	if out, err := b.in.redstart("-n", b.in.namespace, "logs", "-l", "app=guestbook"); err != nil || strings.Count(out, "guestbook serves") != 3 {
		t.Errorf("redstart logs of three front ends: %v\n%s", err, out)
	}
	b.post("before")
	b.once("before")

	b.in.waitSettled()
	master := b.in.master()
	b.in.kill(b.in.serverPID(master))
	start := time.Now()
	b.post("after the master's death")
	t.Logf("accepted %s after the master's death", time.Since(start).Round(time.Millisecond))
	b.once("before", "after the master's death")

	b.in.waitMoved(master)
	b.in.waitReady()
	b.in.waitSettled()
	b.postDuringFailover()
}

// book is a guestbook of the examples, in a namespace of its own.
type book struct {
	t   *testing.T
	in  *instance
	url string
}

// startBook applies an example, whose Redis has the name, and waits until every front end is ready.
func startBook(t *testing.T, example, redis string) *book {
	t.Helper()
	c := theCluster(t, needProcesses)
	namespace := c.namespace(t)
	if out, err := c.redstart("-n", namespace, "apply", "-f", filepath.Join("..", "..", "examples", example)); err != nil {
		t.Fatalf("redstart apply: %v\n%s", err, out)
	}
	b := &book{t: t, in: c.instance(t, namespace, redis)}
	eventually(t, time.Minute, "the front ends to be ready", func(ctx context.Context) bool {
		d := &appsv1.Deployment{}
		return c.Get(ctx, b.in.key("frontend"), d) == nil && d.Status.ReadyReplicas == *d.Spec.Replicas
	})
	b.url = "http://" + b.in.service("frontend", guestbookPort)
	return b
}

// post posts through the JSON API until the message is accepted. It may be posted again with the same token: it must
// still appear once.
func (b *book) post(text string) {
	b.t.Helper()
	body, err := json.Marshal(map[string]string{"name": "API", "text": text, "token": guestbook.NewSecret()})
	if err != nil {
		b.t.Fatal(err)
	}
	eventually(b.t, time.Minute, fmt.Sprintf("%q to be accepted", text), func(context.Context) bool {
		code, answer := b.call(http.MethodPost, "/api/v1/messages", body)
		switch code {
		case http.StatusCreated, http.StatusOK:
			return true
		case 0, http.StatusServiceUnavailable: // not accepted yet
			return false
		}
		b.t.Fatalf("post %q: %d %s", text, code, answer)
		return false
	})
}

// postDuringFailover posts twenty messages, and more until a planned failover is over, and returns them newest last
// when all of them are there once.
func (b *book) postDuringFailover() []string {
	b.t.Helper()
	before := b.in.master()
	over := make(chan struct{})
	var out string
	var err error
	var texts []string
	for i, moving := 0, true; i < 20 || moving; i++ {
		if i == 5 {
			go func() {
				defer close(over)
				out, err = b.in.redstart("-n", b.in.namespace, "failover", b.in.name)
			}()
		}
		texts = append(texts, fmt.Sprintf("message %d", i+1))
		b.post(texts[i])
		select {
		case <-over:
			moving = false
		case <-time.After(20 * time.Millisecond): // faster would be more than one visitor may post
		}
	}
	if err != nil {
		b.t.Fatalf("redstart failover: %v\n%s", err, out)
	}
	b.in.waitMoved(before)
	b.once(texts...)
	b.t.Logf("%d messages were posted around the failover", len(texts))
	return texts
}

// once waits until a reader without a history of its own sees every text, and no text twice.
func (b *book) once(texts ...string) {
	b.t.Helper()
	var seen map[string]int
	eventually(b.t, time.Minute, fmt.Sprintf("the API to list %d messages", len(texts)), func(context.Context) bool {
		var ok bool
		if seen, ok = b.list(); !ok {
			return false
		}
		for _, text := range texts {
			if seen[text] == 0 {
				return false
			}
		}
		return true
	})
	for text, n := range seen {
		if n != 1 {
			b.t.Errorf("%q is there %d times", text, n)
		}
	}
}

// list counts all messages by their text.
func (b *book) list() (map[string]int, bool) {
	seen := map[string]int{}
	for before := ""; ; {
		code, body := b.call(http.MethodGet, "/api/v1/messages?before="+before, nil)
		var page struct {
			Messages []struct{ ID, Text string }
			Older    bool
		}
		if code != http.StatusOK || json.Unmarshal([]byte(body), &page) != nil {
			return nil, false
		}
		for _, m := range page.Messages {
			seen[m.Text]++
			before = m.ID
		}
		if !page.Older || len(page.Messages) == 0 {
			return seen, true
		}
	}
}

// call is one request; its status is 0 when there was no answer, and the body says why.
func (b *book) call(method, path string, body []byte) (int, string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, b.url+path, bytes.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(answer)
}
