package lua

import (
	"fmt"
	"math"
	"strings"

	glua "github.com/yuin/gopher-lua"
)

// stringFormat is string.format. Width and precision have at most two digits, as in Lua, so that one item is small.
func (in *interpreter) stringFormat(L *glua.LState) int {
	format := L.CheckString(1)
	b := &buffer{in: in, L: L}
	argument := 1
	for {
		plain, rest, found := strings.Cut(format, "%")
		b.add(plain)
		if !found {
			break
		}
		if strings.HasPrefix(rest, "%") {
			b.add("%")
			format = rest[1:]
			continue
		}
		n := specLength(L, rest)
		argument++
		in.step(L, 1)
		b.add(in.formatItem(L, rest[:n-1], rest[n-1], argument))
		format = rest[n:]
	}
	return in.pushText(L, b.String())
}

// specLength is the length of a conversion: flags, width, precision and letter.
func specLength(L *glua.LState, spec string) int {
	digits := func(i int) int {
		start := i
		for i < len(spec) && spec[i] >= '0' && spec[i] <= '9' {
			i++
		}
		if i-start > 2 {
			L.RaiseError("invalid format (width or precision too long)")
		}
		return i
	}
	i := 0
	for i < len(spec) && strings.IndexByte("-+ #0", spec[i]) >= 0 {
		i++
	}
	if i > 5 {
		L.RaiseError("invalid format (repeated flags)")
	}
	i = digits(i)
	if i < len(spec) && spec[i] == '.' {
		i = digits(i + 1)
	}
	if i >= len(spec) {
		L.RaiseError("invalid format (it ends with '%%')")
	}
	return i + 1
}

func (in *interpreter) formatItem(L *glua.LState, modifiers string, letter byte, argument int) string {
	switch letter {
	case 'c':
		return fmt.Sprintf("%"+modifiers+"s", string([]byte{byte(L.CheckInt(argument))}))
	case 'd', 'i':
		return fmt.Sprintf("%"+modifiers+"d", integer(L, argument))
	case 'o', 'x', 'X':
		return fmt.Sprintf("%"+modifiers+string(letter), uint64(integer(L, argument)))
	case 'u':
		return fmt.Sprintf("%"+modifiers+"d", uint64(integer(L, argument)))
	case 'e', 'E', 'f', 'g', 'G':
		v := float64(L.CheckNumber(argument))
		if (letter == 'g' || letter == 'G') && !strings.Contains(modifiers, ".") {
			modifiers += ".6"
		}
		return fmt.Sprintf("%"+modifiers+string(letter), v)
	case 'q':
		s := L.CheckString(argument)
		in.text(L, min(2*len(s), StringSize))
		return quote(s)
	case 's':
		L.CheckAny(argument)
		s := in.tostring(L, L.Get(argument)).String()
		if modifiers == "" {
			return s
		}
		in.text(L, len(s)+100)
		return fmt.Sprintf("%"+modifiers+"s", s)
	}
	L.RaiseError("invalid option '%%%c' to 'format'", letter)
	return ""
}

func integer(L *glua.LState, argument int) int64 {
	n := float64(L.CheckNumber(argument))
	if math.IsNaN(n) || n < math.MinInt64 || n >= math.MaxInt64 {
		L.ArgError(argument, "number has no integer representation")
	}
	return int64(n)
}

// quote writes a string so that Lua reads it back.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case '\n':
			b.WriteString("\\\n")
		case '\r':
			b.WriteString(`\r`)
		case 0:
			b.WriteString(`\000`)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
