package symbol

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
)

// maxNative bounds a chain of C frames.
const maxNative = 512

// nativeWalk is one walk over C frames: the registers of the current one, by
// their DWARF numbers.
type nativeWalk struct {
	n       *NativeTable
	mem     *memory
	machine elf.Machine
	pc      uint64
	regs    [maxRules]uint64
	known   [maxRules]bool
	exact   bool
	via     string
}

// DWARF numbers of registers.
const (
	amdBP, amdSP, amdRet = 6, 7, 16
	armFP, armLR, armSP  = 29, 30, 31
)

// Unwind gives the chain of a thread that does not run, as far as it is sure:
// by call frame information, where there is none by the frame pointer, if
// regs has it.
func (n *NativeTable) Unwind(regs Regs, mem Memory) Stack {
	frames, end := n.unwind(regs, newMemory(mem), func(uint64) bool { return false })
	return Stack{Frames: frames, End: end}
}

// ForGo unwinds the C code that a goroutine called: for GoProcess.Native.
func (n *NativeTable) ForGo(mem Memory) func(regs Regs, inGo func(pc uint64) bool) []Frame {
	return func(regs Regs, inGo func(pc uint64) bool) []Frame {
		frames, _ := n.unwind(regs, newMemory(mem), inGo)
		return frames
	}
}

func (n *NativeTable) unwind(regs Regs, mem *memory, stop func(pc uint64) bool) (frames []Frame, end string) {
	n.mem, mem.saw = mem, n.Saw
	w := &nativeWalk{n: n, mem: mem, pc: regs.PC, exact: true, machine: elf.EM_X86_64}
	p, _ := n.place(regs.PC)
	if p.file != nil && p.file.img != nil {
		w.machine = p.file.img.machine
	}
	w.start(regs)
	for len(frames) < maxNative {
		if !w.exact && stop(w.pc) {
			return frames, ""
		}
		look, sigreturn := w.pc, w.atSigreturn()
		if !w.exact && !sigreturn {
			look--
		}
		p, ok := n.place(look)
		if !ok && len(frames) > 0 {
			return frames, fmt.Sprintf("caller %#x is in no code", w.pc)
		}
		sp := w.regs[w.spReg()]
		frames = append(frames, n.name(Frame{PC: w.pc, SP: sp, Via: w.via}, look))
		if !ok {
			return frames, fmt.Sprintf("%#x is in no code", w.pc)
		}
		var done bool
		var err error
		if sigreturn {
			err = w.leaveSignal()
		} else {
			done, err = w.up(p)
		}
		if err != nil {
			return frames, err.Error()
		}
		if done {
			return frames, ""
		}
	}
	return frames, fmt.Sprintf("deeper than %d frames", maxNative)
}

func (w *nativeWalk) arm() bool { return w.machine == elf.EM_AARCH64 }

func (w *nativeWalk) spReg() int {
	if w.arm() {
		return armSP
	}
	return amdSP
}

// start takes the registers that are known of a thread.
func (w *nativeWalk) start(r Regs) {
	set := func(reg int, v uint64) { w.regs[reg], w.known[reg] = v, v != 0 }
	w.regs, w.known = [maxRules]uint64{}, [maxRules]bool{}
	set(w.spReg(), r.SP)
	if w.arm() {
		set(armFP, r.BP)
		set(armLR, r.LR)
	} else {
		set(amdBP, r.BP)
	}
}

// atSigreturn recognises the code that handlers return to by its two
// instructions, as debuggers do: the vDSO of arm64 describes it in no table, on
// purpose, and other C libraries than glibc neither.
func (w *nativeWalk) atSigreturn() bool {
	code := "\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05" // mov $15, %rax; syscall
	if w.arm() {
		code = "\x68\x11\x80\xd2\x01\x00\x00\xd4" // mov x8, #139; svc #0
	}
	at := w.pc
	if w.exact { // it has made the call
		at -= uint64(len(code))
	}
	b := make([]byte, len(code))
	return w.code(at, b) && string(b) == code
}

// code reads instructions: from memory, or of a process that ended from the file.
func (w *nativeWalk) code(at uint64, b []byte) bool {
	if w.mem.read(at, b) {
		return true
	}
	p, ok := w.n.place(at)
	return ok && p.file.img != nil && p.file.img.read(p.addr, b)
}

// up goes to the caller. done says that there is none.
func (w *nativeWalk) up(p place) (done bool, err error) {
	if p.file.img == nil {
		return false, p.file.err
	}
	look := p.addr
	rules, err := p.file.frameRules(look)
	if err != nil {
		if errors.Is(err, errNoCFI) {
			return w.upByFramePointer(p)
		}
		return false, err
	}
	if rules.signal {
		return false, w.leaveSignal()
	}
	return w.apply(rules, p)
}

