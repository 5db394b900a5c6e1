package progress

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"golang.org/x/text/width"
)

var colour = regexp.MustCompile("\x1b\\[[0-9;]*m")

// Screen paints pictures on a terminal, each in the place of the one before, as much of it as fits. The last one stays.
type Screen struct {
	w     io.Writer
	size  func() (columns, rows int)
	drawn int
	plain bool
}

// NewScreen paints on w. It asks size anew for each picture: terminals change. Without colours if $NO_COLOR is set (no-color.org).
func NewScreen(w io.Writer, size func() (columns, rows int)) *Screen {
	return &Screen{w: w, size: size, plain: os.Getenv("NO_COLOR") != ""}
}

// Paint shows lines, which may be coloured. Long ones are cut, and so is what would not leave the cursor a line.
func (s *Screen) Paint(lines []string) error {
	columns, rows := s.size()
	if room := max(rows-1, 1); len(lines) > room {
		more := fmt.Sprintf("... %d more lines", len(lines)-room+1)
		lines = append(append([]string(nil), lines[:room-1]...), more)
	}
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", min(s.drawn, max(rows-1, 1)))
	}
	for _, line := range lines {
		if s.plain {
			line = colour.ReplaceAllString(line, "")
		}
		b.WriteString(cut(line, columns) + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	s.drawn = len(lines)
	_, err := io.WriteString(s.w, b.String())
	return err
}

// cut is as much of a line as columns hold. Colours take no room and end with the line.
func cut(line string, columns int) string {
	var b strings.Builder
	used, escape, coloured := 0, false, false
	for _, r := range line {
		switch {
		case escape:
			escape = r < 'A' || r > 'z' || r == '['
		case r == '\x1b':
			escape, coloured = true, true
		default:
			if used += columnsOf(r); used > columns {
				if coloured {
					b.WriteString("\x1b[0m")
				}
				return b.String()
			}
		}
		b.WriteRune(r)
	}
	return b.String()
}

// columnsOf is how many columns a terminal takes for a character.
func columnsOf(r rune) int {
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}
