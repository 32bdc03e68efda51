package symbol

import (
	"encoding/binary"
	"fmt"
)

// switchStack handles the functions whose caller is on another stack. It gives
// neither where the caller is where the table says.
func (w *walk) switchStack(s step) (crossed bool, end string) {
	if w.exact {
		return false, "" // stopped within it: nobody knows which stack this is
	}
	switch s.fn.name {
	case "runtime.systemstack":
		return w.leaveSystemStack(s)
	case "runtime.morestack":
		return w.leaveMoreStack(s)
	case "runtime.sigtramp", "runtime.cgoSigtramp":
		return w.leaveSignal(s)
	}
	return false, ""
}

// enter counts changes of stacks, which otherwise have no natural bound.
func (w *walk) enter(via string) (end string) {
	if w.switches++; w.switches > maxSwitches {
		return fmt.Sprintf("more than %d changes of stacks", maxSwitches)
	}
	w.via, w.vague, w.exact, w.lr = via, false, false, 0
	return ""
}

// leaveSystemStack goes from systemstack's frame on the thread's own stack to
// the one on the goroutine's, as the runtime's traceback does: the goroutine
// was left with sched.sp in systemstack and sched.pc in systemstack_switch.
func (w *walk) leaveSystemStack(s step) (bool, string) {
	g, why := w.p.userOf(w.tid, w.sp)
	if g == nil {
		return false, fmt.Sprintf("ends at %s: switched stack (%s)", s.fn.name, why)
	}
	f, ok := w.p.t.find(g.schedPC - w.p.bias)
	if !ok || f.name != "runtime.systemstack_switch" || !g.holds(g.schedSP) {
		return false, fmt.Sprintf("ends at %s: switched stack (goroutine %d is not in it)", s.fn.name, g.id)
	}
	w.sp = g.schedSP
	ret, sp, end := w.caller(s)
	if end != "" {
		return false, end
	}
	if !w.p.plausibleReturn(ret) {
		return false, fmt.Sprintf("return address %#x of %s does not follow a call", ret, s.fn.name)
	}
	if end := w.enter("systemstack"); end != "" {
		return false, end
	}
	w.pc, w.sp, w.callee, w.g = ret, sp, s.fn.name, g
	return true, ""
}

// leaveMoreStack goes to the function that asked for a larger stack.
func (w *walk) leaveMoreStack(s step) (bool, string) {
	g, why := w.p.userOf(w.tid, w.sp)
	if g == nil {
		return false, fmt.Sprintf("ends at %s: switched stack (%s)", s.fn.name, why)
	}
	if _, ok := w.p.t.find(g.schedPC - w.p.bias); !ok || !g.holds(g.schedSP) || !w.p.plausibleReturn(g.schedPC) {
		return false, fmt.Sprintf("ends at %s: switched stack (goroutine %d is not in it)", s.fn.name, g.id)
	}
	if end := w.enter("morestack"); end != "" {
		return false, end
	}
	w.pc, w.sp, w.lr, w.callee, w.g = g.schedPC, g.schedSP, g.schedLR, s.fn.name, g
	return true, ""
}

// leaveSignal goes to what a signal interrupted: the kernel put its registers
// on the signal stack, right above the handler's first frame.
func (w *walk) leaveSignal(s step) (bool, string) {
	_, sp, end := w.caller(s)
	if end != "" {
		return false, end
	}
	regs, ok := w.p.signalFrame(sp)
	if !ok {
		return false, fmt.Sprintf("ends at %s: no signal frame behind it", s.fn.name)
	}
	if end := w.enter("signal"); end != "" {
		return false, end
	}
	w.pc, w.sp, w.lr, w.exact, w.callee = regs.PC, regs.SP, regs.LR, true, s.fn.name
	return true, ""
}

// signalFrame reads struct ucontext (asm/ucontext.h) of the frame that the
// kernel builds for a handler. What it says of the alternate stack must fit
// where it was found.
func (p *GoProcess) signalFrame(sp uint64) (r Regs, ok bool) {
	at := sp
	if p.arm() {
		at += 128 // struct siginfo comes first
	}
	var uc [456]byte
	if sp%8 != 0 || !p.mem.read(at, uc[:]) {
		return r, false
	}
	w := func(off int) uint64 { return binary.LittleEndian.Uint64(uc[off:]) }
	const smallest, largest = 2 << 10, 64 << 20
	stack, size := w(16), w(32)
	if size < smallest || size > largest || sp < stack || sp-stack >= size {
		return r, false
	}
	if p.arm() {
		const regs = 176 + 8 // mcontext is aligned to 16; fault_address is first
		return Regs{PC: w(regs + 8*32), SP: w(regs + 8*31), BP: w(regs + 8*29), LR: w(regs + 8*30)}, true
	}
	const regs = 40 // r8 is first
	return Regs{PC: w(regs + 8*16), SP: w(regs + 8*15), BP: w(regs + 8*10)}, true
}

// outside handles an address in no Go function: C code that a goroutine called
// is named, and the goroutine followed; else the chain ends.
func (w *walk) outside(regs Regs) (end string, crossed bool) {
	if !w.exact {
		if w.callee == "" {
			return fmt.Sprintf("%#x is in no Go function", w.pc), false
		}
		return fmt.Sprintf("caller %#x of %s is in no Go function", w.pc, w.callee), false
	}
	for _, f := range w.p.native(Regs{PC: w.pc, SP: w.sp, BP: w.nativeBP(regs), LR: w.lr}) {
		w.frames = append(w.frames, physical{pc: f.PC, sp: f.SP, native: &f, via: w.via})
	}
	g, why := w.p.callerOfC(w.tid, w.sp)
	if g == nil {
		return fmt.Sprintf("%#x is in no Go function (%s)", w.pc, why), false
	}
	if end := w.enter("cgo call"); end != "" {
		return end, false
	}
	w.pc, w.sp, w.callee, w.g = g.syscallPC, g.syscallSP, "", g
	return "", true
}

// nativeBP is the frame pointer, where it is the thread's own.
func (w *walk) nativeBP(regs Regs) uint64 {
	if w.pc == regs.PC && w.sp == regs.SP {
		return regs.BP
	}
	return 0
}

// native gives the chain of C code, or at least the place it is in.
func (p *GoProcess) native(regs Regs) []Frame {
	if p.Native != nil {
		inGo := func(pc uint64) bool { _, ok := p.t.find(pc - p.bias); return ok }
		if frames := p.Native(regs, inGo); len(frames) > 0 {
			return frames
		}
	}
	return []Frame{{PC: regs.PC, SP: regs.SP}}
}
