package lua

import (
	"fmt"
	"strconv"
	"strings"

	glua "github.com/yuin/gopher-lua"
)

// results bounds the values that one call returns; each needs a place on the stack.
const results = 8000

// open fills the globals of a state. Nothing in them reaches outside the script.
func (in *interpreter) open(L *glua.LState) {
	globals := L.G.Global
	register := func(t *glua.LTable, functions map[string]glua.LGFunction) {
		for name, f := range functions {
			t.RawSetString(name, L.NewFunction(f))
		}
	}
	library := func(name string, functions map[string]glua.LGFunction) *glua.LTable {
		t := L.NewTable()
		register(t, functions)
		globals.RawSetString(name, t)
		return t
	}
	globals.RawSetString("_G", globals)
	globals.RawSetString("_VERSION", glua.LString(glua.LuaVersion))
	register(globals, in.baseFunctions(L))
	library("table", in.tableFunctions())
	library("json", in.jsonFunctions())
	text := library("string", in.stringFunctions())
	in.openMath(L)

	// ("x"):rep(3). Protected, because all strings share it.
	meta := L.NewTable()
	meta.RawSetString("__index", text)
	meta.RawSetString("__metatable", glua.LString("string"))
	L.SetMetatable(glua.LString(""), meta)
}

func (in *interpreter) baseFunctions(L *glua.LState) map[string]glua.LGFunction {
	next := L.NewFunction(baseNext)
	nextIndex := L.NewFunction(baseNextIndex)
	return map[string]glua.LGFunction{
		"assert":       in.baseAssert,
		"error":        in.baseError,
		"getmetatable": baseGetMetatable,
		"ipairs": func(L *glua.LState) int {
			t := L.CheckTable(1)
			L.Push(nextIndex)
			L.Push(t)
			L.Push(glua.LNumber(0))
			return 3
		},
		"next": baseNext,
		"pairs": func(L *glua.LState) int {
			t := L.CheckTable(1)
			L.Push(next)
			L.Push(t)
			L.Push(glua.LNil)
			return 3
		},
		"pcall":        in.basePCall,
		"rawequal":     baseRawEqual,
		"rawget":       baseRawGet,
		"rawset":       in.baseRawSet,
		"select":       baseSelect,
		"setmetatable": baseSetMetatable,
		"tonumber":     in.baseToNumber,
		"tostring":     in.baseToString,
		"type":         baseType,
		"unpack":       baseUnpack,
		"xpcall":       in.baseXPCall,
	}
}

func baseType(L *glua.LState) int {
	L.Push(glua.LString(L.CheckAny(1).Type().String()))
	return 1
}

func baseNext(L *glua.LState) int {
	key, value := L.CheckTable(1).Next(L.Get(2))
	L.Push(key)
	if key == glua.LNil {
		return 1
	}
	L.Push(value)
	return 2
}

func baseNextIndex(L *glua.LState) int {
	i := L.CheckInt(2) + 1
	v := L.CheckTable(1).RawGetInt(i)
	if v == glua.LNil {
		return 0
	}
	L.Push(glua.LNumber(i))
	L.Push(v)
	return 2
}

func baseRawEqual(L *glua.LState) int {
	L.Push(glua.LBool(L.RawEqual(L.CheckAny(1), L.CheckAny(2))))
	return 1
}

func baseRawGet(L *glua.LState) int {
	L.Push(L.CheckTable(1).RawGet(L.CheckAny(2)))
	return 1
}

func (in *interpreter) baseRawSet(L *glua.LState) int {
	in.rawSet(L, L.CheckTable(1), L.CheckAny(2), L.CheckAny(3))
	L.SetTop(1)
	return 1
}

func baseGetMetatable(L *glua.LState) int {
	L.Push(L.GetMetatable(L.CheckAny(1)))
	return 1
}

func baseSetMetatable(L *glua.LState) int {
	t, meta := L.CheckTable(1), L.Get(2)
	if meta != glua.LNil && meta.Type() != glua.LTTable {
		L.ArgError(2, "nil or table expected")
	}
	if old, ok := t.Metatable.(*glua.LTable); ok && old.RawGetString("__metatable") != glua.LNil {
		L.RaiseError("cannot change a protected metatable")
	}
	t.Metatable = meta
	L.SetTop(1)
	return 1
}

func baseSelect(L *glua.LState) int {
	count := L.GetTop() - 1
	if L.Get(1) == glua.LString("#") {
		L.Push(glua.LNumber(count))
		return 1
	}
	n := L.CheckInt(1)
	if n < 0 {
		n += count + 1
	}
	if n < 1 {
		L.ArgError(1, "index out of range")
	}
	return max(0, count-n+1)
}

func baseUnpack(L *glua.LState) int {
	t := L.CheckTable(1)
	first := L.OptInt(2, 1)
	last := L.OptInt(3, t.Len())
	if first > last {
		return 0
	}
	if n := last - first; n < 0 || n >= results {
		L.RaiseError("too many results to unpack: at most %d", results)
	}
	for i := first; i <= last; i++ {
		L.Push(t.RawGetInt(i))
	}
	return last - first + 1
}

