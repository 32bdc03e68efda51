package repotest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/hangtrace/hangtrace/"

// source is one Go file of the module.
type source struct {
	name string // relative to the module
	text string
	set  *token.FileSet
	tree *ast.File
}

func parse(t *testing.T, name, text string) source {
	t.Helper()
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, name, text, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return source{name, text, set, tree}
}

// sources are the Go files of the module that are part of it: neither test data
// nor programs of their own in it.
func sources(t *testing.T) []source {
	t.Helper()
	const root = "../.."
	var list []source
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && p != root && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") || d.Name() == "bin"):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(p) != ".go":
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		list = append(list, parse(t, filepath.ToSlash(name), string(text)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 100 {
		t.Fatalf("%d Go files found: the walk is wrong", len(list))
	}
	return list
}

func (s source) dir() string { return path.Dir(s.name) }

func (s source) test() bool { return strings.HasSuffix(s.name, "_test.go") }

func (s source) generated() bool { return ast.IsGenerated(s.tree) }

// room is the directory that an import rule is about: internal/syscalls for
// internal/syscalls/decode.
func (s source) room() string { return roomOf(s.dir()) }

func roomOf(dir string) string {
	parts := strings.Split(dir, "/")
	return strings.Join(parts[:min(len(parts), 2)], "/")
}

// imports are the import paths of a file, by the name they go under in it.
func (s source) imports() map[string]string {
	byName := make(map[string]string)
	for _, i := range s.tree.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		name := path.Base(p)
		if i.Name != nil {
			name = i.Name.Name
		}
		byName[name] = p
	}
	return byName
}

// calls reports each use of PACKAGE.NAME, with the package's full path.
func (s source) uses(report func(pkg, name, at string)) {
	imports := s.imports()
	ast.Inspect(s.tree, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if id, ok := sel.X.(*ast.Ident); ok && id.Obj == nil {
			if p, ok := imports[id.Name]; ok {
				report(p, sel.Sel.Name, s.at(sel))
			}
		}
		return true
	})
}

func (s source) at(n ast.Node) string {
	return s.name + ":" + strconv.Itoa(s.set.Position(n.Pos()).Line)
}
