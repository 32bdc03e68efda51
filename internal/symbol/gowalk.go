package symbol

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	// maxPhysical bounds a walk. A goroutine may be deeper (its stack may
	// grow to 1 GB); its outermost callers are then not found.
	maxPhysical = 1 << 16
	// Of a deep chain these many frames are kept at its two ends: what blocks,
	// and on whose behalf.
	keepInner, keepOuter = 448, 64
	// maxSwitches bounds how often a chain may change stacks.
	maxSwitches = 8
)

// Regs are the registers a chain starts from.
type Regs struct {
	PC, SP uint64
	// BP is the frame pointer (rbp, x29); only needed for C code. 0: unknown.
	BP uint64
	// LR is the link register (x30) of arm64: the only place where the caller
	// of a leaf function is kept. 0: unknown.
	LR uint64
}

// Frame is one call of a chain.
type Frame struct {
	// PC is where the frame runs (the first) or will return to; SP is the stack
	// pointer there. Both are 0 in frames that stand for code not looked at.
	PC, SP uint64
	// Function is the name as a goroutine dump shows it; "" when unknown.
	Function string
	File     string // "" when unknown
	Line     int    // 0 when unknown
	// Inlined marks a call that has no frame of its own.
	Inlined bool
	// Runtime marks what the Go runtime's own dump leaves out.
	Runtime bool
	// Via says how the chain got here when not by a return address:
	// "systemstack", "morestack", "signal", "cgo call"; or "frame pointer", where
	// a caller in between may be missing because the callee keeps none.
	Via string
	// Module and Offset tell where code that is not Go is, BuildID of which build
	// the module is if the code has no name.
	Module  string
	Offset  uint64 // from the start of the module, as its symbols count
	BuildID string
	// Into is how far into Function the code is, if Module is set.
	Into uint64
}

// Stack is the chain of calls of one thread or goroutine.
type Stack struct {
	Frames []Frame // innermost first
	// Elided is the number of frames (not counting inlined ones) that are left
	// out behind Frames[ElidedAt-1], because the chain is too deep to be kept.
	Elided, ElidedAt int
	// End is "" for a complete chain, else why it ends where it does.
	End string
	// Goroutine is the one the thread runs, where that is known for sure.
	Goroutine *Goroutine
}

// Unwind gives the chain of a thread that does not run. bias is what was added
// to the binary's addresses. Where the thread is on a system stack, the chain
// goes on to the goroutine only if the runtime's structures can be read.
func (t *GoTable) Unwind(regs Regs, mem Memory, bias uint64) Stack {
	return t.Process(mem, bias).Thread(0, regs)
}

// GoProcess is a running Go program.
type GoProcess struct {
	t    *GoTable
	mem  *memory
	bias uint64
	// Native, if set, is asked for the chain of C code a thread is in, until
	// inGo says that it came to Go code.
	Native func(regs Regs, inGo func(pc uint64) bool) []Frame

	run      *goRuntime
	runError error
}

// Process binds the table to a process. What it reads of the memory it keeps:
// make a new one for every look at the process.
func (t *GoTable) Process(mem Memory, bias uint64) *GoProcess {
	return &GoProcess{t: t, mem: newMemory(mem), bias: bias}
}

// physical is a frame before inlined calls are put in.
type physical struct {
	pc, sp uint64
	exact  bool   // pc runs; else it is a return address
	vague  bool   // the function is known, the place in it is not
	via    string // see Frame
	native *Frame
}

// walk is the state of one walk: where the next frame is.
type walk struct {
	p        *GoProcess
	tid      int
	pc, sp   uint64
	lr       uint64 // arm64, innermost or interrupted frame: 0 unknown
	exact    bool
	vague    bool
	via      string
	callee   string // name of the frame before
	switches int
	frames   []physical
	g        *gState // the goroutine that the chain is known to belong to
}

// Thread gives the chain of thread tid, which must not run. With tid 0 a
// system stack is recognised by its address alone.
func (p *GoProcess) Thread(tid int, regs Regs) Stack {
	w := &walk{p: p, tid: tid, pc: regs.PC, sp: regs.SP, lr: regs.LR, exact: true}
	end := w.run(regs)
	s := w.render()
	s.End = end
	if w.g == nil && len(w.frames) > 0 {
		// The last frame's stack: a signal may have come in between.
		w.g = p.runningOn(tid, w.frames[len(w.frames)-1].sp)
	}
	if w.g != nil {
		s.Goroutine = p.describe(w.g)
	}
	return s
}

// Saw has f told which memory decides about chains.
func (p *GoProcess) Saw(f func(addr uint64, n int)) { p.mem.saw = f }

// Chain is Thread without the goroutine, and ends where only the runtime's
// structures tell how it goes on: for memory that is of the stack alone.
func (p *GoProcess) Chain(regs Regs) Stack {
	if p.run == nil && p.runError == nil {
		p.runError = errors.New("the runtime's structures are not looked at")
	}
	return p.Thread(0, regs)
}

