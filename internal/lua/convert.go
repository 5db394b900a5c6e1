package lua

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	glua "github.com/yuin/gopher-lua"
)

// toLua makes a Lua value of a JSON value. A null is nil: Lua has no fields that are null. Keys are set in their order, so
// that pairs gives them in it.
func (in *interpreter) toLua(L *glua.LState, value any) glua.LValue {
	switch v := value.(type) {
	case nil:
		return glua.LNil
	case bool:
		return glua.LBool(v)
	case string:
		in.text(L, len(v))
		return glua.LString(v)
	case float64:
		return glua.LNumber(v)
	case float32:
		return glua.LNumber(v)
	case int:
		return glua.LNumber(v)
	case int32:
		return glua.LNumber(v)
	case int64:
		return glua.LNumber(v)
	case json.Number:
		f, err := v.Float64()
		if err != nil {
			L.RaiseError("the number %s is out of range", shorten(v.String()))
		}
		return glua.LNumber(f)
	case []string:
		list := make([]any, len(v))
		for i := range v {
			list[i] = v[i]
		}
		return in.toLua(L, list)
	case map[string]string:
		object := make(map[string]any, len(v))
		for key := range v {
			object[key] = v[key]
		}
		return in.toLua(L, object)
	case []any:
		in.charge(L, 2*costKey+len(v)*(costSlot/2+costNumber/8))
		in.step(L, len(v))
		t := L.CreateTable(len(v), 0)
		for i, item := range v {
			if item == nil {
				L.RaiseError("item %d of a list is null, which a script cannot keep in its place", i)
			}
			t.RawSetInt(i+1, in.toLua(L, item))
		}
		in.lists[t] = true
		return t
	case map[string]any:
		in.charge(L, 2*costKey+len(v)*costKey)
		in.step(L, len(v))
		t := L.CreateTable(0, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if item := in.toLua(L, v[key]); item != glua.LNil {
				t.RawSetString(key, item)
			}
		}
		in.objects[t] = true
		return t
	}
	L.RaiseError("a value of type %T is no JSON", value)
	return glua.LNil
}

// fromLua makes a JSON value of what the script returned.
func (in *interpreter) fromLua(L *glua.LState, value glua.LValue, like any) any {
	e := encoder{in: in, L: L}
	out, err := e.value(value, like, 0)
	if err != nil {
		if e.over {
			in.fail(L, "result", "the returned value "+err.Error())
		}
		L.RaiseError("the returned value %s", err.Error())
	}
	return out
}

// errNoText is about bytes that JSON cannot hold: an API server would store others, which differ from what was written for ever.
var errNoText = errors.New("is a string that is not UTF-8")

// encoder turns Lua values into JSON values. It looks at tables raw: metatables have no say in what a script returns.
type encoder struct {
	in   *interpreter
	L    *glua.LState
	size int // of the JSON text so far, about
	over bool
}

func (e *encoder) grow(n int) error {
	if e.size += n; e.size > ResultSize {
		e.over = true
		return fmt.Errorf("has more than %d bytes as JSON", ResultSize)
	}
	return nil
}

func (e *encoder) value(value glua.LValue, like any, depth int) (any, error) {
	if depth > ResultDepth {
		e.over = true
		return nil, fmt.Errorf("is nested deeper than %d levels; perhaps a table holds itself", ResultDepth)
	}
	e.in.step(e.L, 1)
	switch v := value.(type) {
	case *glua.LNilType:
		return nil, e.grow(4)
	case glua.LBool:
		return bool(v), e.grow(5)
	case glua.LString:
		if !utf8.ValidString(string(v)) {
			return nil, errNoText
		}
		return string(v), e.grow(len(v) + 2)
	case glua.LNumber:
		n, err := number(float64(v), like)
		if err != nil {
			return nil, err
		}
		return n, e.grow(8)
	case *glua.LTable:
		return e.table(v, like, depth)
	}
	return nil, fmt.Errorf("is a %s, which JSON has not", value.Type())
}

