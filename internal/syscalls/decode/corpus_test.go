package decode

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// arena is the memory that testdata/fakecalls.c maps.
const arena = 0x20000000

// corpus collects calls with their memory as script lines of fakecalls.c.
type corpus struct {
	lines []string
	next  uint64
	pokes []string
	arch  syscalls.Arch
}

// in places bytes that are there at entry and gives their address, out bytes
// that the call writes; both may be given for one address.
func (c *corpus) in(b []byte) uint64 {
	addr := c.alloc(len(b))
	c.pokes = append(c.pokes, fmt.Sprintf("<%#x=%x", addr, b))
	return addr
}

func (c *corpus) out(b []byte) uint64 {
	addr := c.alloc(len(b))
	c.pokes = append(c.pokes, fmt.Sprintf(">%#x=%x", addr, b))
	return addr
}

func (c *corpus) inout(before, after []byte) uint64 {
	addr := c.in(before)
	c.pokes = append(c.pokes, fmt.Sprintf(">%#x=%x", addr, after))
	return addr
}

func (c *corpus) alloc(n int) uint64 {
	addr := arena + c.next
	c.next += (uint64(n) + 31) &^ 15
	return addr
}

func (c *corpus) str(s string) uint64 { return c.in([]byte(s + "\x00")) }

// call ends a line.
func (c *corpus) call(name string, ret int64, args ...uint64) {
	call, ok := syscalls.ByName(c.arch, name)
	if !ok && c.arch == syscalls.I386 { // ipc, socketcall
		c.next, c.pokes = 0, nil
		return
	} else if !ok {
		panic(name)
	}
	for i, a := range args { // ints of the tests' own
		if int64(a) < 0 && int64(a) >= -200 && c.arch.Bits() == 32 {
			args[i] = uint64(uint32(a))
		}
	}
	full := append(append([]uint64{}, args...), make([]uint64, 6-len(args))...)
	bits := c.arch.Bits()
	s := fmt.Sprintf("%d %d", bits, call.NR)
	for _, a := range full {
		s += fmt.Sprintf(" %#x", a)
	}
	s += fmt.Sprintf(" %d", ret)
	for _, p := range c.pokes {
		s += " " + p
	}
	c.lines = append(c.lines, s)
	c.next, c.pokes = 0, nil
}

const none = ^uint64(0) // -1
const cwd = ^uint64(99) // AT_FDCWD

// le packs integers and byte strings little-endian.
func le(values ...any) []byte {
	var b bytes.Buffer
	for _, v := range values {
		switch v := v.(type) {
		case []byte:
			b.Write(v)
		case string:
			b.WriteString(v)
		default:
			if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
				panic(err)
			}
		}
	}
	return b.Bytes()
}

func pad(b []byte, n int) []byte { return append(b, make([]byte, max(0, n-len(b)))...) }

// lw is a long of the architecture.
func (c *corpus) lw(n int64) []byte {
	if c.arch.Bits() == 32 {
		return le(int32(n))
	}
	return le(n)
}

func (c *corpus) lws(ns ...int64) []byte {
	var b []byte
	for _, n := range ns {
		b = append(b, c.lw(n)...)
	}
	return b
}

func buildCorpus(arch syscalls.Arch) []string {
	c := &corpus{arch: arch}
	c.paths()
	c.readsAndWrites()
	c.descriptors()
	c.waits()
	c.sockets()
	c.times()
	c.processes()
	if arch == syscalls.AMD64 {
		c.stats()
		c.only64()
	} else {
		c.stats32()
	}
	return c.lines
}

