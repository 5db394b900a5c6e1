package lua

import (
	"fmt"
	"strconv"

	"github.com/yuin/gopher-lua/ast"
)

// The functions that rewritten code calls. No script can name, read or replace them: their names are no Lua names, and
// they are locals of a function around the script.
const (
	guardConcat   = "(concat)"
	guardSet      = "(set)"
	guardTable    = "(table)"
	guardFunction = "(function)"
	guards        = 4
)

const (
	// nesting bounds how deep a script's syntax is nested, and so how deep the compiler recurses.
	nesting = 300
	// arity bounds the arguments of one call that is made here: each needs a register, and a function has about 200.
	arity = 48
	// searches bounds what the compiler does to find each name and constant among those before it: its time grows by the square.
	searches = 20_000_000
)

// rewriter replaces what can grow memory by calls of the guards.
type rewriter struct {
	script string
	depth  int
	// constants are the different names and constants so far, searched the comparisons that finding them takes at most.
	constants map[string]bool
	searched  int
}

// rewrite turns a script into
//
//	local (concat), (set), (table), (function) = ...
//	return (function(...) SCRIPT end)()
//
// with every joining of strings, table constructor, assignment to a field and closure in SCRIPT replaced by a call of a guard.
func rewrite(script string, chunk []ast.Stmt) (out []ast.Stmt, err error) {
	r := &rewriter{script: script, constants: map[string]bool{}}
	defer func() {
		switch failure := recover().(type) {
		case nil:
		case *Error:
			out, err = nil, failure
		default:
			panic(failure)
		}
	}()
	first, last := 1, 1
	if len(chunk) > 0 {
		first, last = chunk[0].Line(), chunk[len(chunk)-1].LastLine()
	}
	body := &ast.FunctionExpr{ParList: &ast.ParList{HasVargs: true}, Stmts: r.stmts(chunk)}
	body.SetLine(first)
	body.SetLastLine(last + 1)
	all := at(&ast.Comma3Expr{}, body)
	names := at(&ast.LocalAssignStmt{Names: []string{guardConcat, guardSet, guardTable, guardFunction}, Exprs: []ast.Expr{all}}, body)
	run := at(&ast.ReturnStmt{Exprs: []ast.Expr{at(&ast.FuncCallExpr{Func: body, AdjustRet: true}, body)}}, body)
	return []ast.Stmt{names, run}, nil
}

// at gives a new node the place of the one that it stands for.
func at[T ast.PositionHolder](node T, from ast.PositionHolder) T {
	node.SetLine(from.Line())
	node.SetLastLine(from.LastLine())
	return node
}

// enter counts nesting; the caller leaves by calling what it returns.
func (r *rewriter) enter(node ast.PositionHolder) func() {
	r.depth++
	if r.depth > nesting {
		panic(&Error{Script: r.script, Line: node.Line(), Limit: "nesting", Message: fmt.Sprintf("nested deeper than %d levels", nesting)})
	}
	return func() { r.depth-- }
}

// constant counts a name or constant.
func (r *rewriter) constant(node ast.PositionHolder, text string) {
	r.constants[text] = true
	if r.searched += len(r.constants); r.searched > searches {
		panic(&Error{Script: r.script, Line: node.Line(), Limit: "constants", Message: fmt.Sprintf("too many names and constants, %d different ones so far", len(r.constants))})
	}
}

// guard makes a call of a guard that has exactly one result.
func (r *rewriter) guard(name string, from ast.PositionHolder, args ...ast.Expr) *ast.FuncCallExpr {
	if len(args) > 0 {
		single(args[len(args)-1])
	}
	return at(&ast.FuncCallExpr{Func: at(&ast.IdentExpr{Value: name}, from), Args: args, AdjustRet: true}, from)
}

// single makes an expression that has several results have one.
func single(e ast.Expr) {
	switch e := e.(type) {
	case *ast.FuncCallExpr:
		e.AdjustRet = true
	case *ast.Comma3Expr:
		e.AdjustRet = true
	}
}

func (r *rewriter) stmts(list []ast.Stmt) []ast.Stmt {
	out := make([]ast.Stmt, 0, len(list))
	for _, s := range list {
		out = append(out, r.stmt(s)...)
	}
	return out
}

