package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"hash/fnv"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"redstart.dev/redstart/internal/guestbook"
)

// pageBudget is how long a page waits for the messages before it is shown without them.
const pageBudget = 2 * time.Second

// view is what the templates show.
type view struct {
	L         *locale
	Languages []*locale
	Strings   string
	Path      string
	Host      string
	Release   string
	Status    guestbook.Status
	CSRF      string
	MaxName   int
	MaxText   int

	Form     form
	Error    string
	Conflict *guestbook.Message

	Messages []item
	Before   string // the page begins after this message; empty for the newest
	Older    string
	Position guestbook.Position
	Away     bool
}

// In is the address of this page in another language.
func (v *view) In(tag string) string {
	q := url.Values{"lang": {tag}}
	if v.Before != "" {
		q.Set("before", v.Before)
	}
	return v.Path + "?" + q.Encode()
}

// item is one message as a visitor sees it.
type item struct {
	guestbook.Message
	L    *locale
	Mine bool
}

// Initial is the letter in the round sign beside a message, and Hue one of its six colours.
func (i item) Initial() string {
	for _, r := range i.Name {
		return string(unicode.ToUpper(r))
	}
	return "·"
}

func (i item) Hue() uint32 {
	h := fnv.New32a()
	h.Write([]byte(i.Name))
	return h.Sum32() % 6
}

// Stamp is for programs, Clock for people whose browser runs no script.
func (i item) Stamp() string { return i.Created.UTC().Format(time.RFC3339) }
func (i item) Clock() string { return i.Created.UTC().Format("2006-01-02 15:04 UTC") }

func (s *Server) view(w http.ResponseWriter, r *http.Request, owner string) (*view, error) {
	l := s.locales.choose(r)
	if lang := r.URL.Query().Get("lang"); lang == l.Tag {
		setCookie(w, r, languageCookie, lang, year)
	}
	texts, err := l.Script()
	return &view{
		L: l, Languages: s.locales.all, Strings: texts, Path: "/", Host: s.opts.Host, Release: s.opts.Release, Status: s.store.Status(),
		CSRF: csrfToken(owner), MaxName: guestbook.MaxName, MaxText: guestbook.MaxText,
		Form: form{Token: guestbook.NewSecret()},
	}, err
}

func (s *Server) showPage(w http.ResponseWriter, r *http.Request) {
	secret := owner(w, r)
	v, err := s.view(w, r, secret)
	if err != nil {
		s.broken(w, r, err)
		return
	}
	s.page(w, r, secret, http.StatusOK, v)
}

// page shows the messages, with the form as v has it.
func (s *Server) page(w http.ResponseWriter, r *http.Request, secret string, status int, v *view) {
	if before := r.URL.Query().Get("before"); guestbook.ValidID(before) {
		v.Before = before
	}
	ctx, cancel := context.WithTimeout(r.Context(), pageBudget)
	defer cancel()
	list, err := s.store.List(ctx, guestbook.Query{Before: v.Before, After: position(r)})
	if err != nil {
		slog.WarnContext(ctx, "page shown without messages", "error", err)
		v.Away, status = true, max(status, http.StatusServiceUnavailable)
	}
	for _, m := range list.Messages {
		v.Messages = append(v.Messages, s.item(m, v.L, secret))
	}
	if list.Older {
		v.Older = list.Messages[len(list.Messages)-1].ID
	}
	v.Position = list.Position
	s.render(w, r, status, "page.html", v)
}

func (s *Server) item(m guestbook.Message, l *locale, secret string) item {
	return item{Message: m, L: l, Mine: m.Owner == guestbook.OwnerHash(secret)}
}

func (s *Server) showEdit(w http.ResponseWriter, r *http.Request) {
	secret := owner(w, r)
	v, err := s.view(w, r, secret)
	if err != nil {
		s.broken(w, r, err)
		return
	}
	m, err := s.find(r)
	if err == nil && m.Owner != guestbook.OwnerHash(secret) {
		err = guestbook.ErrNotOwner
	}
	if err != nil {
		p := describe(err)
		v.Error = p.text(v.L)
		s.page(w, r, secret, p.status, v)
		return
	}
	v.Path = "/messages/" + m.ID + "/edit"
	v.Form.ID, v.Form.Version, v.Form.Name, v.Form.Text = m.ID, m.Version, m.Name, m.Text
	s.render(w, r, http.StatusOK, "edit.html", v)
}

func (s *Server) find(r *http.Request) (guestbook.Message, error) {
	id := r.PathValue("id")
	if !guestbook.ValidID(id) {
		return guestbook.Message{}, guestbook.ErrNotFound
	}
	return s.store.Message(r.Context(), id)
}

// postForm and editForm answer browsers with a page, and the page's own script (Accept: application/json) with JSON.
func (s *Server) postForm(w http.ResponseWriter, r *http.Request) {
	secret := owner(w, r)
	f, err := readForm(w, r, secret)
	var receipt guestbook.Receipt
	if err == nil {
		receipt, err = s.post(r, secret, f)
	}
	s.answer(w, r, secret, f, receipt, err)
}

func (s *Server) editForm(w http.ResponseWriter, r *http.Request) {
	secret := owner(w, r)
	f, err := readForm(w, r, secret)
	f.ID = r.PathValue("id")
	var receipt guestbook.Receipt
	if err == nil {
		receipt, err = s.edit(r, secret, f)
	}
	s.answer(w, r, secret, f, receipt, err)
}

