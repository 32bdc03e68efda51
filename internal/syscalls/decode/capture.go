package decode

import "github.com/hangtrace/hangtrace/internal/syscalls"

// When says at which ends of a call memory is to be read: AtEntry, AtExit, or
// both.
type When uint8

// The two ends.
const (
	AtEntry When = 1 << iota
	AtExit       // only if the call did not fail, unless AtError is set
)

// Rule says how many bytes to read. The tracer cuts every rule at its own
// bound; what is missing shows as "..." or as an address.
type Rule uint8

// The rules.
const (
	// RuleString reads a string up to its NUL, at most Size bytes.
	RuleString Rule = iota + 1
	// RuleFixed reads Size bytes.
	RuleFixed
	// RuleArg reads Size bytes times the value of argument LenArg.
	RuleArg
	// RuleReturn reads Size bytes times the return value.
	RuleReturn
	// RulePointed reads as many bytes as the 32-bit number says that argument
	// LenArg points to.
	RulePointed
	// RuleIovec reads an array of struct iovec with argument LenArg elements,
	// or one without a LenArg, then the memory of each.
	RuleIovec
	// RuleMsghdr reads a struct msghdr, then its name, its iovecs with their
	// memory, and its control data.
	RuleMsghdr
	// RuleMmsghdr reads argument LenArg struct mmsghdr as RuleMsghdr does.
	RuleMmsghdr
	// RuleStrings reads an array of pointers up to a null pointer, then the
	// string behind each.
	RuleStrings
)

// Capture is one piece of memory that a call's text needs.
type Capture struct {
	Arg  int // the argument that points to it
	When When
	Rule Rule
	// Size is the size of an element, or with RuleString and RuleFixed of the
	// whole.
	Size   int
	LenArg int // -1: none
	// Data marks contents (a write's buffer) of which no more than -s bytes
	// are shown, unlike paths and structures.
	Data bool
	// AtError tells that memory read at exit is shown even if the call failed.
	AtError bool
}

// MaxCaptures is how many captures a call has at most. Only pselect6 has more
// than 4.
const MaxCaptures = 5

// Needs gives what is to be captured of a call with any arguments: for a call
// such as fcntl, whose second argument decides what the third points to, the
// union with the largest size. Reading an address that is none in fact must be
// expected to fail.
func Needs(c syscalls.Call) []Capture {
	var out []Capture
	for _, list := range c.ArgLists() {
		for i, a := range list {
			for _, capture := range capturesOf(c, list, i, a) {
				out = merge(out, capture)
			}
		}
	}
	return out
}

// NeedsFor gives what is to be captured of a call with these arguments.
func NeedsFor(c syscalls.Call, args [6]uint64) []Capture {
	var out []Capture
	list := c.ArgsFor(args)
	for i, a := range list {
		for _, capture := range capturesOf(c, list, i, a) {
			out = merge(out, capture)
		}
	}
	return out
}

// merge adds a capture. One of the same memory is read at both ends if need be,
// and grows to the larger size; a string or an array goes before a structure
// that another variant of the call has in the same place.
func merge(list []Capture, c Capture) []Capture {
	for i := range list {
		o := &list[i]
		if o.Arg != c.Arg {
			continue
		}
		when, atError, data := o.When|c.When, o.AtError || c.AtError, o.Data && c.Data
		size := max(o.Size, c.Size)
		if o.Rule == RuleFixed {
			*o = c
		}
		if o.Rule == c.Rule {
			o.Size = size
		}
		o.When, o.AtError, o.Data = when, atError, data
		return list
	}
	return append(list, c)
}

func capturesOf(c syscalls.Call, list []syscalls.Arg, i int, a syscalls.Arg) []Capture {
	one := Capture{Arg: i, When: AtEntry, LenArg: -1}
	switch a.Kind {
	case syscalls.KindPath, syscalls.KindText:
		one.Rule, one.Size = RuleString, pathMax
		return []Capture{one}
	case syscalls.KindStr:
		one.Rule, one.Size, one.Data = RuleString, pathMax, true
		return []Capture{one}
	case syscalls.KindMem:
		return memoryCaptures(c, list, one, a)
	}
	return nil
}

// memoryCaptures gives what one structure needs, at one end of the call or at
// both.
func memoryCaptures(c syscalls.Call, list []syscalls.Arg, one Capture, a syscalls.Arg) []Capture {
	if !one.rule(c, a) {
		return nil
	}
	var out []Capture
	if a.Dir&syscalls.DirIn != 0 || readsOwnInput(a) {
		entry := one
		if entry.Rule == RuleReturn { // nothing is returned yet
			return append(out, one.exit())
		}
		out = append(out, entry)
	}
	if a.Dir&syscalls.DirOut != 0 {
		exit := one.exit()
		exit.AtError = a.Name == "rmtp" || a.Struct == syscalls.StructFileHandle
		out = append(out, exit)
	}
	switch {
	case a.Struct == syscalls.StructTimespec && waitsWithTimeout(list):
		out = append(out, one.exit()) // what is left of the timeout
	case a.Struct == syscalls.StructMmsghdr && a.Dir&syscalls.DirOut == 0:
		out = append(out, one.exit()) // how much of each was sent
	}
	return out
}

func (c Capture) exit() Capture {
	c.When = AtExit
	return c
}

// waitsWithTimeout tells whether the call writes back what is left of its
// timeout: ppoll and pselect6 do.
func waitsWithTimeout(list []syscalls.Arg) bool {
	for _, a := range list {
		if a.Struct == syscalls.StructPollfd || a.Struct == syscalls.StructFdset {
			return true
		}
	}
	return false
}

// rule sets how many bytes a structure has; false when it is not decoded.
func (c *Capture) rule(call syscalls.Call, a syscalls.Arg) bool {
	c.LenArg = a.Len.ArgIndex()
	switch a.Struct {
	case syscalls.StructIovec, syscalls.StructIovecbase, syscalls.StructSigset6: // an address and a size, too
		c.Rule, c.Data = RuleIovec, true
		return true
	case syscalls.StructMsghdr:
		c.Rule, c.Data = RuleMsghdr, true
		return true
	case syscalls.StructMmsghdr:
		c.Rule, c.Data = RuleMmsghdr, true
		if c.LenArg < 0 { // recvmmsg: as many as it returns
			c.LenArg = 2
		}
		return true
	case syscalls.StructArgv, syscalls.StructEnvp:
		c.Rule = RuleStrings
		return true
	case syscalls.StructPathret, syscalls.StructCstring:
		c.Rule, c.Size = RuleString, pathMax
		return true
	case syscalls.StructMsgbuf: // the type, and as much of the text as is shown
		c.Rule, c.Size, c.LenArg, c.Data = RuleFixed, pathMax, -1, true
		return true
	case syscalls.StructCells:
		c.Rule, c.Size, c.LenArg, c.Data = RuleFixed, pathMax, -1, true
		return true
	case syscalls.StructFdset: // a bit for each descriptor below argument 0
		c.Rule, c.Size, c.LenArg = RuleFixed, 128, -1
		return true
	}
	c.Size = structSize(call.Arch, a.Struct)
	if c.Size == 0 {
		return false
	}
	switch {
	case a.Len == syscalls.LenReturn:
		c.Rule = RuleReturn
	case a.Len >= syscalls.LenAt:
		c.Rule = RulePointed
	case a.Len >= syscalls.LenArg:
		c.Rule = RuleArg
	default:
		c.Rule = RuleFixed
	}
	switch a.Struct {
	case syscalls.StructBytes, syscalls.StructXattrval, syscalls.StructHexbytes:
		c.Data = true
	}
	return true
}
