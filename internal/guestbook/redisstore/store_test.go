package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"redstart.dev/redstart/internal/guestbook"
	"redstart.dev/redstart/internal/guestbook/redisstore"
	"redstart.dev/redstart/internal/guestbook/redistest"
)

// open makes a Store that runs until the test ends.
func open(t *testing.T, at redisstore.Endpoints, opts redisstore.Options) (*redisstore.Store, *guestbook.Feed) {
	t.Helper()
	if opts.Budget == 0 {
		opts.Budget = 30 * time.Second
	}
	feed := guestbook.NewFeed()
	s := redisstore.New(at, opts, feed, redisstore.NewMetrics(prometheus.NewRegistry()))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		feed.Close()
		if err := s.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	return s, feed
}

func draft(text string) guestbook.Draft {
	return guestbook.Draft{Token: guestbook.NewSecret(), Owner: "me", Name: "Ada", Text: text}
}

func post(t *testing.T, s guestbook.Store, d guestbook.Draft) guestbook.Receipt {
	t.Helper()
	r, err := s.Post(context.Background(), d)
	if err != nil {
		t.Fatalf("post %q: %v", d.Text, err)
	}
	return r
}

// all reads every message, page by page.
func all(t *testing.T, s guestbook.Store, after guestbook.Position) []guestbook.Message {
	t.Helper()
	var messages []guestbook.Message
	q := guestbook.Query{After: after}
	for {
		page, err := s.List(context.Background(), q)
		if err != nil {
			t.Fatalf("list: %v", err)
		}
		messages = append(messages, page.Messages...)
		if !page.Older {
			return messages
		}
		q.Before = page.Messages[len(page.Messages)-1].ID
	}
}

func TestPagesAreNewestFirst(t *testing.T) {
	master := redistest.Start(t)
	s, _ := open(t, redisstore.Endpoints{Leader: master.Addr}, redisstore.Options{})
	const n = 2*guestbook.PageSize + 5
	var last guestbook.Position
	for i := range n {
		r := post(t, s, draft(fmt.Sprint(i)))
		if r.Repeated || !last.Less(r.Position) || r.Message.Version != 1 || r.Message.Name != "Ada" {
			t.Fatalf("receipt %+v after position %s", r, last)
		}
		last = r.Position
		<-time.After(time.Millisecond) // IDs order by millisecond
	}
	got := all(t, s, last)
	if len(got) != n {
		t.Fatalf("%d messages, want %d", len(got), n)
	}
	for i, m := range got {
		if want := fmt.Sprint(n - 1 - i); m.Text != want {
			t.Fatalf("message %d is %q, want %q", i, m.Text, want)
		}
	}
}

func TestTokenIsKeptOnce(t *testing.T) {
	master := redistest.Start(t)
	s, _ := open(t, redisstore.Endpoints{Leader: master.Addr}, redisstore.Options{})
	d := draft("once")
	var wg sync.WaitGroup
	ids := make([]string, 50)
	first := make([]bool, 50)
	for i := range ids {
		wg.Go(func() {
			if i%10 == 3 {
				master.Client().ScriptFlush(context.Background())
			}
			r, err := s.Post(context.Background(), d)
			if err != nil {
				t.Error(err)
			}
			ids[i], first[i] = r.Message.ID, !r.Repeated
		})
	}
	wg.Wait()
	made := 0
	for i := range ids {
		if ids[i] != ids[0] {
			t.Errorf("call %d got message %s, another %s", i, ids[i], ids[0])
		}
		if first[i] {
			made++
		}
	}
	if got := all(t, s, ""); made != 1 || len(got) != 1 {
		t.Fatalf("%d calls made a message, %d messages are there, want 1 and 1", made, len(got))
	}
	ttl, err := master.Client().TTL(context.Background(), "{guestbook}:token:"+d.Token).Result()
	if err != nil || ttl <= 0 {
		t.Fatalf("token expires in %s (%v), want it to expire", ttl, err)
	}
}

func TestReadersSeeTheirOwnWrites(t *testing.T) {
	master := redistest.Start(t)
	replica := redistest.Replica(t, master)
	s, _ := open(t, redisstore.Endpoints{Leader: master.Addr, Follower: replica.Addr}, redisstore.Options{})
	before := post(t, s, draft("both have this"))
	redistest.Wait(t, "the replica has the first message", func() bool {
		n, _ := replica.Client().ZCard(context.Background(), "{guestbook}:index").Result()
		return n == 1
	})
	replica.Promote() // it hears of nothing from now on
	own := post(t, s, draft("only the master has this"))

	if got := all(t, s, ""); len(got) != 1 {
		t.Errorf("a reader without writes got %d messages, want the replica's 1", len(got))
	}
	if got := all(t, s, before.Position); len(got) != 1 {
		t.Errorf("a reader of the first message got %d messages, want the replica's 1", len(got))
	}
	if got := all(t, s, own.Position); len(got) != 2 {
		t.Errorf("the writer got %d messages, want the master's 2", len(got))
	}
	replica.Kill()
	if got := all(t, s, ""); len(got) != 2 {
		t.Errorf("with the replica dead a reader got %d messages, want the master's 2", len(got))
	}
}

