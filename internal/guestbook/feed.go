package guestbook

import "sync"

// backlog is how many events a Feed remembers for readers that come back.
const backlog = 256

// Event is news for readers: a message that was posted or edited, or a Status, or that too much was missed.
type Event struct {
	// Position is set with Message.
	Position Position
	Message  *Message
	Status   *Status
	// Missed: there is more news after the reader's position than is remembered; read the page again.
	Missed bool
}

// Feed hands events to any number of readers. A reader that went away comes back with the position of the last event
// it saw and misses nothing. The same message version may come twice; readers drop what they have.
type Feed struct {
	mu      sync.Mutex
	recent  []Event // by arrival, at most backlog
	dropped Position
	readers map[*Reader]struct{}
	closed  bool
}

// Reader receives events on C until C is closed: by Close, at the end of the Feed, or because it fell too far behind,
// after which it can subscribe again.
type Reader struct {
	C    <-chan Event
	c    chan Event
	feed *Feed
}

// NewFeed makes an empty Feed.
func NewFeed() *Feed { return &Feed{readers: map[*Reader]struct{}{}} }

// Publish hands e to all readers. A message whose position is known already is dropped.
func (f *Feed) Publish(e Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	if e.Message != nil && !f.remember(e) {
		return
	}
	for r := range f.readers {
		select {
		case r.c <- e:
		default:
			f.drop(r)
		}
	}
}

func (f *Feed) remember(e Event) bool {
	for _, old := range f.recent {
		if old.Position == e.Position {
			return false
		}
	}
	f.recent = append(f.recent, e)
	if extra := len(f.recent) - backlog; extra > 0 {
		f.forgetTo(f.recent[extra-1].Position)
		f.recent = append(f.recent[:0:0], f.recent[extra:]...)
	}
	return true
}

// ForgetTo tells that events up to p were never seen by this Feed.
func (f *Feed) ForgetTo(p Position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgetTo(p)
}

func (f *Feed) forgetTo(p Position) {
	if f.dropped.Less(p) {
		f.dropped = p
	}
}

// Subscribe gives a Reader of everything after the position; nil once the Feed is closed.
func (f *Feed) Subscribe(after Position) *Reader {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	c := make(chan Event, backlog+64)
	r := &Reader{C: c, c: c, feed: f}
	if after.Less(f.dropped) {
		c <- Event{Missed: true}
	} else {
		for _, e := range f.recent {
			if after.Less(e.Position) {
				c <- e
			}
		}
	}
	f.readers[r] = struct{}{}
	return r
}

// Close ends the subscription.
func (r *Reader) Close() {
	r.feed.mu.Lock()
	defer r.feed.mu.Unlock()
	r.feed.drop(r)
}

// drop is called with the lock held.
func (f *Feed) drop(r *Reader) {
	if _, ok := f.readers[r]; ok {
		delete(f.readers, r)
		close(r.c)
	}
}

// Close ends all subscriptions.
func (f *Feed) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for r := range f.readers {
		f.drop(r)
	}
}
