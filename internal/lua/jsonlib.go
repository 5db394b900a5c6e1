package lua

import (
	"encoding/json"
	"errors"
	"io"
	"strings"

	glua "github.com/yuin/gopher-lua"
)

func (in *interpreter) jsonFunctions() map[string]glua.LGFunction {
	return map[string]glua.LGFunction{"encode": in.jsonEncode, "decode": in.jsonDecode}
}

// jsonEncode returns a value as JSON, or nil and why not.
func (in *interpreter) jsonEncode(L *glua.LState) int {
	e := encoder{in: in, L: L}
	value, err := e.value(L.CheckAny(1), nil, 0)
	if err != nil {
		L.Push(glua.LNil)
		L.Push(glua.LString(shorten(err.Error())))
		return 2
	}
	in.charge(L, 8*e.size)
	var b strings.Builder
	out := json.NewEncoder(&b)
	out.SetEscapeHTML(false)
	if err := out.Encode(value); err != nil {
		L.Push(glua.LNil)
		L.Push(glua.LString(shorten(err.Error())))
		return 2
	}
	text := strings.TrimSuffix(b.String(), "\n")
	in.text(L, len(text))
	return in.pushText(L, text)
}

// jsonDecode returns the value of a JSON text, or nil and why not.
func (in *interpreter) jsonDecode(L *glua.LState) int {
	text := L.CheckString(1)
	// What the decoder makes of a byte is at most an empty map in a list: about 64 bytes.
	in.charge(L, 64*len(text))
	in.step(L, len(text)/8)
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var value any
	err := d.Decode(&value)
	if err == nil {
		if _, after := d.Token(); after != io.EOF {
			err = errors.New("there is more after the value")
		}
	}
	if err != nil {
		L.Push(glua.LNil)
		L.Push(glua.LString(shorten(err.Error())))
		return 2
	}
	L.Push(in.toLua(L, value))
	return 1
}
