package lua

import (
	"strings"

	glua "github.com/yuin/gopher-lua"
)

func (in *interpreter) stringFunctions() map[string]glua.LGFunction {
	return map[string]glua.LGFunction{
		"byte":    in.stringByte,
		"char":    in.stringChar,
		"find":    func(L *glua.LState) int { return in.stringFind(L, true) },
		"format":  in.stringFormat,
		"gmatch":  in.stringGMatch,
		"gsub":    in.stringGSub,
		"len":     stringLen,
		"lower":   in.stringMap(lower),
		"match":   func(L *glua.LState) int { return in.stringFind(L, false) },
		"rep":     in.stringRep,
		"reverse": in.stringMap(reverse),
		"sub":     in.stringSub,
		"upper":   in.stringMap(upper),
	}
}

func (in *interpreter) pushText(L *glua.LState, s string) int {
	L.Push(glua.LString(s))
	return 1
}

func stringLen(L *glua.LState) int {
	L.Push(glua.LNumber(len(L.CheckString(1))))
	return 1
}

// stringMap makes a function of one string whose result is as long.
func (in *interpreter) stringMap(f func(in string, out []byte)) glua.LGFunction {
	return func(L *glua.LState) int {
		s := L.CheckString(1)
		in.text(L, len(s))
		in.charge(L, len(s))
		out := make([]byte, len(s))
		f(s, out)
		return in.pushText(L, string(out))
	}
}

func reverse(s string, out []byte) {
	for i := range len(s) {
		out[len(s)-1-i] = s[i]
	}
}

// lower and upper change the letters of ASCII alone, as Lua does.
func lower(s string, out []byte) {
	for i := range len(s) {
		out[i] = s[i]
		if s[i] >= 'A' && s[i] <= 'Z' {
			out[i] += 'a' - 'A'
		}
	}
}

func upper(s string, out []byte) {
	for i := range len(s) {
		out[i] = s[i]
		if s[i] >= 'a' && s[i] <= 'z' {
			out[i] -= 'a' - 'A'
		}
	}
}

// buffer builds a string and charges it as it grows.
type buffer struct {
	in   *interpreter
	L    *glua.LState
	text []byte
}

func (b *buffer) add(s string) {
	need := len(b.text) + len(s)
	if need > StringSize {
		b.in.text(b.L, need)
	}
	if need > cap(b.text) {
		b.in.charge(b.L, 2*need)
		b.text = append(make([]byte, 0, 2*need), b.text...)
	}
	b.text = append(b.text, s...)
}

func (b *buffer) String() string {
	b.in.text(b.L, len(b.text))
	return string(b.text)
}

// bounds turns the positions of Lua, which count from 1 and from the end, into bounds within a string of n bytes.
func bounds(first, last, n int) (from, to int) {
	if first < 0 {
		first = max(first+n+1, 1)
	}
	if last < 0 {
		last += n + 1
	}
	from, to = max(first, 1)-1, min(last, n)
	if from >= to {
		return 0, 0
	}
	return from, to
}

func (in *interpreter) stringSub(L *glua.LState) int {
	s := L.CheckString(1)
	from, to := bounds(L.CheckInt(2), L.OptInt(3, -1), len(s))
	in.charge(L, costString)
	return in.pushText(L, s[from:to])
}

func (in *interpreter) stringByte(L *glua.LState) int {
	s := L.CheckString(1)
	first := L.OptInt(2, 1)
	from, to := bounds(first, L.OptInt(3, first), len(s))
	if to-from > results {
		L.RaiseError("string slice too long: at most %d results", results)
	}
	for _, c := range []byte(s[from:to]) {
		L.Push(glua.LNumber(c))
	}
	return to - from
}

func (in *interpreter) stringChar(L *glua.LState) int {
	in.text(L, L.GetTop())
	out := make([]byte, L.GetTop())
	for i := range out {
		n := L.CheckInt(i + 1)
		if n < 0 || n > 255 {
			L.ArgError(i+1, "invalid value")
		}
		out[i] = byte(n)
	}
	return in.pushText(L, string(out))
}

func (in *interpreter) stringRep(L *glua.LState) int {
	s, n := L.CheckString(1), max(0, L.CheckInt(2))
	if len(s) > 0 && n > StringSize/len(s) {
		n = StringSize/len(s) + 1 // which text refuses; the product might not fit an integer
	}
	if len(s) == 0 {
		n = 0
	}
	in.text(L, len(s)*n)
	return in.pushText(L, strings.Repeat(s, n))
}

