package decode

// stats are the calls that fill in what a file or a file system is.
func (c *corpus) stats() {
	st := func(mode uint32, rdev, size uint64) []byte {
		return pad(le(uint64(0x801), uint64(1234), uint64(1), mode, uint32(1000), uint32(100), uint32(0), rdev, size,
			uint64(4096), uint64(8), int64(1700000000), uint64(5), int64(1700000001), uint64(0), int64(-3), uint64(7)), 144)
	}
	for _, m := range []uint32{0o100644, 0o40755, 0o41777, 0o120777, 0o140755, 0o10600, 0o104755, 0o102755, 0} {
		c.call("stat", 0, c.str("/f"), c.out(st(m, 0, 12345)))
	}
	c.call("lstat", 0, c.str("/f"), c.out(st(0o20620, 0x8801, 0)))
	c.call("fstat", 0, 3, c.out(st(0o60660, 0xfd00, 0)))
	c.call("fstat", -9, 3, c.out(st(0o60660, 0xfd00, 0)))
	c.call("newfstatat", 0, cwd, c.str("/f"), c.out(st(0o100644, 0, 1<<40)), 0x100)
	c.call("newfstatat", 0, 3, c.str(""), c.out(st(0o100644, 0, 0)), 0x1000)
	c.call("newfstatat", -103, cwd, c.str("/f"), c.out(st(0o100644, 0, 1<<40)), 0)
	stx := func(mask uint32, attr uint64, mode uint16) []byte {
		return pad(le(mask, uint32(4096), attr, uint32(1), uint32(0), uint32(0), mode, uint16(0), uint64(99), uint64(777), uint64(8),
			uint64(0x203000), int64(1700000000), uint32(5), uint32(0), int64(1), uint32(0), uint32(0), int64(2), uint32(0), uint32(0), int64(0), uint32(0), uint32(0),
			uint32(8), uint32(1), uint32(0), uint32(28), uint64(33)), 256)
	}
	c.call("statx", 0, cwd, c.str("/f"), 0x4000, 0x7ff, c.out(stx(0x17ff, 0, 0o100644)))
	c.call("statx", 0, cwd, c.str("/f"), 0, 0xfff, c.out(stx(0x1fff, 0x2000|0x10, 0o40755)))
	for _, mask := range []uint32{0, 1, 2, 0x172f, 0x800} {
		c.call("statx", 0, cwd, c.str("/f"), 0, 0xfff, c.out(stx(mask, 0, 0o40755)))
	}
	c.call("statx", -2, cwd, c.str("/f"), 0x100, 1, c.out(stx(0x17ff, 0, 0o100644)))
	sf := func(magic int64) []byte {
		return pad(le(magic, int64(4096), uint64(1000), uint64(500), uint64(400), uint64(300), uint64(200), uint32(0xabc), uint32(0), int64(255), int64(4096), int64(0x1020)), 120)
	}
	for _, m := range []int64{0xef53, 0x00c36400, 0x65735546, 0x6969, 0x01021994, 0x9fa0, 0x794c7630, 0x12345} {
		c.call("statfs", 0, c.str("/"), c.out(sf(m)))
	}
	c.call("fstatfs", 0, 3, c.out(sf(0x58465342)))
	c.call("fstatfs", -5, 3, c.out(sf(0x58465342)))
	c.call("ustat", 0, 0x801, 0x10)
	dent := func(name string, typ uint8) []byte {
		n := (19 + len(name) + 1 + 7) &^ 7
		return pad(le(uint64(77), int64(5), uint16(n), typ, name), n)
	}
	two := append(dent(".", 4), dent("file-name.txt", 8)...)
	c.call("getdents64", int64(len(two)), 3, c.out(two), 32768)
	c.call("getdents64", int64(len(dent("..", 4))), 3, c.out(dent("..", 4)), 32768)
	c.call("getdents64", 0, 3, c.out(two), 32768)
	c.call("getdents64", -20, 3, c.out(two), 32768)
	old := func(name string, typ uint8) []byte {
		n := (18 + len(name) + 2 + 7) &^ 7
		b := pad(le(uint64(77), int64(5), uint16(n), name), n)
		b[n-1] = typ
		return b
	}
	olds := append(old(".", 4), old("abc", 8)...)
	c.call("getdents", int64(len(olds)), 3, c.out(olds), 1024)
	fh := le(uint32(8), int32(1), uint64(0x1122334455667788))
	c.call("name_to_handle_at", 0, cwd, c.str("/f"), c.inout(le(uint32(128), int32(0)), fh), c.out(le(int32(29))), 0x400)
	c.call("name_to_handle_at", -75, cwd, c.str("/f"), c.inout(le(uint32(0), int32(0)), le(uint32(8), int32(0))), c.in(le(int32(29))), 0)
	c.call("open_by_handle_at", 4, 3, c.in(fh), 0o2000000)
}

