package symbol

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Goroutine is what the runtime's structures tell of one goroutine.
type Goroutine struct {
	ID uint64
	// Status is the runtime's: "waiting", "syscall", "runnable", "running"...
	Status string
	// WaitSinceNS is when a garbage collection first found it blocked, in ns of
	// CLOCK_MONOTONIC: it has been waiting for at least that long. It is what
	// dumps show as "[syscall, 14 minutes]". 0: no collection has, yet.
	WaitSinceNS uint64
	// CreatedBy is the function with the go statement, ParentID the goroutine
	// that ran it (0 unknown: before Go 1.21), Start the function it started in.
	CreatedBy string
	ParentID  uint64
	Start     string
	// TID is the thread it is on; 0: none.
	TID int

	state gState
}

const (
	maxGoroutines = 1 << 16 // that are kept, some 10 MB
	maxListed     = 1 << 20 // dead ones stay listed for reuse
	maxBSS        = 64 << 20

	statusRunning = 2
	statusSyscall = 3
	statusDead    = 6
	// Go 1.26: the unused goroutine of a thread that is kept for calls from C.
	statusDeadExtra = 11
	statusScan      = 0x1000
)

// gState and mState are what is read of runtime.g and runtime.m.
type gState struct {
	addr, lo, hi, m           uint64
	schedSP, schedPC, schedLR uint64
	syscallSP, syscallPC      uint64
	status                    uint32
	id, waitSince, parent     uint64
	gopc, startPC             uint64
	onThread                  uint64
	schedSelf                 bool
	_                         [7]byte
}

type mState struct {
	addr, g0, procid, curg uint64
}

func (g *gState) holds(sp uint64) bool { return sp >= g.lo && sp < g.hi }

// goRuntime is the runtime's list of goroutines.
type goRuntime struct {
	layout   runtimeLayout
	gs       []gState
	byThread map[uint64]mState
	byAddr   map[uint64]int
	byM      map[uint64]mState
}

// Goroutines lists the goroutines that live, at most limit of them (0: all),
// in the order of the runtime's list. It works on stripped programs too: the
// list is found in the program's zero-initialised data by what it must look
// like, and every entry is checked.
func (p *GoProcess) Goroutines(limit int) ([]Goroutine, error) {
	run, err := p.runtime()
	if err != nil {
		return nil, err
	}
	var out []Goroutine
	for i := range run.gs {
		if limit > 0 && len(out) == limit {
			break
		}
		if g := &run.gs[i]; g.status != 0 && g.id != 0 {
			out = append(out, *p.describe(g))
		}
	}
	return out, nil
}

// Parked gives the chain of a goroutine that is on no thread, or in a system
// or C call: as its dump would show it.
func (p *GoProcess) Parked(g Goroutine) Stack {
	w := &walk{p: p, pc: g.state.schedPC, sp: g.state.schedSP, lr: g.state.schedLR}
	switch {
	case g.state.syscallSP != 0:
		w.pc, w.sp, w.lr = g.state.syscallPC, g.state.syscallSP, 0
	case g.state.status == statusRunning:
		return Stack{End: fmt.Sprintf("running on thread %d", g.TID), Goroutine: &g}
	}
	if !g.state.holds(w.sp) {
		return Stack{End: "its stack pointer is not on its stack", Goroutine: &g}
	}
	if f, ok := p.t.find(w.pc - p.bias); ok && f.entry == w.pc-p.bias {
		w.exact = true // not started yet
	}
	w.g = &g.state
	end := w.run(Regs{})
	s := w.render()
	s.End, s.Goroutine = end, &g
	return s
}

// describe turns a state into what callers see.
func (p *GoProcess) describe(g *gState) *Goroutine {
	names := [...]string{"idle", "runnable", "running", "syscall", "waiting", "", "dead", "", "copystack", "preempted", "leaked"}
	d := &Goroutine{ID: g.id, Status: "unknown", WaitSinceNS: g.waitSince, ParentID: g.parent, TID: int(g.onThread), state: *g}
	if int(g.status) < len(names) && names[g.status] != "" {
		d.Status = names[g.status]
	}
	if f, ok := p.t.find(g.gopc - p.bias); ok && g.gopc != 0 {
		d.CreatedBy = printName(f.name)
	}
	if f, ok := p.t.find(g.startPC - p.bias); ok && g.startPC != 0 {
		d.Start = printName(f.name)
	}
	return d
}

// runningOn gives the goroutine that thread tid runs on the stack that sp is on.
func (p *GoProcess) runningOn(tid int, sp uint64) *gState {
	run, err := p.runtime()
	if err != nil {
		return nil
	}
	for i := range run.gs {
		g := &run.gs[i]
		if g.holds(sp) && g.m != 0 && run.byM[g.m].curg == g.addr && (tid == 0 || g.onThread == uint64(tid)) {
			return g
		}
	}
	return nil
}

// userOf gives the goroutine behind a system stack: the current one of the
// thread whose system stack (g0) sp is on.
func (p *GoProcess) userOf(tid int, sp uint64) (*gState, string) {
	run, err := p.runtime()
	if err != nil {
		return nil, err.Error()
	}
	for procid, m := range run.byThread {
		if tid != 0 && procid != uint64(tid) {
			continue
		}
		g0, ok := p.readG(run.layout, m.g0)
		if !ok || g0.m != m.addr || !g0.holds(sp) {
			continue
		}
		if i, ok := run.byAddr[m.curg]; ok {
			return &run.gs[i], ""
		}
	}
	return nil, "no goroutine is known to run there"
}

