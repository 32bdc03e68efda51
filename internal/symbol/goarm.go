package symbol

import (
	"encoding/binary"
	"fmt"
)

// callerARM finds the caller on arm64, where calls leave the return address in
// the link register. Functions with a frame store it at its lowest word.
func (w *walk) callerARM(s step) (ret, sp uint64, end string) {
	sp = w.sp + uint64(int64(s.delta))
	if s.delta == 0 {
		if w.lr != 0 {
			return w.lr, sp, ""
		}
		return w.leafCallerARM(s.fn)
	}
	ret, ok := w.p.mem.u64(w.sp)
	if !ok {
		return 0, 0, w.p.unreadable(w.sp, s.fn)
	}
	return ret, sp, ""
}

// leafCallerARM finds the caller F of a leaf function without the link
// register, which /proc/PID/task/TID/syscall does not show. A leaf has no
// frame, so SP is F's own: the word there is where F returns to in G, the
// instruction before that is G's call of F, and says who F is. In F, the calls
// of the leaf are known; only if all of them agree on F's frame, and the saved
// frame pointer too, F is sure. Where F calls the leaf twice, the line is not.
func (w *walk) leafCallerARM(leaf goFunc) (ret, sp uint64, end string) {
	p := w.p
	end = fmt.Sprintf("caller of %s is in the link register, which is unknown", leaf.name)
	up, ok1 := p.mem.u64(w.sp)     // return address of F
	fp, ok2 := p.mem.u64(w.sp - 8) // frame pointer F saved: G's SP - 8
	if !ok1 || !ok2 {
		return 0, 0, p.unreadable(w.sp, leaf)
	}
	entry, ok := p.t.img.callTargetARM(up - p.bias - 4)
	if !ok {
		return 0, 0, end
	}
	f, ok := p.t.find(entry)
	if !ok || f.entry != entry {
		return 0, 0, end
	}
	sites := 0
	const maxCode = 64 << 10
	for pc := f.entry; pc < f.end && pc < f.entry+maxCode; pc += 4 {
		if target, ok := p.t.img.callTargetARM(pc); !ok || target != leaf.entry {
			continue
		}
		d, ok := p.t.pcvalue(f, f.pcsp, pc)
		if !ok || d <= 0 || w.sp+uint64(d) != fp+8 {
			return 0, 0, end
		}
		ret = pc + 4 + p.bias
		sites++
	}
	if sites == 0 {
		return 0, 0, end
	}
	w.vague = sites > 1
	return ret, w.sp, ""
}

// callTargetARM decodes BL.
func (m *image) callTargetARM(pc uint64) (uint64, bool) {
	var b [4]byte
	if !m.read(pc, b[:]) {
		return 0, false
	}
	op := binary.LittleEndian.Uint32(b[:])
	if op&0xfc000000 != 0x94000000 {
		return 0, false
	}
	return pc + uint64(int64(int32(op<<6)>>4)), true
}

// injectedARM finishes the step from a function that a signal handler made the
// goroutine call: it pushed the link register, and the frame of 16 bytes that
// holds it belongs to nobody (runtime.(*unwinder).next).
func (w *walk) injectedARM() (done bool, end string) {
	lr, ok := w.p.mem.u64(w.sp)
	if !ok {
		return true, fmt.Sprintf("stack of %s at %#x is not readable", w.callee, w.sp)
	}
	w.sp += 16
	if s, ok := w.at(); !ok {
		w.pc = lr
	} else if s.delta == 0 {
		w.lr = lr
	}
	return false, ""
}
