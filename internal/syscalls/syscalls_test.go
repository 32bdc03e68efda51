package syscalls

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNumbersOfXSys holds every SYS_ constant of x/sys against the tables.
func TestNumbersOfXSys(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/sys").Output()
	if err != nil {
		t.Skipf("no module golang.org/x/sys to read: %v", err)
	}
	for _, arch := range []Arch{AMD64, ARM64, I386, ARM} {
		file := filepath.Join(strings.TrimSpace(string(out)), "unix", "zsysnum_linux_"+string(arch)+".go")
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		sc := bufio.NewScanner(f)
		for sc.Scan() {
			words := strings.Fields(sc.Text())
			if len(words) != 3 || !strings.HasPrefix(words[0], "SYS_") {
				continue
			}
			name := strings.ToLower(words[0][len("SYS_"):])
			nr, err := strconv.Atoi(words[2])
			if err != nil || name == "arch_specific_syscall" || name == "syscall_mask" {
				continue
			}
			if arch == ARM64 && name == "fstatat" {
				name = "newfstatat" // the kernel's and strace's name
			}
			n++
			if c, ok := Lookup(arch, nr); !ok || c.Name != name {
				t.Errorf("%s %d: %q, want %q", arch, nr, c.Name, name)
			}
			if c, ok := ByName(arch, name); !ok || c.NR != nr {
				t.Errorf("%s %s: %d, want %d", arch, name, c.NR, nr)
			}
		}
		f.Close()
		if n < 300 {
			t.Errorf("%s: %d constants", arch, n)
		}
	}
}

func TestNumbers(t *testing.T) {
	for _, tc := range []struct {
		arch Arch
		nr   int
		name string
	}{
		{AMD64, 0, "read"}, {AMD64, 262, "newfstatat"}, {AMD64, 332, "statx"}, {AMD64, 457, "statmount"},
		{AMD64, 458, "listmount"}, {AMD64, 439, "faccessat2"}, {AMD64, 449, "futex_waitv"}, {AMD64, 451, "cachestat"},
		{AMD64, 452, "fchmodat2"}, {AMD64, 453, "map_shadow_stack"}, {AMD64, 455, "futex_wait"}, {AMD64, 462, "mseal"},
		{AMD64, 463, "setxattrat"}, {AMD64, 468, "file_getattr"}, {AMD64, 336, "uprobe"},
		{ARM64, 79, "newfstatat"}, {ARM64, 80, "fstat"}, {ARM64, 56, "openat"}, {ARM64, 291, "statx"}, {ARM64, 220, "clone"},
		{I386, 5, "open"}, {I386, 195, "stat64"}, {I386, 300, "fstatat64"}, {I386, 403, "clock_gettime64"},
		{ARM, 327, "fstatat64"}, {ARM, 322, "openat"}, {ARM, 0xf0002, "cacheflush"},
	} {
		if c, ok := Lookup(tc.arch, tc.nr); !ok || c.Name != tc.name {
			t.Errorf("%s %d: %q, want %q", tc.arch, tc.nr, c.Name, tc.name)
		}
	}
	for _, nr := range []int{-1, 500, 512, 513, 1 << 30, 0xf0002, -1 << 31} {
		if c, ok := Lookup(AMD64, nr); ok {
			t.Errorf("amd64 %d is %q", nr, c.Name)
		}
	}
	if _, ok := Lookup("mips", 0); ok {
		t.Error("mips is known")
	}
}

