package decode

import (
	"bufio"
	"os"
	"strings"
	"testing"

	"github.com/hangtrace/hangtrace/internal/syscalls"
)

func mustCall(t testing.TB, arch syscalls.Arch, name string) syscalls.Call {
	t.Helper()
	c, ok := syscalls.ByName(arch, name)
	if !ok {
		t.Fatalf("no %s on %s", name, arch)
	}
	return c
}

// TestUnfinishedIsPrefix: what is printed when a call is interrupted by another
// line must be what the whole line begins with.
func TestUnfinishedIsPrefix(t *testing.T) {
	f, err := os.Open(golden)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		parts := strings.Split(sc.Text(), "\t")
		in := parseScript(t, parts[1])
		full := Line(in, Options{})
		if first := Unfinished(in, Options{}); !strings.HasPrefix(full, first) {
			t.Errorf("unfinished %s\nfinished   %s", first, full)
		}
	}
}

func TestUnfinished(t *testing.T) {
	mem := captured([]segment{{0x100, []byte("/mnt/a\x00")}, {0x200, le(int32(3), int16(1), int16(0))}})
	for _, tc := range []struct {
		name string
		args [6]uint64
		want string
	}{
		{"read", [6]uint64{3, 0x9000, 10}, "read(3, "},
		{"pipe2", [6]uint64{0x9000}, "pipe2("},
		{"newfstatat", [6]uint64{cwd, 0x100, 0x9000}, `newfstatat(AT_FDCWD, "/mnt/a", `},
		{"openat", [6]uint64{cwd, 0x100, 0}, `openat(AT_FDCWD, "/mnt/a", O_RDONLY`},
		{"poll", [6]uint64{0x200, 1, none}, "poll([{fd=3, events=POLLIN}], 1, -1"},
		{"futex", [6]uint64{0x300, 128, 2, 0}, "futex(0x300, FUTEX_WAIT_PRIVATE, 2, NULL"},
		{"clone", [6]uint64{0x1200011, 0, 0, 0x5000}, "clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD"},
		{"sendfile", [6]uint64{4, 3, 0, 100}, "sendfile(4, 3, NULL, 100"},
	} {
		in := Input{Call: mustCall(t, syscalls.AMD64, tc.name), Args: tc.args, Entry: mem}
		if got := Unfinished(in, Options{}); got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
}

// TestInFlight: a hung call is shown with what entry gave, its results as
// addresses.
func TestInFlight(t *testing.T) {
	mem := captured([]segment{{0x100, []byte("/mnt/a\x00")}})
	in := Input{Call: mustCall(t, syscalls.AMD64, "newfstatat"), Args: [6]uint64{cwd, 0x100, 0x7ffd0000}, Entry: mem}
	if got, want := Line(in, Options{}), `newfstatat(AT_FDCWD, "/mnt/a", 0x7ffd0000, 0) = ?`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestDescriptorPaths(t *testing.T) {
	paths := func(fd int) string {
		return map[int]string{3: "/mnt/we<i>rd\n", 4: "socket:[1]", 5: "/gone (deleted)", syscalls.ATFDCWD: "/root"}[fd]
	}
	mem := captured([]segment{{0x100, []byte("x\x00")}, {0x200, le(int32(3), int32(4))},
		{0x300, append(le(int32(3), int16(1), int16(1)), le(int32(4), int16(4), int16(4))...)}, {0x400, []byte("data")}})
	o := Options{FDPath: paths}
	for _, tc := range []struct {
		name string
		args [6]uint64
		ret  int64
		want string
	}{
		{"read", [6]uint64{3, 0x400, 4}, 4, `read(3</mnt/we\74i\76rd\n>, "data", 4) = 4`},
		{"openat", [6]uint64{cwd, 0x100, 0}, 4, `openat(AT_FDCWD</root>, "x", O_RDONLY) = 4<socket:[1]>`},
		{"pipe2", [6]uint64{0x200, 0}, 0, `pipe2([3</mnt/we\74i\76rd\n>, 4<socket:[1]>], 0) = 0`},
		{"fsync", [6]uint64{5}, 0, `fsync(5</gone>(deleted)) = 0`},
		{"poll", [6]uint64{0x300, 2, 0}, 2, `poll([{fd=3</mnt/we\74i\76rd\n>, events=POLLIN}, {fd=4<socket:[1]>, events=POLLOUT}], 2, 0) = 2 ` +
			`([{fd=3, revents=POLLIN}, {fd=4, revents=POLLOUT}])`},
		{"close", [6]uint64{99}, -9, `close(99) = -1 EBADF (Bad file descriptor)`},
	} {
		in := Input{Call: mustCall(t, syscalls.AMD64, tc.name), Args: tc.args, Ret: tc.ret, Returned: true, Entry: mem, Exit: mem}
		if got := Line(in, o); got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
}

// TestOtherLayouts: structures whose layout strace cannot show on amd64.
func TestOtherLayouts(t *testing.T) {
	stat := pad(le(uint64(0x801), uint64(12), uint32(0o100644), uint32(1), uint32(0), uint32(0), uint64(0), uint64(0), int64(777), int32(4096)), 128)
	armStat := pad(le(uint64(0x801), uint32(0), uint32(12), uint32(0o40755), uint32(1), uint32(0), uint32(0), uint64(0), uint64(0), int64(888), uint32(4096)), 104)
	events := le(uint32(1), uint32(0), uint64(7), uint32(4), uint32(0), uint64(8))
	path := []byte("/f\x00")
	for _, tc := range []struct {
		arch syscalls.Arch
		name string
		args [6]uint64
		ret  int64
		mem  []byte
		want string
	}{
		{syscalls.ARM64, "newfstatat", [6]uint64{cwd, 0x100, 0x200, 0}, 0, stat, `newfstatat(AT_FDCWD, "/f", {st_mode=S_IFREG|0644, st_size=777, ...}, 0) = 0`},
		{syscalls.ARM, "stat64", [6]uint64{0x100, 0x200}, 0, armStat, `stat64("/f", {st_mode=S_IFDIR|0755, st_size=888, ...}) = 0`},
		{syscalls.ARM64, "epoll_pwait", [6]uint64{3, 0x200, 8, none, 0, 8}, 2, events,
			`epoll_pwait(3, [{events=EPOLLIN, data={u32=7, u64=7}}, {events=EPOLLOUT, data={u32=8, u64=8}}], 8, -1, NULL, 8) = 2`},
	} {
		mem := captured([]segment{{0x100, path}, {0x200, tc.mem}})
		in := Input{Call: mustCall(t, tc.arch, tc.name), Args: tc.args, Ret: tc.ret, Returned: true, Entry: mem, Exit: mem}
		if got := Line(in, Options{}); got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
}

// TestPartial: what was not captured is an ellipsis or an address.
func TestPartial(t *testing.T) {
	long := []byte(strings.Repeat("a", 50))
	dents := pad(le(uint64(7), int64(5), uint16(24), uint8(4), "."), 24)
	for _, tc := range []struct {
		name string
		args [6]uint64
		ret  int64
		mem  []byte
		want string
	}{
		{"open", [6]uint64{0x100, 0}, 3, long, `open("` + string(long) + `"..., O_RDONLY) = 3`},
		{"write", [6]uint64{1, 0x100, 5000}, 5000, long[:32], `write(1, "` + string(long[:32]) + `"..., 5000) = 5000`},
		{"write", [6]uint64{1, 0x100, 5000}, 5000, long[:8], `write(1, 0x100, 5000) = 5000`},
		{"getdents64", [6]uint64{3, 0x100, 32768}, 4096, dents, `getdents64(3, 0x100 /* 1+ entries */, 32768) = 4096`},
		{"stat", [6]uint64{0x100, 0x500}, 0, []byte("/x\x00"), `stat("/x", 0x500) = 0`},
		{"writev", [6]uint64{1, 0x100, 3}, 10, le(uint64(0x900), uint64(4)), `writev(1, [{iov_base=0x900, iov_len=4}, ...], 3) = 10`},
	} {
		mem := captured([]segment{{0x100, tc.mem}})
		in := Input{Call: mustCall(t, syscalls.AMD64, tc.name), Args: tc.args, Ret: tc.ret, Returned: true, Entry: mem, Exit: mem}
		if got := Line(in, Options{}); got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
}

func TestUnknownCall(t *testing.T) {
	in := Input{Call: syscalls.Call{Arch: syscalls.AMD64, NR: 999}, Args: [6]uint64{1, 2, 3, 0, 0, 0}, Ret: -38, Returned: true}
	want := "syscall_0x3e7(0x1, 0x2, 0x3, 0, 0, 0) = -1 ENOSYS (Function not implemented)"
	if got := Line(in, Options{}); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// FuzzLine: any call with any memory gives one printable line.
func FuzzLine(f *testing.F) {
	f.Add(uint8(0), 262, uint64(cwd), uint64(0x100), uint64(0x180), uint64(0), uint64(0), uint64(0), int64(0), []byte("/x\x00"), []byte("abc"), true)
	f.Add(uint8(0), 46, uint64(3), uint64(0x100), uint64(0), uint64(0), uint64(0), uint64(0), int64(1), make([]byte, 300), []byte{1, 2}, true)
	f.Add(uint8(2), 5, uint64(0x100), uint64(0x40), uint64(0xffffffff), uint64(0), uint64(0), uint64(0), int64(-512), []byte("x"), []byte{}, false)
	arches := []syscalls.Arch{syscalls.AMD64, syscalls.ARM64, syscalls.I386, syscalls.ARM}
	f.Fuzz(func(t *testing.T, a uint8, nr int, a0, a1, a2, a3, a4, a5 uint64, ret int64, entry, exit []byte, returned bool) {
		arch := arches[int(a)%len(arches)]
		c, ok := syscalls.Lookup(arch, nr)
		if !ok {
			all := syscalls.All(arch)
			c = all[uint(nr)%uint(len(all))]
		}
		at := func(b []byte) Memory { // the same bytes wherever one looks
			return func(addr uint64, n int) []byte {
				if addr == 0 || len(b) == 0 {
					return nil
				}
				b := b[addr%uint64(len(b)):]
				return b[:min(n, len(b))]
			}
		}
		in := Input{Call: c, Args: [6]uint64{a0, a1, a2, a3, a4, a5}, Ret: ret, Returned: returned, Entry: at(entry), Exit: at(exit)}
		for _, o := range []Options{{}, {Verbose: true, StringLimit: 1000, FDPath: func(fd int) string { return string(exit) }}} {
			text := Line(in, o) + Unfinished(in, o)
			for _, r := range []byte(text) {
				if r < ' ' || r > '~' {
					t.Fatalf("%q", text)
				}
			}
			if len(text) > 1<<24 {
				t.Fatalf("%d bytes", len(text))
			}
		}
		NeedsFor(c, in.Args)
	})
}
