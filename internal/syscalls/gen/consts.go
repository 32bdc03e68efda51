package main

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
)

// constants are the integer constants of x/sys/unix on one architecture, as
// 64-bit patterns, and the system call numbers among them by lower-case name.
type constants struct {
	values map[string]uint64
	calls  map[string]int
	errnos map[string]uint64
	sigs   map[string]uint64
}

func readConstants(dir, arch string) (constants, error) {
	c := constants{
		values: map[string]uint64{}, calls: map[string]int{},
		errnos: map[string]uint64{}, sigs: map[string]uint64{},
	}
	for _, f := range []string{
		"zerrors_linux.go", "zerrors_linux_" + arch + ".go",
		"ztypes_linux.go", "ztypes_linux_" + arch + ".go",
		"zsysnum_linux_" + arch + ".go",
	} {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, f), nil, 0)
		if err != nil {
			return c, err
		}
		for _, d := range file.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.CONST {
				c.add(g)
			}
		}
	}
	if len(c.calls) < 300 {
		return c, fmt.Errorf("%d system calls: too few", len(c.calls))
	}
	for name, nr := range callsBeyond(arch) {
		c.calls[name] = nr
	}
	if nr, ok := c.calls["fstatat"]; ok { // arm64's 79 in x/sys
		delete(c.calls, "fstatat")
		c.calls["newfstatat"] = nr
	}
	delete(c.calls, "arch_specific_syscall") // the base of a range, no call
	delete(c.calls, "syscall_mask")
	return c, nil
}

// callsBeyond gives the calls that x/sys leaves out: the private ones of arm
// (arch/arm/include/uapi/asm/unistd.h).
func callsBeyond(arch string) map[string]int {
	if arch != "arm" {
		return nil
	}
	return map[string]int{
		"breakpoint": 0xf0001, "cacheflush": 0xf0002, "usr26": 0xf0003,
		"usr32": 0xf0004, "set_tls": 0xf0005, "get_tls": 0xf0006,
	}
}

func (c constants) add(g *ast.GenDecl) {
	for _, s := range g.Specs {
		v := s.(*ast.ValueSpec)
		for i, name := range v.Names {
			if i >= len(v.Values) {
				continue
			}
			x, ok := c.eval(v.Values[i])
			if !ok {
				continue
			}
			if n, found := strings.CutPrefix(name.Name, "SYS_"); found {
				c.calls[strings.ToLower(n)] = int(x)
				continue
			}
			if call, ok := v.Values[i].(*ast.CallExpr); ok {
				c.typed(call)[name.Name] = x
			}
			c.values[name.Name] = x
		}
	}
}

// typed is the map that a constant of type Errno or Signal also belongs to.
func (c constants) typed(call *ast.CallExpr) map[string]uint64 {
	if sel, ok := call.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Signal" {
		return c.sigs
	}
	return c.errnos
}

func (c constants) eval(e ast.Expr) (uint64, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		v := constant.ToInt(constant.MakeFromLiteral(e.Value, e.Kind, 0))
		return constant.Uint64Val(v)
	case *ast.UnaryExpr:
		x, ok := c.eval(e.X)
		return -x, ok && e.Op == token.SUB
	case *ast.Ident:
		x, ok := c.values[e.Name]
		return x, ok
	case *ast.CallExpr: // syscall.Errno(0x7)
		if len(e.Args) == 1 {
			return c.eval(e.Args[0])
		}
	}
	return 0, false
}