func (in *interpreter) baseAssert(L *glua.LState) int {
	if glua.LVAsBool(L.CheckAny(1)) {
		return L.GetTop()
	}
	if L.GetTop() == 1 {
		L.RaiseError("assertion failed")
	}
	in.raise(L, L.Get(2), 0)
	return 0
}

func (in *interpreter) baseError(L *glua.LState) int {
	in.raise(L, L.Get(1), L.OptInt(2, 1))
	return 0
}

// raise raises an error; a message gets the position of the caller at the given level.
func (in *interpreter) raise(L *glua.LState, value glua.LValue, level int) {
	if s, ok := value.(glua.LString); ok {
		in.text(L, len(s))
	}
	L.Error(value, max(0, level))
}

// caught charges an error that a script caught, and passes on one that ended the script: the same one, since every new one
// would trace the whole stack again, which takes more of time and memory than the limits left.
func (in *interpreter) caught(L *glua.LState, err error) glua.LValue {
	if in.exceeded != nil {
		panic(err)
	}
	in.step(L, stepsError)
	in.charge(L, costError)
	api, ok := err.(*glua.ApiError) //nolint:errorlint // PCall returns it unwrapped
	if !ok {
		return glua.LString(shorten(err.Error()))
	}
	if s, ok := api.Object.(glua.LString); ok {
		s = s[:min(len(s), StringSize)]
		in.text(L, len(s))
		in.charge(L, 2*len(s)) // the copies on its way here
		return s
	}
	return api.Object
}

func (in *interpreter) basePCall(L *glua.LState) int {
	L.CheckAny(1)
	if err := L.PCall(L.GetTop()-1, glua.MultRet, nil); err != nil {
		message := in.caught(L, err)
		L.Push(glua.LFalse)
		L.Push(message)
		return 2
	}
	L.Insert(glua.LTrue, 1)
	return L.GetTop()
}

func (in *interpreter) baseXPCall(L *glua.LState) int {
	f, handler := L.CheckFunction(1), L.CheckFunction(2)
	L.SetTop(0)
	L.Push(f)
	err := L.PCall(0, glua.MultRet, nil)
	if err == nil {
		L.Insert(glua.LTrue, 1)
		return L.GetTop()
	}
	// The handler runs after the stack is unwound: there is no debug library that could look at it.
	message := in.caught(L, err)
	L.SetTop(0)
	L.Push(glua.LFalse)
	L.Push(handler)
	L.Push(message)
	if err := L.PCall(1, glua.MultRet, nil); err != nil {
		L.Push(in.caught(L, err))
	}
	return L.GetTop()
}

func (in *interpreter) baseToString(L *glua.LState) int {
	L.CheckAny(1)
	L.Push(in.tostring(L, L.Get(1)))
	return 1
}

// tostring is the string of a value. Tables and functions are numbered in the order in which they are printed.
func (in *interpreter) tostring(L *glua.LState, v glua.LValue) glua.LValue {
	if f := L.GetMetaField(v, "__tostring"); f.Type() == glua.LTFunction {
		L.Push(f)
		L.Push(v)
		L.Call(1, 1)
		out := L.Get(-1)
		L.Pop(1)
		if !joins(out) {
			L.RaiseError("__tostring returned a %s value; expected a string", out.Type())
		}
		return out
	}
	switch v.Type() {
	case glua.LTString:
		return v
	case glua.LTTable, glua.LTFunction:
		n, ok := in.names[v]
		if !ok {
			if in.names == nil {
				in.names = map[glua.LValue]int{}
			}
			in.charge(L, costKey)
			n = len(in.names) + 1
			in.names[v] = n
		}
		in.charge(L, 2*costString)
		return glua.LString(fmt.Sprintf("%s: %d", v.Type(), n))
	}
	in.charge(L, 2*costString)
	return glua.LString(v.String())
}

func (in *interpreter) baseToNumber(L *glua.LState) int {
	v, base := L.CheckAny(1), L.OptInt(2, 10)
	if s, ok := v.(glua.LString); ok {
		in.step(L, len(s)/8)
		v = parseNumber(string(s), base)
	}
	if v.Type() != glua.LTNumber {
		v = glua.LNil
	}
	L.Push(v)
	return 1
}

// parseNumber reads a number as Lua writes it: decimal, hexadecimal or, with a base, an integer.
func parseNumber(s string, base int) glua.LValue {
	s = strings.TrimSpace(s)
	if base != 10 {
		if base == 16 {
			s = strings.TrimPrefix(strings.ToLower(s), "0x")
		}
		if base < 2 || base > 36 {
			return glua.LNil
		}
		if n, err := strconv.ParseUint(s, base, 64); err == nil {
			return glua.LNumber(n)
		}
		return glua.LNil
	}
	if hex, ok := strings.CutPrefix(strings.ToLower(s), "0x"); ok {
		if n, err := strconv.ParseUint(hex, 16, 64); err == nil {
			return glua.LNumber(n)
		}
		return glua.LNil
	}
	if strings.ContainsAny(s, "_xXnNiIpP") { // what Go reads and Lua does not: 1_000, inf, nan, 0x1p4
		return glua.LNil
	}
	if n, err := strconv.ParseFloat(s, 64); err == nil {
		return glua.LNumber(n)
	}
	return glua.LNil
}