func (in *interpreter) stringFind(L *glua.LState, positions bool) int {
	s, pattern := L.CheckString(1), L.CheckString(2)
	init := L.OptInt(3, 1)
	if init < 0 {
		init = max(init+len(s)+1, 1)
	}
	init = max(init, 1) - 1
	if init > len(s) {
		L.Push(glua.LNil)
		return 1
	}
	if positions && (glua.LVAsBool(L.Get(4)) || !strings.ContainsAny(pattern, `^$*+?.([%-`)) {
		in.step(L, 1+(len(s)+len(pattern))/8)
		at := strings.Index(s[init:], pattern)
		if at < 0 {
			L.Push(glua.LNil)
			return 1
		}
		L.Push(glua.LNumber(init + at + 1))
		L.Push(glua.LNumber(init + at + len(pattern)))
		return 2
	}
	m := &matcher{in: in, L: L, subject: s, pattern: pattern}
	start, end := m.find(init)
	switch {
	case start < 0:
		L.Push(glua.LNil)
		return 1
	case !positions:
		return m.push(start, end)
	}
	L.Push(glua.LNumber(start + 1))
	L.Push(glua.LNumber(end))
	if len(m.captured) == 0 {
		return 2
	}
	return 2 + m.push(start, end)
}

func (in *interpreter) stringGMatch(L *glua.LState) int {
	m := &matcher{in: in, subject: L.CheckString(1), pattern: L.CheckString(2)}
	in.charge(L, costTable)
	at := 0
	L.Push(L.NewFunction(func(L *glua.LState) int {
		m.L, m.depth = L, 0
		if at > len(m.subject) {
			return 0
		}
		start, end := m.find(at)
		if start < 0 {
			at = len(m.subject) + 1
			return 0
		}
		at = end
		if start == end {
			at++
		}
		return m.push(start, end)
	}))
	return 1
}

func (in *interpreter) stringGSub(L *glua.LState) int {
	s, pattern, replacement := L.CheckString(1), L.CheckString(2), L.Get(3)
	switch replacement.Type() {
	case glua.LTString, glua.LTNumber, glua.LTTable, glua.LTFunction:
	default:
		L.ArgError(3, "string, function or table expected")
	}
	most := L.OptInt(4, len(s)+1)
	m := &matcher{in: in, L: L, subject: s, pattern: pattern}
	anchored := strings.HasPrefix(pattern, "^")
	p := 0
	if anchored {
		p = 1
	}
	out := &buffer{in: in, L: L}
	at, count := 0, 0
	for count < most {
		m.captured = m.captured[:0]
		end := m.matchAt(at, p)
		if end >= 0 {
			count++
			out.add(in.replace(L, m, replacement, at, end))
		}
		switch {
		case end > at:
			at = end
		case at < len(s):
			out.add(s[at : at+1])
			at++
		default:
			at++
		}
		if at > len(s) || anchored {
			break
		}
	}
	if at < len(s) {
		out.add(s[at:])
	}
	L.Push(glua.LString(out.String()))
	L.Push(glua.LNumber(count))
	return 2
}

// replace is what gsub puts in the place of a match.
func (in *interpreter) replace(L *glua.LState, m *matcher, replacement glua.LValue, start, end int) string {
	first := func() glua.LValue {
		if len(m.captured) == 0 {
			return m.part(start, end)
		}
		return m.value(0)
	}
	var value glua.LValue
	switch replacement.Type() {
	case glua.LTTable:
		value = L.GetTable(replacement, first())
	case glua.LTFunction:
		L.Push(replacement)
		n := m.push(start, end)
		// The function may match other things; this match goes on after it.
		L.Call(n, 1)
		value = L.Get(-1)
		L.Pop(1)
	default:
		return in.expand(L, m, replacement.String(), start, end)
	}
	if !glua.LVAsBool(value) {
		return m.subject[start:end]
	}
	if !joins(value) {
		L.RaiseError("invalid replacement value (a %s)", value.Type())
	}
	return value.String()
}

// expand puts captures in the place of %0 to %9 in a replacement.
func (in *interpreter) expand(L *glua.LState, m *matcher, template string, start, end int) string {
	if !strings.Contains(template, "%") {
		return template
	}
	b := &buffer{in: in, L: L}
	for {
		plain, rest, found := strings.Cut(template, "%")
		b.add(plain)
		if !found {
			return b.String()
		}
		if rest == "" {
			L.RaiseError("invalid use of '%%' in replacement string")
		}
		switch c := rest[0]; {
		case c == '0' || c == '1' && len(m.captured) == 0:
			b.add(m.subject[start:end])
		case c >= '1' && c <= '9':
			if int(c-'1') >= len(m.captured) {
				L.RaiseError("invalid capture index %%%c in replacement string", c)
			}
			b.add(m.value(int(c - '1')).String())
		default:
			b.add(rest[:1])
		}
		template = rest[1:]
	}
}
