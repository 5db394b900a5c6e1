package lua

import (
	"strings"

	glua "github.com/yuin/gopher-lua"
)

const (
	// captures bounds the captures of one pattern.
	captures = 32
	// matchDepth bounds the recursion of one match; each item of a pattern may need one level.
	matchDepth = 200
)

// capture is a part of the subject that a pattern captured. Its length may be one of the two marks.
type capture struct{ start, length int }

const (
	captureOpen     = -1
	capturePosition = -2
)

// matcher matches one pattern of Lua at a time. Every try of an item is a step, so that a pattern that goes back and
// forth ends with the script's steps.
type matcher struct {
	in       *interpreter
	L        *glua.LState
	subject  string
	pattern  string
	captured []capture
	depth    int
}

// matchAt matches the pattern, from item p on, at s. It returns the end of the match, or -1.
func (m *matcher) matchAt(s, p int) int {
	if m.depth++; m.depth > matchDepth {
		m.L.RaiseError("pattern too complex")
	}
	defer func() { m.depth-- }()
	for {
		m.in.step(m.L, 1)
		if p == len(m.pattern) {
			return s
		}
		switch m.pattern[p] {
		case '(':
			if p+1 < len(m.pattern) && m.pattern[p+1] == ')' {
				return m.open(s, p+2, capturePosition)
			}
			return m.open(s, p+1, captureOpen)
		case ')':
			return m.close(s, p+1)
		case '$':
			if p+1 == len(m.pattern) {
				if s == len(m.subject) {
					return s
				}
				return -1
			}
		case '%':
			if p+1 == len(m.pattern) {
				m.L.RaiseError("malformed pattern (ends with '%%')")
			}
			switch next := m.pattern[p+1]; {
			case next == 'b':
				if s = m.balanced(s, p+2); s < 0 {
					return -1
				}
				p += 4
				continue
			case next == 'f':
				p += 2
				if p >= len(m.pattern) || m.pattern[p] != '[' {
					m.L.RaiseError("missing '[' after '%%f' in pattern")
				}
				end := m.itemEnd(p)
				var before, here byte
				if s > 0 {
					before = m.subject[s-1]
				}
				if s < len(m.subject) {
					here = m.subject[s]
				}
				m.payForSet(p, end)
				if m.inSet(before, p, end-1) || !m.inSet(here, p, end-1) {
					return -1
				}
				p = end
				continue
			case next >= '0' && next <= '9':
				if s = m.again(s, next); s < 0 {
					return -1
				}
				p += 2
				continue
			}
		}
		end := m.itemEnd(p)
		var suffix byte
		if end < len(m.pattern) {
			suffix = m.pattern[end]
		}
		switch suffix {
		case '?':
			if m.one(s, p, end) {
				if out := m.matchAt(s+1, end+1); out >= 0 {
					return out
				}
			}
			p = end + 1
		case '*':
			return m.longest(s, p, end, 0)
		case '+':
			return m.longest(s, p, end, 1)
		case '-':
			return m.shortest(s, p, end)
		default:
			if !m.one(s, p, end) {
				return -1
			}
			s, p = s+1, end
		}
	}
}

// longest matches an item as often as possible, but not less often than least says, and then the rest.
func (m *matcher) longest(s, p, end, least int) int {
	n := 0
	for m.one(s+n, p, end) {
		n++
	}
	m.in.step(m.L, n/8)
	for ; n >= least; n-- {
		if out := m.matchAt(s+n, end+1); out >= 0 {
			return out
		}
	}
	return -1
}

// shortest matches an item as seldom as possible, and then the rest.
func (m *matcher) shortest(s, p, end int) int {
	for {
		if out := m.matchAt(s, end+1); out >= 0 {
			return out
		}
		if !m.one(s, p, end) {
			return -1
		}
		s++
	}
}

func (m *matcher) open(s, p, length int) int {
	if len(m.captured) >= captures {
		m.L.RaiseError("too many captures")
	}
	m.captured = append(m.captured, capture{s, length})
	out := m.matchAt(s, p)
	if out < 0 {
		m.captured = m.captured[:len(m.captured)-1]
	}
	return out
}

func (m *matcher) close(s, p int) int {
	for i := len(m.captured) - 1; i >= 0; i-- {
		if m.captured[i].length != captureOpen {
			continue
		}
		m.captured[i].length = s - m.captured[i].start
		out := m.matchAt(s, p)
		if out < 0 {
			m.captured[i].length = captureOpen
		}
		return out
	}
	m.L.RaiseError("invalid pattern capture")
	return -1
}

// balanced matches %bxy: from an x to the y that closes it.
func (m *matcher) balanced(s, p int) int {
	if p+1 >= len(m.pattern) {
		m.L.RaiseError("malformed pattern (missing arguments to '%%b')")
	}
	open, shut := m.pattern[p], m.pattern[p+1]
	if s >= len(m.subject) || m.subject[s] != open {
		return -1
	}
	level := 1
	for i := s + 1; i < len(m.subject); i++ {
		switch m.subject[i] {
		case shut:
			if level--; level == 0 {
				m.in.step(m.L, (i-s)/8)
				return i + 1
			}
		case open:
			level++
		}
	}
	m.in.step(m.L, (len(m.subject)-s)/8)
	return -1
}

