package syscalls_test

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/hangtrace/hangtrace/internal/syscalls"
)

var update = flag.Bool("update", false, "ask the installed strace and gcc again")

// eperm ends every line of the corpus.
const eperm = " = -1 EPERM (Operation not permitted)"

const argsGolden = "testdata/args.golden"

// badPointer is an address that nothing can read: strace prints it as such.
const badPointer = 0x1000

// corpus makes calls of every number with values that show every name of every
// set, one register varied at a time. They fail with EPERM, so that nothing is
// decoded but the registers. A value of a set is shown once per architecture,
// not once per call.
func corpus() []string {
	var out []string
	for _, arch := range []syscalls.Arch{syscalls.AMD64, syscalls.I386} {
		seen := map[string]bool{}
		for _, c := range syscalls.All(arch) {
			if c.NR > 450 || c.Name == "uretprobe" || c.Name == "uprobe" {
				// unknown to strace 6.1, or never filtered by seccomp
				continue
			}
			base := [6]uint64{}
			for i, a := range c.Args {
				base[i] = defaultValue(a)
			}
			out = append(out, scriptLine(arch, c.NR, base))
			for i, a := range c.Args {
				for _, v := range values(a) {
					key := fmt.Sprint(a.Kind, a.Set, a.Struct, a.Dir, v)
					if i < 3 && multiplexed(c.Name) {
						key += c.Name
					}
					if seen[key] {
						continue
					}
					seen[key] = true
					args := base
					args[i] = v
					out = append(out, scriptLine(arch, c.NR, args))
				}
			}
		}
	}
	return out
}

// multiplexed tells whether one argument decides what the others are.
func multiplexed(name string) bool {
	switch name {
	case "fcntl", "futex", "ioctl", "prctl", "keyctl", "ptrace", "openat", "mmap", "clone", "mount":
		return true
	}
	return false
}

func defaultValue(a syscalls.Arg) uint64 {
	switch a.Kind {
	case syscalls.KindPtr, syscalls.KindMem, syscalls.KindPath, syscalls.KindText, syscalls.KindStr:
		return badPointer
	case syscalls.KindFD, syscalls.KindDirFD:
		return 7
	}
	return 1
}

func values(a syscalls.Arg) []uint64 {
	switch a.Kind {
	case syscalls.KindFlags:
		var out []uint64
		for b := range 32 {
			out = append(out, 1<<b)
		}
		return append(out, 0, 0xffffffff, 3, 5, 12)
	case syscalls.KindEnum:
		out := []uint64{0, 0xffffffff, 0x7ffffff0}
		for v := range uint64(70) {
			out = append(out, v+1)
		}
		for v := range uint64(12) {
			out = append(out, 1024+v, 128+v, 0x1000+v, 0xfffffff0+v)
		}
		return out
	case syscalls.KindMode, syscalls.KindFileMode:
		return []uint64{0, 7, 0o77, 0o644, 0o4755, 0o1777, 0o100644, 0o20600, 0o60600, 0o10644, 0o140755, 0o170000}
	case syscalls.KindDirFD:
		return []uint64{0xffffff9c, 0xffffffff, 0xffffffffffffff9c}
	case syscalls.KindSignal:
		return []uint64{0, 9, 15, 31, 32, 33, 64, 65, 200}
	case syscalls.KindDev:
		return []uint64{0x103, 0x800, 0x12345678, 0xfffff}
	case syscalls.KindSkip:
		return nil
	}
	return []uint64{0, 2, 0x7fffffff, 0xffffffff, 0x8000000000000000, 0xffffffffffffffff}
}

func scriptLine(arch syscalls.Arch, nr int, args [6]uint64) string {
	bits := 64
	if arch == syscalls.I386 {
		bits = 32
	}
	s := fmt.Sprintf("%d %d", bits, nr)
	for _, a := range args {
		s += fmt.Sprintf(" %#x", a)
	}
	return s + " -1"
}

// TestArgsAsStrace compares the text of every call with what strace 6.1 said.
func TestArgsAsStrace(t *testing.T) {
	if *update {
		refresh(t)
	}
	f, err := os.Open(argsGolden)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, bad := 0, 0
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		script, want, ok := strings.Cut(sc.Text(), "\t")
		if !ok {
			t.Fatalf("golden line %q", sc.Text())
		}
		lines++
		got, ok := strings.CutSuffix(render(t, script), eperm)
		if !ok {
			t.Fatalf("%s: got %s", script, got)
		}
		if got == want || knownDifference(got, want) {
			continue
		}
		if bad++; bad <= 20 {
			t.Errorf("%s\n got %s\nwant %s", script, got, want)
		}
	}
	if lines < 3000 {
		t.Fatalf("%d lines in %s", lines, argsGolden)
	}
	t.Logf("%d lines, %d differ", lines, bad)
}

func render(t *testing.T, script string) string {
	words := strings.Fields(script)
	nr, _ := strconv.Atoi(words[1])
	arch := syscalls.AMD64
	if words[0] == "32" {
		arch = syscalls.I386
	}
	var args [6]uint64
	for i := range args {
		v, err := strconv.ParseUint(words[2+i], 0, 64)
		if err != nil {
			t.Fatal(err)
		}
		args[i] = v
	}
	c, ok := syscalls.Lookup(arch, nr)
	if !ok {
		t.Fatalf("no call %d on %s", nr, arch)
	}
	return c.Format(args, nil, nil) + " = " + syscalls.FormatReturn(c, args, -1)
}

