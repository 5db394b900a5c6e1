package progress

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
)

// View shows items as they change.
type View interface {
	// Show is called with every new state of all items.
	Show([]Item)
	// Close leaves the last state on the screen.
	Close()
}

// NewView draws on a terminal of a size that may change, or prints a line for each change where size is nil.
func NewView(w io.Writer, size func() (columns, rows int)) View {
	if size != nil {
		return &screen{Screen: NewScreen(w, size), size: size, start: time.Now()}
	}
	return &lines{w: w, start: time.Now(), last: map[string]string{}}
}

// lines prints what changed, one line each, with the time since the start.
type lines struct {
	w     io.Writer
	start time.Time
	last  map[string]string
}

func (l *lines) Show(items []Item) {
	for _, i := range items {
		for _, p := range i.Pods {
			l.line(p)
		}
		l.line(i)
	}
}

func (l *lines) line(i Item) {
	text := oneLine(describe(i))
	if l.last[i.Name] == text {
		return
	}
	l.last[i.Name] = text
	fmt.Fprintf(l.w, "%6.2fs  %-28s %s\n", time.Since(l.start).Seconds(), i.Name, text)
}

func (l *lines) Close() {}

func describe(i Item) string {
	if i.Detail == "" {
		return string(i.State)
	}
	return string(i.State) + ", " + i.Detail
}

// screen shows all items, each with its pods.
type screen struct {
	*Screen
	size  func() (columns, rows int)
	start time.Time
}

var marks = map[State]string{Waiting: "·", Working: "◐", Ready: "●", Failing: "✗"}

var colours = map[State]string{Waiting: "\x1b[2m", Working: "\x1b[33m", Ready: "\x1b[32m", Failing: "\x1b[31m"}

func (s *screen) Show(items []Item) {
	lines := rows(items, true)
	if _, room := s.size(); len(lines)+1 >= room {
		lines = rows(items, false) // those that are ready need no eye
	}
	clock := fmt.Sprintf("\x1b[2m%.1fs\x1b[0m", time.Since(s.start).Seconds())
	_ = s.Paint(append(lines, clock))
}

// rows is a line for each item and for each of its pods, for those that are ready if all.
func rows(items []Item, all bool) []string {
	var lines []string
	for _, i := range items {
		lines = append(lines, row("", i))
		for _, p := range i.Pods {
			if all || p.State != Ready {
				lines = append(lines, row("  ", p))
			}
		}
	}
	return lines
}

func row(indent string, i Item) string {
	return fmt.Sprintf("%s%s%s\x1b[0m %-30s %s", indent, colours[i.State], marks[i.State], i.Name, oneLine(describe(i)))
}

// oneLine keeps what others wrote from moving the cursor.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}

func (s *screen) Close() {}
