package lua

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"
)

// hostile is a script that tries to take more than it may, or to get out.
type hostile struct {
	name, source string
	// limit is the limit that stops it; empty if it just fails or returns.
	limit string
	// says is part of the message, if it matters.
	says string
}

var hostiles = []hostile{
	// time
	{"endless loop", `while true do end`, "steps", ""},
	{"endless repeat", `repeat until false`, "steps", ""},
	{"endless goto", `::a:: goto a`, "steps", ""},
	{"long for", `for i = 1, 1e15 do end`, "steps", ""},
	{"endless for", `for i = 1, 2, 0 do end`, "", ""},
	{"pcall in a loop", `while true do pcall(function() while true do end end) end`, "steps", ""},
	{"nested pcall", `local function f() while true do pcall(f) end end f()`, "", ""},
	{"pcall that catches the end", `local ok, e = pcall(function() while true do end end) return {caught = tostring(e)}`, "steps", ""},
	{"xpcall with an endless handler", `xpcall(function() while true do end end, function() while true do end end) return {}`, "steps", ""},
	{"pcall as its own function", `local function f() return pcall(pcall, pcall, f) end while true do f() end`, "", ""},
	{"errors in a loop", `while true do pcall(error, {}) end`, "", ""},
	{"deep errors in a loop", `local function down(n) if n == 0 then while true do pcall(error, "x") end end down(n - 1) end down(150)`, "", ""},
	{"endless tail calls", `local function f() return f() end f()`, "", "stack overflow"},
	{"tail calls and errors", `local function f(n) if n == 0 then while true do pcall(error, "x") end end return f(n - 1) end f(150)`, "", ""},
	{"endless __index", `local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k] end return t.x`, "", "stack overflow"},
	{"circle of __index", `local a, b = {}, {} setmetatable(a, {__index = b}) setmetatable(b, {__index = a}) return a.x`, "", ""},
	{"circle of __newindex", `local a, b = {}, {} setmetatable(a, {__newindex = b}) setmetatable(b, {__newindex = a}) a.x = 1`, "", "circle"},
	{"endless __tostring", `local t = setmetatable({}, {}) getmetatable(t).__tostring = function(t) return tostring(t) end return tostring(t)`, "", "stack overflow"},
	{"endless __concat", `local t = setmetatable({}, {__concat = function(a, b) return a .. b end}) return t .. t`, "", "stack overflow"},
	{"endless __eq and __lt", `local m = {} m.__lt = function(a, b) return a < b end local a, b = setmetatable({}, m), setmetatable({}, m) return a < b`, "", "stack overflow"},
	{"__gc", `setmetatable({}, {__gc = function() while true do end end}) return {}`, "", ""},
	{"nested stars", `return string.find(("a"):rep(28) .. "b", ("a*"):rep(28) .. "c")`, "steps", ""},
	{"nested stars in match", `return string.match(("a"):rep(28), ("a*"):rep(28) .. "b")`, "steps", ""},
	{"nested stars in gmatch", `for x in string.gmatch(("a"):rep(28), ("a*"):rep(28) .. "b") do end`, "steps", ""},
	{"nested stars in gsub", `return string.gsub(("a"):rep(28), ("a*"):rep(28) .. "b", "")`, "steps", ""},
	{"nested stars in pcall", `while true do pcall(string.find, ("a"):rep(28), ("a*"):rep(28) .. "b") end`, "steps", ""},
	{"nested minus", `return string.find(("a"):rep(30), ("a-"):rep(30) .. "b")`, "steps", ""},
	{"nested question marks", `return string.find(("a"):rep(60), ("a?"):rep(60) .. ("a"):rep(60) .. "b")`, "steps", ""},
	{"long subject", `local s = ("a"):rep(1000000) return string.find(s, ".-b")`, "steps", ""},
	{"long captures", `return string.match(("a"):rep(1000), ("(a*)"):rep(31) .. "b")`, "steps", ""},
	{"long back references", `local s = ("a"):rep(500000) return string.find(s .. s, "(a*)%1b")`, "steps", ""},
	{"long sets", `local s = ("a"):rep(900000) return string.find(s, "[" .. ("b"):rep(900000) .. "]")`, "steps", ""},
	{"long sets again and again", `local s = ("a"):rep(1000000) return string.find(s, "[" .. ("b"):rep(900000) .. "a]*c")`, "steps", ""},
	{"long sets at frontiers", `local s = ("a"):rep(1000000) return string.find(s, "%f[" .. ("b"):rep(900000) .. "]")`, "steps", ""},
	{"empty replacements", `return string.gsub(("a"):rep(1000000), "()", ("%0"):rep(500000))`, "", ""},
	{"deep patterns", `return string.find(("a"):rep(1000), ("a?"):rep(1000))`, "", "too complex"},
	{"many unbalanced", `return string.find(("("):rep(1000000), "%b()")`, "steps", ""},
	{"plain finds in a loop", `local s = ("a"):rep(1000000) while true do string.find(s, "b", 1, true) end`, "steps", ""},
	{"long comparisons", `local a, b = ("a"):rep(1000000) .. "x", ("a"):rep(1000000) .. "x" while true do local c = a == b local d = a < b end`, "time", ""},
	{"long keys", `local t, s = {}, ("a"):rep(1000000) while true do local x = t[s] end`, "", ""},
	{"sort of long strings", `local t = {} for i = 1, 20000 do t[i] = ("a"):rep(1000) end table.sort(t) return {#t}`, "", ""},
	{"bad comparator", `local t = {} for i = 1, 10000 do t[i] = i % 7 end table.sort(t, function() return true end) return {}`, "", ""},
	{"comparator that changes the table", `local t = {} for i = 1, 1000 do t[i] = i end table.sort(t, function(a, b) t[#t + 1] = 1 t[1] = nil return true end) return {}`, "", ""},
	{"comparator with errors", `table.sort({3, 2, 1}, function() error("no") end)`, "", "no"},
	{"endless comparator", `table.sort({3, 2, 1}, function() while true do end end)`, "steps", ""},
	{"insert at the front", `local t = {} while true do table.insert(t, 1, 1) end`, "", ""},
	{"next over what is gone", `local t = {} for i = 1, 50000 do t["k" .. i] = i end for i = 1, 50000 do t["k" .. i] = nil end while true do next(t) end`, "", ""},
	{"length of what is gone", `local t = {} for i = 1, 200000 do t[i] = true end for i = 1, 200000 do t[i] = nil end while true do local n = #t end`, "", ""},
	{"gsub with an endless function", `string.gsub("aaa", "a", function() while true do end end)`, "steps", ""},
	{"gsub in gsub", `local function f() return (string.gsub(("a"):rep(100), "a", f)) end f()`, "", ""},
	{"arithmetic with long strings", `local s = (" "):rep(1000000) .. "1" while true do pcall(function() return s + 1 end) end`, "", ""},

	// memory
	{"string doubling", `local s = "x" while true do s = s .. s end`, "string", "string of more than"},
	{"string doubling in pcall", `local s = "x" while true do pcall(function() s = s .. s end) end`, "string", ""},
	{"kept strings", `local t, s = {}, ("x"):rep(1000000) for i = 1, 1e6 do t[i] = s .. i end`, "memory", ""},
	{"wide concat", `local s = ("x"):rep(1000000) return ` + strings.Repeat("s .. ", 150) + "s", "string", ""},
	{"rep", `return ("x"):rep(1e9)`, "string", ""},
	{"rep beyond integers", `return ("xx"):rep(9e18)`, "string", ""},
	{"rep of nothing", `return (""):rep(9e18)`, "", ""},
	{"rep below nothing", `return ("x"):rep(-9e18)`, "", ""},
	{"format width", `return string.format("%99999d", 1)`, "", "too long"},
	{"format precision", `return string.format("%.99999f", 1)`, "", "too long"},
	{"format of many", `return string.format(("%99d"):rep(20000), 1)`, "", ""},
	{"format of long strings", `local s = ("x"):rep(600000) return string.format("%s%s", s, s)`, "string", ""},
	{"format %q", `return string.format("%q", ("\\"):rep(1000000))`, "string", ""},
	{"format with bad items", `return string.format("%", 1)`, "", ""},
	{"format with stars", `return string.format("%*d", 1000000, 1)`, "", ""},
	{"concat of a table", `local t, s = {}, ("x"):rep(1000000) for i = 1, 1000 do t[i] = s end return table.concat(t)`, "string", ""},
	{"concat with a separator", `local t = {} for i = 1, 1000 do t[i] = "" end return table.concat(t, ("x"):rep(1000000))`, "string", ""},
	{"gsub blow-up", `local s = ("a"):rep(1000) return string.gsub(s, "a", s .. s)`, "string", ""},
	{"gsub blow-up by captures", `return string.gsub(("a"):rep(1000), ".*", ("%0"):rep(2000))`, "string", ""},
	{"gsub blow-up in a loop", `local s = "a" while true do s = string.gsub(s, "a", "aa") end`, "steps", ""},
	{"char", `return string.char(unpack({}, 1, 1e7))`, "", ""},
	{"byte", `return {string.byte(("x"):rep(1000000), 1, -1)}`, "", "too long"},
	{"unpack", `return {unpack({}, 1, 1e9)}`, "", "too many results"},
	{"unpack beyond integers", `return {unpack({}, -9e18, 9e18)}`, "", ""},
	{"unpack in a loop", `local function f(...) local t = {...} return f(1, ...) end f()`, "", ""},
	{"varargs that grow", `local function f(...) return f(..., ...) end f(1, 2)`, "", ""},
	{"table index", `local t = {} t[60000000] = 1`, "memory", ""},
	{"table index to nil", `local t = {} t[60000000] = nil`, "memory", ""},
	{"table index in a constructor", `return {[60000000] = 1}`, "memory", ""},
	{"table index by rawset", `rawset({}, 60000000, 1)`, "memory", ""},
	{"table index by insert", `table.insert({}, 60000000, 1)`, "memory", ""},
	{"table index by __newindex", `local t = setmetatable({}, {__newindex = {}}) t[60000000] = 1`, "memory", ""},
	{"table index by several", `local t, x = {} t[60000000], x = 1, 2`, "memory", ""},
	{"table index by a function", `local t = {} t[1] = {} function t.f() end t[50000000] = t.f`, "memory", ""},
	{"many indices", `for i = 1, 1e6 do local t = {} t[10000] = 1 end`, "memory", ""},
	{"many tables", `local t = {} for i = 1, 1e7 do t[i] = {} end`, "memory", ""},
	{"linked tables", `local t while true do t = {t} end`, "memory", ""},
	{"many keys", `local t = {} for i = 1, 1e7 do t["k" .. i] = i end`, "memory", ""},
	{"many booleans", `local t = {} for i = 1, 1e7 do t[i] = true end`, "steps", ""},
	{"many numbers", `local t, n = {}, 0.5 for i = 1, 1e7 do t[i] = n * i end`, "memory", ""},
	{"many closures", `local t = {} for i = 1, 1e7 do t[i] = function() return i end end`, "memory", ""},
	{"linked closures", `local f while true do local g = f f = function() return g end end`, "memory", ""},
	{"local functions", `local t = {} while true do local function f() return t, f end t[#t + 1] = f end`, "memory", ""},
	{"arg", `local t, n = {}, 0 local function f() end local function g(a, ...) n = n + 1 t[n] = arg f() end local big = {} for i = 1, 5000 do big[i] = true end while true do g(unpack(big)) end`, "", ""},
	{"kept error messages", `local t, k = {}, ("x"):rep(1000000) while true do local _, e = pcall(function() local a a[k] = 1 end) t[#t + 1] = e end`, "", ""},
	{"kept error messages of reads", `local t, k = {}, ("x"):rep(1000000) while true do local _, e = pcall(function() local a return a[k] end) t[#t + 1] = e end`, "memory", ""},
	{"errors with long messages", `local s = ("x"):rep(1000000) while true do pcall(error, s) end`, "memory", ""},
	{"deep recursion", `local function f(n) return 1 + f(n + 1) end return f(1)`, "", "stack overflow"},
	{"deep recursion in pcall", `local function f() pcall(f) return 1 + f() end return f()`, "", ""},
	{"recursion through gsub", `local function f() return (string.gsub("a", "a", f)) end return f()`, "", ""},
	{"recursion through sort", `local function f() table.sort({2, 1}, f) return true end f()`, "", ""},
	{"large frames", `local function f(a, b, c, d, ...) local x = {...} return 1 + f(a, b, c, d, ...) end return f(unpack({}, 1, 7000))`, "", ""},
	{"json.decode", `return #json.decode("[" .. ("{},"):rep(100000) .. "1]")`, "", ""},
	{"json.decode of depth", `return {json.decode(("["):rep(500000))}`, "", ""},
	{"json.encode of a circle", `local t = {} t.t = t local a, e = json.encode(t) return {e}`, "", ""},
	{"json in a loop", `local s = "[" .. ("1,"):rep(100000) .. "1]" local t = {} while true do t[#t + 1] = json.decode(s) end`, "memory", ""},
	{"gmatch in a loop", `local t = {} while true do t[#t + 1] = string.gmatch("a", "a") end`, "memory", ""},
	{"tostring in a loop", `while true do tostring({}) end`, "memory", ""},
	{"lower in a loop", `local t, s = {}, ("x"):rep(1000000) while true do t[#t + 1] = s:lower() end`, "memory", ""},

	// what is returned
	{"huge list", `local t = {} for i = 1, 60000 do t[i] = "0123456789abcdef0123456789" end return t`, "result", ""},
	{"huge strings", `local s = ("x"):rep(1000000) return {s, s}`, "result", ""},
	{"shared tables", `local t = {"x"} for i = 1, 30 do t = {t, t} end return t`, "result", ""},
	{"circle", `local t = {} t.t = t return t`, "result", "holds itself"},
	{"deep result", `local t = {} local r = t for i = 1, 1000 do t.x = {} t = t.x end return r`, "result", ""},
	{"long paths", `local t, k = {}, ("k"):rep(500000) local r = {[k] = {}} for i = 1, 50000 do r[k][i] = i end r[k].x = 1 return r`, "", ""},
	{"metatable on the result", `return setmetatable({}, {__index = function() while true do end end, __len = function() while true do end end})`, "", ""},
	{"metatable in the result", `return {x = setmetatable({a = 1}, {__index = {b = 2}, __tostring = function() error("no") end})}`, "", ""},
	{"thread in the result", `return {coroutine.create(function() end)}`, "", ""},

	// tampering
	{"string metatable", `getmetatable("").__index = function() return function() return "forged" end end`, "", ""},
	{"string metatable replaced", `setmetatable("", {__index = {}})`, "", ""},
	{"string library replaced", `string.rep = function() return "x" end string.format = nil return {("a"):rep(3)}`, "", ""},
	{"guards by name", `return {_G["(concat)"] == nil, _G["(set)"] == nil}`, "", ""},
	{"guards by varargs", `return {select("#", ...)}`, "", ""},
	{"globals replaced", `local g = _G for k in pairs(g) do g[k] = nil end while true do end`, "steps", ""},
	{"globals with a metatable", `setmetatable(_G, {__index = function(_, k) return k end, __newindex = function() error("no") end}) return {os, io}`, "", ""},
	{"bytecode", "\x1bLua", "", ""},
	{"string.dump", `return string.dump(function() end)`, "", ""},
	{"a file", `return io.open("/etc/passwd"):read("*a")`, "", ""},
	{"a process", `os.execute("true")`, "", ""},
	{"a module", `require("os")`, "", ""},
	{"loading", `return loadstring("return 1")()`, "", ""},
}

