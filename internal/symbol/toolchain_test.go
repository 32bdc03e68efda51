package symbol

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// toolchain is a Go installation to build victims with.
type toolchain struct {
	name string // "go1.15.15"; "" is the one that runs the tests
	root string
}

// oldGo are releases that a run of all tests fetches, as the go command does
// for a module that asks for another release: what Debian 11 and 12 build with.
// The others are in testdata/recorded.
var oldGo = []string{"go1.15.15", "go1.19.13"}

// toolchains gives the running one, those of HANGTRACE_GOROOTS (paths, separated
// by colons) and, unless the run is to be short, those of oldGo.
func toolchains(t *testing.T) []toolchain {
	t.Helper()
	list := []toolchain{{}}
	if roots := os.Getenv("HANGTRACE_GOROOTS"); roots != "" {
		for _, root := range strings.Split(roots, ":") {
			list = append(list, toolchain{filepath.Base(root), root})
		}
		return list
	}
	if testing.Short() {
		return list
	}
	for _, f := range fetchOld() {
		switch {
		case f.err == nil:
			list = append(list, f.toolchain)
		case os.Getenv("HANGTRACE_REQUIRE_BPF") == "1": // where nothing may be skipped
			t.Error(f.err)
		default:
			t.Log("left out: ", f.err)
		}
	}
	return list
}

type fetched struct {
	toolchain
	err error
}

// fetchOld has the go command bring the old releases.
var fetchOld = sync.OnceValue(func() (list []fetched) {
	for _, name := range oldGo {
		f := fetched{toolchain: toolchain{name: name}}
		const tries = 3
		for range tries {
			cmd := exec.Command("go", "env", "GOROOT")
			cmd.Dir = os.TempDir() // not in a module, which would ask for a release of its own
			cmd.Env = append(os.Environ(), "GOTOOLCHAIN="+name, "GOFLAGS=", "GOENV=off", "GOWORK=off")
			out, err := cmd.Output()
			f.root, f.err = strings.TrimSpace(string(out)), err
			if err == nil {
				break
			}
			f.err = fmt.Errorf("fetch %s: %w", name, err)
		}
		if f.err == nil {
			f.root, f.err = outside(f.root, name)
		}
		list = append(list, f)
	}
	return list
})

// outside gives a path to a toolchain that is not in the module cache: Go 1.19
// takes its own packages for a module's there. It is the same in every run, so
// that what was built stays good.
func outside(root, name string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	link := filepath.Join(cache, "hangtrace", "toolchains", name)
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		return "", err
	}
	if to, err := os.Readlink(link); err == nil && to == root {
		return link, nil
	}
	_ = os.Remove(link)
	return link, os.Symlink(root, link)
}

// variant is one way to build.
type variant struct {
	name  string
	env   []string
	flags []string
}

// variants gives those that are worth the time for a toolchain: of old ones,
// one for each way of linking.
func (tc toolchain) variants() (list []variant) {
	off, on := []string{"CGO_ENABLED=0"}, []string{"CGO_ENABLED=1"}
	for _, v := range []variant{
		{"static", off, nil},
		{"stripped", off, []string{"-ldflags=-s -w"}},
		{"pie", off, []string{"-buildmode=pie", "-ldflags=-s -w"}},
		{"external-pie", on, []string{"-buildmode=pie", "-ldflags=-s -w -linkmode=external"}},
		{"external", on, []string{"-ldflags=-s -w -linkmode=external"}},
		{"static-cgo", on, []string{"-ldflags=-s -w -linkmode=external -extldflags=-static"}},
		{"noopt", off, []string{"-gcflags=all=-N -l"}},
	} {
		old := tc.name != "" && v.name != "stripped" && v.name != "pie" && v.name != "external"
		if old && os.Getenv("HANGTRACE_GOROOTS") == "" || testing.Short() && v.name != "stripped" {
			continue
		}
		list = append(list, v)
	}
	return list
}

// label names a subtest.
func (tc toolchain) label(v variant) string {
	if tc.name == "" {
		return "go/" + v.name
	}
	return tc.name + "/" + v.name
}
