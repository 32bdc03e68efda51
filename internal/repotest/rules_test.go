package repotest

import (
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// mayImport says which of our rooms a room may import. One direction, no way
// back: kernel -> loader -> events -> correlate -> report; cmd ties them
// together.
var mayImport = map[string][]string{
	"bpf":                 {},
	"internal/facts":      {},
	"internal/events":     {"internal/events", "internal/facts"},
	"internal/mounts":     {"internal/facts"},
	"internal/kube":       {"internal/facts"},
	"internal/syscalls":   {"internal/syscalls"},
	"internal/symbol":     {"internal/symbol"},
	"internal/storage":    {"internal/facts"},
	"internal/record":     {"internal/facts"},
	"internal/proc":       {"internal/facts"},
	"internal/expendable": {"internal/facts", "internal/proc"},
	"internal/loader":     {"internal/facts", "bpf"},
	"internal/correlate":  {"internal/events", "internal/facts", "internal/mounts", "internal/kube", "internal/syscalls"},
	"internal/leftover":   {"internal/correlate", "internal/events", "internal/facts", "internal/mounts", "internal/kube"},
	"internal/report":     {"internal/correlate", "internal/facts", "internal/leftover"},
	"internal/userstack":  {"internal/expendable", "internal/facts", "internal/symbol"},
	"internal/cri":        {"internal/expendable", "internal/facts", "internal/kube"},
	"internal/capture": {"internal/correlate", "internal/cri", "internal/leftover", "internal/events", "internal/expendable", "internal/facts", "internal/kube", "internal/loader",
		"internal/mounts", "internal/proc", "internal/storage", "internal/symbol", "internal/syscalls", "internal/userstack"},
	"internal/doctor": {"internal/cri", "internal/events", "internal/expendable", "internal/facts", "internal/kube", "internal/loader", "internal/proc", "internal/storage"},
	"internal/live": {"internal/capture", "internal/correlate", "internal/events", "internal/facts", "internal/loader", "internal/record",
		"internal/syscalls"},
	"internal/strace": {"internal/capture", "internal/events", "internal/expendable", "internal/facts", "internal/loader", "internal/record", "internal/strace",
		"internal/syscalls", "internal/userstack"},
	"internal/testkit": {"internal/testkit"},
}

// Rooms that may import any other: nothing imports them.
var top = []string{"cmd/hangtrace", "internal/repotest", "test/bench", "test/captures", "test/demo", "test/e2e", "test/ceph", "test/npd", "test/vm"}

func importRules(list []source) (faults []string) {
	for _, s := range list {
		if s.test() || slices.Contains(top, s.room()) {
			continue
		}
		allowed, known := mayImport[s.room()]
		if !known {
			faults = append(faults, s.name+": room "+s.room()+" is not in mayImport: say there what it may import")
			continue
		}
		for _, p := range s.imports() {
			other, ours := strings.CutPrefix(p, module)
			if ours && !slices.Contains(allowed, roomOf(other)) {
				faults = append(faults, fmt.Sprintf("%s: %s must not import %s", s.name, s.room(), other))
			}
		}
	}
	return faults
}

// onlyLoader keeps the BPF library in one place, besides what it generates.
func onlyLoader(list []source) (faults []string) {
	for _, s := range list {
		if s.room() == "internal/loader" || s.room() == "bpf" && (s.generated() || s.test()) || s.room() == "test/vm" || s.room() == "test/bench" { // which try out kernels, and what an empty program costs
			continue
		}
		for _, p := range s.imports() {
			if p == "github.com/cilium/ebpf" || strings.HasPrefix(p, "github.com/cilium/ebpf/") {
				faults = append(faults, s.name+": only internal/loader imports "+p)
			}
		}
	}
	return faults
}

// touches are the functions that go to a file, follow a path or start a
// program.
var touches = map[string]*regexp.Regexp{
	"os": regexp.MustCompile(`^(Open|OpenFile|OpenRoot|OpenInRoot|ReadFile|ReadDir|Stat|Lstat|Readlink|Chdir|Chmod|Chown|Lchown|Chtimes|DirFS|Create|CreateTemp|WriteFile|` +
		`Mkdir|MkdirAll|MkdirTemp|Remove|RemoveAll|Rename|Link|Symlink|Truncate|CopyFS|StartProcess|Getwd)$`),
	"path/filepath": regexp.MustCompile(`^(EvalSymlinks|Walk|WalkDir|Glob|Abs)$`),
	"io/ioutil":     regexp.MustCompile(`.`),
	"os/exec":       regexp.MustCompile(`.`),
	"net":           regexp.MustCompile(`^(Dial.*|Listen.*|FileConn|Dialer)$`),
	"golang.org/x/sys/unix": regexp.MustCompile(`^(Open.*|Creat|Stat.*|Lstat|Fstat.*|Access|Faccessat.*|Readlink.*|Chdir|Fchdir|Chroot|Mount|Unmount|Getdents|ReadDirent|Mmap|` +
		`NameToHandleAt|OpenByHandleAt|Getxattr|Lgetxattr|Listxattr|Rename.*|Unlink.*|Mkdir.*|Truncate|Symlink.*|Link.*|ProcessVM.*|Sync|Syncfs|Exec|Connect)$`),
	"syscall": regexp.MustCompile(`^(Open.*|Creat|Stat.*|Lstat|Fstat.*|Access|Readlink|Chdir|Mount|Unmount|Getdents|ReadDirent|Mmap|ForkExec|Exec|StartProcess)$`),
}

// touchers are the rooms that may touch the file system, each for its own.
var touchers = []string{
	"internal/proc",       // /proc, the files that answer at once
	"internal/storage",    // sysfs
	"internal/expendable", // what may hang: in the child
	"internal/testkit", "internal/repotest", "test/bench", "test/captures", "test/ceph", "test/demo", "test/e2e", "test/npd", "test/vm",
}

// exceptions are single files that may, with the reason.
var exceptions = map[string]string{
	"internal/loader/rawbtf.go":   "the kernel's types in /sys/kernel/btf, which the BPF library reads from there, too",
	"internal/loader/syscalls.go": "the numbers of perf events in tracefs",
	"cmd/hangtrace/flags.go":      "the files the user names: --out, --record, --ready-file",
	"cmd/hangtrace/replay.go":     "the recording the user names",
	"cmd/hangtrace/check.go":      "starts itself, so that nothing can hold up the plugin's answer",
	"internal/kube/cri.go":        "dials the unix socket of a container runtime: in the child of internal/cri",
}

func fileSystem(list []source) (faults []string) {
	for _, s := range list {
		if s.test() || slices.Contains(touchers, s.room()) || exceptions[s.name] != "" || strings.HasPrefix(s.name, "internal/syscalls/gen/") {
			continue
		}
		s.uses(func(pkg, name, at string) {
			if re := touches[pkg]; re != nil && re.MatchString(name) {
				faults = append(faults, fmt.Sprintf("%s: %s.%s touches the file system: only proc, storage and expendable do", at, pkg, name))
			}
		})
	}
	return faults
}

// parentSide are the files of expendable that run in the tool itself: they must
// not touch what the child is there to touch.
var parentSide = []string{"runner.go", "process.go", "kept.go", "earlier.go", "request.go"}

func expendableParent(list []source) (faults []string) {
	found := 0
	for _, s := range list {
		if s.dir() != "internal/expendable" || !slices.Contains(parentSide, filepath.Base(s.name)) {
			continue
		}
		found++
		s.uses(func(pkg, name, at string) {
			switch pkg + "." + name {
			case "syscall.ForkExec", "os.StartProcess": // the child itself
				return
			}
			if re := touches[pkg]; re != nil && re.MatchString(name) {
				faults = append(faults, fmt.Sprintf("%s: %s.%s in the parent", at, pkg, name))
			}
		})
	}
	if found != len(parentSide) {
		faults = append(faults, fmt.Sprintf("internal/expendable: %d of the files %v exist", found, parentSide))
	}
	return faults
}

// clockless are the rooms that judge or render: the time is given to them.
var clockless = []string{"internal/correlate", "internal/events", "internal/facts", "internal/mounts", "internal/syscalls", "internal/symbol", "internal/leftover",
	"internal/report"}

func noClock(list []source) (faults []string) {
	for _, s := range list {
		if s.test() || !slices.Contains(clockless, s.room()) || strings.HasPrefix(s.name, "internal/syscalls/gen/") {
			continue
		}
		s.uses(func(pkg, name, at string) {
			if pkg == "time" && slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After", "NewTimer", "NewTicker", "Tick"}, name) {
				faults = append(faults, at+": time."+name+": "+s.room()+" is given the time")
			}
		})
	}
	return faults
}