func (c *corpus) paths() {
	long := "/var/lib/kubelet/pods/0b6c7f4e-0000-4000-8000-000000000001/volumes/kubernetes.io~csi/pvc-1234/mount"
	c.call("open", 3, c.str("/etc/passwd"), 0o2000000)
	c.call("open", -2, c.str("/no\nsuch\"file\\\x01"), 0)
	c.call("open", 3, c.str("/tmp/x"), 0o102|0o1000, 0o600)
	c.call("openat", 4, cwd, c.str(long), 0o200000|0o2000000)
	c.call("openat", -17, 7, c.str("rel"), 0o301, 0o644)
	c.call("openat", -14, cwd, 0, 0)
	c.call("openat", -14, cwd, 0x10, 0)
	c.call("openat", -36, cwd, c.str(strings.Repeat("a", 300)), 0)
	c.call("openat2", 5, cwd, c.str("/x"), c.in(le(uint64(0o2000000), uint64(0), uint64(0x1|0x4))), 24)
	c.call("openat2", 5, cwd, c.str("/x"), c.in(le(uint64(0o100), uint64(0o640), uint64(0))), 24)
	c.call("openat2", -14, cwd, c.str("/x"), 0x10, 24)
	c.call("unlink", 0, c.str("/tmp/a"))
	c.call("unlinkat", 0, 3, c.str("d"), 0x200)
	c.call("rename", -18, c.str("/a"), c.str("/b"))
	c.call("renameat2", 0, cwd, c.str("/a"), 5, c.str("b"), 1)
	c.call("link", 0, c.str("/a"), c.str("/b"))
	c.call("linkat", 0, 3, c.str(""), cwd, c.str("/b"), 0x1000)
	c.call("symlink", 0, c.str("target"), c.str("/b"))
	c.call("symlinkat", 0, c.str("target"), 3, c.str("b"))
	c.call("readlink", 6, c.str("/l"), c.out([]byte("target")), 100)
	c.call("readlink", -22, c.str("/l"), c.out([]byte("target")), 100)
	c.call("readlinkat", 60, cwd, c.str("/proc/self/exe"), c.out([]byte(strings.Repeat("p", 60))), 4096)
	c.call("mkdir", 0, c.str("/d"), 0o755)
	c.call("mkdirat", 0, cwd, c.str("/d"), 0o1777)
	c.call("rmdir", -39, c.str("/d"))
	c.call("mknod", 0, c.str("/f"), 0o10644)
	c.call("mknodat", 0, cwd, c.str("/f"), 0o20600, 0x103)
	c.call("chdir", 0, c.str("/"))
	c.call("chmod", 0, c.str("/f"), 0o4755)
	c.call("chown", 0, c.str("/f"), 0, 100)
	c.call("lchown", 0, c.str("/f"), none, 100)
	c.call("fchownat", 0, cwd, c.str("/f"), 1, 2, 0x100)
	c.call("truncate", 0, c.str("/f"), 100)
	c.call("access", -2, c.str("/etc/ld.so.preload"), 4)
	c.call("faccessat", 0, cwd, c.str("/x"), 0)
	c.call("faccessat2", 0, cwd, c.str("/x"), 1, 0x200)
	c.call("mount", 0, c.str("10.0.0.1:6789:/"), c.str("/mnt"), c.str("ceph"), 0x1|0x8, c.str("name=admin"))
	c.call("mount", 0, c.str("/a"), c.str("/b"), 0, 0x1000|0x4000, 0)
	c.call("mount", -2, 0, c.str("/b"), c.str("none"), 0x20|0x1, c.str("x"))
	c.call("umount2", -16, c.str("/mnt"), 1)
	c.call("umount2", 0, c.str("/mnt"), 2|8)
	c.call("pivot_root", 0, c.str("."), c.str("."))
	c.call("chroot", 0, c.str("/x"))
	c.call("setxattr", 0, c.str("/f"), c.str("user.a"), c.in([]byte("val\x00")), 4, 1)
	c.call("getxattr", 3, c.str("/f"), c.str("user.a"), c.out([]byte("val")), 100)
	c.call("getxattr", -61, c.str("/f"), c.str("security.capability"), c.out(make([]byte, 20)), 20)
	c.call("getxattr", 4, c.str("/f"), c.str("user.a"), 0, 0)
	c.call("listxattr", 7, c.str("/f"), c.out([]byte("user.a\x00")), 100)
	c.call("removexattr", 0, c.str("/f"), c.str("user.a"))
	c.call("fgetxattr", 3, 5, c.str("user.a"), c.out([]byte("val")), 100)
	c.call("execve", -2, c.str("/bin/ls"), c.argv("ls", "-l", strings.Repeat("z", 40)), c.argv("A=1", "B=2"))
	c.call("execve", -13, c.str("/bin/ls"), c.argv(), c.argv("A=1"))
	c.call("execveat", -2, 5, c.str(""), c.argv("x"), 0, 0x1000)
	c.call("inotify_add_watch", 1, 4, c.str("/etc"), 0x100|0x200)
	c.call("getcwd", 6, c.out([]byte("/root\x00")), 4096)
	c.call("getcwd", -34, c.out([]byte("/root\x00")), 1)
	c.call("swapon", 0, c.str("/swap"), 0)
	c.call("acct", 0, 0)
	c.call("fsopen", 3, c.str("ceph"), 1)
	c.call("fsconfig", 0, 3, 1, c.str("source"), c.str("10.0.0.1:/"), 0)
	c.call("fsconfig", 0, 3, 6, 0, 0, 0)
	c.call("fsmount", 4, 3, 1, 0x1)
	c.call("open_tree", 4, cwd, c.str("/a"), 0x1|0x80000)
	c.call("move_mount", 0, 4, c.str(""), cwd, c.str("/mnt"), 4)
	c.call("mount_setattr", 0, cwd, c.str("/a"), 0x8000, c.in(le(uint64(1), uint64(0), uint64(1<<18), uint64(0))), 32)
	c.call("memfd_create", 3, c.str("name"), 1)
	c.call("utimensat", 0, cwd, c.str("/f"), 0, 0)
	c.call("fanotify_init", 3, 0, 0o2000000)
}

