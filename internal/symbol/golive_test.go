package symbol

import (
	"bytes"
	"os"
	"reflect"
	"sort"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDump compares the chain of every thread of a program with the program's
// own dump, frame by frame.
func TestDump(t *testing.T) {
	for _, tc := range toolchains(t) {
		for _, v := range tc.variants() {
			if v.name == "static-cgo" && tc.name != "" {
				continue // without C code such programs crash at start, up to Go 1.20
			}
			t.Run(tc.label(v), func(t *testing.T) {
				t.Parallel()
				checkAll(t, start(t, build(t, tc.root, "goprog", v.env, v.flags...)))
			})
		}
	}
}

// checkAll compares all threads and all parked goroutines.
func checkAll(t *testing.T, v *victim) {
	table, bias := v.table(t)
	p := table.Process(v.memory(t), bias)
	names := make([]string, 0, len(v.threads))
	for name := range v.threads {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		s := p.Thread(v.threads[name], v.regs(t, v.threads[name]))
		if s.Goroutine == nil {
			t.Errorf("%s: no goroutine\n%s", name, s.format())
			continue
		}
		if err := sameAsDump(s, v.dump[s.Goroutine.ID]); err != nil {
			t.Errorf("%s: goroutine %d: %v\n%s", name, s.Goroutine.ID, err, s.format())
		}
		checkGoroutine(t, v, name, s.Goroutine)
	}
	checkNoSections(t, v, p)
	t.Logf("%s: %d threads, %d functions", table.Version(), len(names), table.Functions())
	checkParked(t, v, p)
}

func checkGoroutine(t *testing.T, v *victim, name string, g *Goroutine) {
	d := v.dump[g.ID]
	if g.CreatedBy != d.CreatedBy && d.CreatedBy != "" {
		t.Errorf("%s: created by %q, want %q", name, g.CreatedBy, d.CreatedBy)
	}
	if g.TID != v.threads[name] {
		t.Errorf("%s: on thread %d, want %d", name, g.TID, v.threads[name])
	}
	if !strings.Contains(d.Header, "["+g.Status) {
		t.Errorf("%s: status %q, want that of %q", name, g.Status, d.Header)
	}
	var now unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	if ns := uint64(now.Nano()); v.threads["plain"] != 0 && (g.WaitSinceNS == 0 || g.WaitSinceNS > ns || ns-g.WaitSinceNS > 120e9) {
		t.Errorf("%s: waits since %d, now is %d", name, g.WaitSinceNS, ns)
	}
}

func checkParked(t *testing.T, v *victim, p *GoProcess) {
	all, err := p.Goroutines(0)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint64]bool{}
	for _, g := range all {
		seen[g.ID] = true
		if d, ok := v.dump[g.ID]; ok && g.Status != "running" && g.ID != 1 {
			if err := sameAsDump(p.Parked(g), d); err != nil {
				t.Errorf("goroutine %d (%s): %v\n%s", g.ID, d.Header, err, p.Parked(g).format())
			}
		}
	}
	for id, d := range v.dump {
		if !seen[id] {
			t.Errorf("goroutine %d (%s) was not found", id, d.Header)
		}
	}
}

// checkNoSections takes the section headers away too.
func checkNoSections(t *testing.T, v *victim, p *GoProcess) {
	b, err := os.ReadFile(v.exe)
	if err != nil {
		t.Fatal(err)
	}
	clear(b[0x28:0x30]) // e_shoff
	clear(b[0x3a:0x40]) // e_shentsize, e_shnum, e_shstrndx
	table, err := OpenGo(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Errorf("without section headers: %v", err)
		return
	}
	q := table.Process(p.mem.from, p.bias)
	for name, tid := range v.threads {
		regs := v.regs(t, tid)
		want, got := p.Thread(tid, regs), q.Thread(tid, regs)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: without section headers\n%s\nwant\n%s", name, got.format(), want.format())
		}
	}
}
