package lua

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"testing"
)

// FuzzScript runs any text as a script: it ends, with a result or an *Error, and again with the same, unless the clock ended
// one of the two runs.
func FuzzScript(f *testing.F) {
	for _, c := range hostiles {
		if len(c.source) < 100 && c.limit == "" {
			f.Add(c.source)
		}
	}
	f.Add(`return obj`)
	f.Add(`obj.a.b, obj.c = obj.c, {1, [2] = obj.a, x = "y" .. 1} return obj`)
	f.Fuzz(func(t *testing.T, source string) {
		script, err := Compile("script.lua", source)
		if err != nil {
			failureOf(t, err)
			return
		}
		obj := map[string]any{"a": map[string]any{"b": int64(1)}, "c": []any{"x", 1.5}}
		first, err := script.Run(context.Background(), obj, obj)
		second, again := script.Run(context.Background(), obj, obj)
		failure, failureAgain := failureOf(t, err), failureOf(t, again)
		if failure.Limit == "time" || failureAgain.Limit == "time" {
			return
		}
		if !reflect.DeepEqual(first, second) || failure != failureAgain {
			t.Fatalf("got %v, %v and then %v, %v", first, err, second, again)
		}
	})
}

// failureOf is the Error that err is, an empty one for nil.
func failureOf(t *testing.T, err error) Error {
	t.Helper()
	if err == nil {
		return Error{}
	}
	var failure *Error
	if !errors.As(err, &failure) {
		t.Fatalf("got %T, want *Error", err)
	}
	return *failure
}

// FuzzPattern matches any pattern against any text, in every function that takes one.
func FuzzPattern(f *testing.F) {
	f.Add("hello world", "(%w+) (.-)$")
	f.Add("THE (quick) fox", "%f[%a]%a+%b()")
	f.Add("aaaa", "(a*)%1()")
	f.Add("]-^", "[]^-]")
	f.Add("x", "[%")
	f.Add("x", "%")
	script, err := Compile("script.lua", `
local s, p = obj.s, obj.p
local found = {string.find(s, p)}
local n = 0
for _ in string.gmatch(s, p) do n = n + 1 end
local out, count = string.gsub(s, p, "<%0>")
return {first = found[1], last = found[2], n = n, count = count, plain = string.find(s, p, 1, true), out = out}`)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, subject, pattern string) {
		result, err := script.Run(context.Background(), map[string]any{"s": subject, "p": pattern}, nil)
		var failure *Error
		if errors.As(err, &failure) {
			return
		}
		got := result.(map[string]any)
		first, found := got["first"].(int64)
		last, _ := got["last"].(int64)
		if found && (first < 1 || last < first-1 || last > int64(len(subject))) {
			t.Errorf("%q in %q: found %d to %d", pattern, subject, first, last)
		}
		if count := got["count"].(int64); found != (count > 0) {
			t.Errorf("%q in %q: found %v, and %d substitutions", pattern, subject, found, count)
		}
	})
}

// FuzzConversion hands any JSON to a script that returns it.
func FuzzConversion(f *testing.F) {
	f.Add(`{"a":[],"b":{},"c":[{"d":[[]]}],"e":1,"f":1.5,"g":"","h":true,"i":1e300}`)
	f.Add(`[9007199254740993,-1,0.1]`)
	script, err := Compile("script.lua", `return obj`)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var value any
		if json.Unmarshal([]byte(text), &value) != nil || hasNull(value) {
			return
		}
		got, err := script.Run(context.Background(), value, value)
		var failure *Error
		if errors.As(err, &failure) && failure.Limit != "" {
			return
		}
		if err != nil || !reflect.DeepEqual(got, value) {
			t.Errorf("got %#v, %v, want %#v", got, err, value)
		}
	})
}

func hasNull(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case []any:
		for _, item := range v {
			if hasNull(item) {
				return true
			}
		}
	case map[string]any:
		for _, item := range v {
			if hasNull(item) {
				return true
			}
		}
	}
	return false
}
