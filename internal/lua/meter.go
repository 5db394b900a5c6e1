package lua

import (
	"context"
	"errors"
	"fmt"
	"time"

	glua "github.com/yuin/gopher-lua"
)

// meter counts what one run uses. It is the context of the interpreter, which asks Done before every instruction: once a
// limit is exceeded, every further instruction fails, so that a script that catches the error gets no further.
type meter struct {
	script string
	state  *glua.LState    // whose lines are reported
	stop   <-chan struct{} // closed when the time is over or the caller gave up
	cause  func() error    // says which of them

	steps    int
	memory   int
	exceeded *Error
}

// What values cost, in bytes: at least what gopher-lua allocates for them, the growth of slices and maps included.
const (
	// costTable is a table, its first array of 32 slots and its first maps.
	costTable = 3200
	// costSlot is a slot of the array part: 16 bytes, and what is left behind as it grows.
	costSlot = 80
	// costKey is a new key in the hash part: entries in two maps and one list.
	costKey = 400
	// costNumber is a number that is kept: it keeps the block of 32 that it was allocated in.
	costNumber = 264
	// costString is the header of a string.
	costString = 32
	// costFunction and costUpvalue are a closure.
	costFunction = 160
	costUpvalue  = 400
	// costError is an error that is caught: its position, and a trace of as many lines as calls may be nested.
	costError = 80 << 10
	// stepsError is what catching an error takes.
	stepsError = 1000
)

// registrySlots bounds the stack of values of 16 bytes each.
const registrySlots = 32 << 10

var closed = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Done implements context.Context.
func (m *meter) Done() <-chan struct{} {
	m.steps++
	if m.exceeded != nil {
		return closed
	}
	if m.steps > Steps || m.stopped() {
		m.exceeded = &Error{Script: m.script, Line: line(m.state), Limit: m.limit(), Message: m.reason()}
		return closed
	}
	return nil
}

// stopped says whether the time is over, or the caller gave up.
func (m *meter) stopped() bool {
	select {
	case <-m.stop:
		return true
	default:
		return false
	}
}

// Err implements context.Context: the message of the error that the interpreter raises.
func (m *meter) Err() error { return errors.New(m.exceeded.Message) }

// Deadline implements context.Context.
func (m *meter) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value implements context.Context.
func (m *meter) Value(any) any { return nil }

// limit is the name of the limit that is exceeded, of steps and time.
func (m *meter) limit() string {
	switch {
	case m.steps > Steps:
		return "steps"
	case errors.Is(m.cause(), context.DeadlineExceeded):
		return "time"
	}
	return "stopped"
}

// reason says the same to a user.
func (m *meter) reason() string {
	switch m.limit() {
	case "steps":
		return fmt.Sprintf("the script took more than %d steps", Steps)
	case "time":
		return fmt.Sprintf("the script ran longer than %v", Time)
	}
	return fmt.Sprintf("the script was stopped: %v", m.cause())
}

// step charges n steps of a library function, and ends the script if there are none left.
func (m *meter) step(L *glua.LState, n int) {
	m.steps += n
	if m.steps > Steps || m.stopped() {
		m.fail(L, m.limit(), m.reason())
	}
}

// charge charges n bytes before they are allocated, and ends the script if they are too many.
func (m *meter) charge(L *glua.LState, n int) {
	if n < 0 || n > Memory-m.memory {
		m.fail(L, "memory", fmt.Sprintf("the script allocated more than %d MiB", Memory>>20))
	}
	m.memory += n
}

// text charges a string of n bytes.
func (m *meter) text(L *glua.LState, n int) {
	if n < 0 || n > StringSize {
		m.fail(L, "string", fmt.Sprintf("a string of more than %d bytes", StringSize))
	}
	m.charge(L, n+costString)
	m.steps += n / 256
}

// fail ends the script for good: from now on every instruction fails, in whatever function it is.
func (m *meter) fail(L *glua.LState, limit, message string) {
	if m.exceeded == nil {
		m.exceeded = &Error{Script: m.script, Line: line(L), Limit: limit, Message: message}
	}
	L.RaiseError("%s", message)
}

// line is the line of the script that is being run.
func line(L *glua.LState) int {
	for level := 0; level < 4; level++ {
		frame, ok := L.GetStack(level)
		if !ok {
			return 0
		}
		if _, err := L.GetInfo("l", frame, glua.LNil); err == nil && frame.CurrentLine > 0 {
			return frame.CurrentLine
		}
	}
	return 0
}
