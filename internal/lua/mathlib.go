package lua

import (
	"math/rand/v2"

	glua "github.com/yuin/gopher-lua"
)

// randomState is the random source of one run. It starts the same in each, so that a step computed again is the same.
type randomState struct{ source *rand.Rand }

func (r *randomState) seed(n uint64) { r.source = rand.New(rand.NewPCG(n, 0)) }

// openMath opens the library of gopher-lua, whose functions are all of constant time, with a random source of our own.
func (in *interpreter) openMath(L *glua.LState) {
	L.Push(L.NewFunction(glua.OpenMath))
	L.Push(glua.LString(glua.MathLibName))
	L.Call(1, 1)
	lib := L.CheckTable(-1)
	L.Pop(1)
	in.random.seed(1)
	lib.RawSetString("random", L.NewFunction(in.mathRandom))
	lib.RawSetString("randomseed", L.NewFunction(func(L *glua.LState) int {
		in.random.seed(uint64(L.CheckInt64(1)))
		return 0
	}))
}

func (in *interpreter) mathRandom(L *glua.LState) int {
	low := int64(1)
	var high int64
	switch L.GetTop() {
	case 0:
		L.Push(glua.LNumber(in.random.source.Float64()))
		return 1
	case 1:
		high = L.CheckInt64(1)
	default:
		low, high = L.CheckInt64(1), L.CheckInt64(2)
	}
	const widest = 1 << 53
	if low > high || low < -widest || high > widest {
		L.ArgError(L.GetTop(), "the interval is empty")
	}
	L.Push(glua.LNumber(low + in.random.source.Int64N(high-low+1)))
	return 1
}