// TestEscapes runs every hostile script and measures what it took. The garbage collector is off meanwhile, so that the
// growth of the heap is all that the script allocated.
func TestEscapes(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // runtime.GC still collects, between the scripts
	for _, c := range hostiles {
		t.Run(c.name, func(t *testing.T) {
			script, err := Compile("script.lua", c.source)
			if err != nil {
				if c.limit != "" {
					t.Fatal(err)
				}
				return
			}
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			_, err = script.Run(context.Background(), map[string]any{}, nil)
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			runtime.GC()
			grown := int(after.TotalAlloc - before.TotalAlloc)
			t.Logf("%v, %.1f MiB, %v", took.Round(time.Microsecond), float64(grown)/(1<<20), err)

			// Generous for a machine that does other things, or halts this process for a while: the script itself is
			// stopped after Time, and what is looked for here takes minutes or for ever.
			if took > 20*Time {
				t.Errorf("took %v", took)
			}
			if grown > allocated {
				t.Errorf("allocated %d MiB", grown>>20)
			}
			var failure *Error
			if err != nil && !errors.As(err, &failure) {
				t.Fatalf("got %T, want *Error", err)
			}
			switch {
			case c.limit != "" && failure == nil:
				t.Errorf("nothing stopped it, want the limit %s", c.limit)
			case c.limit != "" && failure.Limit != c.limit && failure.Limit != "time":
				t.Errorf("got %v by limit %q, want limit %q", err, failure.Limit, c.limit)
			case failure != nil && failure.Limit != "" && failure.Limit != "result" && failure.Limit != "time" && failure.Line == 0:
				t.Errorf("got no line: %v", err)
			case c.says != "" && (failure == nil || !strings.Contains(failure.Message, c.says)):
				t.Errorf("got %v, want a message with %q", err, c.says)
			}
		})
	}
}