// argv places a list of strings.
func (c *corpus) argv(ss ...string) uint64 {
	var b []byte
	for _, s := range ss {
		b = append(b, c.lw(int64(c.str(s)))...)
	}
	return c.in(append(b, c.lw(0)...))
}

func (c *corpus) readsAndWrites() {
	c.call("read", 5, 3, c.out([]byte("hello")), 100)
	c.call("read", 0, 3, c.out([]byte("hello")), 100)
	c.call("read", -11, 3, c.out([]byte("hello")), 100)
	c.call("read", 32, 3, c.out([]byte(strings.Repeat("0123456789", 4))), 100)
	c.call("read", 33, 3, c.out([]byte(strings.Repeat("\x00\x018\xff\"", 8))), 100)
	c.call("read", 5, 3, 0x10, 100)
	c.call("write", 5, 1, c.in([]byte("hello world")), 5)
	c.call("write", 40, 1, c.in([]byte(strings.Repeat("0123456789", 4))), 40)
	c.call("write", -9, none, c.in([]byte("x\n")), 2)
	c.call("write", 0, 1, c.in([]byte("x")), 0)
	c.call("pread64", 3, 3, c.out([]byte("abc")), 10, 4096)
	c.call("pwrite64", 3, 3, c.in([]byte("abc")), 3, 1)
	c.call("readv", 7, 3, c.iovec("in"), 3)
	c.call("readv", -5, 3, c.iovec("in"), 3)
	c.call("readv", 0, 3, c.iovec("in"), 3)
	c.call("writev", 10, 3, c.iovec("out"), 3)
	c.call("writev", -32, 3, c.iovec("out"), 3)
	c.call("preadv", 7, 3, c.iovec("in"), 3, 100, 0)
	c.call("pwritev2", 7, 3, c.iovec("out"), 3, 100, 0, 2)
	c.call("lseek", 100, 3, 100, 0)
	c.call("sendfile", 100, 4, 3, 0, 100)
	c.call("sendfile", 100, 4, 3, c.inout(c.lw(5), c.lw(105)), 100)
	c.call("splice", 10, 3, 0, 4, 0, 100, 3)
	c.call("splice", 10, 3, c.in(le(int64(7))), 4, 0, 100, 3)
	c.call("copy_file_range", 10, 3, c.in(le(int64(7))), 4, 0, 100, 0)
	c.call("tee", 1, 3, 4, 100, 2)
	c.call("fsync", -5, 3)
	c.call("fdatasync", 0, 3)
	c.call("ftruncate", 0, 3, 1000)
	c.call("getrandom", 8, c.out([]byte("\x01\x02abc\xfe\x00z")), 8, 1)
}

// iovec places three buffers of four bytes.
func (c *corpus) iovec(dir string) uint64 {
	var b []byte
	for _, s := range []string{"abcd", "efgh", "ij\n\x00"} {
		var p uint64
		if dir == "in" {
			p = c.out([]byte(s))
		} else {
			p = c.in([]byte(s))
		}
		b = append(b, c.lws(int64(p), 4)...)
	}
	return c.in(b)
}