// again matches what an earlier capture holds.
func (m *matcher) again(s int, digit byte) int {
	i := int(digit - '1')
	if i < 0 || i >= len(m.captured) || m.captured[i].length < 0 {
		m.L.RaiseError("invalid capture index %%%c", digit)
	}
	text := m.subject[m.captured[i].start : m.captured[i].start+m.captured[i].length]
	m.in.step(m.L, len(text)/64)
	if !strings.HasPrefix(m.subject[s:], text) {
		return -1
	}
	return s + len(text)
}

// itemEnd is the end of the single-character item at p: a character, a class or a set.
func (m *matcher) itemEnd(p int) int {
	c := m.pattern[p]
	p++
	switch c {
	case '%':
		if p == len(m.pattern) {
			m.L.RaiseError("malformed pattern (ends with '%%')")
		}
		return p + 1
	case '[':
		if p < len(m.pattern) && m.pattern[p] == '^' {
			p++
		}
		for first := true; ; first = false {
			if p >= len(m.pattern) {
				m.L.RaiseError("malformed pattern (missing ']')")
			}
			if m.pattern[p] == ']' && !first {
				return p + 1
			}
			if m.pattern[p] == '%' {
				p++
			}
			p++
		}
	}
	return p
}

// one says whether the item from p to end matches the character at s.
func (m *matcher) one(s, p, end int) bool {
	if s >= len(m.subject) {
		return false
	}
	c := m.subject[s]
	switch m.pattern[p] {
	case '.':
		return true
	case '%':
		return inClass(c, m.pattern[p+1])
	case '[':
		m.payForSet(p, end)
		return m.inSet(c, p, end-1)
	}
	return m.pattern[p] == c
}

// payForSet charges one look at a set. One of usual size costs nothing; a huge one is looked at for each character.
func (m *matcher) payForSet(p, end int) {
	if n := (end - p) / 8; n > 0 {
		m.in.step(m.L, n)
	}
}

// inSet says whether the set from p, its [, to end, its ], holds c.
func (m *matcher) inSet(c byte, p, end int) bool {
	p++
	found := true
	if m.pattern[p] == '^' {
		found = false
		p++
	}
	for p < end {
		switch {
		case m.pattern[p] == '%':
			if inClass(c, m.pattern[p+1]) {
				return found
			}
			p += 2
		case p+2 < end && m.pattern[p+1] == '-':
			if m.pattern[p] <= c && c <= m.pattern[p+2] {
				return found
			}
			p += 3
		default:
			if m.pattern[p] == c {
				return found
			}
			p++
		}
	}
	return !found
}

// inClass says whether c is of a class such as %a; any other letter stands for itself.
func inClass(c, class byte) bool {
	lower := c >= 'a' && c <= 'z'
	upper := c >= 'A' && c <= 'Z'
	digit := c >= '0' && c <= '9'
	var is bool
	switch class | 0x20 {
	case 'a':
		is = lower || upper
	case 'c':
		is = c < 0x20 || c == 0x7f
	case 'd':
		is = digit
	case 'l':
		is = lower
	case 'p':
		is = c > 0x20 && c < 0x7f && !lower && !upper && !digit
	case 's':
		is = c == ' ' || c >= '\t' && c <= '\r'
	case 'u':
		is = upper
	case 'w':
		is = lower || upper || digit
	case 'x':
		is = digit || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
	case 'z':
		is = c == 0
	default:
		return class == c
	}
	if class >= 'A' && class <= 'Z' {
		return !is
	}
	if class >= 'a' && class <= 'z' {
		return is
	}
	return class == c
}

// find looks for the first match from init on. It returns its bounds, or -1.
func (m *matcher) find(init int) (start, end int) {
	p := 0
	anchored := strings.HasPrefix(m.pattern, "^")
	if anchored {
		p = 1
	}
	for s := init; s <= len(m.subject); s++ {
		m.captured = m.captured[:0]
		if end := m.matchAt(s, p); end >= 0 {
			return s, end
		}
		if anchored {
			break
		}
	}
	return -1, -1
}

// value is a capture as a value: a string, or a position.
func (m *matcher) value(i int) glua.LValue {
	c := m.captured[i]
	switch c.length {
	case capturePosition:
		return glua.LNumber(c.start + 1)
	case captureOpen:
		m.L.RaiseError("unfinished capture")
	}
	return m.part(c.start, c.start+c.length)
}

// part is a part of the subject; it shares the subject's memory.
func (m *matcher) part(start, end int) glua.LValue {
	m.in.charge(m.L, costString)
	return glua.LString(m.subject[start:end])
}

// push pushes the captures, or the whole match if there are none, and returns how many.
func (m *matcher) push(start, end int) int {
	if len(m.captured) == 0 {
		m.L.Push(m.part(start, end))
		return 1
	}
	for i := range m.captured {
		m.L.Push(m.value(i))
	}
	return len(m.captured)
}