func (r *rewriter) stmt(stmt ast.Stmt) []ast.Stmt {
	defer r.enter(stmt)()
	switch s := stmt.(type) {
	case *ast.AssignStmt:
		return r.assign(s)
	case *ast.LocalAssignStmt:
		// The compiler takes a local function by its form, so that it can call itself: leave the form, charge it after.
		if f, ok := localFunction(s); ok {
			r.function(f)
			made := r.guard(guardFunction, s, at(&ast.IdentExpr{Value: s.Names[0]}, s))
			return []ast.Stmt{s, at(&ast.FuncCallStmt{Expr: made}, s)}
		}
		r.exprs(s.Exprs)
	case *ast.FuncCallStmt:
		s.Expr = r.expr(s.Expr)
	case *ast.DoBlockStmt:
		s.Stmts = r.stmts(s.Stmts)
	case *ast.WhileStmt:
		s.Condition = r.expr(s.Condition)
		s.Stmts = r.stmts(s.Stmts)
	case *ast.RepeatStmt:
		s.Condition = r.expr(s.Condition)
		s.Stmts = r.stmts(s.Stmts)
	case *ast.IfStmt:
		s.Condition = r.expr(s.Condition)
		s.Then = r.stmts(s.Then)
		s.Else = r.stmts(s.Else)
	case *ast.NumberForStmt:
		s.Init = r.expr(s.Init)
		s.Limit = r.expr(s.Limit)
		if s.Step != nil {
			s.Step = r.expr(s.Step)
		}
		s.Stmts = r.stmts(s.Stmts)
	case *ast.GenericForStmt:
		r.exprs(s.Exprs)
		s.Stmts = r.stmts(s.Stmts)
	case *ast.FuncDefStmt:
		return []ast.Stmt{r.funcDef(s)}
	case *ast.ReturnStmt:
		r.exprs(s.Exprs)
	case *ast.BreakStmt, *ast.LabelStmt, *ast.GotoStmt:
	default:
		panic(&Error{Script: r.script, Line: stmt.Line(), Message: fmt.Sprintf("unknown statement %T", stmt)})
	}
	return []ast.Stmt{stmt}
}

func localFunction(s *ast.LocalAssignStmt) (*ast.FunctionExpr, bool) {
	if len(s.Names) != 1 || len(s.Exprs) != 1 {
		return nil, false
	}
	f, ok := s.Exprs[0].(*ast.FunctionExpr)
	return f, ok
}

// funcDef turns `function a.b.c() ... end` into an assignment.
func (r *rewriter) funcDef(s *ast.FuncDefStmt) ast.Stmt {
	r.function(s.Func)
	made := r.guard(guardFunction, s, s.Func)
	if s.Name.Func == nil { // function a.b:c()
		s.Func.ParList.Names = append([]string{"self"}, s.Func.ParList.Names...)
		return r.set(s, r.expr(s.Name.Receiver), at(&ast.StringExpr{Value: s.Name.Method}, s), made)
	}
	if field, ok := s.Name.Func.(*ast.AttrGetExpr); ok {
		return r.set(s, r.expr(field.Object), r.expr(field.Key), made)
	}
	return at(&ast.AssignStmt{Lhs: []ast.Expr{r.expr(s.Name.Func)}, Rhs: []ast.Expr{made}}, s)
}

func (r *rewriter) set(from ast.PositionHolder, object, key, value ast.Expr) ast.Stmt {
	return at(&ast.FuncCallStmt{Expr: r.guard(guardSet, from, object, key, value)}, from)
}

// assign rewrites assignments to fields. With several targets, everything is evaluated before anything is assigned, as
// Lua has it: do local o1, k1, ... = ...; local v1, ... = ...; set(o1, k1, v1); ... end.
func (r *rewriter) assign(s *ast.AssignStmt) []ast.Stmt {
	r.exprs(s.Rhs)
	fields := 0
	for _, target := range s.Lhs {
		if _, ok := target.(*ast.AttrGetExpr); ok {
			fields++
		} else {
			r.expr(target) // a name, which stays as it is
		}
	}
	if fields == 0 {
		return []ast.Stmt{s}
	}
	if field, ok := s.Lhs[0].(*ast.AttrGetExpr); ok && len(s.Lhs) == 1 && len(s.Rhs) == 1 {
		return []ast.Stmt{r.set(s, r.expr(field.Object), r.expr(field.Key), s.Rhs[0])}
	}
	if len(s.Lhs) > arity {
		panic(&Error{Script: r.script, Line: s.Line(), Limit: "nesting", Message: fmt.Sprintf("more than %d variables in one assignment", arity)})
	}
	places := at(&ast.LocalAssignStmt{}, s)
	values := at(&ast.LocalAssignStmt{Exprs: s.Rhs}, s)
	var sets []ast.Stmt
	ident := func(name string) ast.Expr { return at(&ast.IdentExpr{Value: name}, s) }
	for i, target := range s.Lhs {
		value := fmt.Sprintf("(value %d)", i)
		values.Names = append(values.Names, value)
		field, ok := target.(*ast.AttrGetExpr)
		if !ok {
			sets = append(sets, at(&ast.AssignStmt{Lhs: []ast.Expr{target}, Rhs: []ast.Expr{ident(value)}}, s))
			continue
		}
		object, key := fmt.Sprintf("(object %d)", i), fmt.Sprintf("(key %d)", i)
		places.Names = append(places.Names, object, key)
		places.Exprs = append(places.Exprs, r.expr(field.Object), r.expr(field.Key))
		single(places.Exprs[len(places.Exprs)-1])
		sets = append(sets, r.set(s, ident(object), ident(key), ident(value)))
	}
	return []ast.Stmt{at(&ast.DoBlockStmt{Stmts: append([]ast.Stmt{places, values}, sets...)}, s)}
}