// allocated bounds what a run may allocate in all, garbage included: its Memory, and what the interpreter needs for
// itself, such as a number for each step.
const allocated = Memory + 32<<20

// TestEndsAtOnce ends a script in pcalls as deep as they may be nested: passing the end on takes nothing that counts.
func TestEndsAtOnce(t *testing.T) {
	script, err := Compile("script.lua", `
local function down(n)
	if n == 0 then while true do end end
	pcall(down, n - 1)
end
down(90)`)
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = script.Run(context.Background(), map[string]any{}, nil)
	runtime.ReadMemStats(&after)
	var failure *Error
	if !errors.As(err, &failure) || failure.Limit != "steps" && failure.Limit != "time" || failure.Line != 3 {
		t.Errorf("got %v, want the end of its steps in line 3", err)
	}
	grown := int(after.TotalAlloc - before.TotalAlloc)
	t.Logf("%d KiB", grown>>10)
	if grown > 2<<20 {
		t.Errorf("allocated %d KiB", grown>>10)
	}
}

// TestHeldMemory measures what is held at most, with the garbage collector on.
func TestHeldMemory(t *testing.T) {
	for _, c := range hostiles {
		if c.limit != "memory" {
			continue
		}
		script, err := Compile("script.lua", c.source)
		if err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		var before runtime.MemStats
		runtime.ReadMemStats(&before)
		done := make(chan uint64)
		stop := make(chan struct{})
		go func() {
			var peak uint64
			var now runtime.MemStats
			for {
				runtime.ReadMemStats(&now)
				peak = max(peak, now.HeapInuse)
				select {
				case <-stop:
					done <- peak
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
		}()
		_, _ = script.Run(context.Background(), map[string]any{}, nil)
		close(stop)
		if peak := <-done; peak > before.HeapInuse+allocated {
			t.Errorf("%s: held %d MiB more", c.name, (peak-before.HeapInuse)>>20)
		}
	}
}

// TestEqualInputEqualOutput runs scripts twice, at the same time: a step that is computed again must be the same.
func TestEqualInputEqualOutput(t *testing.T) {
	script, err := Compile("script.lua", `
local out = {}
for k, v in pairs(obj) do table.insert(out, k .. tostring(v) .. math.random(1000)) end
return out`)
	if err != nil {
		t.Fatal(err)
	}
	obj := map[string]any{}
	for i := range 100 {
		obj[fmt.Sprint("k", i)] = map[string]any{}
	}
	var group sync.WaitGroup
	results := make([]string, 8)
	for i := range results {
		group.Go(func() {
			got, err := script.Run(context.Background(), obj, nil)
			if err != nil {
				t.Error(err)
			}
			results[i] = fmt.Sprint(got)
		})
	}
	group.Wait()
	for _, r := range results {
		if r != results[0] {
			t.Fatalf("got %s and %s", r, results[0])
		}
	}
}

func TestStopsWithTheCaller(t *testing.T) {
	script, err := Compile("script.lua", `while true do end`)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = script.Run(ctx, nil, nil)
	var failure *Error
	if !errors.As(err, &failure) || failure.Limit != "stopped" {
		t.Errorf("got %v, want it stopped", err)
	}
}

func TestSourceLimits(t *testing.T) {
	for name, source := range map[string]string{
		"size":              strings.Repeat("x = 1\n", SourceSize/6+1),
		"tables":            "return " + strings.Repeat("{", 100000) + strings.Repeat("}", 100000),
		"functions":         strings.Repeat("return function() ", 10000) + strings.Repeat(" end ", 10000),
		"blocks":            strings.Repeat("do ", 50000) + strings.Repeat("end ", 50000),
		"operators":         "return " + strings.Repeat("1 + ", 60000) + "1",
		"nots":              "return " + strings.Repeat("not ", 60000) + "1",
		"calls":             "return f" + strings.Repeat("()", 100000),
		"fields":            "return f" + strings.Repeat(".a", 100000),
		"powers":            "return " + strings.Repeat("2 ^ ", 60000) + "1",
		"elseif":            "if a then " + strings.Repeat("elseif b then ", 15000) + "end",
		"locals":            strings.Repeat("local a = 1\n", 300),
		"variables":         strings.Repeat("a.b, ", 300) + "a.b = 1",
		"constants":         "return {" + numbered(40000, "%d,") + "}",
		"fields by name":    "local t = {} " + numbered(20000, "t.a%x=1 "),
		"globals":           numbered(20000, "a%x=1 "),
		"functions by name": numbered(10000, "function a%x() end "),
		"methods":           numbered(20000, "a:b%x() "),
		"nothing but nul":   strings.Repeat("\x00", 1000),
	} {
		start := time.Now()
		_, err := Compile("script.lua", source)
		var failure *Error
		if !errors.As(err, &failure) || failure.Message == "" {
			t.Errorf("%s: got %v, want an Error", name, err)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
	}
}

// numbered is a format with the numbers from 0 on.
func numbered(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}
