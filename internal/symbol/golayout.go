package symbol

// The magic numbers of the table (internal/abi/symtab.go of the Go source).
const (
	magicGo12  = 0xfffffffb // Go 1.2 to 1.15
	magicGo116 = 0xfffffffa // Go 1.16 and 1.17
	magicGo118 = 0xfffffff0 // Go 1.18 and 1.19
	magicGo120 = 0xfffffff1 // Go 1.20 and later
)

// newestGo is the last Go release whose runtime structures were looked at.
// Tables of later ones are still read as long as their magic number is known,
// but their goroutines are left out.
const newestGo = 26

// inlineLayout says where the records of inlined calls are and what they hold
// (runtime.inlinedCall), which the magic number decides.
type inlineLayout struct {
	funcdata int    // FUNCDATA_InlTree
	size     uint64 // of a record
	funcID   uint64 // offsets in it
	name     uint64
	parentPC uint64
}

// pcdataInline is PCDATA_InlTreeIndex.
const pcdataInline = 2

func inlineLayoutOf(magic uint32) inlineLayout {
	l := inlineLayout{funcdata: 3, size: 20, funcID: 2, name: 12, parentPC: 16}
	switch magic {
	case magicGo12:
		l.funcdata = 4
	case magicGo120:
		l = inlineLayout{funcdata: 3, size: 16, funcID: 0, name: 4, parentPC: 8}
	}
	return l
}

// wrapperID is the funcID of compiler-made wrappers (abi.FuncIDWrapper); 0
// where the Go version is unknown: then none is recognised.
func wrapperID(minor int) uint8 {
	switch {
	case minor < 13 || minor > newestGo:
		return 0
	case minor == 13:
		return 20
	case minor <= 17:
		return 22
	case minor <= 21:
		return 21
	case minor <= 24:
		return 22
	default:
		return 23
	}
}

// runtimeLayout gives the offsets of what is read of the runtime's structures
// g and m. They were taken from the debug information of programs built by
// each release; amd64 and arm64 agree. g.stack is at 0, g.m at 48, g.sched at
// 56 (sp, pc, g), m.g0 at 0 in all of them.
type runtimeLayout struct {
	gobufLR, gobufBP uint64 // in g
	syscallSP        uint64 // syscallpc follows
	status           uint64 // goid, schedlink, waitsince follow
	parent           uint64 // 0: not there
	gopc             uint64 // startpc is 16 behind
	procid           uint64 // in m; gsignal follows
	curg             uint64 // in m
}

const (
	gStackLo = 0
	gStackHi = 8
	gM       = 48
	gSchedSP = 56
	gSchedPC = 64
	gSchedG  = 72
	gSize    = 320 // what is read of a g: up to startpc
	mG0      = 0
	mSize    = 200 // what is read of an m: up to curg
)

// runtimeLayoutOf gives the layout of Go 1.minor; ok is false for releases that
// were not looked at.
func runtimeLayoutOf(minor int) (l runtimeLayout, ok bool) {
	l = runtimeLayout{gobufLR: 96, gobufBP: 104, syscallSP: 112, status: 144, procid: 72, curg: 192}
	switch {
	case minor < 13 || minor > newestGo:
		return l, false
	case minor <= 16:
		l.gopc = 280
	case minor <= 20:
		l.gopc = 296
	case minor <= 22:
		l.parent, l.gopc = 272, 280
	case minor <= 24:
		l.status, l.parent, l.gopc = 152, 280, 288
	case minor == 25:
		l = runtimeLayout{gobufLR: 88, gobufBP: 96, syscallSP: 104, status: 144, parent: 272, gopc: 280, procid: 64, curg: 184}
	default:
		l = runtimeLayout{gobufLR: 88, gobufBP: 96, syscallSP: 104, status: 144, parent: 280, gopc: 288, procid: 64, curg: 184}
	}
	return l, true
}

// moduleLayout gives the offsets of what is read of runtime.moduledata.
type moduleLayout struct {
	text   uint64
	bss    uint64 // ebss follows
	gofunc uint64 // 0: funcdata are addresses, not offsets
}

func moduleLayoutOf(magic uint32) moduleLayout {
	switch magic {
	case magicGo12:
		return moduleLayout{text: 96, bss: 144}
	case magicGo116:
		return moduleLayout{text: 176, bss: 224}
	case magicGo118:
		return moduleLayout{text: 176, bss: 224, gofunc: 304}
	default:
		return moduleLayout{text: 176, bss: 224, gofunc: 320}
	}
}