// newer are names that Linux got after strace 6.1 was written.
var newer = regexp.MustCompile("AT_EXECVE_CHECK|BPF_TOKEN_CREATE|F_CREATED_QUERY|F_DUPFD_QUERY|FAN_MARK_IGNORE\\b|" +
	"FAN_REPORT_|FAN_PRE_ACCESS|FSCONFIG_CMD_CREATE_EXCL|F_SEAL_EXEC|IORING_ENTER_(ABS|EXT_ARG_REG|NO_IOWAIT)|" +
	"IORING_REGISTER_(SYNC|FILE_ALLOC)|LANDLOCK_RULE_NET_PORT|MADV_(GUARD|COLLAPSE)|MAP_DROPPABLE|MFD_(NOEXEC_SEAL|EXEC)|" +
	"MOUNT_ATTR_(IDMAP|NOSYMFOLLOW)|MOVE_MOUNT_BENEATH|PIDFD_THREAD|PR_(SME|SET_MDWE|GET_MDWE|SET_MEMORY|GET_MEMORY)|" +
	"RWF_(NOAPPEND|ATOMIC|DONTCACHE)|SCHED_EXT|SO_(PASSPIDFD|PEERPIDFD)|STATX_(MNT_ID_UNIQUE|SUBVOL|WRITE_ATOMIC|DIO_READ_ALIGN|DIOALIGN)|" +
	"F_[GS]ET_(FILE_)?RW_HINT|PTRACE_GET_RSEQ|CAP_CHECKPOINT|MPOL_WEIGHTED|SHUT_|MEMBARRIER_CMD_GET_REG")

// shallow are calls of which strace shows more than the registers say, or
// that it shows otherwise for reasons of its own age.
var shallow = map[string]string{
	"socketcall":       "strace follows the pointer and shows the inner call",
	"ipc":              "strace shows the inner call",
	"set_mempolicy":    "the mode stands before its flags",
	"mbind":            "the mode stands before its flags",
	"kexec_load":       "flags of a call that needs no looking into",
	"memfd_secret":     "unknown flags without a comment",
	"fanotify_init":    "unknown flags with a comment",
	"nfsservctl":       "removed in 3.1",
	"create_module":    "removed in 2.6",
	"get_kernel_syms":  "removed in 2.6",
	"query_module":     "removed in 2.6",
	"vm86":             "16-bit code",
	"vm86old":          "16-bit code",
	"readdir":          "strace shows the count that is always 1",
	"rt_sigreturn":     "strace reads the frame from the stack",
	"sigreturn":        "strace reads the frame from the stack",
	"restart_syscall":  "strace remembers which call is restarted",
	"epoll_ctl_old":    "never implemented",
	"epoll_wait_old":   "never implemented",
	"ulimit":           "never implemented",
	"stty":             "never implemented",
	"gtty":             "never implemented",
	"profil":           "never implemented",
	"olduname":         "replaced in 1992",
	"oldolduname":      "replaced in 1992",
	"ptrace":           "strace leaves unused arguments out and knows x86-only requests",
	"syslog":           "unknown types",
	"signal":           "SIG_DFL and SIG_IGN",
	"rseq":             "32-bit arguments as longs",
	"sysfs":            "32-bit arguments as longs",
	"sethostname":      "a length beyond 32 bits",
	"setdomainname":    "a length beyond 32 bits",
	"kexec_file_load":  "length of the command line",
	"personality":      "the names of other systems",
	"setgroups":        "16-bit groups",
	"socket":           "protocols of rare families",
	"keyctl":           "operations with keys and passwords",
	"move_pages":       "lists of pages",
	"remap_file_pages": "MAP_DROPPABLE's bit",
}

// knownDifference tells what is meant to differ from strace.
func knownDifference(got, want string) bool {
	name, _, _ := strings.Cut(got, "(")
	if _, ok := shallow[name]; ok || newer.MatchString(got) {
		return true
	}
	// options that no x86 machine has, and protocols' own options
	return name == "prctl" && rarePrctl.MatchString(got) || strings.HasSuffix(name, "etsockopt") && strings.Contains(got, ", 1, 0x1000") ||
		strings.Contains(got, "FUTEX_FD_PRIVATE") || strings.Contains(got, "MREMAP_FIXED, NULL")
}

var rarePrctl = regexp.MustCompile("PR_(SET_UNALIGN|SET_FP|SET_ENDIAN|SET_MM|.ET_SPEC|.*SVE|PAC|MCE|SCHED_CORE|.ET_TAGGED|SET_TSC|SET_TIMING|SET_SYSCALL|SET_PTRACER|MPX|SET_PDEATHSIG)")

func refresh(t *testing.T) {
	t.Helper()
	script := filepath.Join(t.TempDir(), "script")
	lines := corpus()
	if err := os.WriteFile(script, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("testdata/fakecalls.sh", script).Output()
	if err != nil {
		t.Fatalf("fakecalls.sh: %v", err)
	}
	said := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(said) != len(lines) {
		t.Fatalf("strace said %d lines of %d calls", len(said), len(lines))
	}
	var b strings.Builder
	unknown := map[string]int{} // two values without a name are enough for a call
	for i, s := range said {
		name, _, _ := strings.Cut(s, "(")
		if strings.Contains(s, "_??") {
			if unknown[name]++; unknown[name] > 2 {
				continue
			}
		}
		fmt.Fprintf(&b, "%s\t%s\n", strings.TrimSuffix(lines[i], " -1"), strings.TrimSuffix(s, eperm))
	}
	if err := os.WriteFile(argsGolden, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