// pathError is an error with the place of the value, which is put together only when it is printed.
type pathError struct {
	step string
	err  error
}

func (e *pathError) Error() string {
	path := ""
	var inner error = e
	for at := e; errors.As(inner, &at); inner = at.err {
		const longest = 60
		if path += at.step; len(path) > longest {
			path = strings.ToValidUTF8(path[:longest], "") + "..."
			for errors.As(inner, &at) {
				inner = at.err
			}
			break
		}
	}
	return "at " + path + " " + inner.Error()
}

func (e *pathError) Unwrap() error { return e.err }

// number is an integer if it is whole: Lua has no integers. A number that did not change keeps its type and digits.
func number(f float64, like any) (any, error) {
	switch l := like.(type) {
	case int64:
		if float64(l) == f {
			return l, nil
		}
	case int:
		if float64(l) == f {
			return int64(l), nil
		}
	case float64:
		if l == f {
			return l, nil
		}
	}
	const exact = 1 << 53
	switch {
	case math.IsNaN(f):
		return nil, errors.New("is not a number")
	case math.IsInf(f, 0):
		return nil, errors.New("is infinite")
	case f == math.Trunc(f) && math.Abs(f) <= exact:
		return int64(f), nil
	}
	return f, nil
}

func (e *encoder) table(t *glua.LTable, like any, depth int) (any, error) {
	if err := e.grow(2); err != nil {
		return nil, err
	}
	first, _ := t.Next(glua.LNil)
	switch first.Type() {
	case glua.LTNil:
		return e.empty(t, like), nil
	case glua.LTNumber:
		return e.list(t, like, depth)
	case glua.LTString:
		return e.object(t, like, depth)
	}
	return nil, fmt.Errorf("has a key that is a %s", first.Type())
}

// empty decides what an empty table is: what it was when it came in, what was in its place, else a list.
func (e *encoder) empty(t *glua.LTable, like any) any {
	if e.in.objects[t] {
		return map[string]any{}
	}
	if e.in.lists[t] {
		return []any{}
	}
	switch like.(type) {
	case map[string]any, map[string]string:
		return map[string]any{}
	}
	return []any{}
}

func (e *encoder) list(t *glua.LTable, like any, depth int) (any, error) {
	old, _ := like.([]any)
	out := []any{}
	for key, value := t.Next(glua.LNil); key != glua.LNil; key, value = t.Next(key) {
		n, ok := key.(glua.LNumber)
		if !ok {
			return nil, errors.New("has both numbers and names as keys")
		}
		if n != glua.LNumber(len(out)+1) {
			return nil, fmt.Errorf("is a list with a hole: item %d is missing", len(out)+1)
		}
		var was any
		if len(out) < len(old) {
			was = old[len(out)]
		}
		item, err := e.value(value, was, depth+1)
		if err != nil {
			return nil, &pathError{"[" + strconv.Itoa(len(out)+1) + "]", err}
		}
		if err := e.grow(1); err != nil {
			return nil, err
		}
		out = append(out, item)
	}
	return out, nil
}

func (e *encoder) object(t *glua.LTable, like any, depth int) (any, error) {
	old, _ := like.(map[string]any)
	out := map[string]any{}
	for key, value := t.Next(glua.LNil); key != glua.LNil; key, value = t.Next(key) {
		name, ok := key.(glua.LString)
		if !ok {
			return nil, errors.New("has both numbers and names as keys")
		}
		if !utf8.ValidString(string(name)) {
			return nil, errors.New("has a key that is not UTF-8")
		}
		if err := e.grow(len(name) + 4); err != nil {
			return nil, err
		}
		item, err := e.value(value, old[string(name)], depth+1)
		if err != nil {
			return nil, &pathError{"." + string(name), err}
		}
		out[string(name)] = item
	}
	return out, nil
}
