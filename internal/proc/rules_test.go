package proc

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// safe are the files of a process that were measured to answer on hung
// targets.
var safe = []file{
	"comm", "stat", "status", "statm", "wchan", "cgroup", "mountinfo", "mountstats", "limits", "sched", "schedstat",
}

// touching are calls that go to the file behind a name, or that may lstat.
var touching = regexp.MustCompile(`^(os\.(Open|OpenFile|OpenRoot|ReadFile|ReadDir|Stat|Lstat|Readlink|Chdir|DirFS|Create|WriteFile)|` +
	`filepath\.(EvalSymlinks|Walk|WalkDir|Glob)|unix\.(Stat|Lstat|Fstat|Fstatat|Statx|Statfs|Open|Openat2|Chdir|Access|Faccessat|ProcessVMReadv|Mmap))$`)

// TestNoRiskyFile reads the package's own source: no string in it names a file
// that may block, and files are opened in one place only.
func TestNoRiskyFile(t *testing.T) {
	var opens []string
	for path, tree := range source(t) {
		ast.Inspect(tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ImportSpec:
				return false
			case *ast.BasicLit:
				checkLiteral(t, path, n)
			case *ast.SelectorExpr:
				if pkg, ok := n.X.(*ast.Ident); ok {
					call := pkg.Name + "." + n.Sel.Name
					if touching.MatchString(call) {
						t.Errorf("%s: %s is not for /proc", path, call)
					}
					if call == "unix.Openat" {
						opens = append(opens, path)
					}
				}
			}
			return true
		})
	}
	if want := []string{"fs.go"}; !slices.Equal(opens, want) {
		t.Errorf("files are opened in %v, want %v", opens, want)
	}
}

func checkLiteral(t *testing.T, path string, lit *ast.BasicLit) {
	text, err := strconv.Unquote(lit.Value)
	if lit.Kind != token.STRING || err != nil {
		return
	}
	for part := range strings.SplitSeq(text, "/") {
		if slices.Contains(risky, part) {
			t.Errorf("%s: %s names %q, which may block", path, lit.Value, part)
		}
	}
}

// TestFilesAreSafe holds the constants of type file against the measured list.
func TestFilesAreSafe(t *testing.T) {
	found := 0
	for path, tree := range source(t) {
		ast.Inspect(tree, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if kind, ok := spec.Type.(*ast.Ident); !ok || kind.Name != "file" {
				return true
			}
			for _, value := range spec.Values {
				name, _ := strconv.Unquote(value.(*ast.BasicLit).Value)
				found++
				if !slices.Contains(safe, file(name)) {
					t.Errorf("%s: %q is not among the files known to be safe", path, name)
				}
			}
			return true
		})
	}
	if found == 0 {
		t.Error("no constants of type file found")
	}
}

func source(t *testing.T) map[string]*ast.File {
	paths, err := filepath.Glob("*.go")
	must(t, err)
	trees := map[string]*ast.File{}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		text, err := os.ReadFile(path)
		must(t, err)
		trees[path], err = parser.ParseFile(token.NewFileSet(), path, text, 0)
		must(t, err)
	}
	return trees
}