func (p *GoProcess) arm() bool { return p.t.img.machine == elf.EM_AARCH64 }

// run walks until the chain ends, and says why it does.
func (w *walk) run(regs Regs) (end string) {
	for len(w.frames) < maxPhysical {
		s, ok := w.at()
		if !ok {
			if end, crossed := w.outside(regs); !crossed {
				return end
			}
			continue
		}
		w.frames = append(w.frames, physical{pc: w.pc, sp: w.sp, exact: w.exact, vague: w.vague, via: w.via})
		if done, end := w.step(s); done {
			return end
		}
	}
	return fmt.Sprintf("deeper than %d frames", maxPhysical)
}

// at looks up the current frame's function and SP delta.
func (w *walk) at() (step, bool) {
	key := (w.pc - w.p.bias) << 1
	if w.exact {
		key |= 1
	}
	s, ok := w.p.t.steps[key]
	if ok {
		return s, true
	}
	look := w.lookup(physical{pc: w.pc, exact: w.exact})
	if s.fn, ok = w.p.t.find(look); !ok {
		return s, false
	}
	s.delta = -1
	if d, ok := w.p.t.pcvalue(s.fn, s.fn.pcsp, look); ok {
		s.delta = d
	}
	if len(w.p.t.steps) >= maxCached {
		clear(w.p.t.steps)
	}
	w.p.t.steps[key] = s
	return s, true
}

// lookup gives the address, in the binary, of the instruction that a frame
// stands for.
func (w *walk) lookup(f physical) uint64 {
	pc := f.pc - w.p.bias
	if f.exact {
		if w.p.behindSyscall(pc) {
			return pc - 1
		}
		return pc
	}
	if fn, ok := w.p.t.find(pc); ok && fn.entry == pc && madeUpCaller(fn.name) {
		return pc
	}
	return pc - 1
}

// step moves to the caller of the current frame.
func (w *walk) step(s step) (done bool, end string) {
	f := s.fn
	innermost := w.exact
	if crossed, end := w.switchStack(s); end != "" {
		return true, end
	} else if crossed {
		return false, ""
	}
	if isTop(f) {
		return true, ""
	}
	if end := w.stackMoves(f, innermost); end != "" {
		return true, end
	}
	ret, sp, end := w.caller(s)
	if end != "" {
		return true, end
	}
	injected := isInjected(f.name)
	if !injected && !w.p.plausibleReturn(ret) {
		return true, fmt.Sprintf("return address %#x of %s does not follow a call", ret, f.name)
	}
	w.pc, w.sp, w.exact, w.via, w.lr, w.callee = ret, sp, injected, "", 0, f.name
	if injected && w.p.arm() {
		return w.injectedARM()
	}
	return false, ""
}

// caller reads the return address of the current frame.
func (w *walk) caller(s step) (ret, sp uint64, end string) {
	f := s.fn
	w.vague = false
	switch {
	case f.pcsp == 0:
		return 0, 0, fmt.Sprintf("no frame information for %s", f.name)
	case w.sp%8 != 0 || s.delta%8 != 0 || s.delta < -8 || s.delta == -8 && w.p.arm():
		return 0, 0, fmt.Sprintf("stack pointer of %s is unknown", f.name)
	}
	if w.p.arm() {
		return w.callerARM(s)
	}
	if s.delta == -8 {
		// vfork: the return address is in a register while the child uses the
		// stack. What the child leaves in its place is a return address of the
		// same caller (rawVforkSyscall, forkAndExecInChild1).
		w.vague = true
	}
	sp = w.sp + uint64(int64(s.delta)) + 8
	ret, ok := w.p.mem.u64(sp - 8)
	if !ok {
		return 0, 0, w.p.unreadable(sp-8, f)
	}
	return ret, sp, ""
}

func (p *GoProcess) unreadable(addr uint64, f goFunc) string {
	if p.mem.err != nil {
		return fmt.Sprintf("stack of %s at %#x: %v", f.name, addr, p.mem.err)
	}
	return fmt.Sprintf("stack of %s at %#x is not readable", f.name, addr)
}

// isTop tells whether a stack begins in f.
func isTop(f goFunc) bool {
	switch f.name {
	case "runtime.goexit", "runtime.mstart", "runtime.rt0_go", "runtime.mcall":
		// mcall leaves the goroutine for good: who called it runs elsewhere by
		// now, or not at all.
		return true
	}
	return f.flags&flagTopFrame != 0
}