// comments wants of every package what goes in, what comes out and what it must
// never do.
func comments(list []source) (faults []string) {
	docs, names, hasCode := make(map[string]string), make(map[string]string), make(map[string]bool)
	for _, s := range list {
		if s.test() {
			continue
		}
		names[s.dir()] = s.tree.Name.Name
		hasCode[s.dir()] = true
		if s.tree.Doc != nil {
			docs[s.dir()] += s.tree.Doc.Text()
		}
	}
	for dir := range hasCode {
		doc := docs[dir]
		want := "Package " + names[dir] + " "
		if names[dir] == "main" {
			want = "Command "
		}
		if !strings.HasPrefix(doc, want) && !strings.HasPrefix(doc, "Package main is ") {
			faults = append(faults, fmt.Sprintf("%s: no comment %q", dir, want+"..."))
			continue
		}
		if names[dir] == "main" || !strings.HasPrefix(dir, "internal/") {
			continue
		}
		flat := strings.Join(strings.Fields(doc), " ")
		for _, part := range []string{"In:", "Out:", "never"} {
			if !strings.Contains(flat, part) {
				faults = append(faults, fmt.Sprintf("%s: its comment lacks %q (what goes in, what comes out, what it must never do)", dir, part))
			}
		}
	}
	slices.Sort(faults)
	return faults
}