func TestErrorNames(t *testing.T) {
	for e := 1; e < 134; e++ {
		want := unix.ErrnoName(unix.Errno(e))
		switch e { // strace's choice of two names
		case 95:
			want = "EOPNOTSUPP"
		case 117:
			want = "EUCLEAN"
		}
		if got := ErrnoName(e); got != want {
			t.Errorf("error %d: %q, x/sys says %q", e, got, want)
		}
	}
	for s := 1; s < 32; s++ {
		if got, want := SignalName(s), unix.SignalName(unix.Signal(s)); got != want {
			t.Errorf("signal %d: %q, x/sys says %q", s, got, want)
		}
	}
	for _, tc := range []struct {
		call string
		ret  int64
		want string
	}{
		{"sched_getscheduler", 0, "0 (SCHED_OTHER)"}, {"sched_getscheduler", 5, "5 (SCHED_IDLE)"},
		{"sched_getscheduler", 1<<30 | 5, "1073741829"},
		{"read", 0, "0"}, {"read", 3, "3"}, {"read", -5, "-1 EIO (Input/output error)"}, {"read", -2, "-1 ENOENT (No such file or directory)"},
		{"read", -512, "? ERESTARTSYS (To be restarted if SA_RESTART is set)"},
		{"read", -513, "? ERESTARTNOINTR (To be restarted)"},
		{"read", -514, "? ERESTARTNOHAND (To be restarted if no handler)"},
		{"read", -516, "? ERESTART_RESTARTBLOCK (Interrupted by signal)"},
		{"read", -300, "-1 (errno 300)"}, {"read", -4096, "-4096"},
	} {
		c, _ := ByName(AMD64, tc.call)
		if got := FormatReturn(c, [6]uint64{}, tc.ret); got != tc.want {
			t.Errorf("%s returns %d: %q, want %q", tc.call, tc.ret, got, tc.want)
		}
	}
}

func TestClasses(t *testing.T) {
	for _, tc := range []struct {
		name string
		args [6]uint64
		want Class
	}{
		{"newfstatat", [6]uint64{}, ClassPath}, {"execve", [6]uint64{}, ClassPath}, {"umount2", [6]uint64{}, ClassPath},
		{"read", [6]uint64{}, ClassFD}, {"fsync", [6]uint64{}, ClassFD}, {"sync", [6]uint64{}, ClassSync},
		{"futex", [6]uint64{}, ClassWait}, {"epoll_pwait", [6]uint64{}, ClassWait}, {"wait4", [6]uint64{}, ClassWait},
		{"fcntl", [6]uint64{3, unix.F_SETLKW}, ClassLock}, {"fcntl", [6]uint64{3, unix.F_OFD_SETLKW}, ClassLock},
		{"fcntl", [6]uint64{3, unix.F_SETLK}, ClassFD}, {"fcntl", [6]uint64{3, unix.F_GETFL}, ClassFD},
		{"flock", [6]uint64{3, unix.LOCK_EX}, ClassLock}, {"flock", [6]uint64{3, unix.LOCK_EX | unix.LOCK_NB}, ClassFD},
		{"mmap", [6]uint64{0, 1, 1, unix.MAP_SHARED, 3}, ClassFD},
		{"mmap", [6]uint64{0, 1, 1, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS, ^uint64(0)}, ClassOther},
		{"exit_group", [6]uint64{}, ClassExit}, {"getpid", [6]uint64{}, ClassOther},
		{"clone", [6]uint64{unix.CLONE_VFORK | unix.CLONE_VM}, ClassWait}, {"clone", [6]uint64{17}, ClassOther},
	} {
		c, ok := ByName(AMD64, tc.name)
		if !ok {
			t.Fatal(tc.name)
		}
		if got := c.ClassFor(tc.args); got != tc.want {
			t.Errorf("%s %#x: %v, want %v", tc.name, tc.args, got, tc.want)
		}
	}
}

func TestPathArgs(t *testing.T) {
	type pair struct{ arg, dir int }
	for _, tc := range []struct {
		name string
		args [6]uint64
		want []pair
	}{
		{"openat", [6]uint64{}, []pair{{1, 0}}}, {"stat", [6]uint64{}, []pair{{0, -1}}},
		{"renameat2", [6]uint64{}, []pair{{1, 0}, {3, 2}}}, {"rename", [6]uint64{}, []pair{{0, -1}, {1, -1}}},
		{"symlinkat", [6]uint64{}, []pair{{2, 1}}}, {"linkat", [6]uint64{}, []pair{{1, 0}, {3, 2}}},
		{"mount", [6]uint64{}, []pair{{1, -1}}}, {"mount", [6]uint64{0, 0, 0, unix.MS_BIND}, []pair{{0, -1}, {1, -1}}},
		{"inotify_add_watch", [6]uint64{}, []pair{{1, -1}}}, {"fanotify_mark", [6]uint64{}, []pair{{4, 3}}},
		{"statx", [6]uint64{}, []pair{{1, 0}}}, {"move_mount", [6]uint64{}, []pair{{1, 0}, {3, 2}}},
		{"fsconfig", [6]uint64{3, 3}, []pair{{3, 4}}}, {"read", [6]uint64{}, nil},
	} {
		c, ok := ByName(AMD64, tc.name)
		if !ok {
			t.Fatal(tc.name)
		}
		var got []pair
		for _, p := range c.PathArgs(tc.args) {
			got = append(got, pair{p.Arg, p.Dir})
		}
		if len(got) != len(tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
			continue
		}
		for i := range got {
			if got[i] != tc.want[i] {
				t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
			}
		}
	}
}