func (c *corpus) descriptors() {
	c.call("close", 0, 3)
	c.call("close", -9, none)
	c.call("dup", 4, 3)
	c.call("dup2", 4, 3, 4)
	c.call("dup3", 4, 3, 4, 0o2000000)
	c.call("pipe", 0, c.out(le(int32(3), int32(4))))
	c.call("pipe2", 0, c.out(le(int32(3), int32(4))), 0o2000000|0o4000)
	c.call("pipe2", -24, c.out(le(int32(3), int32(4))), 0)
	c.call("ioctl", 0, 1, 0x5413, c.out(le(uint16(24), uint16(80), uint16(0), uint16(1))))
	c.call("ioctl", -25, 1, 0x5413, c.out(le(uint16(24), uint16(80), uint16(0), uint16(1))))
	c.call("ioctl", 0, 0, 0x5401, c.out(pad(le(uint32(0x500), uint32(5), uint32(0xbf), uint32(0x8a3b)), 60)))
	c.call("ioctl", -25, 0, 0x5401, c.out(make([]byte, 60)))
	c.call("ioctl", 0, 3, 0x541b, c.out(le(int32(17))))
	c.call("ioctl", 0, 3, 0x5421, c.in(le(int32(1))))
	c.call("ioctl", 0, 3, 0x5451)
	c.call("ioctl", -25, 3, 0x40049409, 4)
	c.call("ioctl", -25, 3, 0xc0045877, 0)
	c.call("ioctl", -25, 3, 0x12345678, 0x77)
	if c.arch == syscalls.AMD64 {
		c.call("ioctl", -25, 3, 0x80086601, c.out(c.lw(0x10)))
	}
	c.call("ioctl", 0, 0, 0x5401, c.out(bytes.Repeat([]byte{0xff}, 36)))
	c.call("ioctl", 0, 0, 0x5403, c.in(bytes.Repeat([]byte{0xaa}, 36)))
	c.call("ioctl", 0, 0, 0x5402, c.in(bytes.Repeat([]byte{0x55}, 36)))
	for _, cmd := range []uint64{0, 1030} {
		c.call("fcntl", 10, 3, cmd, 10)
	}
	c.call("fcntl", 1, 3, 1)
	c.call("fcntl", 0, 3, 1)
	c.call("fcntl", 0, 3, 2, 1)
	c.call("fcntl", 0o2002, 3, 3)
	c.call("fcntl", 0, 3, 3)
	c.call("fcntl", 0, 3, 4, 0o4002)
	c.call("fcntl", 0, 3, 1031, 65536)
	c.call("fcntl", 65536, 3, 1032)
	c.call("fcntl", 2, 3, 1025)
	c.call("fcntl", 0, 3, 1024, 2)
	c.call("fcntl", 1, 3, 1034)
	c.call("fcntl", 0, 3, 1033, 1|2)
	c.call("fcntl", 0, 3, 8, 100)
	c.call("fcntl", 0, 3, 10, 29)
	c.call("fcntl", 29, 3, 11)
	lock := func(pid int32) []byte {
		if c.arch.Bits() == 32 {
			return le(int16(1), int16(0), int32(10), int32(20), pid)
		}
		return le(int16(1), int16(0), int32(0), int64(10), int64(20), pid, int32(0))
	}
	for _, cmd := range []uint64{6, 7} {
		c.call("fcntl", 0, 3, cmd, c.in(lock(0)))
		c.call("fcntl", -11, 3, cmd, c.in(lock(0)))
	}
	c.call("fcntl", 0, 3, 5, c.inout(lock(0), lock(99)))
	c.call("fcntl", -22, 3, 5, c.inout(lock(0), lock(99)))
	c.call("fcntl", 0, 3, 15, c.in(le(int32(1), int32(44))))
	c.call("fcntl", 0, 3, 16, c.out(le(int32(2), int32(44))))
	c.call("flock", -11, 3, 2|4)
	c.call("fchmod", 0, 3, 0o644)
	c.call("fchown", 0, 3, 1, none)
	c.call("fchdir", 0, 3)
	c.call("eventfd2", 3, 0, 0o2000000)
	c.call("inotify_init1", 3, 0o2000000|0o4000)
	c.call("epoll_create1", 3, 0o2000000)
	c.call("close_range", 0, 3, 0xffffffff, 0)
}