// callerOfC gives the goroutine whose C call the thread is in.
func (p *GoProcess) callerOfC(tid int, sp uint64) (*gState, string) {
	run, err := p.runtime()
	if err != nil {
		return nil, err.Error()
	}
	m, ok := run.byThread[uint64(tid)]
	if !ok {
		return nil, "the thread runs no goroutine"
	}
	i, ok := run.byAddr[m.curg]
	if !ok || run.gs[i].syscallSP == 0 || run.gs[i].status != statusSyscall || !run.gs[i].holds(run.gs[i].syscallSP) {
		return nil, "its goroutine is in no C call"
	}
	g := &run.gs[i]
	f, ok := p.t.find(g.syscallPC - 1 - p.bias)
	if !ok || f.name != "runtime.cgocall" || g.holds(sp) {
		return nil, "its goroutine is in no C call"
	}
	return g, ""
}

// runtime reads the list once.
func (p *GoProcess) runtime() (*goRuntime, error) {
	if p.run == nil && p.runError == nil {
		p.run, p.runError = p.readRuntime()
	}
	return p.run, p.runError
}

func (p *GoProcess) readRuntime() (*goRuntime, error) {
	layout, ok := runtimeLayoutOf(p.t.minor)
	if !ok {
		return nil, fmt.Errorf("goroutines of %q are laid out in an unknown way", p.t.version)
	}
	list, count, err := p.findAllGs(layout)
	if err != nil {
		return nil, err
	}
	run := &goRuntime{layout: layout, byThread: map[uint64]mState{}, byAddr: map[uint64]int{}, byM: map[uint64]mState{}}
	for i := range min(count, maxListed) {
		if len(run.gs) >= maxGoroutines {
			break
		}
		addr, ok := p.mem.u64(list + 8*i)
		if !ok {
			return nil, errors.New("list of goroutines is not readable")
		}
		g, ok := p.readG(layout, addr)
		if !ok || !g.schedSelf || g.status == statusDead || g.status == statusDeadExtra {
			continue
		}
		if m, ok := p.readM(layout, g.m); ok && m.curg == addr {
			g.onThread = m.procid
			run.byThread[m.procid] = m
			run.byM[m.addr] = m
		}
		run.byAddr[addr] = len(run.gs)
		run.gs = append(run.gs, g)
	}
	return run, nil
}

// findAllGs finds runtime.allgs, a slice of pointers whose first is the main
// goroutine: number 1, which exists as long as the program.
func (p *GoProcess) findAllGs(layout runtimeLayout) (list, count uint64, err error) {
	l := moduleLayoutOf(p.t.magic)
	bss, ok1 := p.t.moduleWord(l.bss)
	end, ok2 := p.t.moduleWord(l.bss + 8)
	if !ok1 || !ok2 || bss >= end || end-bss > maxBSS || bss%8 != 0 {
		return 0, 0, errors.New("the runtime's data is not found")
	}
	const piece = 64 << 10
	buf := make([]byte, piece+16)
	for at := bss; at < end; at += piece {
		n, err := p.mem.from(at+p.bias, buf[:min(uint64(len(buf)), end-at)])
		if n < 24 {
			if err != nil {
				return 0, 0, fmt.Errorf("read the runtime's data: %w", err)
			}
			continue
		}
		for i := 0; i+24 <= n && i < piece; i += 8 {
			list, count := binary.LittleEndian.Uint64(buf[i:]), binary.LittleEndian.Uint64(buf[i+8:])
			room := binary.LittleEndian.Uint64(buf[i+16:])
			if list == 0 || list%8 != 0 || count == 0 || count > room || room > 1<<24 {
				continue
			}
			if p.isAllGs(layout, list) {
				return list, count, nil
			}
		}
	}
	return 0, 0, errors.New("the runtime's list of goroutines is not found")
}

func (p *GoProcess) isAllGs(layout runtimeLayout, list uint64) bool {
	first, ok := p.mem.u64(list)
	if !ok || first == 0 || first%8 != 0 {
		return false
	}
	g, ok := p.readG(layout, first)
	if !ok || !g.schedSelf || g.id != 1 {
		return false
	}
	f, ok := p.t.find(g.startPC - p.bias)
	return ok && f.name == "runtime.main"
}

// readG reads a goroutine; ok is false where there can be none.
func (p *GoProcess) readG(l runtimeLayout, addr uint64) (g gState, ok bool) {
	var b [gSize]byte
	if addr == 0 || addr%8 != 0 || !p.mem.read(addr, b[:]) {
		return g, false
	}
	w := func(off uint64) uint64 { return binary.LittleEndian.Uint64(b[off:]) }
	g = gState{
		addr: addr, lo: w(gStackLo), hi: w(gStackHi), m: w(gM),
		schedSP: w(gSchedSP), schedPC: w(gSchedPC), schedLR: w(l.gobufLR),
		syscallSP: w(l.syscallSP), syscallPC: w(l.syscallSP + 8),
		status: uint32(w(l.status)) &^ statusScan, id: w(l.status + 8), waitSince: w(l.status + 24),
		gopc: w(l.gopc), startPC: w(l.gopc + 16), schedSelf: w(gSchedG) == addr,
	}
	if l.parent != 0 {
		g.parent = w(l.parent)
	}
	if g.status != statusSyscall {
		g.syscallSP = 0
	}
	return g, g.lo <= g.hi
}

// readM reads a thread's structure.
func (p *GoProcess) readM(l runtimeLayout, addr uint64) (m mState, ok bool) {
	var b [mSize]byte
	if addr == 0 || addr%8 != 0 || !p.mem.read(addr, b[:]) {
		return m, false
	}
	w := func(off uint64) uint64 { return binary.LittleEndian.Uint64(b[off:]) }
	return mState{addr: addr, g0: w(mG0), procid: w(l.procid), curg: w(l.curg)}, true
}
