// Package events turns raw capture records into typed events.
//
// In: bytes as the kernel's iterators and ring buffer (bpf/hangtrace.h) or the
// files of /proc/PID/task/TID wrote them. Out: Task, File, Call and Block
// values. It is pure and total: no I/O, no clock, and every input gives either
// an event or an error. It must never judge what an event means.
package events

// Task flags (PF_*, include/linux/sched.h). The values below have not moved
// since 5.10; PF_KTHREAD and PF_EXITING are also visible in field 9 of
// /proc/PID/stat.
const (
	FlagExiting  = 0x00000004
	FlagIOWorker = 0x00000010
	FlagKThread  = 0x00200000
)

// Task state bits (TASK_*, include/linux/sched.h). States must be masked, never
// compared: an idle thread may sleep as Interruptible|Freezable (0x2001), a
// killable one as Uninterruptible|Wakekill (0x102).
const (
	StateRunning         = 0x0000
	StateInterruptible   = 0x0001
	StateUninterruptible = 0x0002
	StateStopped         = 0x0004
	StateTraced          = 0x0008
	StateExitDead        = 0x0010
	StateExitZombie      = 0x0020
	StateParked          = 0x0040
	StateDead            = 0x0080
	StateWakekill        = 0x0100
	StateNoload          = 0x0400
)

// NoSyscall is the system call number of a thread that is in none: a page
// fault, a kernel thread, or an io worker.
const NoSyscall = -1

// Task is one sample of one thread.
type Task struct {
	PID int // thread group ID, in the reader's PID namespace
	TID int
	// PPID is the thread group ID of the parent.
	PPID int
	// Comm is the name of the thread, ProcessComm that of its thread group
	// leader ("" when unknown); at most 15 bytes.
	Comm, ProcessComm string
	// StartBootNS is when the thread started, in ns since boot
	// (CLOCK_BOOTTIME). Together with TID it identifies the thread. The proc
	// backend rounds it down to clock ticks (10 ms).
	StartBootNS uint64

	State uint32 // StateXxx bits; see Sleeping and Letter
	Flags uint32 // FlagXxx bits (PF_*)

	// Voluntary and involuntary context switches so far: a thread whose sum
	// did not move between two samples did not run in between.
	VoluntarySwitches   uint64
	InvoluntarySwitches uint64

	// LastArrivalNS is when the thread last got onto a CPU, in ns of the
	// scheduler's clock (see facts.Clock.SchedToMonoNS). 0 when unknown.
	LastArrivalNS uint64
	// SampledNS is when this sample was taken, ns of CLOCK_MONOTONIC.
	SampledNS uint64

	// HasRegs tells whether SyscallNR to SP were readable.
	HasRegs bool
	// SyscallNR is the number of the system call the thread is in, or
	// NoSyscall. After a system call has returned and the thread blocks on its
	// way to user space (task work, exit), it is still that call's number.
	SyscallNR int
	Args      [6]uint64
	// Return is the return value register: meaningful only after the call.
	Return int64
	PC, SP uint64
	// BP is the frame pointer register (rbp, x29), LR the link register of
	// arm64 (x30); 0 when unknown.
	BP, LR uint64
	// Compat tells that the thread runs 32-bit code: other call numbers.
	Compat bool

	// MountNS and PIDNS are inode numbers of the thread's namespaces; 0 when
	// unknown.
	MountNS uint32
	PIDNS   uint32
	// CwdDevMajor to CwdDetached describe the mount of the working directory;
	// a zero device means unknown.
	CwdDevMajor, CwdDevMinor uint32
	CwdMountID               int
	CwdDetached              bool
	// Stack holds the kernel stack's return addresses, innermost first. Empty
	// when unreadable or when the proc backend already gave names.
	Stack []uint64
	// StackNames holds symbolised frames ("request_wait_answer+0x1e [fuse]",
	// innermost first) where the source gives names instead of addresses.
	StackNames []string
	// Wchan is the function the thread sleeps in; only the proc backend has it.
	Wchan string
	// Resting tells that the thread has not run since it was judged to wait for
	// no file system: then only what identifies it, PPID, Flags and MountNS
	// are filled in.
	Resting bool
	// BlockerTID is the thread that holds the lock this one waits for, where
	// the kernel keeps it (task->blocker, 6.16+); 0 otherwise.
	BlockerTID int
}

// File is one open file of a process.
type File struct {
	PID, FD int
	// Path is as d_path gives it: relative to the reader's root; "" if unknown.
	Path string
	// DevMajor and DevMinor are those of the superblock (s_dev), which field 3
	// of mountinfo shows too.
	DevMajor, DevMinor uint32
	Inode              uint64
	// Magic is the superblock's magic number (statfs f_type).
	Magic uint64
	// FSType is the superblock's file system type name ("fuse", "ceph",
	// "anon_inodefs", "pipefs", ...); "" when unknown.
	FSType string
	// MountID is the ID of the mount it was opened through; 0 when unknown.
	MountID int
	// MountNS is the inode number of the mount namespace the mount is in; 0
	// when unknown or Detached.
	MountNS uint32
	// Detached tells that the mount is in no mount namespace any more.
	Detached bool
	// Mode is the inode's mode (S_IFMT and permissions); 0 when unknown.
	Mode uint32
}

// CallPhase says which half of a call a Call record reports.
type CallPhase uint8

// The phases of a traced call.
const (
	PhaseInFlight CallPhase = iota + 1 // entered, has not returned
	PhaseReturned                      // returned, longer than the threshold
)

// Call is one system call seen by the live tracer.
type Call struct {
	Phase     CallPhase
	PID, TID  int
	Comm      string
	SyscallNR int
	Args      [6]uint64
	// EnteredNS is CLOCK_MONOTONIC at entry; 0 when the call began before the
	// tracer did.
	EnteredNS uint64
	// ReturnedNS is CLOCK_MONOTONIC at return; 0 while in flight.
	ReturnedNS uint64
	// ResolutionNS is how far EnteredNS may be off: one jiffy.
	ResolutionNS uint64
	Return       int64
	// Path is the path argument copied at entry; PathKnown tells whether it
	// could be read, PathTruncated whether it was longer than the buffer.
	Path          string
	PathKnown     bool
	PathTruncated bool
}

// Block is one period in which a thread of a target was off the CPU for longer
// than the threshold, timed by sched_switch.
type Block struct {
	PID, TID int
	Comm     string
	// State is the state it slept in; Flags are PF_* bits.
	State, Flags   uint32
	StartNS, EndNS uint64 // CLOCK_MONOTONIC
	HasRegs        bool
	Compat         bool
	SyscallNR      int
	Args           [6]uint64
	Stack          []uint64
}
