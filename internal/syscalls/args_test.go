package syscalls_test

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/hangtrace/hangtrace/internal/syscalls"
)

var update = flag.Bool("update", false, "ask the installed strace and gcc again")

const argsGolden = "testdata/args.golden"

// badPointer is an address that nothing can read: strace prints it as such.
const badPointer = 0x1000

// corpus makes calls of every number with values that show every name of every
// set, one register varied at a time. They fail with EPERM, so that nothing is
// decoded but the registers.
func corpus() []string {
	var out []string
	for _, arch := range []syscalls.Arch{syscalls.AMD64, syscalls.I386} {
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
				for _, v := range values(arch, a) {
					args := base
					args[i] = v
					out = append(out, scriptLine(arch, c.NR, args))
				}
			}
		}
	}
	return out
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

func values(arch syscalls.Arch, a syscalls.Arg) []uint64 {
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
		got := render(t, script)
		if got == want || knownDifference(got, want) {
			continue
		}
		if bad++; bad <= 40000 {
			t.Errorf("%s\n got %s\nwant %s", script, got, want)
		}
	}
	if lines < 1000 {
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

// knownDifference names what is meant to differ from strace.
func knownDifference(got, want string) bool {
	return false
}

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
		os.WriteFile("/tmp/said.txt", out, 0o644)
		os.WriteFile("/tmp/script.txt", []byte(strings.Join(lines, "\n")+"\n"), 0o644)
		t.Fatalf("strace said %d lines of %d calls", len(said), len(lines))
	}
	var b strings.Builder
	for i, s := range said {
		fmt.Fprintf(&b, "%s\t%s\n", lines[i], s)
	}
	if err := os.WriteFile(argsGolden, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
