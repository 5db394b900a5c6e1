// Package lua runs scripts of users inside the controller without trusting them.
//
// A script is Lua 5.1 with the base functions that touch nothing outside the script, and the libraries math, table,
// string and json. Whatever it does, it takes no more than Steps steps, Time on the clock and Memory bytes, reaches no
// file, process, clock or random source, and for equal input gives equal output.
//
// The interpreter is gopher-lua, which by itself bounds neither memory nor the time inside one library call. So
//   - every instruction passes a meter (meter.go), which no pcall can catch;
//   - the parsed script is rewritten before it is compiled (rewrite.go): whatever can grow memory, that is joining strings
//     and making or filling tables and closures, becomes a call that asks the meter first;
//   - the libraries are our own where an argument of the script decides how long a call takes or what it allocates.
package lua

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	glua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/parse"
)

// The limits of one run of a script.
const (
	// Steps bounds the instructions of the interpreter and the steps of pattern matching, sorting and copying in its libraries.
	Steps = 1_000_000
	// Time bounds the run on the clock.
	Time = time.Second
	// Memory bounds the bytes that a run allocates, whether or not it still holds them.
	Memory = 64 << 20
	// StringSize bounds the bytes of one string.
	StringSize = 1 << 20
	// SourceSize bounds the bytes of a script.
	SourceSize = 256 << 10
	// Depth bounds nested calls, tail calls among them.
	Depth = 200
	// ResultSize bounds the bytes of the returned value as JSON, about what an API server stores of one object.
	ResultSize = 1 << 20
	// ResultDepth bounds how deep the returned tables are nested.
	ResultDepth = 100
)

// Script is a compiled script. It may be run by several goroutines at once.
type Script struct {
	name  string
	proto *glua.FunctionProto
}

// Error is what a script did wrong. Its message begins with the script's name and, where known, the line.
type Error struct {
	// Script is the name that was given to Compile.
	Script string
	// Line in the script, 0 if not known.
	Line int
	// Limit is the limit that the script exceeded: steps, time, memory, string or result; empty for any other error.
	Limit string
	// Message says what happened, without name and line.
	Message string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Script + ": " + e.Message
	}
	return fmt.Sprintf("%s:%d: %s", e.Script, e.Line, e.Message)
}

// Compile parses and compiles a script. Its errors are *Error.
func Compile(name, source string) (script *Script, err error) {
	defer func() {
		if r := recover(); r != nil {
			script, err = nil, &Error{Script: name, Message: fmt.Sprintf("cannot be compiled: %v", r)}
		}
	}()
	if len(source) > SourceSize {
		return nil, &Error{Script: name, Limit: "source", Message: fmt.Sprintf("the script has %d bytes; at most %d are allowed", len(source), SourceSize)}
	}
	chunk, err := parse.Parse(strings.NewReader(source), name)
	if err != nil {
		return nil, syntaxError(name, err)
	}
	chunk, err = rewrite(name, chunk)
	if err != nil {
		return nil, err
	}
	proto, err := glua.Compile(chunk, name)
	if err != nil {
		var compile *glua.CompileError
		if errors.As(err, &compile) {
			return nil, &Error{Script: name, Line: compile.Line, Message: compile.Message}
		}
		return nil, &Error{Script: name, Message: err.Error()}
	}
	tame(proto)
	return &Script{name: name, proto: proto}, nil
}

// tame changes compiled functions in two ways. The table `arg` of Lua 5.0 is taken from variadic functions, since it would be
// made without asking. Tail calls become calls, so that Depth bounds them too: each would add a line to every trace.
func tame(proto *glua.FunctionProto) {
	const opcode = 26 // the bits below it are operands
	proto.IsVarArg &^= glua.VarArgNeedsArg
	for i, instruction := range proto.Code {
		if instruction>>opcode == uint32(glua.OP_TAILCALL) {
			proto.Code[i] = instruction&(1<<opcode-1) | uint32(glua.OP_CALL)<<opcode
		}
	}
	for _, inner := range proto.FunctionPrototypes {
		tame(inner)
	}
}