func TestEmptyPath(t *testing.T) {
	for _, tc := range []struct {
		name string
		nth  int
		args [6]uint64
		path string
		null bool
		want bool
	}{
		{"newfstatat", 0, [6]uint64{3, 1, 2, unix.AT_EMPTY_PATH}, "", false, true},
		{"newfstatat", 0, [6]uint64{3, 1, 2, unix.AT_EMPTY_PATH}, "x", false, false},
		{"newfstatat", 0, [6]uint64{3, 1, 2, 0}, "", false, false},
		{"statx", 0, [6]uint64{3, 0, unix.AT_EMPTY_PATH}, "", true, true},
		{"utimensat", 0, [6]uint64{3, 0}, "", true, true},
		{"readlinkat", 0, [6]uint64{3, 1}, "", false, true},
		{"openat", 0, [6]uint64{3, 1}, "", false, false},
		{"open", 0, [6]uint64{1}, "", false, false},
		{"move_mount", 0, [6]uint64{3, 1, 4, 1, 0x4}, "", false, true},
		{"move_mount", 1, [6]uint64{3, 1, 4, 1, 0x4}, "", false, false},
		{"move_mount", 1, [6]uint64{3, 1, 4, 1, 0x40}, "", false, true},
		{"linkat", 0, [6]uint64{3, 1, 4, 1, unix.AT_EMPTY_PATH}, "", false, true},
		{"linkat", 1, [6]uint64{3, 1, 4, 1, unix.AT_EMPTY_PATH}, "", false, false},
		{"fspick", 0, [6]uint64{3, 1, 8}, "", false, true},
		{"fsconfig", 0, [6]uint64{3, 4, 0, 1, 5}, "", false, true},
		{"fsconfig", 0, [6]uint64{3, 3, 0, 1, 5}, "", false, false},
	} {
		c, _ := ByName(AMD64, tc.name)
		p := c.PathArgs(tc.args)[tc.nth]
		if got := p.IsDir(tc.args, tc.path, tc.null); got != tc.want {
			t.Errorf("%s %#x %q: %v", tc.name, tc.args, tc.path, got)
		}
	}
}

func TestFDArg(t *testing.T) {
	for name, want := range map[string]int{"read": 0, "mmap": 4, "splice": 0, "openat": -1, "futex": -1, "open_by_handle_at": 0, "syncfs": 0} {
		c, _ := ByName(AMD64, name)
		if got := c.FDArg([6]uint64{}); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}

// TestClassesFitArguments: a class promises what the arguments hold.
func TestClassesFitArguments(t *testing.T) {
	for _, arch := range []Arch{AMD64, ARM64, I386, ARM} {
		for _, c := range All(arch) {
			paths, fds := c.PathArgs([6]uint64{}), c.FDArgs([6]uint64{})
			if (c.Class == ClassPath) != (len(paths) > 0) {
				t.Errorf("%s %s: class %v with paths %v", arch, c.Name, c.Class, paths)
			}
			if (c.Class == ClassFD || c.Class == ClassLock) && len(fds) == 0 {
				t.Errorf("%s %s: class %v without a file descriptor", arch, c.Name, c.Class)
			}
			for _, a := range c.Args {
				if a.Name == "" {
					t.Errorf("%s %s: an argument has no name", arch, c.Name)
				}
			}
		}
	}
}
