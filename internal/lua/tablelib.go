package lua

import (
	"sort"
	"strings"

	glua "github.com/yuin/gopher-lua"
)

func (in *interpreter) tableFunctions() map[string]glua.LGFunction {
	return map[string]glua.LGFunction{
		"concat": in.tableConcat,
		"getn":   tableGetN,
		"insert": in.tableInsert,
		"maxn":   tableMaxN,
		"remove": in.tableRemove,
		"sort":   in.tableSort,
	}
}

func tableGetN(L *glua.LState) int {
	L.Push(glua.LNumber(L.CheckTable(1).Len()))
	return 1
}

func tableMaxN(L *glua.LState) int {
	L.Push(glua.LNumber(L.CheckTable(1).MaxN()))
	return 1
}

func (in *interpreter) tableInsert(L *glua.LState) int {
	t := L.CheckTable(1)
	n := t.Len()
	switch L.GetTop() {
	case 2:
		in.rawSet(L, t, glua.LNumber(n+1), L.Get(2))
		return 0
	case 3:
	default:
		L.RaiseError("wrong number of arguments to 'insert'")
	}
	at, value := L.CheckInt(2), L.Get(3)
	if at < 1 || at > n {
		in.rawSet(L, t, glua.LNumber(at), value)
		return 0
	}
	in.charge(L, costSlot+kept(value))
	in.step(L, (n-at)/8)
	for i := n; i >= at; i-- {
		t.RawSetInt(i+1, t.RawGetInt(i))
	}
	t.RawSetInt(at, value)
	return 0
}

func (in *interpreter) tableRemove(L *glua.LState) int {
	t := L.CheckTable(1)
	n := t.Len()
	at := L.OptInt(2, n)
	if n == 0 || at < 1 || at > n {
		return 0
	}
	in.step(L, (n-at)/8)
	L.Push(t.RawGetInt(at))
	for i := at; i < n; i++ {
		t.RawSetInt(i, t.RawGetInt(i+1))
	}
	t.RawSetInt(n, glua.LNil)
	return 1
}

func (in *interpreter) tableConcat(L *glua.LState) int {
	t := L.CheckTable(1)
	separator := L.OptString(2, "")
	first, last := L.OptInt(3, 1), L.OptInt(4, t.Len())
	size := 0
	var parts []string
	for i := first; i <= last; i++ {
		v := t.RawGetInt(i)
		if !joins(v) {
			L.RaiseError("invalid value (%s) at index %d in table for 'concat'", v.Type(), i)
		}
		in.step(L, 1)
		in.charge(L, costString)
		parts = append(parts, v.String())
		if size += len(parts[len(parts)-1]) + len(separator); size > StringSize+len(separator) {
			in.text(L, size)
		}
	}
	in.text(L, max(0, size-len(separator)))
	L.Push(glua.LString(strings.Join(parts, separator)))
	return 1
}

func (in *interpreter) tableSort(L *glua.LState) int {
	t := L.CheckTable(1)
	var before *glua.LFunction
	if L.Get(2) != glua.LNil {
		before = L.CheckFunction(2)
	}
	sort.Sort(&sorter{in: in, L: L, t: t, n: t.Len(), before: before})
	return 0
}

// sorter sorts a table in place. Each comparison is a step: the order may be the script's, and inconsistent.
type sorter struct {
	in     *interpreter
	L      *glua.LState
	t      *glua.LTable
	n      int
	before *glua.LFunction
}

func (s *sorter) Len() int { return s.n }

func (s *sorter) Swap(i, j int) {
	a, b := s.t.RawGetInt(i+1), s.t.RawGetInt(j+1)
	s.t.RawSetInt(i+1, b)
	s.t.RawSetInt(j+1, a)
}

func (s *sorter) Less(i, j int) bool {
	a, b := s.t.RawGetInt(i+1), s.t.RawGetInt(j+1)
	s.in.step(s.L, 1+size(a)/64)
	if s.before == nil {
		return s.L.LessThan(a, b)
	}
	s.L.Push(s.before)
	s.L.Push(a)
	s.L.Push(b)
	s.L.Call(2, 1)
	less := glua.LVAsBool(s.L.Get(-1))
	s.L.Pop(1)
	return less
}

func size(v glua.LValue) int {
	s, _ := v.(glua.LString)
	return len(s)
}
