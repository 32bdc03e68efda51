package symbol

import (
	"encoding/binary"
	"strings"
)

// maxCached bounds the functions and steps remembered.
const maxCached = 4096

// Function flags (abi.FuncFlag), since Go 1.17.
const (
	flagTopFrame = 1 << iota // a stack begins here
	flagSPWrite              // moves SP to somewhere else
)

// goFunc is one record of the table (runtime._func).
type goFunc struct {
	entry, end uint64 // addresses in the binary
	name       string
	funcID     uint8
	flags      uint8

	pcsp, pcfile, pcln uint32 // offsets in pctab; 0: no such table
	unit               uint32 // of compilation: where its files start
	pcdata             uint64 // offset of the array of pcdata
	npcdata            uint32
	funcdata           uint64 // offset of the array of funcdata
	nfuncdata          uint8
}

// step is what the unwinder needs to know of an instruction.
type step struct {
	fn    goFunc
	delta int32 // of SP; -1: unknown
}

// FuncForPC gives the name of the function that an address of the binary (not
// of a process) is in, and the file and line of the innermost call there.
func (t *GoTable) FuncForPC(pc uint64) (name, file string, line int, ok bool) {
	f, ok := t.find(pc)
	if !ok {
		return "", "", 0, false
	}
	calls := t.expand(f, pc)
	return calls[0].name, calls[0].file, calls[0].line, true
}

// entry gives the address of function i.
func (t *GoTable) entry(i uint64) (uint64, bool) {
	if t.relative() {
		off, ok := t.u32(t.ftab(i))
		return t.text + uint64(off), ok
	}
	return t.img.word(t.base + t.ftab(i))
}

