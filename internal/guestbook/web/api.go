package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"time"

	"redstart.dev/redstart/internal/guestbook"
)

// apiMessage is a message in the JSON API.
type apiMessage struct {
	ID      string     `json:"id"`
	Name    string     `json:"name"`
	Text    string     `json:"text"`
	Version int        `json:"version"`
	Created time.Time  `json:"created"`
	Edited  *time.Time `json:"edited,omitempty"`
}

// apiDraft is what is posted, and with version what is put. A token makes repeating safe; without one each request is
// a message of its own.
type apiDraft struct {
	Token   string `json:"token"`
	Name    string `json:"name"`
	Text    string `json:"text"`
	Version int    `json:"version"`
}

type apiReceipt struct {
	Message  apiMessage         `json:"message"`
	Position guestbook.Position `json:"position"`
	Repeated bool               `json:"repeated"`
}

func newAPIMessage(m guestbook.Message) apiMessage {
	a := apiMessage{ID: m.ID, Name: m.Name, Text: m.Text, Version: m.Version, Created: m.Created.UTC()}
	if !m.Edited.IsZero() {
		edited := m.Edited.UTC()
		a.Edited = &edited
	}
	return a
}

func (s *Server) apiList(w http.ResponseWriter, r *http.Request) {
	q := guestbook.Query{Before: r.URL.Query().Get("before"), After: position(r)}
	if after := guestbook.ParsePosition(r.URL.Query().Get("after")); after != "" {
		q.After = after
	}
	if q.Before != "" && !guestbook.ValidID(q.Before) {
		s.apiError(w, r, &guestbook.InputError{Field: "before", Want: "the ID of a message"})
		return
	}
	page, err := s.store.List(r.Context(), q)
	if err != nil {
		s.apiError(w, r, err)
		return
	}
	list := struct {
		Messages []apiMessage       `json:"messages"`
		Older    bool               `json:"older"`
		Position guestbook.Position `json:"position"`
	}{Messages: []apiMessage{}, Older: page.Older, Position: page.Position}
	for _, m := range page.Messages {
		list.Messages = append(list.Messages, newAPIMessage(m))
	}
	s.apiAnswer(w, r, http.StatusOK, list)
}

func (s *Server) apiGet(w http.ResponseWriter, r *http.Request) {
	m, err := s.find(r)
	if err != nil {
		s.apiError(w, r, err)
		return
	}
	s.apiAnswer(w, r, http.StatusOK, newAPIMessage(m))
}

func (s *Server) apiPost(w http.ResponseWriter, r *http.Request) {
	s.apiWrite(w, r, s.post)
}

func (s *Server) apiEdit(w http.ResponseWriter, r *http.Request) {
	s.apiWrite(w, r, s.edit)
}

func (s *Server) apiWrite(w http.ResponseWriter, r *http.Request, do func(*http.Request, string, form) (guestbook.Receipt, error)) {
	f, err := readDraft(w, r)
	if err != nil {
		s.apiError(w, r, err)
		return
	}
	receipt, err := do(r, owner(w, r), f)
	if err != nil {
		s.apiError(w, r, err)
		return
	}
	setCookie(w, r, positionCookie, string(receipt.Position), positionAge)
	code := http.StatusOK
	if r.Method == http.MethodPost && !receipt.Repeated {
		code = http.StatusCreated
		w.Header().Set("Location", "/api/v1/messages/"+receipt.Message.ID)
	}
	s.apiAnswer(w, r, code, apiReceipt{newAPIMessage(receipt.Message), receipt.Position, receipt.Repeated})
}

// readDraft insists on JSON: other sites cannot send that without being asked first.
func readDraft(w http.ResponseWriter, r *http.Request) (form, error) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return form{}, &guestbook.InputError{Field: "Content-Type", Want: "application/json"}
	}
	var d apiDraft
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return form{}, err
		}
		return form{}, &guestbook.InputError{Field: "body", Want: fmt.Sprintf("a JSON object with text, name and token (%v)", err)}
	}
	if d.Token == "" {
		d.Token = guestbook.NewSecret()
	}
	if !guestbook.ValidToken(d.Token) {
		return form{}, &guestbook.InputError{Field: "token", Want: "16 to 64 letters, digits, - or _"}
	}
	name, text, err := guestbook.Clean(d.Name, d.Text)
	return form{ID: r.PathValue("id"), Token: d.Token, Name: name, Text: text, Version: d.Version}, err
}

func (s *Server) apiStatus(w http.ResponseWriter, r *http.Request) {
	s.apiAnswer(w, r, http.StatusOK, newStatus(s.store.Status()))
}

// apiRelease tells who answers. It asks no database.
func (s *Server) apiRelease(w http.ResponseWriter, r *http.Request) {
	s.apiAnswer(w, r, http.StatusOK, struct {
		Release string `json:"release"`
		Host    string `json:"host"`
	}{s.opts.Release, s.opts.Host})
}

func (s *Server) apiError(w http.ResponseWriter, r *http.Request, err error) {
	p := describe(err)
	answer := struct {
		Error   string      `json:"error"`
		Current *apiMessage `json:"current,omitempty"`
	}{Error: err.Error()}
	if p.current != nil {
		current := newAPIMessage(*p.current)
		answer.Current = &current
	}
	if p.status >= 500 {
		slog.WarnContext(r.Context(), "api call failed", "path", r.URL.Path, "error", err)
		answer.Error = s.locales.all[0].N(p.key, p.n) // what is behind it is not for strangers
		w.Header().Set("Retry-After", "1")
	}
	s.apiAnswer(w, r, p.status, answer)
}

func (s *Server) apiAnswer(w http.ResponseWriter, r *http.Request, status int, answer any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		slog.DebugContext(r.Context(), "write answer", "error", err)
	}
}