func syntaxError(name string, err error) error {
	var syntax *parse.Error
	if !errors.As(err, &syntax) {
		return &Error{Script: name, Message: strings.TrimSpace(err.Error())}
	}
	if syntax.Pos.Line == parse.EOF {
		return &Error{Script: name, Message: "syntax error at the end: something is not closed, an end is missing perhaps"}
	}
	return &Error{Script: name, Line: syntax.Pos.Line, Message: fmt.Sprintf("syntax error near %.40q", syntax.Token)}
}

// Run runs the script with the global obj and returns what it returns, as JSON values: map[string]any, []any, string,
// bool, int64, float64, nil. like is the value that the result resembles, usually a part of obj: where the result has
// an empty table, like tells whether it is an object or a list, and where it has the same number, like tells its type.
// Neither argument is changed. Its errors are *Error.
func (s *Script) Run(ctx context.Context, obj, like any) (result any, err error) {
	ctx, cancel := context.WithTimeout(ctx, Time)
	defer cancel()
	m := &meter{stop: ctx.Done(), cause: ctx.Err, script: s.name}
	defer func() {
		// PCall recovers what the interpreter panics with. This is for what comes before and after it.
		if r := recover(); r != nil {
			result, err = nil, m.errorOf(fmt.Errorf("the interpreter failed, as it does when the stack overflows: %v", r))
		}
	}()
	L := glua.NewState(glua.Options{
		SkipOpenLibs:     true,
		CallStackSize:    Depth,
		RegistrySize:     512,
		RegistryGrowStep: 512,
		RegistryMaxSize:  registrySlots,
	})
	defer L.Close()
	m.state = L
	in := &interpreter{meter: m, lists: map[*glua.LTable]bool{}, objects: map[*glua.LTable]bool{}}
	in.open(L)
	L.SetContext(m)

	// The values are made inside of the protected call too: they are charged to the script, and may be too many.
	L.Push(L.NewFunction(func(L *glua.LState) int {
		L.SetGlobal("obj", in.toLua(L, obj))
		L.Push(L.NewFunctionFromProto(s.proto))
		in.pushGuards(L)
		L.Call(guards, 1)
		result = in.fromLua(L, L.Get(-1), like)
		return 0
	}))
	if err := L.PCall(0, 0, nil); err != nil || m.exceeded != nil {
		return nil, m.errorOf(err)
	}
	return result, nil
}

// place finds the line in a message of the interpreter: NAME:LINE: MESSAGE.
var place = regexp.MustCompile(`^:(\d+): ?`)

// notCalled is what the interpreter says of a call of nil, without the name.
const notCalled = "attempt to call a non-function object"

// errorOf turns an error of the interpreter into an *Error.
func (m *meter) errorOf(err error) *Error {
	if m.exceeded != nil {
		return m.exceeded
	}
	out := &Error{Script: m.script}
	var api *glua.ApiError
	switch {
	case !errors.As(err, &api):
		out.Message = err.Error()
	case api.Type == glua.ApiErrorPanic:
		out.Message = "the interpreter failed: " + api.Object.String()
	default:
		out.Message = messageOf(api.Object)
	}
	if rest, ok := strings.CutPrefix(out.Message, m.script); ok {
		if found := place.FindStringSubmatch(rest); found != nil {
			out.Line, _ = strconv.Atoi(found[1])
			out.Message = rest[len(found[0]):]
		}
	}
	if out.Message == notCalled {
		out.Message += ": nil, perhaps; a traffic script has no print, load, require and the like"
	}
	out.Message = shorten(strings.TrimSpace(out.Message))
	return out
}

// messageOf is what a raised value says. Addresses are left out: they would be others in each run.
func messageOf(raised glua.LValue) string {
	if joins(raised) {
		return raised.String()
	}
	if t, ok := raised.(*glua.LTable); ok {
		if s, ok := t.RawGetString("message").(glua.LString); ok {
			return string(s)
		}
	}
	return "error object: a " + raised.Type().String()
}

// shorten bounds a message, which goes into a condition of the Rollout, and keeps it on one line.
func shorten(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	const longest = 300
	if len(s) > longest {
		s = strings.ToValidUTF8(s[:longest], "") + "..."
	}
	return s
}