func (c *corpus) waits() {
	ev := func(events uint32, data uint64) []byte { return le(events, data) }
	c.call("epoll_ctl", 0, 3, 1, 4, c.in(ev(1|0x80000000, 4)))
	c.call("epoll_ctl", -2, 3, 2, 4, c.in(ev(1, 4)))
	c.call("epoll_ctl", 0, 3, 3, 4, c.in(ev(0x2019, 0x100000005)))
	c.call("epoll_ctl", 0, 3, 2, 4, 0)
	c.call("epoll_wait", 2, 3, c.out(append(ev(1, 4), ev(0x10, 0xffffffffffffffff)...)), 8, none)
	c.call("epoll_wait", 0, 3, c.out(ev(1, 4)), 8, 100)
	c.call("epoll_wait", -4, 3, c.out(ev(1, 4)), 8, 100)
	c.call("epoll_pwait", 1, 3, c.out(ev(1, 4)), 8, 100, c.in(le(uint64(1<<14|2))), 8)
	c.call("epoll_pwait", 0, 3, c.out(ev(1, 4)), 8, 100, 0, 0)
	c.call("epoll_pwait2", 0, 3, c.out(ev(1, 4)), 8, c.in(le(int64(1), int64(5))), 0, 8)
	pfd := func(fd int32, e, r int16) []byte { return le(fd, e, r) }
	two := append(pfd(3, 1, 0), pfd(4, 5, 0)...)
	c.call("poll", 1, c.inout(two, append(pfd(3, 1, 1), pfd(4, 5, 0)...)), 2, none)
	c.call("poll", 2, c.inout(two, append(pfd(3, 1, 0x11), pfd(4, 5, 4)...)), 2, 1000)
	c.call("poll", 0, c.inout(two, two), 2, 1000)
	c.call("poll", -4, c.inout(two, two), 2, 1000)
	c.call("poll", 0, 0, 0, 5)
	c.call("poll", 1, c.inout(append(pfd(-1, 1, 0), pfd(4, 0, 0)...), append(pfd(-1, 1, 0), pfd(4, 0, 8)...)), 2, 5)
	fds := func(n ...int) []byte {
		b := make([]byte, 128)
		for _, fd := range n {
			b[fd/8] |= 1 << (fd % 8)
		}
		return b
	}
	sel := "select"
	if c.arch == syscalls.I386 {
		sel = "_newselect"
	}
	tv := func(s, u int64) []byte { return c.lws(s, u) }
	c.call(sel, 1, 5, c.inout(fds(3, 4), fds(3)), 0, 0, 0)
	c.call(sel, 2, 5, c.inout(fds(3, 4), fds(3)), c.inout(fds(4), fds(4)), 0, c.inout(tv(5, 0), tv(4, 999)))
	c.call(sel, 0, 5, c.inout(fds(3, 4), fds()), 0, 0, c.inout(tv(5, 0), tv(0, 0)))
	c.call(sel, -9, 5, c.inout(fds(3, 4), fds(3)), 0, 0, c.in(tv(5, 0)))
	c.call(sel, 0, 0, 0, 0, 0, c.inout(tv(1, 0), tv(0, 0)))
	c.call("futex", 0, c.in(le(uint32(1))), 128, 2, 0)
	c.call("futex", 1, c.in(le(uint32(1))), 129, 1)
	c.call("wait4", 100, none, c.out(le(uint32(0x100))), 0, 0)
	c.call("wait4", 100, 100, c.out(le(uint32(9))), 1, 0)
	c.call("wait4", 100, 100, c.out(le(uint32(0x8b))), 2, 0)
	c.call("wait4", 100, 100, c.out(le(uint32(0x137f))), 2, 0)
	c.call("wait4", 100, 100, c.out(le(uint32(0x857f))), 0x40000000, 0)
	c.call("wait4", 100, 100, c.out(le(uint32(0x3057f))), 0x40000000, 0)
	c.call("wait4", 100, 100, c.out(le(uint32(0xffff))), 8, 0)
	c.call("wait4", 0, none, c.out(le(uint32(0))), 1, 0)
	c.call("wait4", -10, none, c.out(le(uint32(0))), 0, 0)
	c.call("wait4", 100, none, 0, 0, 0)
	c.call("semop", 0, 1, c.in(le(uint16(0), int16(-1), int16(0x1000), uint16(1), int16(1), int16(0x800))), 2)
	c.call("pause", -514)
	c.call("sched_yield", 0)
}