func (r *rewriter) exprs(list []ast.Expr) {
	for i := range list {
		list[i] = r.expr(list[i])
	}
}

func (r *rewriter) function(f *ast.FunctionExpr) {
	defer r.enter(f)()
	f.Stmts = r.stmts(f.Stmts)
}

func (r *rewriter) expr(expr ast.Expr) ast.Expr {
	defer r.enter(expr)()
	switch e := expr.(type) {
	case *ast.TrueExpr, *ast.FalseExpr, *ast.NilExpr, *ast.Comma3Expr:
	case *ast.NumberExpr:
		r.constant(e, e.Value)
	case *ast.StringExpr:
		r.constant(e, e.Value)
	case *ast.IdentExpr:
		r.constant(e, e.Value)
	case *ast.AttrGetExpr:
		e.Object = r.expr(e.Object)
		e.Key = r.expr(e.Key)
	case *ast.TableExpr:
		return r.table(e)
	case *ast.FuncCallExpr:
		if e.Func != nil {
			e.Func = r.expr(e.Func)
		}
		if e.Receiver != nil {
			e.Receiver = r.expr(e.Receiver)
			r.constant(e, e.Method)
		}
		r.exprs(e.Args)
	case *ast.LogicalOpExpr:
		e.Lhs, e.Rhs = r.expr(e.Lhs), r.expr(e.Rhs)
	case *ast.RelationalOpExpr:
		e.Lhs, e.Rhs = r.expr(e.Lhs), r.expr(e.Rhs)
	case *ast.ArithmeticOpExpr:
		e.Lhs, e.Rhs = r.expr(e.Lhs), r.expr(e.Rhs)
	case *ast.StringConcatOpExpr:
		return r.concat(e)
	case *ast.UnaryMinusOpExpr:
		e.Expr = r.expr(e.Expr)
	case *ast.UnaryNotOpExpr:
		e.Expr = r.expr(e.Expr)
	case *ast.UnaryLenOpExpr:
		e.Expr = r.expr(e.Expr)
	case *ast.FunctionExpr:
		r.function(e)
		return r.guard(guardFunction, e, e)
	default:
		panic(&Error{Script: r.script, Line: expr.Line(), Message: fmt.Sprintf("unknown expression %T", expr)})
	}
	return expr
}

// concat turns a .. b .. c, which binds to the right, into one call; a long chain into nested ones.
func (r *rewriter) concat(e *ast.StringConcatOpExpr) ast.Expr {
	var operands []ast.Expr
	for {
		operands = append(operands, r.expr(e.Lhs))
		next, ok := e.Rhs.(*ast.StringConcatOpExpr)
		if !ok {
			operands = append(operands, r.expr(e.Rhs))
			break
		}
		e = next
	}
	for len(operands) > arity {
		tail := operands[len(operands)-arity:]
		joined := r.guard(guardConcat, e, append([]ast.Expr{}, tail...)...)
		operands = append(operands[:len(operands)-arity], joined)
	}
	return r.guard(guardConcat, e, operands...)
}

// table turns {x, a = y, [k] = z} into (table)({x, a = y}, 1, k, z), 1 being the number of named fields: a key that is computed may be a number that makes
// the table huge, so it is set by the guard.
func (r *rewriter) table(e *ast.TableExpr) ast.Expr {
	var plain []*ast.Field
	var computed []ast.Expr
	named := 0
	for _, f := range e.Fields {
		if f.Key != nil {
			f.Key = r.expr(f.Key)
		}
		f.Value = r.expr(f.Value)
		if f.Key == nil {
			plain = append(plain, f)
		} else if _, ok := f.Key.(*ast.StringExpr); ok {
			named++
			plain = append(plain, f)
		} else {
			computed = append(computed, f.Key, f.Value)
		}
	}
	e.Fields = plain
	var made ast.Expr = e
	for {
		n := min(len(computed), arity)
		count := at(&ast.NumberExpr{Value: strconv.Itoa(named)}, e)
		made = r.guard(guardTable, e, append([]ast.Expr{made, count}, computed[:n]...)...)
		if computed = computed[n:]; len(computed) == 0 {
			return made
		}
	}
}
