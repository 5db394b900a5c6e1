package progress

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// View shows items as they change.
type View interface {
	// Show is called with every new state of all items.
	Show([]Item)
	// Close leaves the last state on the screen.
	Close()
}

// NewView draws on a terminal that is width columns wide, or prints a line for each change where width is 0.
func NewView(w io.Writer, width int) View {
	if width > 0 {
		return &screen{w: w, width: width, start: time.Now()}
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
	text := describe(i)
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

// screen redraws its lines in place.
type screen struct {
	w     io.Writer
	width int
	start time.Time
	drawn int
}

var marks = map[State]string{Waiting: "·", Working: "◐", Ready: "●", Failing: "✗"}

var colours = map[State]string{Waiting: "\x1b[2m", Working: "\x1b[33m", Ready: "\x1b[32m", Failing: "\x1b[31m"}

func (s *screen) Show(items []Item) {
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", s.drawn)
	}
	s.drawn = 0
	for _, i := range items {
		s.row(&b, "", i)
		for _, p := range i.Pods {
			s.row(&b, "  ", p)
		}
	}
	fmt.Fprintf(&b, "\x1b[2m%.1fs\x1b[0m\x1b[K\n\x1b[J", time.Since(s.start).Seconds())
	s.drawn++
	_, _ = io.WriteString(s.w, b.String())
}

func (s *screen) row(b *strings.Builder, indent string, i Item) {
	text := fmt.Sprintf("%-30s %s", i.Name, describe(i))
	if room := s.width - len(indent) - 3; len(text) > room && room > 0 {
		text = text[:room]
	}
	fmt.Fprintf(b, "%s%s%s\x1b[0m %s\x1b[K\n", indent, colours[i.State], marks[i.State], text)
	s.drawn++
}

func (s *screen) Close() {}
