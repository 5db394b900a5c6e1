package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"redstart.dev/redstart/internal/guestbook"
)

const (
	// heartbeat keeps proxies from closing a quiet stream, and finds readers that are gone.
	heartbeat = 15 * time.Second
	// writeBound is how long a reader may take to receive one event.
	writeBound = 10 * time.Second
)

// status is guestbook.Status with what a page counts from, in milliseconds: clocks of browsers are not to be trusted.
type status struct {
	guestbook.Status
	AgeMS    int64 `json:"ageMs"`
	OutageMS int64 `json:"outageMs"`
}

func newStatus(st guestbook.Status) status {
	return status{st, time.Since(st.Since).Milliseconds(), st.LastOutage.Milliseconds()}
}

// events streams what happens after the position that the page shows, or after the last event that the browser saw.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		w.Header().Set("Retry-After", "5")
		http.Error(w, "too many streams", http.StatusServiceUnavailable)
		return
	}
	after := guestbook.ParsePosition(r.Header.Get("Last-Event-ID"))
	if after == "" {
		after = guestbook.ParsePosition(r.URL.Query().Get("after"))
	}
	reader := s.feed.Subscribe(after)
	if reader == nil {
		http.Error(w, "stopping", http.StatusServiceUnavailable)
		return
	}
	defer reader.Close()
	s.metrics.streams.Inc()
	defer s.metrics.streams.Dec()

	secret := ""
	if c, err := r.Cookie(ownerCookie); err == nil {
		secret = c.Value
	}
	l := s.locales.choose(r)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	stream := &stream{w: w, control: http.NewResponseController(w)}
	stream.send("retry: 500\n\n")
	stream.event("status", "", newStatus(s.store.Status()))

	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for stream.err == nil {
		select {
		case <-r.Context().Done():
			return
		case <-beat.C:
			stream.send(": still here\n\n")
		case e, ok := <-reader.C:
			switch {
			case !ok:
				return
			case e.Missed:
				stream.event("missed", "", struct{}{})
			case e.Status != nil:
				stream.event("status", "", newStatus(*e.Status))
			case e.Message != nil:
				stream.event("message", e.Position, s.fragment(r, s.item(*e.Message, l, secret)))
			}
		}
	}
}

// stream writes events; after its first error it writes nothing more.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	err     error
}

func (st *stream) event(name string, id guestbook.Position, data any) {
	b, err := json.Marshal(data) // on one line, so it cannot end the event
	if err != nil {
		st.err = err
		return
	}
	if id != "" {
		st.send(fmt.Sprintf("event: %s\nid: %s\ndata: %s\n\n", name, id, b))
		return
	}
	st.send(fmt.Sprintf("event: %s\ndata: %s\n\n", name, b))
}

func (st *stream) send(s string) {
	if st.err != nil {
		return
	}
	if st.err = st.control.SetWriteDeadline(time.Now().Add(writeBound)); st.err != nil {
		return
	}
	if _, st.err = st.w.Write([]byte(s)); st.err == nil {
		st.err = st.control.Flush()
	}
}
