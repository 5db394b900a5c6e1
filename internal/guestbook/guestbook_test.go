package guestbook_test

import (
	"fmt"
	"testing"
	"time"

	"redstart.dev/redstart/internal/guestbook"
)

func TestPosition(t *testing.T) {
	ordered := []guestbook.Position{"", "5-1", "9-0", "10-0", "10-2", "10-10"}
	for i, p := range ordered {
		for j, q := range ordered {
			if got := p.Less(q); got != (i < j) {
				t.Errorf("%q.Less(%q) = %t", p, q, got)
			}
		}
	}
	if got := guestbook.Position("1500-7").Rewind(time.Second); got != "500-0" {
		t.Errorf("Rewind gave %s", got)
	}
	for _, bad := range []string{"", "1", "-", "1-", "-1", "a-b", "1-2-3"} {
		if p := guestbook.ParsePosition(bad); p != "" {
			t.Errorf("ParsePosition(%q) = %q", bad, p)
		}
	}
}

func TestIDsOrderByTime(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_000)
	last := ""
	for range 100 {
		at = at.Add(time.Millisecond)
		id := guestbook.NewID(at)
		if !guestbook.ValidID(id) || id <= last {
			t.Fatalf("ID %s after %s", id, last)
		}
		last = id
	}
}

func news(n int) guestbook.Event {
	return guestbook.Event{Position: guestbook.Position(fmt.Sprintf("%d-0", n)), Message: &guestbook.Message{ID: fmt.Sprint(n)}}
}

func drain(r *guestbook.Reader) (ids []string, missed bool) {
	for {
		select {
		case e, ok := <-r.C:
			switch {
			case !ok:
				return ids, missed
			case e.Missed:
				missed = true
			case e.Message != nil:
				ids = append(ids, e.Message.ID)
			}
		default:
			return ids, missed
		}
	}
}

func TestFeedResumesAndDropsWhatIsKnown(t *testing.T) {
	f := guestbook.NewFeed()
	for _, n := range []int{1, 2, 3, 2, 4} {
		f.Publish(news(n))
	}
	if ids, missed := drain(f.Subscribe("2-0")); fmt.Sprint(ids) != "[3 4]" || missed {
		t.Errorf("after 2-0: %v, missed %t", ids, missed)
	}
	// The clock of a new master is behind: an entry before the last one is news all the same.
	r := f.Subscribe("4-0")
	f.Publish(guestbook.Event{Position: "3-5", Message: &guestbook.Message{ID: "late"}})
	if ids, _ := drain(r); fmt.Sprint(ids) != "[late]" {
		t.Errorf("late entry: %v", ids)
	}
}

func TestFeedTellsWhoMissedTooMuch(t *testing.T) {
	f := guestbook.NewFeed()
	slow := f.Subscribe("")
	for n := 1; n <= 1000; n++ {
		f.Publish(news(n))
	}
	if _, missed := drain(f.Subscribe("1-0")); !missed {
		t.Error("a reader of 1-0 was not told that it missed something")
	}
	if _, missed := drain(f.Subscribe("900-0")); missed {
		t.Error("a reader of 900-0 was told that it missed something")
	}
	for range slow.C { // ends, because the slow reader is let go
	}
	slow.Close()
	f.Close()
	if f.Subscribe("") != nil {
		t.Error("a closed feed takes readers")
	}
}
