package lua

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// runScript runs a script with obj given as JSON and returns the result as JSON.
func runScript(t testing.TB, source, obj string) (string, error) {
	t.Helper()
	var value any
	if obj != "" {
		if err := json.Unmarshal([]byte(obj), &value); err != nil {
			t.Fatal(err)
		}
	}
	script, err := Compile("script.lua", source)
	if err != nil {
		return "", err
	}
	result, err := script.Run(context.Background(), value, value)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(result); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out.String()), nil
}

func TestLanguage(t *testing.T) {
	for _, c := range []struct{ name, source, want string }{
		{"concat binds to the right", `return 1 .. 2 .. "a" .. 3.5`, `"12a3.5"`},
		{"a long chain", `local x = "a" return ` + strings.Repeat(`x .. `, 150) + `"b"`, `"` + strings.Repeat("a", 150) + `b"`},
		{"concat takes one result of a call", `local function f() return "a", "b" end return f() .. f()`, `"aa"`},
		{"concat of varargs", `local function f(...) return "x" .. ... end return f("a", "b")`, `"xa"`},
		{"__concat", `local m = {__concat = function(a, b) return "m" end} local t = setmetatable({}, m) return {"a" .. t, t .. "b", "a" .. "b" .. t, t .. t}`, `["m","m","am","m"]`},
		{"swap of fields", `local t = {a = 1, b = 2} t.a, t.b = t.b, t.a return {t.a, t.b}`, `[2,1]`},
		{"assignment evaluates first", `local i, t = 1, {} i, t[i] = i + 1, 20 return {i, t[1]}`, `[2,20]`},
		{"assignment from several results", `local function f() return 1, 2, 3 end local t = {} t.a, t.b, t.c, t.d = f() return t`, `{"a":1,"b":2,"c":3}`},
		{"assignment cuts results", `local function f() return 1, 2 end local t = {} t.a = f() return t`, `{"a":1}`},
		{"recursive local function", `local function fac(n) if n < 2 then return 1 end return n * fac(n - 1) end return fac(10)`, `3628800`},
		{"methods", `local t = {n = 1} function t:add(k) self.n = self.n + k return self end return t:add(2):add(3).n`, `6`},
		{"fields of functions", `local t = {u = {}} function t.u.f(x) return x .. "!" end return t.u.f("a")`, `"a!"`},
		{"global functions", `function f() return 1 end return f()`, `1`},
		{"computed keys", `local k = "x" local t = {1, [k .. "y"] = 2, z = 3, [4] = nil} return {t[1], t.xy, t.z}`, `[1,2,3]`},
		{"varargs in a table", `local function f(...) return {n = select("#", ...), ...} end local t = f(1, nil, 3) return {t.n, t[1], t[3]}`, `[3,1,3]`},
		{"closures see later changes", `local n = 0 local function inc() n = n + 1 return n end inc() inc() return n`, `2`},
		{"goto", `local n = 0 ::top:: n = n + 1 if n < 5 then goto top end return n`, `5`},
		{"pcall", `return {pcall(error, "x", 0)}`, `[false,"x"]`},
		{"pcall with position", `return {pcall(function() error("x") end)}`, `[false,"script.lua:1: x"]`},
		{"pcall with an object", `local ok, e = pcall(error, {code = 5}) return e.code`, `5`},
		{"xpcall", `return {xpcall(function() error("x", 0) end, function(m) return "<" .. m .. ">" end)}`, `[false,"<x>"]`},
		{"metatables", `local t = setmetatable({}, {__index = function(_, k) return k .. "?" end, __newindex = function(t, k, v) rawset(t, k, v * 2) end}) t.a = 4 return {t.a, t.b}`, `[8,"b?"]`},
		{"newindex to a table", `local u = {} local t = setmetatable({}, {__newindex = u}) t.x = 1 return {rawget(t, "x") == nil, u.x}`, `[true,1]`},
		{"returned tables are raw", `return setmetatable({a = 1}, {__index = {b = 2}, __pairs = function() error("no") end})`, `{"a":1}`},
		{"pairs in order", `local keys = {} for k in pairs(json.decode('{"c":1,"a":2,"b":3}')) do keys[#keys + 1] = k end return keys`, `["a","b","c"]`},
		{"numbers", `return {1, 1.5, 2^53, -0.25, 10 / 2}`, `[1,1.5,9007199254740992,-0.25,5]`},
		{"format", `return string.format("%5.2f|%-5s|%05d|%x|%q|%%|%s|%g", 3.14159, "ab", 42, 255, 'a"b', true, 0.1)`, `" 3.14|ab   |00042|ff|\"a\\\"b\"|%|true|0.1"`},
		{"find", `return {string.find("hello world", "o w")}`, `[5,7]`},
		{"find plain", `return {string.find("a.b", ".", 1, true)}`, `[2,2]`},
		{"find captures", `return {string.find("key=val", "(%w+)=(%w+)")}`, `[1,7,"key","val"]`},
		{"match", `return {string.match("2024-05-06", "(%d+)-(%d+)-(%d+)")}`, `["2024","05","06"]`},
		{"position captures", `return {string.match("abc", "()b()")}`, `[2,3]`},
		{"anchors", `return {string.match("abc", "^b") == nil, string.match("abc", "c$")}`, `[true,"c"]`},
		{"shortest", `return string.match("<a><b>", "<(.-)>")`, `"a"`},
		{"balanced", `return string.match("f(a(b)c)d", "%b()")`, `"(a(b)c)"`},
		{"frontier", `return string.gsub("THE (quick) fox", "%f[%a]%a+", "X")`, `"X (X) X"`},
		{"back reference", `return string.match('say "hi" now', '(["\'])(.-)%1')`, `"\""`},
		{"sets", `return string.match("x-1_y", "[%w_-]+") .. string.match("]a", "[]]") .. string.match("ab^", "[^ab]")`, `"x-1_y]^"`},
		{"gsub with a string", `return {string.gsub("hello world", "(%w+)", "<%1>")}`, `["<hello> <world>",2]`},
		{"gsub with a table", `return string.gsub("$a $b", "%$(%w+)", {a = "1"})`, `"1 $b"`},
		{"gsub with a function", `return string.gsub("abc", "%w", function(c) if c == "b" then return "X" end end)`, `"aXc"`},
		{"gsub of nothing", `return {string.gsub("abc", "", "-")}`, `["-a-b-c-",4]`},
		{"gsub with a limit", `return {string.gsub("aaa", "a", "b", 2)}`, `["bba",2]`},
		{"gmatch", `local out = {} for k, v in string.gmatch("a=1, b=2", "(%w+)=(%w+)") do out[#out + 1] = k .. v end return out`, `["a1","b2"]`},
		{"split", `local out = {} string.gsub("a,b,,c", "[^,]+", function(w) table.insert(out, w) end) return out`, `["a","b","c"]`},
		{"string methods", `return ("ab"):rep(2):upper():sub(-3)`, `"BAB"`},
		{"byte and char", `return {string.char(72, 105), string.byte("A"), ("abc"):byte(-1)}`, `["Hi",65,99]`},
		{"insert and remove", `local t = {1, 2, 3} table.insert(t, 1, 0) table.insert(t, 9) local x = table.remove(t, 2) local y = table.remove(t) return {x, y, table.concat(t, ",")}`, `[1,9,"0,2,3"]`},
		{"json of more than one value", `return {(json.decode("1 2") == nil), (json.decode(" [1] ")[1])}`, `[true,1]`},
		{"sort", `local t = {3, 1, 2} table.sort(t) local u = {"b", "a"} table.sort(u, function(a, b) return a > b end) return {t, u}`, `[[1,2,3],["b","a"]]`},
		{"tonumber", `return {tonumber("10"), tonumber("0x1F"), tonumber("z", 36), tonumber("abc") == nil, tonumber(" 5 "), tonumber("1e3")}`, `[10,31,35,true,5,1000]`},
		{"tostring is the same in each run", `return {tostring({}), tostring(nil), tostring(true), tostring(print)}`, `["table: 1","nil","true","nil"]`},
		{"unpack", `return {unpack({1, 2, 3}, 2)}`, `[2,3]`},
		{"select", `return {select(-1, 1, 2, 3), select("#", nil, nil)}`, `[3,2]`},
		{"math", `return {math.floor(2.7), math.max(1, 5, 3), math.abs(-2), math.random(1, 1)}`, `[2,5,2,1]`},
		{"random is the same in each run", `return math.random(1000000)`, ``},
		{"json", `return {json.encode({a = {1, 2}, b = "<"}), json.decode("[1,2]")[2], json.encode(json.decode("{}")), json.encode({})}`, `["{\"a\":[1,2],\"b\":\"<\"}",2,"{}","[]"]`},
		{"nothing", `local x = 1`, `null`},
		{
			"dofile and the like", `return {load == nil, dofile == nil, loadfile == nil, loadstring == nil, require == nil, print == nil, collectgarbage == nil, getfenv == nil, setfenv == nil, newproxy == nil, module == nil, os == nil, io == nil, debug == nil, package == nil, coroutine == nil, string.dump == nil, channel == nil, _printregs == nil}`,
			`[true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true,true]`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := runScript(t, c.source, "")
			if err != nil {
				t.Fatal(err)
			}
			if c.want == "" {
				c.want, _ = runScript(t, c.source, "")
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestConversionKeepsShape(t *testing.T) {
	for _, c := range []struct{ name, source, obj, want string }{
		{"identity", `return obj`, `{"a":[],"b":{},"c":{"d":[{},[]]},"e":"x","f":1,"g":1.5,"h":true}`, `{"a":[],"b":{},"c":{"d":[{},[]]},"e":"x","f":1,"g":1.5,"h":true}`},
		{"an emptied list stays a list", `table.remove(obj.a) return obj`, `{"a":[1]}`, `{"a":[]}`},
		{"an emptied object stays an object", `obj.a.x = nil return obj`, `{"a":{"x":1}}`, `{"a":{}}`},
		{"copies are told by their place", `local function copy(v) if type(v) ~= "table" then return v end local c = {} for k, x in pairs(v) do c[k] = copy(x) end return c end return copy(obj)`, `{"a":[],"b":{},"c":[{}]}`, `{"a":[],"b":{},"c":[{}]}`},
		{"order of lists", `obj[1], obj[3] = obj[3], obj[1] return obj`, `[1,2,3]`, `[3,2,1]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := runScript(t, c.source, c.obj)
			if err != nil {
				t.Fatal(err)
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	script, err := Compile("script.lua", `return obj`)
	if err != nil {
		t.Fatal(err)
	}
	const large = int64(1)<<53 + 1
	obj := map[string]any{"large": large, "whole": 3.0, "n": int64(7)}
	got, err := script.Run(context.Background(), obj, obj)
	if err != nil {
		t.Fatal(err)
	}
	// Beyond 2^53 a Lua number cannot tell neighbours apart; it is the original's if it is as near as a number can be.
	m := got.(map[string]any)
	if m["large"] != large || m["whole"] != 3.0 || m["n"] != int64(7) {
		t.Errorf("got %#v, want %#v", got, obj)
	}
}

func TestErrorsNameTheLine(t *testing.T) {
	for _, c := range []struct{ name, source, want string }{
		{"syntax", "local x = 1\nlocal y = = 2", `script.lua:2: syntax error near "="`},
		{"unclosed", "if true then\n", "script.lua: syntax error at the end: something is not closed, an end is missing perhaps"},
		{"nil index", "local x\n\nreturn x.y.z", "script.lua:3: attempt to index a non-table object(nil) with key 'y'"},
		{"nil set", "local x\nx.y = 1", "script.lua:2: attempt to set the field 'y' of a nil value"},
		{"concat", "return 'a' ..\nnil", "script.lua:1: attempt to concatenate a nil value"},
		{"error", "\n\nerror('no such route')", "script.lua:3: no such route"},
		{"error object", "error({message = 'as a table'})", "script.lua: as a table"},
		{"error object without a message", "error({})", "script.lua: error object: a table"},
		{"error object that is a function", "error(error)", "script.lua: error object: a function"},
		{"error without an object", "error()", "script.lua: error object: a nil"},
		{"__tostring that gives no string", "return tostring(setmetatable({}, {__tostring = function() return {} end}))", "script.lua:1: __tostring returned a table value; expected a string"},
		{"bytes in the result", "return {a = '\\255'}", "script.lua: the returned value at .a is a string that is not UTF-8"},
		{"bytes as a key", "return {['\\255'] = 1}", "script.lua: the returned value has a key that is not UTF-8"},
		{"removed function", "print('x')", "script.lua:1: attempt to call a non-function object: nil, perhaps; a traffic script has no print, load, require and the like"},
		{"function in the result", "return {a = {b = print, c = function() end}}", "script.lua: the returned value at .a.c is a function, which JSON has not"},
		{"hole in a list", "return {x = {1, nil, 3}}", "script.lua: the returned value at .x is a list with a hole: item 2 is missing"},
		{"mixed keys", "return {1, a = 2}", "script.lua: the returned value has both numbers and names as keys"},
		{"not a number", "return {a = 0/0}", "script.lua: the returned value at .a is not a number"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := runScript(t, c.source, "")
			var failure *Error
			if !errors.As(err, &failure) {
				t.Fatalf("got %s and %v, want an Error", got, err)
			}
			if failure.Error() != c.want {
				t.Errorf("got  %s\nwant %s", failure, c.want)
			}
		})
	}
}
