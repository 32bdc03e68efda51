package syscalls

import (
	"strings"
	"testing"
)

func TestFormat(t *testing.T) {
	const at = 0xffffffffffffff9c
	strs := map[uint64]string{0x100: "/var/lib/kubelet/pods/a\tb", 0x200: "/new", 0x300: strings.Repeat("x", 20)}
	str := func(_ int, addr uint64) (string, bool, bool) {
		s, ok := strs[addr]
		return s, addr == 0x300, ok
	}
	fds := func(fd int) string {
		return map[int]string{3: "/a>b", ATFDCWD: "/root"}[fd]
	}
	for _, tc := range []struct {
		arch Arch
		name string
		args [6]uint64
		fds  func(int) string
		want string
	}{
		{AMD64, "newfstatat", [6]uint64{at, 0x100, 0x7ffd0000, 0}, nil, `newfstatat(AT_FDCWD, "/var/lib/kubelet/pods/a\tb", 0x7ffd0000, 0)`},
		{AMD64, "newfstatat", [6]uint64{3, 0x300, 0, 0x1000}, fds, `newfstatat(3</a\76b>, "xxxxxxxxxxxxxxxxxxxx"..., NULL, AT_EMPTY_PATH)`},
		{AMD64, "openat", [6]uint64{at, 0x200, 0x10000 | 0x80000}, fds, `openat(AT_FDCWD</root>, "/new", O_RDONLY|O_CLOEXEC|O_DIRECTORY)`},
		{ARM64, "openat", [6]uint64{at, 0x200, 0x4000 | 0x80000}, nil, `openat(AT_FDCWD, "/new", O_RDONLY|O_CLOEXEC|O_DIRECTORY)`},
		{ARM64, "openat", [6]uint64{at, 0x999, 0x10000}, nil, `openat(AT_FDCWD, 0x999, O_RDONLY|O_DIRECT)`},
		{AMD64, "openat", [6]uint64{at, 0x200, 0x41, 0o644}, nil, `openat(AT_FDCWD, "/new", O_WRONLY|O_CREAT, 0644)`},
		{AMD64, "umount2", [6]uint64{0x200, 3}, nil, `umount2("/new", MNT_FORCE|MNT_DETACH)`},
		{AMD64, "mount", [6]uint64{0x100, 0x200, 0, 0x5000, 0}, nil, `mount("/var/lib/kubelet/pods/a\tb", "/new", NULL, MS_BIND|MS_REC, NULL)`},
		{ARM, "pread64", [6]uint64{3, 0x10, 5, 0, 7, 1}, nil, `pread64(3, 0x10, 5, 4294967303)`},
		{I386, "pread64", [6]uint64{3, 0x10, 5, 7, 1, 0}, nil, `pread64(3, 0x10, 5, 4294967303)`},
		{ARM64, "clone", [6]uint64{0x01200011, 0, 0x1, 0x2, 0x3}, nil, `clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x3)`},
	} {
		c, ok := ByName(tc.arch, tc.name)
		if !ok {
			t.Fatal(tc.name)
		}
		if got := c.Format(tc.args, str, tc.fds); got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
}

func TestQuote(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"", `""`}, {"a\"b\\", `"a\"b\\"`}, {"\x001", `"\0001"`}, {"\x00a", `"\0a"`}, {"\xff\x7f", `"\377\177"`},
		{"\x018", `"\18"`}, {"\n\t\v\f\r", `"\n\t\v\f\r"`}, {"\x1b[", `"\33["`},
	} {
		if got := Quote(tc.in, false); got != tc.want {
			t.Errorf("%q: %s, want %s", tc.in, got, tc.want)
		}
	}
	if got := Quote("ab", true); got != `"ab"...` {
		t.Error(got)
	}
}

// FuzzFormat: any number and any registers give one line of text.
func FuzzFormat(f *testing.F) {
	f.Add(uint8(0), 257, uint64(0xffffff9c), uint64(1), uint64(2), uint64(3), uint64(4), uint64(5), int64(-5), "/a\nb")
	f.Add(uint8(3), 0xf0002, uint64(0), uint64(0), uint64(0), uint64(0), uint64(0), uint64(0), int64(1<<62), "")
	arches := []Arch{AMD64, ARM64, I386, ARM, "mips"}
	f.Fuzz(func(t *testing.T, a uint8, nr int, a0, a1, a2, a3, a4, a5 uint64, ret int64, s string) {
		args := [6]uint64{a0, a1, a2, a3, a4, a5}
		arch := arches[int(a)%len(arches)]
		c, ok := Lookup(arch, nr)
		text := FormatUnknown(nr, args)
		if ok {
			text = c.Format(args, func(int, uint64) (string, bool, bool) { return s, a&1 == 0, a&2 == 0 }, func(int) string { return s })
			c.ClassFor(args)
			for _, p := range c.PathArgs(args) {
				p.IsDir(args, s, s == "")
			}
			for _, i := range c.FDArgs(args) {
				if i < 0 || i > 5 {
					t.Fatal(i)
				}
			}
		}
		text += " = " + FormatReturn(c, args, ret)
		for _, r := range []byte(text) {
			if r < ' ' || r > '~' {
				t.Fatalf("%q", text)
			}
		}
	})
}