func noInit(list []source) (faults []string) {
	for _, s := range list {
		if s.generated() {
			continue
		}
		for _, d := range s.tree.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				faults = append(faults, s.at(f)+": func init")
			}
		}
	}
	return faults
}

func names(list []source) (faults []string) {
	for _, s := range list {
		for part := range strings.SplitSeq(s.dir(), "/") {
			if slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "manager", "misc"}, part) {
				faults = append(faults, s.name+": a package is named by a noun for what it is about")
			}
		}
	}
	return faults
}

var rules = map[string]func([]source) []string{
	"imports":             importRules,
	"only loader":         onlyLoader,
	"file system":         fileSystem,
	"expendable's parent": expendableParent,
	"no clock":            noClock,
	"package comments":    comments,
	"no init":             noInit,
	"names":               names,
}

func TestRules(t *testing.T) {
	list := sources(t)
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) {
			for _, fault := range rule(list) {
				t.Error(fault)
			}
		})
	}
	for name := range exceptions {
		if !slices.ContainsFunc(list, func(s source) bool { return s.name == name }) {
			t.Errorf("exception for %s, which does not exist", name)
		}
	}
}

// TestRulesSee plants a fault for each rule.
func TestRulesSee(t *testing.T) {
	for _, c := range []struct{ rule, name, text string }{
		{"imports", "internal/events/x.go", `package events; import _ "github.com/hangtrace/hangtrace/internal/loader"`},
		{"imports", "internal/correlate/x.go", `package correlate; import _ "github.com/hangtrace/hangtrace/bpf"`},
		{"imports", "internal/report/x.go", `package report; import _ "github.com/hangtrace/hangtrace/internal/proc"`},
		{"imports", "internal/newroom/x.go", `package newroom`},
		{"only loader", "cmd/hangtrace/x.go", `package main; import _ "github.com/cilium/ebpf/link"`},
		{"only loader", "bpf/hand.go", `package bpf; import _ "github.com/cilium/ebpf"`},
		{"file system", "internal/capture/x.go", `package capture; import "os"; func f() { os.Stat("/x") }`},
		{"file system", "internal/kube/x.go", `package kube; import o "os"; var f = o.ReadFile`},
		{"file system", "cmd/hangtrace/live.go", `package main; import "golang.org/x/sys/unix"; func f() { unix.Statfs("/x", nil) }`},
		{"file system", "internal/report/x.go", `package report; import "os/exec"; func f() { exec.Command("ls") }`},
		{"expendable's parent", "internal/expendable/runner.go", `package expendable; import "os"; func f() { os.Open("/x") }`},
		{"no clock", "internal/correlate/x.go", `package correlate; import "time"; var t = time.Now()`},
		{"package comments", "internal/bare/x.go", `package bare`},
		{"package comments", "internal/half/x.go", "// Package half does something.\npackage half"},
		{"no init", "internal/live/x.go", `package live; func init() {}`},
		{"names", "internal/util/x.go", `package util`},
	} {
		faults := rules[c.rule]([]source{parse(t, c.name, c.text)})
		if !slices.ContainsFunc(faults, func(f string) bool {
			return strings.Contains(f, c.name) || strings.Contains(f, filepath.Dir(c.name))
		}) {
			t.Errorf("rule %q does not see %s: %v", c.rule, c.text, faults)
		}
	}
	clean := parse(t, "internal/proc/x.go", "// Package proc reads. In: a. Out: b. It must never c.\npackage proc; import \"os\"; func f() { os.Open(\"/proc/1/stat\") }")
	for name, rule := range rules {
		if faults := rule([]source{clean}); len(faults) > 0 && name != "expendable's parent" {
			t.Errorf("rule %q finds fault with a clean file: %v", name, faults)
		}
	}
}

// TestBPFSources pins what keeps a .c file from being compiled by cgo: a
// formatter once put a blank into it.
func TestBPFSources(t *testing.T) {
	files, err := filepath.Glob("../../bpf/*.c")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d C files, %v", len(files), err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(text), "//go:build ignore\n") {
			t.Errorf("%s does not begin with //go:build ignore", name)
		}
		if !strings.Contains(string(text), "SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause") {
			t.Errorf("%s has no licence", name)
		}
	}
}