func (c *corpus) sockets() {
	in4 := pad(le(uint16(2), []byte{0x1f, 0x90}, []byte{127, 0, 0, 1}), 16)
	in6 := pad(le(uint16(10), []byte{0, 80}, uint32(0), pad(nil, 15), []byte{1}, uint32(2)), 28)
	mapped := pad(le(uint16(10), []byte{0, 80}, uint32(0), pad(nil, 10), []byte{0xff, 0xff, 10, 0, 0, 1}, uint32(0)), 28)
	full6 := pad(le(uint16(10), []byte{0, 80}, []byte{0, 0, 0, 5}, []byte{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2}, uint32(0)), 28)
	un := le(uint16(1), "/run/x.sock\x00")
	abstract := le(uint16(1), "\x00abs\x00x")
	nl := le(uint16(16), uint16(0), int32(123), uint32(1))
	c.call("socket", 3, 2, 1|0o2000000, 6)
	c.call("socket", 3, 1, 2|0o4000, 0)
	c.call("socket", 3, 16, 3, 15)
	c.call("socket", 3, 17, 3, 0x300)
	c.call("socketpair", 0, 1, 1, 0, c.out(le(int32(3), int32(4))))
	for _, a := range [][]byte{in4, in6, mapped, full6, un, abstract, nl, le(uint16(1)), le(uint16(99), "zz"), le(uint16(2), "ab")} {
		c.call("connect", -115, 3, c.in(a), uint64(len(a)))
	}
	c.call("connect", -14, 3, c.in(le(uint8(2))), 1)
	c.call("bind", 0, 3, c.in(pad(un, 110)), 110)
	c.call("listen", 0, 3, 128)
	if c.arch == syscalls.AMD64 {
		c.call("accept", 4, 3, c.out(in4), c.inout(le(int32(128)), le(int32(16))))
		c.call("accept", 4, 3, 0, 0)
	}
	c.call("accept4", 4, 3, c.out(in4), c.inout(le(int32(16)), le(int32(16))), 0o2000000)
	c.call("accept4", 4, 3, c.out(un[:2]), c.inout(le(int32(110)), le(int32(2))), 0)
	c.call("accept4", -11, 3, c.out(in4), c.in(le(int32(16))), 0o2000000)
	c.call("getsockname", 0, 3, c.out(in6), c.inout(le(int32(28)), le(int32(28))))
	c.call("getpeername", -107, 3, c.out(in6), c.in(le(int32(28))))
	c.call("setsockopt", 0, 3, 1, 2, c.in(le(int32(1))), 4)
	c.call("setsockopt", 0, 3, 6, 1, c.in(le(int32(1))), 4)
	c.call("setsockopt", 0, 3, 1, 13, c.in(le(int32(1), int32(5))), 8)
	c.call("getsockopt", 0, 3, 1, 4, c.out(le(int32(111))), c.inout(le(int32(4)), le(int32(4))))
	c.call("getsockopt", 0, 3, 1, 3, c.out(le(int32(1))), c.inout(le(int32(4)), le(int32(4))))
	c.call("getsockopt", 0, 3, 1, 17, c.out(le(int32(1), int32(2), int32(3))), c.inout(le(int32(12)), le(int32(12))))
	c.call("getsockopt", -92, 3, 6, 11, c.out(le(int32(1))), c.in(le(int32(4))))
	c.call("shutdown", 0, 3, 1)
	c.call("sendto", 5, 3, c.in([]byte("hello")), 5, 0x4000, 0, 0)
	c.call("sendto", 5, 3, c.in([]byte("hello")), 5, 0, c.in(in4), 16)
	c.call("recvfrom", 5, 3, c.out([]byte("hello")), 100, 0x40, 0, 0)
	c.call("recvfrom", 5, 3, c.out([]byte("hello")), 100, 0, c.out(in4), c.inout(le(int32(128)), le(int32(16))))
	c.call("recvfrom", 5, 3, c.out([]byte("hello")), 100, 0, c.out(in4), c.inout(le(int32(128)), le(int32(0))))
	c.call("recvfrom", -11, 3, c.out([]byte("hello")), 100, 0, c.out(in4), c.in(le(int32(128))))
	c.call("sendmsg", 12, 3, c.msghdr("out", in4, nil), 0)
	c.call("sendmsg", 12, 3, c.msghdr("out", nil, nil), 0x4000)
	rights := append(c.lw(int64(c.arch.Bits()/8+16)), le(int32(1), int32(1), int32(5), int32(6))...)
	creds := append(c.lw(int64(c.arch.Bits()/8+20)), le(int32(1), int32(2), int32(100), int32(0), int32(0))...)
	c.call("sendmsg", 12, 3, c.msghdr("out", nil, rights), 0)
	c.call("recvmsg", 6, 3, c.msghdr("in", in4, creds), 0x40)
	c.call("recvmsg", -11, 3, c.msghdr("in", in4, nil), 0x40)
	c.call("recvmsg", 0, 3, c.msghdr("in", nil, nil), 0)
}

