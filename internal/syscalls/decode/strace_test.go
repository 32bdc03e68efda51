package decode

import (
	"bufio"
	hexcode "encoding/hex"
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

const golden = "testdata/lines.golden"

// runs are strace's flags of the golden lines, with ours for the same.
var runs = []struct {
	flags string
	opts  Options
}{
	{"", Options{}},
	{"-v -s4096", Options{Verbose: true, StringLimit: 4096}},
}

// segment is memory of a script line.
type segment struct {
	addr uint64
	b    []byte
}

func memory(segments []segment) Memory {
	return func(addr uint64, n int) []byte {
		for i := len(segments) - 1; i >= 0; i-- { // the last poke wins
			s := segments[i]
			if addr >= s.addr && addr < s.addr+uint64(len(s.b)) {
				b := s.b[addr-s.addr:]
				return b[:min(n, len(b))]
			}
		}
		if addr >= arena && addr < arena+1<<20 {
			return make([]byte, min(n, 16)) // the arena is zero elsewhere
		}
		return nil
	}
}

// parseScript turns a script line into what the tracer would have captured.
func parseScript(t *testing.T, script string) Input {
	t.Helper()
	words := strings.Fields(script)
	arch := syscalls.AMD64
	if words[0] == "32" {
		arch = syscalls.I386
	}
	nr, err := strconv.Atoi(words[1])
	if err != nil {
		t.Fatal(err)
	}
	call, ok := syscalls.Lookup(arch, nr)
	if !ok {
		t.Fatalf("no call %d", nr)
	}
	in := Input{Call: call, Returned: true}
	for i := range in.Args {
		if in.Args[i], err = strconv.ParseUint(words[2+i], 0, 64); err != nil {
			t.Fatal(err)
		}
	}
	if in.Ret, err = strconv.ParseInt(words[8], 0, 64); err != nil {
		t.Fatal(err)
	}
	var entry, exit []segment
	for _, w := range words[9:] {
		addr, text, _ := strings.Cut(w[1:], "=")
		a, err := strconv.ParseUint(addr, 0, 64)
		if err != nil {
			t.Fatal(err)
		}
		b, err := hexcode.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if w[0] == '<' {
			entry = append(entry, segment{a, b})
		} else {
			exit = append(exit, segment{a, b})
		}
	}
	in.Entry, in.Exit = memory(entry), memory(append(entry[:len(entry):len(entry)], exit...))
	return in
}

// TestLinesAsStrace compares whole lines with those of strace 6.1 for the same
// registers and memory.
func TestLinesAsStrace(t *testing.T) {
	if *update {
		refresh(t)
	}
	f, err := os.Open(golden)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, bad := 0, 0
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		parts := strings.Split(sc.Text(), "\t")
		if len(parts) != 3 {
			t.Fatalf("golden line %q", sc.Text())
		}
		lines++
		for _, r := range runs {
			if r.flags != parts[0] {
				continue
			}
			in := parseScript(t, parts[1])
			got := Line(in, r.opts)
			if got == parts[2] || different[in.Call.Name] != "" {
				continue
			}
			if bad++; bad <= 200 {
				t.Errorf("%s %s\n got %s\nwant %s", parts[0], parts[1], got, parts[2])
			}
		}
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	if lines < 500 {
		t.Fatalf("%d lines in %s", lines, golden)
	}
	t.Logf("%d lines, %d differ", lines, bad)
}

// different are calls that are meant to differ from strace, with the reason.
var different = map[string]string{
	"exit_group": "it does return in the test",
}

func refresh(t *testing.T) {
	t.Helper()
	t.Setenv("TZ", "UTC")
	lines := append(buildCorpus(syscalls.AMD64), buildCorpus(syscalls.I386)...)
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, r := range runs {
		args := append([]string{script}, strings.Fields(r.flags)...)
		out, err := exec.Command("../testdata/fakecalls.sh", args...).Output()
		if err != nil {
			t.Fatalf("fakecalls.sh: %v", err)
		}
		said := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
		if len(said) != len(lines) {
			t.Fatalf("strace said %d lines of %d calls", len(said), len(lines))
		}
		for i, s := range said {
			fmt.Fprintf(&b, "%s\t%s\t%s\n", r.flags, lines[i], s)
		}
	}
	if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