// apply computes the caller's registers.
func (w *nativeWalk) apply(f *frameRules, p place) (done bool, err error) {
	if f.regs[f.ret].kind == ruleUndefined {
		return true, nil // the outermost function says so
	}
	if !f.cfaKnown || f.cfaReg >= maxRules || !w.known[f.cfaReg] {
		return false, fmt.Errorf("frame of %s+%#x depends on a register that is unknown", p.m.label(), p.addr)
	}
	cfa := w.regs[f.cfaReg] + uint64(f.cfaOffset)
	old, oldKnown := w.regs, w.known
	sp := old[w.spReg()]
	if cfa < sp || cfa == sp && !w.exact {
		return false, fmt.Errorf("frame of %s+%#x is not above its callee's", p.m.label(), p.addr)
	}
	for i := range f.regs {
		switch r := f.regs[i]; r.kind {
		case ruleOffset:
			w.regs[i], w.known[i] = w.mem.u64(cfa + uint64(r.n))
		case ruleValOffset:
			w.regs[i], w.known[i] = cfa+uint64(r.n), true
		case ruleRegister:
			w.known[i] = false
			if r.n >= 0 && r.n < maxRules {
				w.regs[i], w.known[i] = old[r.n], oldKnown[r.n]
			}
		case ruleUndefined, ruleUnknown:
			w.known[i] = false
		case ruleSame:
			// What a call may change is not known in the caller.
			w.known[i] = oldKnown[i] && w.calleeSaved(i)
		}
	}
	w.regs[w.spReg()], w.known[w.spReg()] = cfa, true
	ret, ok := w.regs[f.ret], w.known[f.ret]
	if w.arm() && f.regs[f.ret].kind == ruleSame {
		ret, ok = old[f.ret], oldKnown[f.ret] // a leaf function
	}
	switch {
	case !ok:
		return false, fmt.Errorf("return address of %s+%#x is unknown", p.m.label(), p.addr)
	case ret == 0:
		return true, nil
	}
	if f.signed {
		ret &= 1<<48 - 1
	}
	w.pc, w.exact, w.via = ret, false, ""
	return false, nil
}

// calleeSaved tells which registers functions give back unchanged. The link
// register is not among them: after the first frame it must have been saved.
func (w *nativeWalk) calleeSaved(reg int) bool {
	if w.arm() {
		return reg >= 19 && reg <= 29
	}
	return reg == 3 || reg == amdBP || reg >= 12 && reg <= 15
}

// upByFramePointer is for code without call frame information. The words
// above the frame pointer are the caller's frame pointer and the return
// address, if this function keeps one at all; what it finds must be behind a
// call, and further up the stack.
func (w *nativeWalk) upByFramePointer(p place) (done bool, err error) {
	reg := amdBP
	if w.arm() {
		reg = armFP
	}
	bp, sp := w.regs[reg], w.regs[w.spReg()]
	const largest = 16 << 20
	if !w.known[reg] || bp%8 != 0 || bp < sp || bp-sp > largest {
		return false, fmt.Errorf("%s has no call frame information", p.m.label())
	}
	var b [16]byte
	if !w.mem.read(bp, b[:]) {
		return false, fmt.Errorf("stack at %#x is not readable", bp)
	}
	next, ret := binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])
	if ret == 0 {
		return true, nil
	}
	caller, ok := w.n.place(ret - 1)
	if !ok || caller.file.img == nil || !caller.file.img.followsCall(ret-caller.bias) {
		return false, fmt.Errorf("%s has no call frame information and keeps no frame pointer", p.m.label())
	}
	w.known = [maxRules]bool{}
	w.regs[w.spReg()], w.known[w.spReg()] = bp+16, true
	w.regs[reg], w.known[reg] = next, true
	w.pc, w.exact, w.via = ret, false, "frame pointer"
	return false, nil
}

// leaveSignal goes to what a signal interrupted: SP is at the frame that the
// kernel built (see signalFrame).
func (w *nativeWalk) leaveSignal() error {
	at := w.regs[w.spReg()]
	if w.arm() {
		at += 128
	}
	var uc [456]byte
	if !w.mem.read(at, uc[:]) {
		return fmt.Errorf("signal frame at %#x is not readable", at)
	}
	word := func(off int) uint64 { return binary.LittleEndian.Uint64(uc[off:]) }
	w.known = [maxRules]bool{}
	if w.arm() {
		for i := range maxRules {
			w.regs[i], w.known[i] = word(184+8*i), true
		}
		w.pc = word(440)
	} else {
		// The order of struct sigcontext, by DWARF numbers.
		for i, reg := range []int{8, 9, 10, 11, 12, 13, 14, 15, 5, 4, 6, 3, 1, 0, 2, 7} {
			w.regs[reg], w.known[reg] = word(40+8*i), true
		}
		w.pc = word(168)
	}
	w.exact, w.via = true, "signal"
	return nil
}
