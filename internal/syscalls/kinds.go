package syscalls

// ArgKind says what an argument register holds.
type ArgKind uint8

// The kinds.
const (
	KindInt   ArgKind = iota // signed 32 bits
	KindUint                 // unsigned 32 bits
	KindLong                 // signed long
	KindUlong                // unsigned long
	KindHex                  // unsigned long, shown in hexadecimal
	KindHex32                // unsigned 32 bits, shown in hexadecimal
	KindSize                 // size_t
	KindPtr                  // an address whose memory is not decoded
	KindFD                   // file descriptor
	KindDirFD                // directory that the next argument is relative to
	KindPath                 // a path that is looked up
	KindText                 // printed like a path but not looked up: a link's text, a mount's source
	KindStr                  // another string
	KindPID
	KindUID      // uid or gid; -1 means none
	KindUID16    // the same in 16 bits
	KindMode     // permission bits
	KindFileMode // S_IFMT and permission bits
	KindDev      // device number
	KindOff      // signed 64 bits (32 in a 32-bit call)
	KindPair     // 64 bits, low half first, with the next register
	KindPairSwap // 64 bits, high half first, with the next register
	KindPairHex  // KindPair, unsigned, for fanotify's mask
	KindPageOff  // offset in 4096-byte units
	KindSkip     // padding, a half of a pair, or unused
	KindSignal
	KindFlags // bits of Arg.Set
	KindEnum  // a value of Arg.Set
	KindIoctl
	KindQuotaCmd
	KindSockProto // depends on the family, two before
	KindSockOpt   // depends on the level, one before
	KindIPCKey
	KindIPCFlags
	KindShmFlags
	KindIPCCmd // of the call's family, with IPC_64
	KindIOPrio
	KindWakeOp // FUTEX_WAKE_OP's operation
	KindSwapFlags
	KindSigMask    // the signals themselves, in a register
	KindSyslogType // the number, with its name behind it
	KindMem        // an address of an Arg.Struct
)

// Set names one of the sets of names (flags or values).
type Set uint8

// Struct names what the memory behind a KindMem argument holds.
type Struct uint8

// String gives the name as in gen/calls.txt.
func (s Struct) String() string {
	if int(s) < len(structNames) {
		return structNames[s]
	}
	return "unknown"
}

// Dir says in which direction memory is copied.
type Dir uint8

// The directions.
const (
	DirIn  Dir = 1 << iota // the kernel reads it
	DirOut                 // the kernel fills it in
)

// Len says how many bytes or elements a KindMem argument has.
type Len uint8

// The rules. LenArg and LenAt are to be added to an argument's index.
const (
	LenFixed  Len = 0    // one, or self-terminated
	LenReturn Len = 1    // as many as the call returns
	LenArg    Len = 0x10 // as the argument says
	LenAt     Len = 0x20 // as the 32-bit number says that the argument points to
)

// ArgIndex gives the argument that holds the length or points to it, or -1.
func (l Len) ArgIndex() int {
	if l < LenArg {
		return -1
	}
	return int(l & 0xf)
}

// Arg is one argument of a call, in the order of the registers.
type Arg struct {
	Name   string // as in the kernel's source
	Kind   ArgKind
	Set    Set    // for KindFlags and KindEnum
	Struct Struct // for KindMem
	Dir    Dir    // for KindMem
	Len    Len    // for KindMem
}

// Ret says how strace shows a call's return value.
type Ret uint8

// The return kinds.
const (
	RetInt Ret = iota
	RetFD
	RetPtr   // hexadecimal
	RetOctal // umask
	RetPID
	RetNone        // does not return
	RetFDFlags     // F_GETFD
	RetFileFlags   // F_GETFL
	RetSignal      // F_GETSIG
	RetLease       // F_GETLEASE
	RetSeals       // F_GET_SEALS
	RetSched       // sched_getscheduler
	RetTime        // seconds since 1970
	RetPersonality // the one before
	RetMembarrier  // commands that there are
	RetIOPrio      // an I/O priority
	RetTimeState   // adjtimex
	RetDumpable    // PR_GET_DUMPABLE
)

// RetFor gives the kind of the return value.
func (c Call) RetFor(args [6]uint64) Ret {
	if v := c.variantFor(args); v != nil {
		return v.ret
	}
	return shapes[c.shape].ret
}

// MayReturnFD tells whether the call returns a descriptor for some arguments.
func (c Call) MayReturnFD() bool {
	sh := &shapes[c.shape]
	if sh.ret == RetFD {
		return true
	}
	for i := range sh.variants {
		if sh.variants[i].ret == RetFD {
			return true
		}
	}
	return false
}