func TestEdit(t *testing.T) {
	master := redistest.Start(t)
	s, _ := open(t, redisstore.Endpoints{Leader: master.Addr}, redisstore.Options{})
	ctx := context.Background()
	m := post(t, s, draft("draft")).Message
	change := guestbook.Change{Token: guestbook.NewSecret(), ID: m.ID, Owner: "me", Version: 1, Name: "Ada", Text: "final"}

	r, err := s.Edit(ctx, change)
	if err != nil || r.Message.Text != "final" || r.Message.Version != 2 || r.Message.Edited.IsZero() || r.Repeated {
		t.Fatalf("edit: %+v, %v", r, err)
	}
	r, err = s.Edit(ctx, change)
	if err != nil || !r.Repeated || r.Message.Version != 2 {
		t.Fatalf("the same edit again: %+v, %v; want it to be known", r, err)
	}
	change.Token = guestbook.NewSecret()
	var conflict *guestbook.ConflictError
	if _, err = s.Edit(ctx, change); !errors.As(err, &conflict) || conflict.Current.Text != "final" {
		t.Fatalf("edit of an old version: %v, want a conflict that shows the text now", err)
	}
	change.Version, change.Owner = 2, "somebody else"
	if _, err = s.Edit(ctx, change); !errors.Is(err, guestbook.ErrNotOwner) {
		t.Fatalf("edit by somebody else: %v", err)
	}
	change.ID = guestbook.NewID(time.Now())
	if _, err = s.Edit(ctx, change); !errors.Is(err, guestbook.ErrNotFound) {
		t.Fatalf("edit of nothing: %v", err)
	}
	if !s.Status().Writable {
		t.Error("refused edits were taken for an outage")
	}
}

func TestParallelEditsConflict(t *testing.T) {
	master := redistest.Start(t)
	s, _ := open(t, redisstore.Endpoints{Leader: master.Addr}, redisstore.Options{})
	m := post(t, s, draft("first")).Message
	var wg sync.WaitGroup
	results := make([]error, 20)
	for i := range results {
		wg.Go(func() {
			_, results[i] = s.Edit(context.Background(), guestbook.Change{
				Token: guestbook.NewSecret(), ID: m.ID, Owner: "me", Version: 1, Text: fmt.Sprint(i),
			})
		})
	}
	wg.Wait()
	won := 0
	for _, err := range results {
		var conflict *guestbook.ConflictError
		switch {
		case err == nil:
			won++
		case !errors.As(err, &conflict):
			t.Errorf("unexpected error: %v", err)
		}
	}
	if won != 1 {
		t.Errorf("%d of the parallel edits of one version were taken, want 1", won)
	}
}

func TestFullGuestbookRefuses(t *testing.T) {
	master := redistest.Start(t)
	s, _ := open(t, redisstore.Endpoints{Leader: master.Addr}, redisstore.Options{MaxMessages: 1})
	d := draft("fits")
	post(t, s, d)
	if _, err := s.Post(context.Background(), draft("does not")); !errors.Is(err, guestbook.ErrFull) {
		t.Errorf("second message: %v, want ErrFull", err)
	}
	if r := post(t, s, d); !r.Repeated {
		t.Error("the first message is not known again")
	}
}

func TestBudgetEnds(t *testing.T) {
	master := redistest.Start(t)
	s, _ := open(t, redisstore.Endpoints{Leader: master.Addr}, redisstore.Options{Budget: 300 * time.Millisecond})
	d := draft("later")
	master.Kill()
	if _, err := s.Post(context.Background(), d); !errors.Is(err, guestbook.ErrUnavailable) {
		t.Errorf("post without a master: %v, want ErrUnavailable", err)
	}
	redistest.Wait(t, "the store knows that it cannot write", func() bool { return !s.Status().Writable })
}

func TestWrongPasswordIsFinal(t *testing.T) {
	master := redistest.Start(t, "--requirepass", "right")
	s, _ := open(t, redisstore.Endpoints{Leader: master.Addr, Password: "wrong"}, redisstore.Options{Budget: time.Hour})
	_, err := s.Post(context.Background(), draft("x"))
	if err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("post with a wrong password: %v, want WRONGPASS at once", err)
	}
}
