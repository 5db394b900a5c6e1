package web_test

import (
	"context"
	"net"
	"net/http"
	"net/http/cookiejar"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"redstart.dev/redstart/internal/guestbook"
	"redstart.dev/redstart/internal/guestbook/redisstore"
	"redstart.dev/redstart/internal/guestbook/redistest"
	"redstart.dev/redstart/internal/guestbook/web"
)

// book is a guestbook of its own, with a master and a replica of its own.
type book struct {
	t               *testing.T
	url             string
	master, replica *redistest.Server
	writes, reads   *redistest.Service
	stop            func()
}

func newGuestbook(t *testing.T, options ...func(*web.Options)) *book {
	t.Helper()
	g := &book{t: t, master: redistest.Start(t)}
	g.replica = redistest.Replica(t, g.master)
	g.writes, g.reads = redistest.NewService(t, g.master), redistest.NewService(t, g.replica)
	opts := web.Options{Host: "frontend-0"}
	for _, o := range options {
		o(&opts)
	}
	registry, feed := prometheus.NewRegistry(), guestbook.NewFeed()
	store := redisstore.New(redisstore.Endpoints{Leader: g.writes.Addr, Follower: g.reads.Addr},
		redisstore.Options{Budget: time.Second}, feed, redisstore.NewMetrics(registry))
	server, err := web.New(store, feed, registry, opts)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.url = "http://" + l.Addr().String()
	serving, stopServing := context.WithCancel(context.Background())
	watching, stopWatching := context.WithCancel(context.Background())
	var served, watched sync.WaitGroup
	watched.Go(func() { store.Run(watching) })
	served.Go(func() {
		if err := server.Serve(serving, l, 0); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	g.stop = sync.OnceFunc(func() {
		stopServing()
		served.Wait()
		stopWatching()
		watched.Wait()
		if err := store.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	t.Cleanup(g.stop)
	redistest.Wait(t, "the guestbook is ready", func() bool {
		r, err := http.Get(g.url + "/readyz")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	return g
}

// failover makes the replica master, as an operator does once the master is dead.
func (g *book) failover() {
	g.replica.Promote()
	g.writes.Switch(g.replica)
	g.master = g.replica
}

// visitor is a browser without a screen: it keeps cookies and follows no redirect.
func visitor(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{
		Jar: jar, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
