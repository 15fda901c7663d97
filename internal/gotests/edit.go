package main

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
)

// rule wraps expressions in Go's tests in calls of a function.
type rule struct {
	call string // name of the function in testdata
	what string // description of the expressions
	find func(ast.Node) ast.Expr
}

// edited applies rules to the test files in dir, which is the package with that import
// path. It returns the files that changed, by name. Lines keep their numbers. If a
// rule does not apply anywhere, edited returns an error: the tests are no longer as
// the rule expects.
func edited(dir, importPath string, rules []rule) (map[string][]byte, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return nil, err
	}
	applied := make([]int, len(rules))
	files := map[string][]byte{}
	for _, name := range names {
		src, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		var inserts []insert
		for n := range ast.Preorder(file) {
			for i, r := range rules {
				x := r.find(n)
				if x == nil {
					continue
				}
				applied[i]++
				start, end := fset.Position(x.Pos()).Offset, fset.Position(x.End()).Offset
				inserts = append(inserts,
					insert{start, end - start, qualifier(file, importPath) + r.call + "("},
					insert{end, end - start, ")"})
			}
		}
		if len(inserts) > 0 {
			files[name] = apply(src, inserts)
		}
	}
	var failed []error
	for i, r := range rules {
		if applied[i] == 0 {
			failed = append(failed, fmt.Errorf("found no %s in %s to wrap in a call of %s: see internal/gotests/suites.go",
				r.what, filepath.Join(dir, "*_test.go"), r.call))
		}
	}
	return files, errors.Join(failed...)
}

// insert is text to insert at an offset, before or after an expression.
type insert struct {
	at    int
	width int // length of the expression
	text  string
}

func apply(src []byte, inserts []insert) []byte {
	slices.SortStableFunc(inserts, func(a, b insert) int {
		outerFirst := cmp.Compare(b.width, a.width)
		if a.text == ")" {
			outerFirst = -outerFirst // inner expressions end first; none ends where another begins
		}
		return cmp.Or(cmp.Compare(a.at, b.at), outerFirst)
	})
	var out []byte
	done := 0
	for _, in := range inserts {
		out = append(append(out, src[done:in.at]...), in.text...)
		done = in.at
	}
	return append(out, src[done:]...)
}

// qualifier returns the prefix that file needs for names of the package with that
// import path. It is "" in the package itself and if the package is imported with a
// dot.
func qualifier(file *ast.File, importPath string) string {
	name := path.Base(importPath)
	if file.Name.Name == name {
		return ""
	}
	for _, spec := range file.Imports {
		if p, _ := strconv.Unquote(spec.Path.Value); p == importPath && spec.Name != nil && spec.Name.Name == "." {
			return ""
		}
	}
	return name + "."
}

// field finds x in T{name: x}.
func field(typ, name string) func(ast.Node) ast.Expr {
	return func(n ast.Node) ast.Expr {
		lit, ok := n.(*ast.CompositeLit)
		if !ok || nameOf(lit.Type) != typ {
			return nil
		}
		for _, e := range lit.Elts {
			if kv, ok := e.(*ast.KeyValueExpr); ok && nameOf(kv.Key) == name {
				return kv.Value
			}
		}
		return nil
	}
}

// assigned finds x in v.name = x.
func assigned(name string) func(ast.Node) ast.Expr {
	return func(n ast.Node) ast.Expr {
		a, ok := n.(*ast.AssignStmt)
		if !ok || len(a.Lhs) != 1 || len(a.Rhs) != 1 {
			return nil
		}
		if to, ok := a.Lhs[0].(*ast.SelectorExpr); ok && to.Sel.Name == name {
			return a.Rhs[0]
		}
		return nil
	}
}

// argument finds the i-th argument of calls of a function.
func argument(function string, i int) func(ast.Node) ast.Expr {
	return func(n ast.Node) ast.Expr {
		if call, ok := n.(*ast.CallExpr); ok && nameOf(call.Fun) == function && i < len(call.Args) {
			return call.Args[i]
		}
		return nil
	}
}

// receiver finds x in x.method(…) with the given number of arguments.
func receiver(method string, arguments int) func(ast.Node) ast.Expr {
	return func(n ast.Node) ast.Expr {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != arguments {
			return nil
		}
		if f, ok := call.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == method {
			return f.X
		}
		return nil
	}
}

// result finds calls of a method without arguments.
func result(method string) func(ast.Node) ast.Expr {
	return func(n ast.Node) ast.Expr {
		if receiver(method, 0)(n) == nil {
			return nil
		}
		return n.(*ast.CallExpr)
	}
}

// asserted finds x in x.(T) for types T for which is returns true.
func asserted(is func(typ ast.Expr) bool) func(ast.Node) ast.Expr {
	return func(n ast.Node) ast.Expr {
		if a, ok := n.(*ast.TypeAssertExpr); ok && is(a.Type) {
			return a.X
		}
		return nil
	}
}

// pointer matches pointers to a type with that name, in any package.
func pointer(name string) func(typ ast.Expr) bool {
	return func(typ ast.Expr) bool {
		star, ok := typ.(*ast.StarExpr)
		return ok && nameOf(star.X) == name
	}
}

// own reports whether typ is a pointer to a type without a package name, or an unnamed
// interface.
func own(typ ast.Expr) bool {
	if star, ok := typ.(*ast.StarExpr); ok {
		_, ok := star.X.(*ast.Ident)
		return ok
	}
	_, ok := typ.(*ast.InterfaceType)
	return ok
}

// nameOf returns the name of x without its package, or "" if x has no name.
func nameOf(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.SelectorExpr:
		return x.Sel.Name
	}
	return ""
}