var errTooFast = errors.New("too many messages from this address")

// post keeps a message. Whoever sends the same form again with other words, because they never heard that the first
// ones were kept, means these.
func (s *Server) post(r *http.Request, secret string, f form) (guestbook.Receipt, error) {
	if !s.posts.allow(r) {
		return guestbook.Receipt{}, errTooFast
	}
	draft := guestbook.Draft{Token: f.Token, Owner: guestbook.OwnerHash(secret), Name: f.Name, Text: f.Text}
	receipt, err := s.store.Post(r.Context(), draft)
	m := receipt.Message
	if err != nil || !receipt.Repeated || m.Owner != draft.Owner || m.Version != 1 || m.Name == f.Name && m.Text == f.Text {
		return receipt, err
	}
	f.ID, f.Version = m.ID, m.Version
	receipt, err = s.edit(r, secret, f)
	receipt.Repeated = true
	return receipt, err
}

func (s *Server) edit(r *http.Request, secret string, f form) (guestbook.Receipt, error) {
	switch {
	case !guestbook.ValidID(f.ID):
		return guestbook.Receipt{}, guestbook.ErrNotFound
	case f.Version < 1:
		return guestbook.Receipt{}, &guestbook.InputError{Field: "version", Want: "the version that was edited"}
	case !s.posts.allow(r):
		return guestbook.Receipt{}, errTooFast
	}
	return s.store.Edit(r.Context(), guestbook.Change{
		Token: f.Token, ID: f.ID, Owner: guestbook.OwnerHash(secret), Version: f.Version, Name: f.Name, Text: f.Text,
	})
}

// answer tells how a form ended.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, secret string, f form, receipt guestbook.Receipt, err error) {
	w.Header().Set("Cache-Control", "no-store")
	l := s.locales.choose(r)
	script := strings.Contains(r.Header.Get("Accept"), "application/json")
	if err == nil {
		setCookie(w, r, positionCookie, string(receipt.Position), positionAge)
		if script {
			s.answerScript(w, r, http.StatusOK, result{Message: s.fragment(r, s.item(receipt.Message, l, secret)), Token: guestbook.NewSecret()})
			return
		}
		http.Redirect(w, r, "/#m-"+receipt.Message.ID, http.StatusSeeOther)
		return
	}
	p := describe(err)
	if p.status >= 500 {
		slog.WarnContext(r.Context(), "message not kept", "error", err)
		w.Header().Set("Retry-After", "1")
	}
	v, viewErr := s.view(w, r, secret)
	if viewErr != nil {
		s.broken(w, r, viewErr)
		return
	}
	if f.Token == "" {
		f.Token = v.Form.Token
	}
	v.Form, v.Error, v.Conflict = f, p.text(l), p.current
	if p.current != nil {
		v.Form.Version = p.current.Version // saving again replaces what is shown now
	}
	switch {
	case script:
		res := result{Error: v.Error, Retry: p.retry, Version: v.Form.Version}
		if p.current != nil {
			res.Conflict = s.partial(r, "conflict", v)
		}
		s.answerScript(w, r, p.status, res)
	case f.ID != "":
		v.Path = "/messages/" + f.ID + "/edit"
		s.render(w, r, p.status, "edit.html", v)
	default:
		s.page(w, r, secret, p.status, v)
	}
}

// result is what the page's script reads.
type result struct {
	Message  *fragment `json:"message,omitempty"`
	Token    string    `json:"token,omitempty"`
	Error    string    `json:"error,omitempty"`
	Retry    bool      `json:"retry,omitempty"`
	Conflict string    `json:"conflict,omitempty"`
	Version  int       `json:"version,omitempty"`
}

// fragment is a message as the list shows it.
type fragment struct {
	ID      string `json:"id"`
	Version int    `json:"version"`
	HTML    string `json:"html"`
}

func (s *Server) fragment(r *http.Request, i item) *fragment {
	return &fragment{ID: i.ID, Version: i.Version, HTML: s.partial(r, "message", i)}
}

// partial renders a template whose data is ours; it cannot fail but for a mistake in the template.
func (s *Server) partial(r *http.Request, name string, data any) string {
	var b bytes.Buffer
	if err := s.pages.ExecuteTemplate(&b, name, data); err != nil {
		slog.ErrorContext(r.Context(), "render", "template", name, "error", err)
	}
	return b.String()
}

func (s *Server) answerScript(w http.ResponseWriter, r *http.Request, status int, res result) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(res); err != nil {
		slog.DebugContext(r.Context(), "write answer", "error", err)
	}
}

func (s *Server) render(w http.ResponseWriter, r *http.Request, status int, name string, v *view) {
	var b bytes.Buffer
	if err := s.pages.ExecuteTemplate(&b, name, v); err != nil {
		s.broken(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", v.L.Tag)
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept-Language, Cookie")
	w.WriteHeader(status)
	if _, err := w.Write(b.Bytes()); err != nil {
		slog.DebugContext(r.Context(), "write page", "error", err)
	}
}

func (s *Server) broken(w http.ResponseWriter, r *http.Request, err error) {
	slog.ErrorContext(r.Context(), "page failed", "path", r.URL.Path, "error", err)
	http.Error(w, s.locales.choose(r).T("error.internal"), http.StatusInternalServerError)
}