// only64 are structures that are decoded for 64-bit programs only.
func (c *corpus) only64() {
	ru := pad(le(int64(1), int64(2), int64(3), int64(4), int64(5)), 144)
	c.call("getrusage", 0, 0, c.out(ru))
	c.call("wait4", 100, none, c.out(le(uint32(0))), 0, c.out(ru))
	c.call("wait4", 0, none, c.out(le(uint32(0))), 1, c.out(ru))
	chld := pad(le(int32(17), int32(0), int32(1), int32(0), int32(55), int32(1000), int32(3), int32(0), int64(5), int64(123)), 128)
	killed := pad(le(int32(17), int32(0), int32(2), int32(0), int32(55), int32(0), int32(9)), 128)
	c.call("waitid", 0, 0, 0, c.out(chld), 4, 0)
	c.call("waitid", 0, 1, 55, c.out(killed), 4|1, c.out(ru))
	c.call("waitid", 0, 0, 0, c.out(make([]byte, 128)), 4|1, 0)
	c.call("waitid", -10, 0, 0, c.out(chld), 4, 0)
	c.call("rt_sigqueueinfo", 0, 55, 10, c.in(pad(le(int32(10), int32(0), int32(-1), int32(0), int32(44), int32(0), int64(77)), 128)))
	c.call("rt_sigqueueinfo", 0, 55, 10, c.in(pad(le(int32(10), int32(0), int32(0), int32(0), int32(44), int32(0)), 128)))
	info := func(signo, code int32, rest ...any) {
		b := pad(append(le(signo, int32(0), code, int32(0)), le(rest...)...), 128)
		c.call("rt_sigqueueinfo", 0, 55, uint64(signo), c.in(b))
	}
	info(14, 0x80)
	info(14, 0x80, int32(5), int32(6), uint64(7))
	info(14, -2, int32(5), int32(6), uint64(7))
	info(14, -2, int32(0), int32(0))
	info(10, -6, int32(5), int32(6))
	info(10, -3, int32(5), int32(6), uint64(1<<33|7))
	info(11, 1, uint64(0x1234))
	info(11, 2, uint64(0))
	info(11, 9, uint64(0))
	info(11, 0x80, uint64(0))
	info(7, 2, uint64(0x1234))
	info(8, 1, uint64(0x1234))
	info(4, 2, uint64(0x1234))
	info(5, 1, uint64(0x1234))
	info(5, 0x80)
	info(31, 1, uint64(0x1234), int32(39), uint32(0xc000003e))
	info(29, 1, int64(0x41), int32(3))
	info(9, 0x80)
	act := func(h, flags, rest, mask uint64) []byte { return le(h, flags, rest, mask) }
	c.call("rt_sigaction", 0, 15, c.in(act(0x401000, 0x14000000, 0x402000, 0)), 0, 8)
	c.call("rt_sigaction", 0, 15, c.in(act(0, 0x4000000, 0x402000, 1<<14)), c.out(act(1, 0, 0, 0)), 8)
	c.call("rt_sigaction", 0, 17, 0, c.out(act(1, 4|0x8000000, 0, ^uint64(0))), 8)
	c.call("sigaltstack", 0, c.in(le(uint64(0x1000), int32(0), int32(0), uint64(8192))), c.out(le(uint64(0), int32(2), int32(0), uint64(0))))
	c.call("rt_sigsuspend", -514, c.in(le(uint64(1<<16))), 8)
	c.call("signalfd4", 3, none, c.in(le(uint64(1<<16))), 8, 0o2000000)
	c.call("sysinfo", 0, c.out(pad(le(int64(100), uint64(65536), uint64(2), uint64(3), uint64(1<<30), uint64(5), uint64(6), uint64(7), uint64(8), uint64(9),
		uint16(200), uint16(0), uint32(0), uint64(0), uint64(0), uint32(1)), 112)))
	c.call("getresuid", 0, c.out(le(uint32(1))), c.out(le(uint32(2))), c.out(le(none32)))
	c.call("getgroups", 3, 10, c.out(le(uint32(0), uint32(10), uint32(20))))
	c.call("getgroups", 3, 0, 0)
	c.call("setgroups", 0, 2, c.in(le(uint32(1), uint32(2))))
	c.call("getrlimit", 0, 7, c.out(le(uint64(1024), uint64(4096))))
	c.call("setrlimit", 0, 7, c.in(le(uint64(1000), ^uint64(0))))
	c.call("mmap", 0x7f0000000000, 0, 4096, 1, 2, 3, 0x1000)
	c.call("mmap", -12, 0, 4096, 3, 0x22, none, 0)
	c.call("clone", 100, 0x1200011, 0, 0, 0x5000, 0)
	c.call("clone", 100, 0x3d0f00, 0x7000, c.out(le(int32(100))), 0x5000, 0x6000)
	c.call("arch_prctl", 0, 0x1002, 0x5000)
	c.call("arch_prctl", 0, 0x1003, c.out(le(uint64(0x5000))))
	c.call("mq_open", 3, c.str("/q"), 0o102, 0o600, c.in(le(int64(0), int64(10), int64(8192), int64(0), make([]byte, 32))))
	c.call("mq_timedsend", 0, 3, c.in([]byte("msg")), 3, 1, c.in(le(int64(5), int64(6))))
	c.call("mq_timedreceive", 3, 3, c.out([]byte("msg")), 100, c.out(le(uint32(7))), 0)
	c.call("process_vm_readv", 4, 55, c.in(le(uint64(c.out([]byte("abcd"))), uint64(4))), 1, c.in(le(uint64(0x9000), uint64(4))), 1, 0)
	c.call("io_setup", 0, 128, c.inout(le(uint64(0)), le(uint64(0x7f00))))
	c.call("sendmmsg", 2, 3, c.mmsghdr("out"), 2, 0)
	c.call("sendmmsg", 1, 3, c.mmsghdr("out"), 2, 0)
	c.call("recvmmsg", 2, 3, c.mmsghdr("in"), 2, 0, 0)
	c.call("time", 1700000000, c.out(le(int64(1700000000))))
	c.call("mincore", 0, 0x5000, 8192, c.out([]byte{1, 2}))
	c.call("mincore", 0, 0x5000, 200000, c.out(make([]byte, 49)))
	c.call("mincore", -12, 0x5000, 8192, c.out([]byte{1, 2}))
	c.call("membarrier", 0x1ff, 0, 0, 0)
	c.call("membarrier", 0, 1, 0, 0)
	c.call("ioprio_get", 0x4003, 1, 0)
	c.call("ioprio_get", -3, 1, 0)
	c.call("prctl", 1, 3)
	c.call("prctl", 0, 3)
	tx := pad(le(uint32(0x8001), uint32(0), int64(-1), int64(2), int64(3), int64(4), int32(0x40|0x2000), uint32(0), int64(5), int64(1), int64(7), int64(1700000000), int64(8),
		int64(10000), int64(9), int64(10), int32(11), uint32(0), int64(12), int64(13), int64(14), int64(15), int64(16), int32(37)), 208)
	c.call("adjtimex", 5, c.out(tx))
	c.call("adjtimex", 0, c.out(tx))
	c.call("adjtimex", -1, c.out(tx))
	c.call("clock_adjtime", 5, 0, c.out(tx))
	c.call("msgsnd", 0, 7, c.in(le(int64(5), []byte("text\x00"))), 5, 0x800)
	c.call("msgsnd", 0, 7, c.in(le(int64(5), make([]byte, 100))), 100, 0)
	c.call("msgsnd", 0, 7, c.in(le(int64(5))), 0, 0)
	c.call("msgrcv", 4, 7, c.out(pad(le(int64(5), []byte("text")), 108)), 100, ^uint64(0), 0x1000)
	c.call("msgrcv", -42, 7, c.out(le(int64(5), []byte("text"))), 100, 0, 0x800)
	c.call("keyctl", 5, 6, 0x123, c.out([]byte("user;0")), 100)
	c.call("personality", 0, 0xffffffff)
	c.call("getpriority", 20, 0, 0)
	c.call("sched_getscheduler", 0, 0)
	c.call("vfork", 100)
	c.call("fork", 100)
	c.call("membarrier", 0, 8, 0)
	c.call("sync", 0)
	c.call("syncfs", -5, 3)
	c.call("newfstatat", -512, cwd, c.str("/x"), 0x10, 0)
	c.call("read", -512, 3, c.out([]byte("x")), 10)
}

