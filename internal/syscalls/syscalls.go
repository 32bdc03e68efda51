// Package syscalls knows the system calls of Linux: numbers, names, arguments.
//
// In: an architecture, a call number, the six argument registers, and whatever
// strings and file names the caller could read. Out: the call's name, the kind
// of each argument, how the call is judged when it does not return, and its
// text in strace's grammar. It is pure and total: any number and any registers
// give a text. It must never read memory or files itself, and never take a
// number from the machine it runs on: a recording of arm64 reads the same on
// amd64.
//
// The tables are generated from gen/calls.txt, gen/sets.txt and
// golang.org/x/sys/unix.
package syscalls

//go:generate go run ./gen

// Arch is a system call table: a 32-bit program on a 64-bit kernel has its own.
type Arch string

// The architectures.
const (
	AMD64 Arch = "amd64"
	ARM64 Arch = "arm64"
	I386  Arch = "386" // compat on amd64
	ARM   Arch = "arm" // compat on arm64
)

// Indexes into numbers and nameSet.items, in the generator's order.
const (
	archIndexAMD64 = iota
	archIndexARM64
	archIndex386
	archIndexARM
)

func (a Arch) index() int {
	switch a {
	case ARM64:
		return archIndexARM64
	case I386:
		return archIndex386
	case ARM:
		return archIndexARM
	}
	return archIndexAMD64
}

// Known tells whether a is one of the architectures above.
func (a Arch) Known() bool {
	return a == AMD64 || a == ARM64 || a == I386 || a == ARM
}

// Compat gives the 32-bit architecture whose programs a 64-bit kernel runs.
func (a Arch) Compat() Arch {
	switch a {
	case AMD64:
		return I386
	case ARM64:
		return ARM
	}
	return a
}

// Bits is 32 or 64: the size of a long and of a pointer.
func (a Arch) Bits() int {
	if a == I386 || a == ARM {
		return 32
	}
	return 64
}

// Class says how to judge a thread that does not come back from a call.
type Class uint8

// The classes.
const (
	// ClassOther is neither of the others: the arguments name no file. Most
	// never block on a file system; where one does (munmap or exit of the last
	// user of a file, io_submit, clone3 with CLONE_VFORK), the stack tells.
	ClassOther Class = iota
	// ClassPath takes a path. It looks it up, which is what hangs.
	ClassPath
	// ClassFD acts on an open file, whatever that file is: a read of a pipe, a
	// socket, an inotify or an eventfd is of this class too and long by
	// nature. The kind of file decides. fcntl F_SETLK and flock with LOCK_NB
	// are here: they wait for no holder but ceph and nfs ask their server.
	ClassFD
	// ClassSync writes back without naming a file by path or, but for syncfs,
	// by fd: sync, syncfs, msync.
	ClassSync
	// ClassWait waits by design (futex, poll, accept, wait4, recv, nanosleep):
	// never a hang by itself. vfork, and clone with CLONE_VFORK, wait for the
	// child's exec: if that hangs, the child is the hang. io_uring_enter waits
	// for requests whose workers hang, not it. connect and send wait for a
	// peer.
	ClassWait
	// ClassLock waits for a file lock (flock, F_SETLKW): long by nature, but
	// on a network file system the wait may be for the server. Only the stack
	// or the storage side can tell.
	ClassLock
	// ClassExit ends the thread; blocked here, it waits to release something.
	ClassExit

	classSame Class = 0xff // in a variant
)

// String gives the class as one word.
func (c Class) String() string {
	names := [...]string{"other", "path", "fd", "sync", "wait", "lock", "exit"}
	if int(c) < len(names) {
		return names[c]
	}
	return "unknown"
}

// Call is one system call of one architecture.
type Call struct {
	Arch  Arch
	NR    int
	Name  string
	Args  []Arg // shared: not to be changed
	Class Class // without regard to the arguments' values: see ClassFor
	shape uint16
}

// shape is what architectures share of a call.
type shape struct {
	name     string
	class    Class
	ret      Ret
	args     []Arg
	variants []variant
}

// variant gives the arguments of a call where one of them has certain values.
type variant struct {
	arg    int
	mask   uint64
	values []uint64
	bits   bool // all bits of one of the values, instead of equality
	ret    Ret
	class  Class // classSame: as the call
	args   []Arg
}

const (
	privateBase  = 0xf0000 // __ARM_NR_BASE
	privateIndex = 512
	maxNR        = 512
)

// Lookup gives the call with a number; false when there is none.
func Lookup(arch Arch, nr int) (Call, bool) {
	i := nr
	if arch == ARM && nr >= privateBase && nr < privateBase+8 {
		i = nr - privateBase + privateIndex
	} else if nr < 0 || nr >= maxNR {
		return Call{}, false
	}
	if !arch.Known() {
		return Call{}, false
	}
	s := numbers[arch.index()][i]
	if s == 0 {
		return Call{}, false
	}
	sh := &shapes[s]
	return Call{Arch: arch, NR: nr, Name: sh.name, Args: sh.args, Class: sh.class, shape: s}, true
}

// Name gives the name of a call, or strace's for an unknown one: syscall_0x1d7.
func Name(arch Arch, nr int) string {
	if c, ok := Lookup(arch, nr); ok {
		return c.Name
	}
	return unknownName(nr)
}

// ByName gives the call with a name; false when the architecture has none.
func ByName(arch Arch, name string) (Call, bool) {
	for _, c := range All(arch) {
		if c.Name == name {
			return c, true
		}
	}
	return Call{}, false
}

// All gives every call of an architecture by rising number.
func All(arch Arch) []Call {
	var out []Call
	for nr := range maxNR {
		if c, ok := Lookup(arch, nr); ok {
			out = append(out, c)
		}
	}
	if arch == ARM {
		for nr := privateBase; nr < privateBase+8; nr++ {
			if c, ok := Lookup(arch, nr); ok {
				out = append(out, c)
			}
		}
	}
	return out
}

// variantFor gives the variant that holds for these arguments, or nil.
func (c Call) variantFor(args [6]uint64) *variant {
	vs := shapes[c.shape].variants
	for i := range vs {
		v := &vs[i]
		x := args[v.arg] & v.mask
		if c.Arch.Bits() == 32 || v.mask != ^uint64(0) || !v.bits {
			x = uint64(uint32(x)) // commands are 32 bits wide
		}
		for _, want := range v.values {
			if v.bits && x&want == want || !v.bits && x == uint64(uint32(want)) {
				return v
			}
		}
	}
	return nil
}

// ArgsFor gives the arguments that the call has with these values: open has a
// mode only with O_CREAT, fcntl's third argument depends on its second.
func (c Call) ArgsFor(args [6]uint64) []Arg {
	if v := c.variantFor(args); v != nil {
		return v.args
	}
	return c.Args
}

// ClassFor gives the class with these values: F_SETLKW is a lock wait, another
// fcntl is not.
func (c Call) ClassFor(args [6]uint64) Class {
	if v := c.variantFor(args); v != nil && v.class != classSame {
		return v.class
	}
	return c.Class
}

// ArgLists gives every list of arguments that the call can have.
func (c Call) ArgLists() [][]Arg {
	out := [][]Arg{c.Args}
	for _, v := range shapes[c.shape].variants {
		out = append(out, v.args)
	}
	return out
}
