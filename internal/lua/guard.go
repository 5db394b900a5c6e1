package lua

import (
	"strings"

	glua "github.com/yuin/gopher-lua"
)

// interpreter is one run: its meter, and what it knows of the tables that came in.
type interpreter struct {
	*meter
	// lists and objects are the tables that were a JSON list or object: an empty table does not tell.
	lists, objects map[*glua.LTable]bool
	// names numbers the tables and functions that were printed: an address would be different in each run.
	names  map[glua.LValue]int
	random randomState
}

// pushGuards pushes the functions of rewritten code, in the order in which rewrite declares them.
func (in *interpreter) pushGuards(L *glua.LState) {
	L.Push(L.NewFunction(in.concat))
	L.Push(L.NewFunction(in.setField))
	L.Push(L.NewFunction(in.madeTable))
	L.Push(L.NewFunction(in.madeFunction))
}

// concat joins its arguments as the operator does, from the right: runs of strings and numbers at once, anything else
// by its metamethod.
func (in *interpreter) concat(L *glua.LState) int {
	right := L.Get(-1)
	for i := L.GetTop() - 1; i >= 1; i-- {
		if !joins(right) || !joins(L.Get(i)) {
			right = in.concatMeta(L, L.Get(i), right)
			continue
		}
		first := i
		for first > 1 && joins(L.Get(first-1)) {
			first--
		}
		parts := make([]string, 0, i-first+2)
		size := 0
		for j := first; j <= i; j++ {
			parts = append(parts, L.Get(j).String())
			size += len(parts[len(parts)-1])
		}
		parts = append(parts, right.String())
		in.text(L, size+len(parts[len(parts)-1]))
		right = glua.LString(strings.Join(parts, ""))
		i = first
	}
	L.Push(right)
	return 1
}

func joins(v glua.LValue) bool { return v.Type() == glua.LTString || v.Type() == glua.LTNumber }

func (in *interpreter) concatMeta(L *glua.LState, left, right glua.LValue) glua.LValue {
	f := L.GetMetaField(left, "__concat")
	if f == glua.LNil {
		f = L.GetMetaField(right, "__concat")
	}
	if f == glua.LNil {
		bad := left
		if joins(left) {
			bad = right
		}
		L.RaiseError("attempt to concatenate a %s value", bad.Type())
	}
	L.Push(f)
	L.Push(left)
	L.Push(right)
	L.Call(2, 1)
	out := L.Get(-1)
	L.Pop(1)
	return out
}

// setField is the assignment t[k] = v with metamethods.
func (in *interpreter) setField(L *glua.LState) int {
	object, key, value := L.Get(1), L.Get(2), L.Get(3)
	for range 100 {
		t, isTable := object.(*glua.LTable)
		if isTable && t.Metatable == glua.LNil {
			in.rawSet(L, t, key, value)
			return 0
		}
		if isTable && t.RawGet(key) != glua.LNil {
			in.rawSet(L, t, key, value)
			return 0
		}
		next := L.GetMetaField(object, "__newindex")
		switch {
		case next == glua.LNil && isTable:
			in.rawSet(L, t, key, value)
			return 0
		case next == glua.LNil:
			L.RaiseError("attempt to set the field %s of a %s value", keyName(key), object.Type())
		case next.Type() == glua.LTFunction:
			L.Push(next)
			L.Push(object)
			L.Push(key)
			L.Push(value)
			L.Call(3, 0)
			return 0
		}
		object = next
	}
	L.RaiseError("__newindex leads in a circle")
	return 0
}

func keyName(key glua.LValue) string {
	if s, ok := key.(glua.LString); ok {
		return "'" + shorten(string(s)) + "'"
	}
	return key.Type().String()
}

// rawSet sets t[key] = value once it is paid for.
func (in *interpreter) rawSet(L *glua.LState, t *glua.LTable, key, value glua.LValue) {
	in.charge(L, growth(t, key)+kept(value))
	L.RawSet(t, key, value)
}

// growth is what setting a key may add to a table: the array part is filled up to the key.
func growth(t *glua.LTable, key glua.LValue) int {
	n, isNumber := key.(glua.LNumber)
	if isNumber && n >= 1 && n < glua.LNumber(glua.MaxArrayIndex) && n == glua.LNumber(int(n)) {
		if t.RawGetInt(int(n)) != glua.LNil {
			return 0
		}
		return max(0, int(n)-t.Len()) * costSlot
	}
	if t.RawGet(key) != glua.LNil {
		return 0
	}
	return costKey + kept(key)
}

// kept is what a value costs beyond its slot when something keeps it.
func kept(v glua.LValue) int {
	if v.Type() == glua.LTNumber {
		return costNumber
	}
	return 0
}

// madeTable charges a table that was just constructed, of a size that the source and the stack bound, and sets its
// computed keys. Its arguments are the table, the number of its named fields, and the computed keys with their values.
func (in *interpreter) madeTable(L *glua.LState) int {
	t, named := L.CheckTable(1), L.CheckInt(2)
	in.charge(L, costTable+t.Len()*(costSlot+costNumber)+named*(costKey+costNumber))
	for i := 3; i < L.GetTop(); i += 2 {
		if L.Get(i+1) != glua.LNil {
			in.rawSet(L, t, L.Get(i), L.Get(i+1))
		}
	}
	L.SetTop(1)
	return 1
}

// madeFunction charges a closure that was just made.
func (in *interpreter) madeFunction(L *glua.LState) int {
	f := L.CheckFunction(1)
	in.charge(L, costFunction+len(f.Upvalues)*costUpvalue)
	return 1
}
