// Package guestbook is the demonstration application: a guestbook whose messages live in a highly available Redis.
// This package has its words and promises; redisstore keeps the messages, web shows them.
package guestbook

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of what is posted, in Unicode code points.
const (
	MaxName = 40
	MaxText = 1000
)

// PageSize is how many messages one page shows, and the most that Store.List returns.
const PageSize = 20

// Message is one entry of the guestbook.
type Message struct {
	// ID orders messages by the time at which they were posted: later is greater, compared as strings.
	ID string
	// Name of the author, may be empty.
	Name string
	Text string
	// Owner is what OwnerHash makes of the author's secret.
	Owner string
	// Version is 1 for a new message and grows by one with every edit.
	Version int
	Created time.Time
	// Edited is zero while the message was never edited.
	Edited time.Time
}

// Draft is a message to be posted.
type Draft struct {
	// Token is chosen once for each message by whoever posts it. Posting the same token again gives the message that
	// the first post made, and never a second one.
	Token string
	Owner string
	Name  string
	Text  string
}

// Change is an edit of a message.
type Change struct {
	// Token is chosen once for each change: asking again for a change that was made already succeeds.
	Token string
	ID    string
	// Owner must be the message's.
	Owner string
	// Version that the author saw when editing began.
	Version int
	Name    string
	Text    string
}

// Receipt is given only for what the master has acknowledged.
type Receipt struct {
	Message Message
	// Position from which on every reader sees this write.
	Position Position
	// Repeated: the token had been used before; Message is what that made, as it is now.
	Repeated bool
}

// Query asks for messages, newest first.
type Query struct {
	// Before is the ID that all returned messages are older than; empty for the newest.
	Before string
	// After is a write of the reader's own, which the answer has to include; empty for none.
	After Position
}

// Page is the answer to a Query.
type Page struct {
	Messages []Message
	// Older: there are messages older than the last one here.
	Older bool
	// Position that this page shows; events after it are news.
	Position Position
}

// Store keeps messages. Its calls retry while the master changes, for a bounded time; after that they fail with
// ErrUnavailable, and nobody knows then whether the write was done: ask again with the same token.
type Store interface {
	// Post keeps a message. ErrFull: no more are taken.
	Post(ctx context.Context, d Draft) (Receipt, error)
	// Edit changes a message: ErrNotFound, ErrNotOwner, or *ConflictError when it has another version by now.
	Edit(ctx context.Context, c Change) (Receipt, error)
	// Message reads one, from the master: ErrNotFound.
	Message(ctx context.Context, id string) (Message, error)
	// List reads a page, from a replica where one is new enough.
	List(ctx context.Context, q Query) (Page, error)
	// Status tells what is known now of the servers.
	Status() Status
}

// Status is what is known of the servers behind a Store.
type Status struct {
	// Writable: the last write, or probe of one, was acknowledged.
	Writable bool `json:"writable"`
	// Known: a master has been seen since the start.
	Known bool `json:"known"`
	// Master that acknowledged it and Replica that is read from, HOST:PORT; empty while there is none.
	Master  string `json:"master,omitempty"`
	Replica string `json:"replica,omitempty"`
	// Since is when Writable last changed.
	Since time.Time `json:"since"`
	// LastOutage is how long the last one took that is over, 0 if there was none.
	LastOutage time.Duration `json:"lastOutage,omitempty"`
}

// Errors of a Store.
var (
	ErrNotFound    = errors.New("no such message")
	ErrNotOwner    = errors.New("message belongs to somebody else")
	ErrUnavailable = errors.New("the database takes no writes at the moment")
	ErrFull        = errors.New("the guestbook is full")
)

// ConflictError refuses an edit: the message was changed after its author began to edit it.
type ConflictError struct {
	// Current is the message as it is now.
	Current Message
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("message %s was changed in the meantime, it has version %d", e.Current.ID, e.Current.Version)
}

// InputError refuses what was posted.
type InputError struct {
	// Field is name, text, token or version.
	Field string
	// Limit is the most that it may have; 0 when it is missing or malformed.
	Limit int
	// Want says what was expected.
	Want string
}

func (e *InputError) Error() string { return e.Field + ": expected " + e.Want }

// Clean makes what a person typed fit to be kept: line ends become \n, control characters go, and so does white space
// around it. It fails with *InputError.
func Clean(name, text string) (cleanName, cleanText string, err error) {
	name = strings.Join(strings.Fields(visible(name)), " ")
	text = strings.TrimSpace(visible(strings.ReplaceAll(text, "\r\n", "\n")))
	switch {
	case utf8.RuneCountInString(name) > MaxName:
		return name, text, &InputError{"name", MaxName, fmt.Sprintf("at most %d characters", MaxName)}
	case text == "":
		return name, text, &InputError{"text", 0, "a message"}
	case utf8.RuneCountInString(text) > MaxText:
		return name, text, &InputError{"text", MaxText, fmt.Sprintf("at most %d characters", MaxText)}
	}
	return name, text, nil
}

// visible drops invalid UTF-8, control characters but newline and tab, and the marks that turn the direction of
// the text around them, which would reach into other people's messages.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r == utf8.RuneError, unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, s)
}

// ValidToken tells whether s can be a token: 16 to 64 letters, digits, - and _.
func ValidToken(s string) bool {
	if len(s) < 16 || len(s) > 64 {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
}

// ValidID tells whether s can be the ID of a message: lower-case hexadecimal digits, as many as NewID makes.
func ValidID(s string) bool {
	return len(s) == idLength && strings.Trim(s, "0123456789abcdef") == ""
}

// Position is a place in the log of writes, MILLISECONDS-SEQUENCE as Redis Streams have it. The empty Position is
// before all others.
type Position string

// ParsePosition takes s if it is a position, and gives the empty one otherwise.
func ParsePosition(s string) Position {
	if _, _, ok := Position(s).numbers(); !ok {
		return ""
	}
	return Position(s)
}

// Less tells whether p is before q.
func (p Position) Less(q Position) bool {
	pms, pseq, _ := p.numbers()
	qms, qseq, _ := q.numbers()
	return pms < qms || pms == qms && pseq < qseq
}

// Rewind is the position d earlier.
func (p Position) Rewind(d time.Duration) Position {
	ms, _, _ := p.numbers()
	if back := uint64(d.Milliseconds()); ms > back {
		return Position(strconv.FormatUint(ms-back, 10) + "-0")
	}
	return "0-0"
}

func (p Position) numbers() (ms, seq uint64, ok bool) {
	a, b, found := strings.Cut(string(p), "-")
	ms, errA := strconv.ParseUint(a, 10, 64)
	seq, errB := strconv.ParseUint(b, 10, 64)
	return ms, seq, found && errA == nil && errB == nil
}
