package symbol

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

const kallsymsText = `0000000000000000 A fixed_percpu_data
ffffffff81000000 T _text
ffffffff81000000 T startup_64
ffffffff81000100 t do_syscall_64
ffffffff81000180 W arch_idle
ffffffff81000200 T _etext
ffffffff82000000 D jiffies
ffffffffc0a01230 t ceph_mdsc_wait_request	[ceph]
ffffffffc0a01000 t ceph_open	[ceph]
ffffffffc0b00000 t request_wait_answer	[fuse]
ffffffffc0c00000 t bpf_prog_0123_tick	[bpf]
`

func TestKallsymsLookup(t *testing.T) {
	k, err := ParseKallsyms(strings.NewReader(kallsymsText))
	if err != nil {
		t.Fatal(err)
	}
	if k.Len() != 8 {
		t.Errorf("%d functions, want 8", k.Len())
	}
	for addr, want := range map[uint64]string{
		0:                  "",
		0xffffffff80ffffff: "",
		0xffffffff81000000: "_text+0x0", // the first alias wins, as in the kernel
		0xffffffff8100017f: "do_syscall_64+0x7f",
		0xffffffff81000180: "arch_idle+0x0",
		0xffffffff81000210: "", // behind _etext
		0xffffffff82000004: "", // data
		0xffffffffc0a012d5: "ceph_mdsc_wait_request+0xa5 [ceph]",
		0xffffffffc0a01010: "ceph_open+0x10 [ceph]",
		0xffffffffc0c00010: "bpf_prog_0123_tick+0x10 [bpf]",
		0xffffffffffffffff: "", // far behind the last symbol
	} {
		if got := k.Lookup(addr); got != want {
			t.Errorf("Lookup(%#x) = %q, want %q", addr, got, want)
		}
	}
}

func TestKallsymsErrors(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"empty":      {"", ErrNoSymbols},
		"data only":  {"ffffffff82000000 D jiffies\n", ErrNoSymbols},
		"restricted": {"0000000000000000 T _text\n0000000000000000 t ceph_open\t[ceph]\n", ErrRestricted},
		"too long":   {"ffffffff81000000 T " + strings.Repeat("a", 64<<10) + "\n", ErrNoSymbols},
		"noise":      {"\n\nx\nzz T a\n T \nffffffff81000000 T \n", ErrNoSymbols},
	} {
		if _, err := ParseKallsyms(strings.NewReader(c.text)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	broken := errors.New("disk on fire")
	if _, err := ParseKallsyms(failing{broken}); !errors.Is(err, broken) {
		t.Errorf("read error lost: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestKallsymsOfThisKernel(t *testing.T) {
	text, err := os.ReadFile("/proc/kallsyms")
	if err != nil {
		t.Skip(err)
	}
	k, err := ParseKallsyms(bytes.NewReader(text))
	if errors.Is(err, ErrRestricted) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	held := len(k.symbols)*16 + cap(k.names)
	t.Logf("%d functions in %d MB of text, %d KB held", k.Len(), len(text)>>20, held>>10)
	if held > 16<<20 {
		t.Errorf("table holds %d bytes", held)
	}
	for _, line := range strings.SplitAfter(string(text), "\n") {
		f := strings.Fields(line)
		if len(f) == 3 && f[2] == "do_sys_openat2" {
			var addr uint64
			fmt.Sscanf(f[0], "%x", &addr)
			if got := k.Lookup(addr + 1); got != "do_sys_openat2+0x1" {
				t.Errorf("Lookup(do_sys_openat2+1) = %q", got)
			}
		}
	}
}

func TestParseKernelFrame(t *testing.T) {
	for line, want := range map[string]KernelFrame{
		"[<0>] request_wait_answer+0x1e/0x40 [fuse]":          {"request_wait_answer", 0x1e, 0x40, "fuse"},
		"[<ffffffff81234567>] walk_component+0x66/0x1b0":      {"walk_component", 0x66, 0x1b0, ""},
		"ceph_mdsc_wait_request+0xa5 [ceph]":                  {"ceph_mdsc_wait_request", 0xa5, 0, "ceph"},
		"foo.isra.0+0x1/0x2 [ceph 0123456789abcdef01234567]":  {"foo.isra.0", 1, 2, "ceph"},
		"? do_exit+0x10/0x20":                                 {"do_exit", 0x10, 0x20, ""},
		"request_wait_answer":                                 {"request_wait_answer", 0, 0, ""},
		"folio_wait_bit_common\n":                             {"folio_wait_bit_common", 0, 0, ""},
		"bpf_prog_0123456789abcdef_sys_enter+0x1a/0x40 [bpf]": {"bpf_prog_0123456789abcdef_sys_enter", 0x1a, 0x40, "bpf"},
		"": {}, "0": {}, "0xffffffff81234567": {}, "[<0>]": {}, "[<0": {}, "foo+0xzz": {}, "foo+0x1/0xq": {},
	} {
		got, ok := ParseKernelFrame(line)
		if got != want || ok != (want.Name != "") {
			t.Errorf("ParseKernelFrame(%q) = %+v, %v, want %+v", line, got, ok, want)
		}
	}
	if got := (KernelFrame{Name: "ceph_get_caps.part.0.cold"}).Function(); got != "ceph_get_caps" {
		t.Errorf("Function() = %q", got)
	}
}

func FuzzParseKallsyms(f *testing.F) {
	f.Add([]byte(kallsymsText), uint64(0xffffffff81000100))
	f.Add([]byte("ffffffff81000000 T a\nffffffff81000000 T b\n"), uint64(0))
	f.Fuzz(func(t *testing.T, text []byte, addr uint64) {
		k, err := ParseKallsyms(bytes.NewReader(text))
		if err != nil {
			return
		}
		for i := 1; i < len(k.symbols); i++ {
			if k.symbols[i-1].addr >= k.symbols[i].addr {
				t.Fatal("not sorted")
			}
		}
		frame, ok := k.Find(addr)
		if s := k.Lookup(addr); ok != (s != "") {
			t.Fatalf("Find %+v, Lookup %q", frame, s)
		}
	})
}

func FuzzParseKernelFrame(f *testing.F) {
	f.Add("[<0>] request_wait_answer+0x1e/0x40 [fuse]")
	f.Add("? x+0x")
	f.Fuzz(func(t *testing.T, line string) {
		frame, ok := ParseKernelFrame(line)
		if ok == (frame.Name == "") {
			t.Fatalf("%+v, %v", frame, ok)
		}
	})
}