// stackMoves says why the caller of f is not where its SP delta says, if so.
func (w *walk) stackMoves(f goFunc, innermost bool) string {
	moves := f.flags&flagSPWrite != 0
	switch f.name {
	case "runtime.cgocallback", "runtime.cgocallback_gofunc":
		return "" // arranges that both stacks can be unwound through it
	case "runtime.asmcgocall":
		// Up to Go 1.16 a callback from C shows the goroutine as it left it here.
		moves = w.callee != "runtime.cgocallback" && w.callee != "runtime.cgocallback_gofunc"
	case "runtime.systemstack", "runtime.morestack", "runtime.gogo":
		moves = true // also before Go 1.17, which has no flags
	}
	switch {
	case !moves:
		return ""
	case innermost:
		return fmt.Sprintf("in %s, which switches stacks", f.name)
	default:
		return fmt.Sprintf("ends at %s: switched stack", f.name)
	}
}

// madeUpCaller names the functions whose entry the runtime writes on stacks as
// a return address.
func madeUpCaller(name string) bool {
	switch name {
	case "runtime.mstart", "runtime.systemstack_switch", "runtime.goexit",
		"runtime.sigreturn", "runtime.sigreturn__sigaction":
		return true
	}
	return false
}

// isInjected names the functions that a signal handler makes a goroutine call
// between two instructions.
func isInjected(name string) bool {
	switch name {
	case "runtime.sigpanic", "runtime.asyncPreempt", "runtime.debugCallV1", "runtime.debugCallV2":
		return true
	}
	return false
}

// plausibleReturn checks that ret is an address calls return to: else the walk
// has left the path, or the stack changed under it.
func (p *GoProcess) plausibleReturn(ret uint64) bool {
	pc := ret - p.bias
	if f, ok := p.t.find(pc); ok && madeUpCaller(f.name) {
		return true
	} else if !ok {
		// The end of a function that does not return may be the end of all; and
		// C code calls Go. Whether that is so is checked by the caller.
		return true
	}
	if p.t.img.followsCall(pc) {
		return true
	}
	// Up to Go 1.17 a deferred function returns to the call of deferreturn
	// itself, which then runs the next one (jmpdefer).
	if p.t.minor > 17 {
		return false
	}
	if p.arm() {
		return p.t.img.followsCall(pc + 4)
	}
	return p.t.img.followsCall(pc + 5)
}

// followsCall tells whether the instruction before pc is a call.
func (m *image) followsCall(pc uint64) bool {
	if m.machine == elf.EM_AARCH64 {
		var b [4]byte
		if !m.read(pc-4, b[:]) {
			return false
		}
		op := binary.LittleEndian.Uint32(b[:])
		return op&0xfc000000 == 0x94000000 || op&0xfffffc1f == 0xd63f0000 // BL, BLR
	}
	var b [7]byte
	if !m.read(pc-7, b[:]) {
		return false
	}
	if b[2] == 0xe8 { // CALL rel32
		return true
	}
	for _, n := range []int{2, 3, 4, 6, 7} { // CALL r/m64, by length
		if b[7-n] == 0xff && b[8-n]>>3&7 == 2 {
			return true
		}
	}
	return false
}

// behindSyscall tells whether the instruction before pc entered the kernel: a
// thread in a system call is still there.
func (p *GoProcess) behindSyscall(pc uint64) bool {
	var b [4]byte
	if p.arm() {
		return p.t.img.read(pc-4, b[:]) && binary.LittleEndian.Uint32(b[:]) == 0xd4000001
	}
	return p.t.img.read(pc-2, b[:2]) && b[0] == 0x0f && b[1] == 0x05
}

// render puts the inlined calls in and leaves the wrappers out.
func (w *walk) render() (s Stack) {
	skipFrom, skipTo := len(w.frames), len(w.frames)
	if len(w.frames) > keepInner+keepOuter {
		skipFrom, skipTo = keepInner, len(w.frames)-keepOuter
		s.Elided = skipTo - skipFrom
	}
	callee := ""
	for i, f := range w.frames {
		if i >= skipFrom && i < skipTo {
			s.ElidedAt = len(s.Frames)
			continue
		}
		if f.native != nil {
			s.Frames = append(s.Frames, *f.native)
			callee = ""
			continue
		}
		via := f.via
		for _, c := range w.calls(f) {
			hide := c.funcID != 0 && c.funcID == w.p.t.wrapper && !panics(callee)
			callee = c.name
			if hide {
				continue
			}
			s.Frames = append(s.Frames, Frame{
				PC: f.pc, SP: f.sp, Function: printName(c.name), File: c.file, Line: c.line, Inlined: c.inlined,
				Runtime: internalToRuntime(c.name, len(s.Frames) > 0), Via: via,
			})
			via = ""
		}
	}
	return s
}

// calls gives the calls of the source that a frame stands for.
func (w *walk) calls(f physical) []call {
	look := w.lookup(f)
	fn, ok := w.p.t.find(look)
	if !ok {
		return nil
	}
	if f.vague {
		return []call{{name: fn.name, funcID: fn.funcID}}
	}
	return w.p.t.expand(fn, look)
}

// panics names the functions before which wrappers are not left out
// (runtime.elideWrapperCalling).
func panics(name string) bool {
	return name == "runtime.gopanic" || name == "runtime.sigpanic" || name == "runtime.panicwrap"
}
