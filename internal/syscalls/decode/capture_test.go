package decode

import (
	"bufio"
	"os"
	"strings"
	"testing"

	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// tracer collects what a tracer that follows Needs would have captured.
type tracer struct {
	in   Input
	full Memory
	data int // bound of contents
	word uint64
	got  []segment
}

func (r *tracer) take(addr uint64, n int) []byte {
	if n <= 0 || addr == 0 {
		return nil
	}
	b := append([]byte(nil), r.full(addr, n)...)
	if len(b) > 0 {
		r.got = append(r.got, segment{addr, b})
	}
	return b
}

func (r *tracer) str(addr uint64, max int) {
	b := r.full(addr, max+1)
	for i, c := range b {
		if c == 0 {
			r.take(addr, i+1)
			return
		}
	}
	r.take(addr, len(b))
}

func (r *tracer) long(b []byte, n int) uint64 {
	return view{b: b, long: int(r.word)}.ulong(n)
}

func (r *tracer) iovecs(addr uint64, n int) {
	for i := range min(n, maxElements+1) {
		if b := r.take(addr+uint64(i)*2*r.word, int(2*r.word)); b != nil {
			r.take(r.long(b, 0), min(clamp(r.long(b, 1)), r.data))
		}
	}
}

func (r *tracer) msghdr(addr uint64) {
	b := r.take(addr, int(7*r.word))
	if b == nil {
		return
	}
	r.take(r.long(b, 0), clamp(uint64(uint32(r.long(b, 1)))))
	r.iovecs(r.long(b, 2), clamp(r.long(b, 3)))
	r.take(r.long(b, 4), clamp(r.long(b, 5)))
}

func (r *tracer) capture(c Capture) {
	addr := r.in.Args[c.Arg]
	if r.word == 4 {
		addr = uint64(uint32(addr))
	}
	n := 1
	if c.LenArg >= 0 {
		n = clamp(r.in.Args[c.LenArg])
		if r.word == 4 {
			n = clamp(uint64(uint32(r.in.Args[c.LenArg])))
		}
	}
	bound := func(n int) int {
		if c.Data {
			return min(n, r.data)
		}
		return n
	}
	switch c.Rule {
	case RuleString:
		r.str(addr, c.Size)
	case RuleFixed:
		r.take(addr, c.Size)
	case RuleArg:
		r.take(addr, bound(n*c.Size))
	case RuleReturn:
		if r.in.Ret >= 0 {
			r.take(addr, bound(clamp(uint64(r.in.Ret))*c.Size))
		}
	case RulePointed:
		if b := r.full(r.in.Args[c.LenArg], 4); len(b) >= 4 {
			r.take(addr, bound(clamp(uint64(view{b: b}.u32(0)))))
		}
	case RuleIovec:
		r.iovecs(addr, n)
	case RuleMsghdr:
		r.msghdr(addr)
	case RuleMmsghdr:
		size := 8 * r.word
		for i := range min(n, maxElements+1) {
			r.msghdr(addr + uint64(i)*size)
			r.take(addr+uint64(i)*size, int(size))
		}
	case RuleStrings:
		for i := range maxElements + 1 {
			b := r.take(addr+uint64(i)*r.word, int(r.word))
			if b == nil || r.long(b, 0) == 0 {
				return
			}
			r.str(r.long(b, 0), r.data)
		}
	}
}

// TestNeedsIsEnough shows every golden line again with no more memory than
// Needs asks for.
func TestNeedsIsEnough(t *testing.T) {
	f, err := os.Open(golden)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		parts := strings.Split(sc.Text(), "\t")
		if parts[0] != "" {
			continue
		}
		in := parseScript(t, parts[1])
		want := Line(in, Options{})
		caps := Needs(in.Call)
		entry := tracer{in: in, full: in.Entry, data: defaultStringLimit, word: uint64(in.Call.Arch.Bits() / 8)}
		exit := entry
		exit.full = in.Exit
		for _, c := range caps {
			if c.When&AtEntry != 0 {
				entry.capture(c)
			}
			if c.When&AtExit != 0 && (in.Ret >= 0 || in.Ret < -4095 || c.AtError) {
				exit.capture(c)
			}
		}
		in.Entry, in.Exit = captured(entry.got), captured(exit.got)
		if got := Line(in, Options{}); got != want {
			t.Errorf("%v\n got %s\nwant %s", caps, got, want)
		}
	}
}

// captured is memory of which nothing but the segments is known.
func captured(segments []segment) Memory {
	return func(addr uint64, n int) []byte {
		var best []byte
		for _, s := range segments {
			if addr >= s.addr && addr < s.addr+uint64(len(s.b)) {
				if b := s.b[addr-s.addr:]; len(b) > len(best) {
					best = b[:min(n, len(b))]
				}
			}
		}
		return best
	}
}

func TestNeeds(t *testing.T) {
	for _, tc := range []struct {
		name string
		want []Capture
	}{
		{"newfstatat", []Capture{
			{Arg: 1, When: AtEntry, Rule: RuleString, Size: pathMax, LenArg: -1},
			{Arg: 2, When: AtExit, Rule: RuleFixed, Size: 144, LenArg: -1}}},
		{"read", []Capture{{Arg: 1, When: AtExit, Rule: RuleReturn, Size: 1, LenArg: -1, Data: true}}},
		{"write", []Capture{{Arg: 1, When: AtEntry, Rule: RuleArg, Size: 1, LenArg: 2, Data: true}}},
		{"getdents64", []Capture{{Arg: 1, When: AtExit, Rule: RuleReturn, Size: 1, LenArg: -1}}},
		{"getpid", nil},
	} {
		c, _ := syscalls.ByName(syscalls.AMD64, tc.name)
		got := Needs(c)
		if len(got) != len(tc.want) {
			t.Errorf("%s: %+v", tc.name, got)
			continue
		}
		for i := range got {
			if got[i] != tc.want[i] {
				t.Errorf("%s: %+v, want %+v", tc.name, got[i], tc.want[i])
			}
		}
	}
	most := map[int][]string{}
	for _, arch := range []syscalls.Arch{syscalls.AMD64, syscalls.ARM64, syscalls.I386, syscalls.ARM} {
		for _, c := range syscalls.All(arch) {
			n := len(Needs(c))
			most[n] = append(most[n], string(arch)+" "+c.Name)
			if n > MaxCaptures {
				t.Errorf("%s %s needs %d captures", arch, c.Name, n)
			}
		}
	}
	for n := 4; n <= MaxCaptures; n++ {
		t.Logf("%d captures: %v", n, most[n])
	}
}
