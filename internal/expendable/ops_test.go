package expendable

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/proc"
)

// asked counts the children: one that was killed takes a while to die on a busy
// machine, and must not stand in the next one's way.
var asked atomic.Int64

// ask does requests in one child; each must be answered.
func ask(t *testing.T, reqs ...Request) []Answer {
	t.Helper()
	answers, err := NewRunner(Options{Grace: long}).Do(t.Context(), fmt.Sprint(t.Name(), asked.Add(1)), reqs, long)
	must(t, err)
	return answers
}

// beforeHole returns the end of memory that is followed by none.
func beforeHole(t *testing.T) []byte {
	t.Helper()
	page := os.Getpagesize()
	mem, err := unix.Mmap(-1, 0, 3*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	must(t, err)
	// The Go wrapper only unmaps whole mappings.
	_, _, errno := unix.Syscall(unix.SYS_MUNMAP, uintptr(address(mem[2*page:])), uintptr(page), 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	t.Cleanup(func() { _, _, _ = unix.Syscall(unix.SYS_MUNMAP, uintptr(address(mem)), uintptr(2*page), 0) })
	return mem[:2*page]
}

func address(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

func TestStrings(t *testing.T) {
	mem := beforeHole(t)
	fill := func(offset int, text string) uint64 { copy(mem[offset:], text); return address(mem[offset:]) }
	end, page := len(mem), os.Getpagesize()
	last := fill(end-8, "to/end\xff\x00")
	open := fill(end-20, "no-nul-here-")
	across := fill(page-4, "across-the-page\x00")
	empty := fill(100, "\x00")
	a := ask(t, Request{Op: OpStrings, PID: os.Getpid(), Addrs: []uint64{last, across, empty, 8}},
		Request{Op: OpStrings, PID: os.Getpid(), Addrs: []uint64{across}, Max: 6},
		Request{Op: OpStrings, PID: os.Getpid(), Addrs: []uint64{open}})
	if strings.Contains(a[0].Strings[0].Err, "not permitted") {
		t.Skip("may not read this process's memory: " + a[0].Strings[0].Err)
	}
	want := []String{{Addr: last, Value: "to/end\xff"}, {Addr: across, Value: "across-the-page"}, {Addr: empty}}
	if !slices.Equal(a[0].Strings[:3], want) {
		t.Errorf("got %+v\nwant %+v", a[0].Strings, want)
	}
	if s := a[0].Strings[3]; !strings.Contains(s.Err, "bad address") || s.Truncated {
		t.Errorf("unmapped: %+v", s)
	}
	if s := a[1].Strings[0]; s.Value != "across" || !s.Truncated || s.Err != "" {
		t.Errorf("longer than asked for: %+v", s)
	}
	// Overwrite the NUL: what is mapped is given, and marked.
	mem[end-1] = 'x'
	s := ask(t, Request{Op: OpStrings, PID: os.Getpid(), Addrs: []uint64{open}})[0].Strings[0]
	if s.Value != "no-nul-here-to/end\xffx" || !s.Truncated || s.Err == "" {
		t.Errorf("up to the hole: %+v", s)
	}
	facts := a[0].UserStrings(7)
	if len(facts) != 4 || facts[0].Value != "to/end\xff" || facts[0].PID != 7 || facts[3].Err == "" {
		t.Errorf("facts %+v", facts)
	}
}

func TestMemory(t *testing.T) {
	mem := beforeHole(t)
	for i := range mem {
		mem[i] = byte(i % 251)
	}
	at := address(mem[10:])
	a := ask(t, Request{Op: OpMemory, PID: os.Getpid(), Addr: at, Len: 5000},
		Request{Op: OpMemory, PID: os.Getpid(), Addr: at, Len: len(mem)},
		Request{Op: OpMemory, PID: os.Getpid(), Addr: 8, Len: 8},
		Request{Op: OpMemory, PID: os.Getpid(), Addr: at, Len: memoryLimit + 1})
	if strings.Contains(a[0].Err, "not permitted") {
		t.Skip("may not read this process's memory: " + a[0].Err)
	}
	if !bytes.Equal(a[0].Data, mem[10:5010]) || a[0].Truncated {
		t.Errorf("%d bytes, truncated %v, %s", len(a[0].Data), a[0].Truncated, a[0].Err)
	}
	if !bytes.Equal(a[1].Data, mem[10:]) || !a[1].Truncated {
		t.Errorf("up to the hole: %d bytes, truncated %v, %s", len(a[1].Data), a[1].Truncated, a[1].Err)
	}
	if a[2].Err == "" || a[3].Err == "" {
		t.Errorf("no error for nothing (%q) or too much (%q)", a[2].Err, a[3].Err)
	}
}

func TestThreads(t *testing.T) {
	pid := os.Getpid()
	tids, err := proc.New("/proc").Threads(pid)
	must(t, err)
	a := ask(t, Request{Op: OpThreads, PID: pid, TIDs: append(tids, 1<<30)})[0]
	if len(a.Threads) != len(tids)+1 {
		t.Fatalf("%d threads of %d", len(a.Threads), len(tids)+1)
	}
	last := a.Threads[len(tids)]
	if last.TID != 1<<30 || !strings.Contains(last.Err, "no such file") {
		t.Errorf("nobody: %+v", last)
	}
	for _, th := range a.Threads[:len(tids)] {
		if th.Err == "" && (th.Syscall == "" || strings.HasSuffix(th.Syscall, "\n") || !strings.Contains(th.Status, "ctxt_switches")) {
			t.Errorf("thread %+v", th)
		}
	}
}

func TestProcFile(t *testing.T) {
	pid := os.Getpid()
	a := ask(t, Request{Op: OpProcFile, PID: pid, Path: "maps"}, Request{Op: OpProcFile, PID: pid, Path: "environ"},
		Request{Op: OpProcFile, PID: pid, Path: "../1/environ"})
	if !bytes.Contains(a[0].Data, []byte("[stack]")) {
		t.Errorf("maps: %q", a[0].Err)
	}
	for _, a := range a[1:] {
		if !strings.Contains(a.Err, "not a file that is read") || len(a.Data) > 0 {
			t.Errorf("environment: %+v", a)
		}
	}
}

func tree(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	must(t, os.MkdirAll(filepath.Join(dir, "a/b/c"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "a/file"), []byte("text\n"), 0o644))
	must(t, unix.Mkfifo(filepath.Join(dir, "a/fifo"), 0o600))
	for name, target := range map[string]string{
		"a/link": "b", "a/abs": dir + "/a/b", "a/up": "../a/link/c/..", "a/loop": "loop", "a/dangling": "nowhere/x", "a/out": "/etc",
	} {
		must(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	return dir
}

func TestReaddir(t *testing.T) {
	dir := tree(t)
	must(t, os.WriteFile(filepath.Join(dir, "a/b/c/\xff"), nil, 0o644))
	many := filepath.Join(dir, "many")
	must(t, os.Mkdir(many, 0o755))
	for i := range 2500 {
		must(t, os.WriteFile(filepath.Join(many, fmt.Sprint(i)), nil, 0o600))
	}
	root := Raw(dir)
	a := ask(t,
		Request{Op: OpReaddir, Root: root, Path: "/a"},
		Request{Op: OpReaddir, Root: root, Path: "a/b/c"},
		Request{Op: OpReaddir, Root: root, Path: "many"},
		Request{Op: OpReaddir, Root: root, Path: "many", Max: 7},
		Request{Op: OpReaddir, Root: root + "/a/b/c"},
	)
	got := map[string]uint8{}
	for _, e := range a[0].Entries {
		got[string(e.Name)] = e.Type
	}
	for name, kind := range map[string]uint8{"b": unix.DT_DIR, "file": unix.DT_REG, "fifo": unix.DT_FIFO, "link": unix.DT_LNK} {
		if got[name] != kind {
			t.Errorf("%s: type %d, want %d", name, got[name], kind)
		}
	}
	if len(got) != 9 {
		t.Errorf("entries %v", got)
	}
	for _, i := range []int{1, 4} {
		if len(a[i].Entries) != 1 || a[i].Entries[0].Name != "\xff" {
			t.Errorf("name that is not UTF-8: %+v", a[i])
		}
	}
	if len(a[2].Entries) != 2500 || a[2].Truncated || len(a[3].Entries) != 7 || !a[3].Truncated {
		t.Errorf("%d of 2500 entries (truncated %v), %d of 7 (truncated %v)",
			len(a[2].Entries), a[2].Truncated, len(a[3].Entries), a[3].Truncated)
	}
}

func TestBelowRoot(t *testing.T) {
	dir := Raw(tree(t))
	for _, tt := range []struct {
		req  Request
		want string
	}{
		{Request{Op: OpReaddir, Root: dir, Path: "a/link"}, "not a directory"},
		{Request{Op: OpReaddir, Root: dir, Path: "a/link/c"}, "too many levels"},
		{Request{Op: OpReaddir, Root: dir, Path: "a/out"}, "not a directory"},
		{Request{Op: OpReaddir, Root: dir + "/a", Path: "../.."}, "cross-device"},
		{Request{Op: OpReaddir, Root: dir, Path: "a/file"}, "not a directory"},
		{Request{Op: OpReaddir, Root: dir, Path: "a/none"}, "no such file"},
		{Request{Op: OpReaddir, Root: "/", Path: "proc", NoXDev: true}, "cross-device"},
		{Request{Op: OpReaddir, Root: "/proc", Path: "self/root/"}, "too many levels"},
		{Request{Op: OpReadfile, Root: dir, Path: "a/fifo"}, "not a regular file"},
		{Request{Op: OpReadfile, Root: dir, Path: "a/b"}, "not a regular file"},
		{Request{Op: OpReadfile, Root: dir, Path: "a/dangling"}, "not a regular file"},
		{Request{Op: OpReadfile, Root: dir, Path: "a/none"}, "no such file"},
		{Request{Op: OpReadfile, Root: dir + "/none", Path: "x"}, "no such file"},
	} {
		a := ask(t, tt.req)[0]
		if !strings.Contains(a.Err, tt.want) || len(a.Entries)+len(a.Data) > 0 {
			t.Errorf("%s: %+v, want error %q", tt.req, a, tt.want)
		}
		if !strings.Contains(a.Err, string(tt.req.Root)) {
			t.Errorf("%s: error %q does not name it", tt.req, a.Err)
		}
	}
}

func TestReadfile(t *testing.T) {
	dir := Raw(tree(t))
	a := ask(t,
		Request{Op: OpReadfile, Root: dir, Path: "a/file"},
		Request{Op: OpReadfile, Root: dir, Path: "a/file", Max: 2},
		Request{Op: OpReadfile, Root: "/proc", Path: "version"}, // of size 0
	)
	if string(a[0].Data) != "text\n" || a[0].Truncated {
		t.Errorf("%+v", a[0])
	}
	if string(a[1].Data) != "te" || !a[1].Truncated {
		t.Errorf("at most 2 bytes: %+v", a[1])
	}
	if !bytes.HasPrefix(a[2].Data, []byte("Linux version")) {
		t.Errorf("%+v", a[2])
	}
}

// otherMounts are the mount points of this process without /proc.
func otherMounts(t *testing.T) []Raw {
	text, err := proc.New("/proc").Mountinfo(os.Getpid())
	must(t, err)
	var mounts []Raw
	for line := range strings.Lines(string(text)) {
		if point := strings.Fields(line)[4]; point != "/proc" {
			mounts = append(mounts, Raw(point))
		}
	}
	return mounts
}

func TestResolve(t *testing.T) {
	dir := tree(t)
	t.Chdir(filepath.Join(dir, "a"))
	safe := otherMounts(t)
	for _, tt := range []struct {
		path, want string
		complete   bool
		mount, err string
	}{
		{path: "/", want: "/", complete: true},
		{path: "/../..", want: "/", complete: true},
		{path: dir + "/a/link/c", want: dir + "/a/b/c", complete: true},
		{path: dir + "/a/abs/../link/", want: dir + "/a/b", complete: true},
		{path: dir + "//a/./up/c", want: dir + "/a/b/c", complete: true},
		{path: "link", want: dir + "/a/b", complete: true},
		{path: "../a/file", want: dir + "/a/file", complete: true},
		{path: dir + "/a/loop", want: dir + "/a/loop", err: "too many levels"},
		{path: dir + "/a/dangling", want: dir + "/a/nowhere/x", err: "no such file"},
		{path: dir + "/a/none/link/../x", want: dir + "/a/none/x", err: "no such file"},
		{path: dir + "/a/file/x", want: dir + "/a/file/x", err: "not a directory"},
		{path: "/proc", want: "/proc", complete: true, mount: "/proc"},
		{path: "/proc/self/exe", want: "/proc/self/exe", mount: "/proc"},
		{path: "/proc/.." + dir + "/a/link", want: dir + "/a/b", complete: true},
		{path: "/proc/x/../.." + dir + "/a/link", want: dir + "/a/b", mount: "/proc"},
	} {
		a := ask(t, Request{Op: OpResolve, PID: os.Getpid(), Path: Raw(tt.path), SafeMounts: safe})[0]
		want := Resolved{Path: Raw(tt.want), Complete: tt.complete, Mount: Raw(tt.mount)}
		if a.Resolved == nil || *a.Resolved != want {
			t.Errorf("%s: got %+v, want %+v", tt.path, a.Resolved, want)
		}
		if (a.Err == "") != (tt.err == "") || !strings.Contains(a.Err, tt.err) {
			t.Errorf("%s: error %q, want %q", tt.path, a.Err, tt.err)
		}
	}
	a := ask(t,
		Request{Op: OpResolve, PID: os.Getpid(), Path: "link", SafeMounts: safe, NoFollow: true},
		Request{Op: OpResolve, PID: os.Getpid(), Path: "/proc/self", SafeMounts: append(safe, "/proc")},
		Request{Op: OpResolve, PID: 1 << 30, Path: "/"})
	if r := a[0].Resolved; r == nil || string(r.Path) != dir+"/a/link" || !r.Complete {
		t.Errorf("without following: %+v", a[0])
	}
	// /proc/self names whoever looks: the child.
	if r := a[1].Resolved; r == nil || !strings.HasPrefix(string(r.Path), "/proc/") || r.Path == "/proc/self" || !r.Complete {
		t.Errorf("onto a safe mount: %+v", a[1])
	}
	if a[2].Resolved != nil || !strings.Contains(a[2].Err, "/proc/1073741824/root") {
		t.Errorf("nobody: %+v", a[2])
	}
}

func FuzzRaw(f *testing.F) {
	for _, s := range []string{"", "a", "\xff", `{"bytes":"AA=="}`, "\u2028<&>", "\xed\xa0\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text, err := json.Marshal(Raw(s))
		if err != nil || bytes.ContainsRune(text, '\n') {
			t.Fatalf("%q: %q, %v", s, text, err)
		}
		var back Raw
		if err := json.Unmarshal(text, &back); err != nil || string(back) != s {
			t.Errorf("%q came back as %q, %v", s, back, err)
		}
		_ = back.UnmarshalJSON([]byte(s))
	})
}

func FuzzEntries(f *testing.F) {
	f.Add([]byte("........\x00\x00\x00\x00\x00\x00\x00\x00\x18\x00\x04abc\x00\x00"))
	f.Fuzz(func(t *testing.T, buf []byte) {
		for _, e := range appendEntries(nil, buf) {
			if e.Name == "." || e.Name == ".." || len(e.Name) > len(buf) {
				t.Errorf("entry %+v", e)
			}
		}
	})
}