// find gives the function that holds pc.
func (t *GoTable) find(pc uint64) (goFunc, bool) {
	lo, hi := uint64(0), t.count+1 // the last entry is the end of the code
	for lo < hi {
		mid := (lo + hi) / 2
		e, ok := t.entry(mid)
		if !ok {
			return goFunc{}, false
		}
		if e <= pc {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 || lo > t.count {
		return goFunc{}, false
	}
	i := lo - 1
	entry, ok1 := t.entry(i)
	end, ok2 := t.entry(lo)
	off, ok3 := t.record(i)
	if !ok1 || !ok2 || !ok3 || pc < entry || pc >= end {
		return goFunc{}, false
	}
	f, ok := t.cache[off]
	if !ok {
		if f, ok = t.readFunc(off, entry, end); !ok {
			return goFunc{}, false
		}
		if len(t.cache) >= maxCached {
			clear(t.cache)
		}
		t.cache[off] = f
	}
	return f, true
}

// record gives the offset of function i's record in the table.
func (t *GoTable) record(i uint64) (uint64, bool) {
	if t.relative() {
		off, ok := t.u32(t.ftab(i) + 4)
		return t.funcs + uint64(off), ok
	}
	var b [8]byte
	ok := t.bytes(t.ftab(i)+8, b[:])
	off := binary.LittleEndian.Uint64(b[:])
	return t.funcs + off, ok && off < t.size
}

// readFunc reads a record: the entry, then 32-bit fields, of which Go 1.16 and
// Go 1.20 added one each.
func (t *GoTable) readFunc(off, entry, end uint64) (goFunc, bool) {
	var b [44]byte
	if !t.bytes(off, b[:]) {
		return goFunc{}, false
	}
	at, ids := 8, 36
	switch t.magic {
	case magicGo116:
		ids = 40
	case magicGo118:
		at, ids = 4, 36
	case magicGo120:
		at, ids = 4, 40
	}
	field := func(i int) uint32 { return binary.LittleEndian.Uint32(b[at+4*i:]) }
	f := goFunc{entry: entry, end: end, pcsp: field(3), pcfile: field(4), pcln: field(5), npcdata: field(6)}
	if t.magic != magicGo12 {
		f.unit = field(7)
	}
	f.funcID, f.nfuncdata = b[ids], b[ids+3]
	// The flags byte is older than its use: zero up to Go 1.16.
	f.flags = b[ids+1]
	if t.magic == magicGo12 {
		f.flags = 0
	}
	f.pcdata = off + uint64(ids) + 4
	f.funcdata = f.pcdata + 4*uint64(f.npcdata)
	if !t.relative() && (t.base+f.funcdata)%8 != 0 {
		f.funcdata += 4
	}
	var ok bool
	f.name, ok = t.str(t.names + uint64(field(0)))
	return f, ok
}

// pcvalue walks one of a function's tables of deltas (cmd/internal/obj/pcln.go)
// to the value in force at pc; ok is false where there is none.
func (t *GoTable) pcvalue(f goFunc, off uint32, pc uint64) (int32, bool) {
	if off == 0 {
		return 0, false
	}
	in := tableReader{t: t, off: t.pctab + uint64(off)}
	at, val := f.entry, int32(-1)
	for first := true; at < f.end; first = false {
		u := in.varint()
		if in.bad || u == 0 && !first {
			return 0, false
		}
		val += int32(u>>1) ^ -int32(u&1)
		d := uint64(in.varint()) * t.quantum
		if in.bad || d == 0 {
			return 0, false
		}
		if at += d; pc < at {
			return val, true
		}
	}
	return 0, false
}

// tableReader reads the table byte by byte.
type tableReader struct {
	t    *GoTable
	off  uint64
	b    [32]byte
	rest []byte
	bad  bool
}

func (r *tableReader) varint() uint32 {
	var v uint32
	for shift := 0; shift < 35; shift += 7 {
		if len(r.rest) == 0 {
			n := uint64(len(r.b))
			if r.off < r.t.size {
				n = min(n, r.t.size-r.off)
			}
			if !r.t.bytes(r.off, r.b[:n]) {
				r.bad = true
				return 0
			}
			r.rest, r.off = r.b[:n], r.off+n
		}
		c := r.rest[0]
		r.rest = r.rest[1:]
		v |= uint32(c&0x7f) << shift
		if c < 0x80 {
			return v
		}
	}
	r.bad = true
	return 0
}

// source gives file and line of the instruction at pc.
func (t *GoTable) source(f goFunc, pc uint64) (string, int) {
	line, ok1 := t.pcvalue(f, f.pcln, pc)
	file, ok2 := t.pcvalue(f, f.pcfile, pc)
	if !ok1 || !ok2 || file < 0 || line < 0 {
		return "", 0
	}
	var off uint32
	var ok bool
	if t.magic == magicGo12 {
		off, ok = t.u32(t.files + 4*uint64(file))
	} else {
		off, ok = t.u32(t.units + 4*(uint64(f.unit)+uint64(file)))
	}
	if !ok || off == ^uint32(0) {
		return "", 0
	}
	at := uint64(off)
	if t.magic != magicGo12 {
		at += t.files
	}
	name, ok := t.str(at)
	if !ok {
		return "", 0
	}
	return name, int(line)
}

// call is one call of the source: a function, or one that was inlined into it.
type call struct {
	name, file string
	line       int
	funcID     uint8
	inlined    bool
}

// expand gives the calls that an instruction stands for, innermost first; the
// last is the function itself. pc must be that of the instruction that runs or
// calls, not a return address.
func (t *GoTable) expand(f goFunc, pc uint64) []call {
	const deepest = 256 // the compiler's budget ends inlining long before
	l := inlineLayoutOf(t.magic)
	tree, ok := t.inlineTree(f, l.funcdata)
	var calls []call
	for ok && len(calls) < deepest {
		i, found := t.pcvalueOfPCData(f, pcdataInline, pc)
		if !found || i < 0 {
			break
		}
		var b [20]byte
		if !t.img.read(tree+uint64(i)*l.size, b[:l.size]) {
			break
		}
		c := call{funcID: b[l.funcID], inlined: true}
		if c.name, found = t.str(t.names + uint64(binary.LittleEndian.Uint32(b[l.name:]))); !found {
			break
		}
		c.file, c.line = t.source(f, pc)
		calls = append(calls, c)
		parent := f.entry + uint64(binary.LittleEndian.Uint32(b[l.parentPC:]))
		if parent < f.entry || parent >= f.end || parent == pc {
			break
		}
		pc = parent
	}
	c := call{name: f.name, funcID: f.funcID}
	c.file, c.line = t.source(f, pc)
	return append(calls, c)
}

// pcvalueOfPCData gives the value of one of the function's pcdata tables.
func (t *GoTable) pcvalueOfPCData(f goFunc, table uint32, pc uint64) (int32, bool) {
	if table >= f.npcdata {
		return 0, false
	}
	off, ok := t.u32(f.pcdata + 4*uint64(table))
	if !ok {
		return 0, false
	}
	return t.pcvalue(f, off, pc)
}

// inlineTree gives the address of the function's records of inlined calls.
func (t *GoTable) inlineTree(f goFunc, index int) (uint64, bool) {
	if index >= int(f.nfuncdata) || t.magic == magicGo12 && t.minor < 13 {
		return 0, false // other numbers were in use before Go 1.12
	}
	if !t.relative() {
		addr, ok := t.img.word(t.base + f.funcdata + 8*uint64(index))
		return addr, ok && addr != 0
	}
	off, ok := t.u32(f.funcdata + 4*uint64(index))
	if !ok || off == ^uint32(0) {
		return 0, false
	}
	start, ok := t.moduleWord(moduleLayoutOf(t.magic).gofunc)
	return start + uint64(off), ok && start != 0
}

// printName is a function's name as a goroutine dump shows it: type arguments
// are left out ("main.walk[...]").
func printName(name string) string {
	if name == "runtime.gopanic" {
		return "panic" // for those who know the language, not the runtime
	}
	open := strings.IndexByte(name, '[')
	if open < 0 {
		return name
	}
	end := strings.LastIndexByte(name, ']')
	if end <= open {
		return name
	}
	return name[:open] + "[...]" + name[end+1:]
}

// internalToRuntime tells whether a goroutine dump leaves a function out, as
// runtime.showfuncinfo does. middle says that it is not the innermost.
func internalToRuntime(name string, middle bool) bool {
	switch name {
	case "runtime.runfinq", "runtime.runFinalizers", "runtime.runCleanups":
		return false
	case "runtime.gopanic":
		return !middle
	}
	if !strings.Contains(name, ".") {
		return true
	}
	local, ok := strings.CutPrefix(name, "runtime.")
	if !ok {
		return false
	}
	receiver := ""
	if i := strings.LastIndexByte(local, '.'); i >= 0 {
		receiver, local = local[:i], local[i+1:]
		if strings.HasPrefix(receiver, "(*") && strings.HasSuffix(receiver, ")") {
			receiver = receiver[2 : len(receiver)-1]
		}
	}
	return !exported(local) || receiver != "" && !exported(receiver)
}

func exported(name string) bool { return name != "" && name[0] >= 'A' && name[0] <= 'Z' }