const none32 = ^uint32(0)

func (c *corpus) mmsghdr(dir string) uint64 {
	a := c.msghdrBytes(dir)
	b := c.msghdrBytes(dir)
	hdr := func(x []byte, n uint32) []byte { return append(append([]byte{}, x...), le(n, uint32(0))...) }
	return c.inout(append(hdr(a, 0), hdr(b, 0)...), append(hdr(a, 12), hdr(b, 6)...))
}

func (c *corpus) msghdrBytes(dir string) []byte {
	return c.lws(0, 0, int64(c.iovec(dir)), 3, 0, 0, 0)
}

func (c *corpus) stats32() {
	st := pad(le(uint64(0x801), uint32(0), uint32(1234), uint32(0o100644), uint32(1), uint32(1000), uint32(100), uint64(0), uint32(0),
		uint64(54321), uint32(4096), uint64(8), int32(1700000000), uint32(5), int32(1), uint32(0), int32(2), uint32(0), uint64(1234)), 96)
	c.call("stat64", 0, c.str("/f"), c.out(st))
	c.call("fstat64", 0, 3, c.out(st))
	c.call("fstatat64", 0, cwd, c.str("/f"), c.out(st), 0x100)
	c.call("statfs64", 0, c.str("/"), 84, c.out(pad(le(uint32(0xef53), uint32(4096), uint64(1000), uint64(500), uint64(400), uint64(300), uint64(200),
		uint32(0xabc), uint32(0), uint32(255), uint32(4096), uint32(0x1020)), 84)))
	c.call("fcntl64", 0, 3, 13, c.in(le(int16(1), int16(0), int64(10), int64(20), int32(0))))
	c.call("fcntl64", 0, 3, 12, c.inout(le(int16(1), int16(0), int64(10), int64(20), int32(0)), le(int16(2), int16(0), int64(10), int64(20), int32(77))))
	c.call("_llseek", 0, 3, 1, 5, c.out(le(int64(0x100000005))), 0)
	c.call("mmap2", 0x70000000, 0, 4096, 3, 0x22, none, 0)
	c.call("clock_gettime64", 0, 1, c.out(le(int64(5), int64(6))))
	c.call("ugetrlimit", 0, 3, c.out(le(uint32(8<<20), none32)))
}
