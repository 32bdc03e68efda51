package decode

import (
	"strings"

	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// Unfinished shows what strace prints of a call when another thread's line
// interrupts it: the name and the arguments before the first that only the
// return decides. Line begins with the same text if entry memory is the same,
// so that the rest can follow "<... read resumed>".
func Unfinished(in Input, o Options) string {
	full := in
	full.Returned = false
	list := in.Call.ArgsFor(in.Args)
	cut := len(list)
	for i, a := range list {
		if waitsForExit(a) && !(in.Args[i] == 0 && isOffset(a)) {
			cut = i
			break
		}
	}
	if in.Call.Name == "clone" {
		return name(in) + "(" + beforeResult(Args(full, o))
	}
	if in.Call.Name == "" || cut == len(list) && in.Call.Name != "clone3" {
		return name(in) + "(" + Args(full, o)
	}
	d := newDecoder(full, o)
	defer d.done()
	if in.Call.Name == "clone3" { // what it stored follows the structure
		return name(in) + "(" + string(in.Call.AppendFirst(nil, in.Args, d.printer(), 1))
	}
	text := string(in.Call.AppendFirst(nil, in.Args, d.printer(), cut))
	if text != "" {
		text += ", "
	}
	return name(in) + "(" + text
}

// beforeResult cuts clone's text before what strace adds at its return.
func beforeResult(text string) string {
	for _, arg := range []string{", parent_tid=", ", tls=", ", child_tidptr="} {
		text, _, _ = strings.Cut(text, arg)
	}
	return text
}

// isOffset tells of a file position that the call moves: without one strace
// has nothing to wait for.
func isOffset(a syscalls.Arg) bool {
	return a.Struct == syscalls.StructOff || a.Struct == syscalls.StructLoff
}

// waitsForExit tells whether strace prints an argument only at the return.
func waitsForExit(a syscalls.Arg) bool {
	if a.Kind != syscalls.KindMem {
		return false
	}
	return a.Dir&syscalls.DirOut != 0 && !shownAtEntry(a) || a.Struct == syscalls.StructMmsghdr
}

// shownAtEntry are the structures whose changes strace shows behind the return
// value.
func shownAtEntry(a syscalls.Arg) bool {
	switch a.Struct {
	case syscalls.StructPollfd, syscalls.StructFdset:
		return true
	case syscalls.StructTimeval:
		return a.Dir&syscalls.DirIn != 0
	}
	return false
}