// msghdr places a message of three buffers of four bytes.
func (c *corpus) msghdr(dir string, name, control []byte) uint64 {
	place := c.in
	if dir == "in" {
		place = c.out
	}
	var nameAddr, controlAddr uint64
	if name != nil {
		nameAddr = place(name)
	}
	if control != nil {
		controlAddr = place(control)
	}
	iov := c.iovec(dir)
	hdr := func(namelen int) []byte {
		b := c.lw(int64(nameAddr))
		b = append(b, c.lw(int64(namelen))...)
		b = append(b, c.lws(int64(iov), 3, int64(controlAddr), int64(len(control)), 0)...)
		return b
	}
	return c.in(hdr(len(name)))
}

func (c *corpus) times() {
	ts := func(s, n int64) []byte { return c.lws(s, n) }
	c.call("nanosleep", 0, c.in(ts(1, 500)), 0)
	c.call("nanosleep", -4, c.in(ts(1, 500)), c.out(ts(0, 77)))
	c.call("nanosleep", -516, c.in(ts(1, 500)), c.out(ts(0, 77)))
	c.call("clock_nanosleep", 0, 1, 1, c.in(ts(1, 500)), 0)
	c.call("clock_nanosleep", -514, 1, 0, c.in(ts(1, 500)), c.out(ts(0, 77)))
	c.call("clock_nanosleep", 0, 1, 0, c.in(ts(1, 500)), c.out(ts(0, 77)))
	c.call("clock_gettime", 0, 0, c.out(ts(1700000000, 5)))
	c.call("clock_getres", 0, 1, c.out(ts(0, 1)))
	c.call("clock_getres", 0, 1, 0)
	c.call("futex", -110, c.in(le(uint32(1))), 0, 2, c.in(ts(3, 4)))
	c.call("futex", -110, c.in(le(uint32(1))), 128|256|9, 2, c.in(ts(1700000000, 4)), 0, 0xffffffff)
	c.call("utimensat", 0, cwd, c.str("/f"), c.in(c.lws(1700000000, 123456789, 0, 1<<30-1)), 0)
	c.call("utimensat", 0, 3, 0, c.in(c.lws(0, 1<<30-2, -5, 7)), 0)
	c.call("utimes", 0, c.str("/f"), c.in(c.lws(1700000000, 123456, 1, 0)))
	c.call("utime", 0, c.str("/f"), c.in(c.lws(1700000000, 0)))
	c.call("utime", 0, c.str("/f"), 0)
	c.call("times", 1000, c.out(c.lws(1, 2, 3, 4)))
	c.call("time", 1700000000, 0)
	its := le(int64(1), int64(2), int64(3), int64(4))
	if c.arch == syscalls.AMD64 {
		c.call("gettimeofday", 0, c.out(ts(1700000000, 5)), 0)
		c.call("gettimeofday", 0, c.out(ts(1, 5)), c.out(le(int32(1), int32(2))))
		c.call("timerfd_settime", 0, 3, 1, c.in(its), 0)
		c.call("timerfd_settime", 0, 3, 0, c.in(its), c.out(its))
		c.call("timerfd_gettime", 0, 3, c.out(its))
		c.call("setitimer", 0, 0, c.in(its), 0)
		c.call("setitimer", 0, 0, c.in(its), c.out(its))
		c.call("getitimer", 0, 0, c.out(its))
		c.call("timer_settime", 0, 1, 0, c.in(its), 0)
		c.call("timer_create", 0, 1, c.in(pad(le(int64(0), int32(14), int32(0)), 64)), c.out(le(int32(2))))
		c.call("timer_create", 0, 1, c.in(pad(le(int64(5), int32(14), int32(4), int32(99)), 64)), c.out(le(int32(2))))
		c.call("ppoll", 1, c.inout(le(int32(3), int16(1), int16(0)), le(int32(3), int16(1), int16(1))), 1,
			c.inout(ts(5, 0), ts(4, 5)), 0, 0)
		c.call("ppoll", 0, c.in(le(int32(3), int16(1), int16(0))), 1, c.inout(ts(5, 0), ts(0, 0)), c.in(le(uint64(2))), 8)
		c.call("pselect6", 1, 4, c.in(pad([]byte{8}, 128)), 0, 0, c.inout(ts(5, 0), ts(4, 0)), c.in(c.lws(int64(c.in(le(uint64(6)))), 8)))
		c.call("pselect6", 0, 4, 0, 0, 0, c.inout(ts(5, 0), ts(0, 0)), 0)
		c.call("rt_sigtimedwait", 17, c.in(le(uint64(1<<16))), c.out(pad(le(int32(17), int32(0), int32(1), int32(0), int32(55), int32(0), int32(3)), 128)), c.in(ts(1, 0)), 8)
		c.call("rt_sigtimedwait", -11, c.in(le(uint64(1<<16))), 0, 0, 8)
		c.call("sched_rr_get_interval", 0, 0, c.out(ts(0, 4000000)))
	}
}

