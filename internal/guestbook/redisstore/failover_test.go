package redisstore_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"redstart.dev/redstart/internal/guestbook"
	"redstart.dev/redstart/internal/guestbook/redisstore"
	"redstart.dev/redstart/internal/guestbook/redistest"
)

// load posts from several writers until stop, and then checks that everything acknowledged is there once, and that the
// reader of the feed heard of it.
type load struct {
	t      *testing.T
	s      guestbook.Store
	stop   chan struct{}
	wg     sync.WaitGroup
	posted atomic.Int64

	mu   sync.Mutex
	kept map[string]string // text to ID
	news map[string]bool
}

func startLoad(t *testing.T, s guestbook.Store, feed *guestbook.Feed) *load {
	l := &load{t: t, s: s, stop: make(chan struct{}), kept: map[string]string{}, news: map[string]bool{}}
	reader := feed.Subscribe("")
	go func() {
		for e := range reader.C {
			if e.Message != nil {
				l.mu.Lock()
				l.news[e.Message.Text] = true
				l.mu.Unlock()
			}
		}
	}()
	for w := range 4 {
		l.wg.Go(func() { l.write(w) })
	}
	t.Cleanup(reader.Close)
	return l
}

func (l *load) write(writer int) {
	for i := 0; ; i++ {
		select {
		case <-l.stop:
			return
		case <-time.After(2 * time.Millisecond):
		}
		d := draft(fmt.Sprintf("%d-%d", writer, i))
		r, err := l.s.Post(context.Background(), d)
		if err != nil {
			l.t.Errorf("post %s: %v", d.Text, err)
			return
		}
		l.posted.Add(1)
		l.mu.Lock()
		l.kept[d.Text] = r.Message.ID
		l.mu.Unlock()
	}
}

// more waits until n further messages were acknowledged.
func (l *load) more(n int64) {
	l.t.Helper()
	goal := l.posted.Load() + n
	redistest.Wait(l.t, "more messages are kept", func() bool { return l.posted.Load() >= goal || l.t.Failed() })
}

func (l *load) check(newMaster *redistest.Server) {
	l.t.Helper()
	close(l.stop)
	l.wg.Wait()
	found := map[string]int{}
	for _, m := range all(l.t, l.s, "9999999999999-0") { // no replica has that: the master answers
		found[m.Text]++
	}
	for text, id := range l.kept {
		if found[text] != 1 {
			l.t.Errorf("message %s (%s) was acknowledged and is there %d times", text, id, found[text])
		}
	}
	redistest.Wait(l.t, "the feed told of every message", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for text := range l.kept {
			if !l.news[text] {
				return false
			}
		}
		return true
	})
	redistest.Wait(l.t, "the status shows the new master", func() bool {
		st := l.s.Status()
		return st.Writable && st.Master == newMaster.Addr && st.LastOutage > 0
	})
	l.t.Logf("%d messages, the database took no writes for %s", len(l.kept), l.s.Status().LastOutage)
}

func TestFailoverBehindService(t *testing.T) {
	master := redistest.Start(t)
	a, b := redistest.Replica(t, master), redistest.Replica(t, master)
	service, reads := redistest.NewService(t, master), redistest.NewService(t, a)
	s, feed := open(t, redisstore.Endpoints{Leader: service.Addr, Follower: reads.Addr}, redisstore.Options{WaitReplicas: 1})
	l := startLoad(t, s, feed)
	l.more(50)
	master.Kill()
	next := redistest.Failover(a, b)
	service.Switch(next)
	l.more(50)
	l.check(next)
}

// The master becomes a replica and its connections stay open: only its answers tell.
func TestDemotedMasterIsLeft(t *testing.T) {
	master := redistest.Start(t)
	replica := redistest.Replica(t, master)
	service := redistest.NewService(t, master)
	s, feed := open(t, redisstore.Endpoints{Leader: service.Addr}, redisstore.Options{})
	l := startLoad(t, s, feed)
	l.more(50)
	if err := master.Client().Do(context.Background(), "failover", "to", "127.0.0.1", port(replica), "timeout", "20000").Err(); err != nil {
		t.Fatal(err)
	}
	redistest.Wait(t, "the replica is master", func() bool {
		role, _ := replica.Client().Do(context.Background(), "role").Slice()
		return len(role) > 0 && role[0] == "master"
	})
	service.Switch(replica)
	l.more(50)
	l.check(replica)
}

func TestFailoverBySentinels(t *testing.T) {
	master := redistest.Start(t)
	a, b := redistest.Replica(t, master), redistest.Replica(t, master)
	sentinels := redistest.Sentinels(t, "cache", master, 2, 500*time.Millisecond)
	s, feed := open(t, redisstore.Endpoints{Sentinels: sentinels, MasterName: "cache"}, redisstore.Options{WaitReplicas: 1})
	l := startLoad(t, s, feed)
	l.more(50)
	master.Kill()
	l.more(50)
	next := a
	if s.Status().Master == b.Addr {
		next = b
	}
	l.check(next)
}

func port(s *redistest.Server) string { return s.Addr[len("127.0.0.1:"):] }