func (c *corpus) processes() {
	c.call("getpid", 10)
	c.call("kill", 0, 100, 15)
	c.call("tgkill", -3, 100, 101, 0)
	c.call("exit_group", 0, 3)
	c.call("set_tid_address", 5, 0x1234)
	c.call("umask", 0o22, 0o77)
	c.call("brk", 0x5555000, 0)
	c.call("mprotect", 0, 0x1000, 4096, 3)
	c.call("munmap", 0, 0x1000, 4096)
	c.call("madvise", 0, 0x1000, 4096, 4)
	c.call("prctl", 0, 15, c.str("name"))
	c.call("prctl", 0, 16, c.out([]byte("name\x00")))
	c.call("prctl", 0, 1, 9)
	c.call("uname", 0, c.out(append(append(pad([]byte("Linux"), 65), pad([]byte("node\"1"), 65)...), make([]byte, 260)...)))
	c.call("sched_getaffinity", 8, 0, 128, c.out(pad([]byte{0x5}, 8)))
	c.call("sched_setaffinity", 0, 0, 8, c.in(pad([]byte{0x3, 1}, 8)))
	c.call("sched_setscheduler", 0, 0, 1, c.in(le(int32(5))))
	c.call("sched_getparam", 0, 0, c.out(le(int32(5))))
	c.call("getcpu", 0, c.out(le(uint32(1))), c.out(le(uint32(0))), 0)
	c.call("rt_sigprocmask", 0, 0, c.in(le(uint64(1<<1|1<<14))), 0, 8)
	c.call("rt_sigprocmask", 0, 2, c.in(le(^uint64(0))), c.out(le(uint64(0))), 8)
	c.call("rt_sigprocmask", 0, 2, c.in(le(^uint64(0x80000000))), c.out(le(uint64(1<<31|1<<32|1<<63))), 8)
	c.call("rt_sigpending", 0, c.out(le(uint64(1<<9))), 8)
	c.call("prlimit64", 0, 0, 7, 0, c.out(le(uint64(1024), uint64(1<<20))))
	c.call("prlimit64", 0, 0, 3, c.in(le(uint64(8<<20), ^uint64(0))), 0)
	c.call("capget", 0, c.in(le(uint32(0x20080522), int32(0))), c.out(le(uint32(3), uint32(0), uint32(0x80000001), uint32(0), uint32(0x1ff), uint32(0))))
	c.call("capget", 0, c.in(le(uint32(0x20080522), int32(0))), 0)
	c.call("sethostname", 0, c.in([]byte("node")), 4)
	c.call("set_robust_list", 0, 0x1000, 24)
	c.call("add_key", 5, c.str("user"), c.str("k"), c.in([]byte("secret")), 6, ^uint64(2))
	c.call("setpriority", 0, 0, 0, 5)
	c.call("clone3", 100, c.in(le(uint64(0x3d0f00), uint64(0), uint64(0x100), uint64(0x108), uint64(0), uint64(0x2000), uint64(0x8000), uint64(0x77))), 64)
	c.call("clone3", 100, c.in(pad(le(uint64(0), uint64(0), uint64(0), uint64(0), uint64(17)), 88)), 88)
	c.call("clone3", -22, 0x10, 88)
}
