package session

import (
	"github.com/hangtrace/hangtrace/internal/loader"
	"github.com/hangtrace/hangtrace/internal/strace"
	"github.com/hangtrace/hangtrace/internal/syscalls"
	"github.com/hangtrace/hangtrace/internal/syscalls/decode"
)

// moving are the calls that change what descriptors stand for: with -y they are
// traced even if the filter leaves them out of the output.
var moving = map[string]bool{
	"close": true, "close_range": true, "dup": true, "dup2": true, "dup3": true, "execve": true, "execveat": true,
	"chdir": true, "fchdir": true, "chroot": true, "pivot_root": true,
}

// rows tells the tracer which calls to send, and with what memory.
func rows(arch syscalls.Arch, f *strace.Filter, memory bool) map[int]loader.CallRow {
	table := make(map[int]loader.CallRow)
	for _, c := range syscalls.All(arch) {
		row := loader.CallRow{Traced: f.Match(c.Name)}
		if row.Traced && memory {
			row.Needs = needs(c)
			fillFDs(&row, c)
		}
		table[c.NR] = row
	}
	return table
}

// fillFDs says which arguments are descriptors, whatever their values: of calls
// whose arguments depend on others, those that any of the lists has.
func fillFDs(row *loader.CallRow, c syscalls.Call) {
	for _, list := range c.ArgLists() {
		for i, a := range list {
			switch {
			case i > 5:
			case a.Kind == syscalls.KindFD || a.Kind == syscalls.KindDirFD:
				row.FDs |= 1 << i
			case a.Struct == syscalls.StructFdpair && a.Kind == syscalls.KindMem:
				row.FDPair = uint8(i + 1)
			}
		}
	}
	row.ReturnsFD = c.MayReturnFD()
}

func needs(c syscalls.Call) []loader.CallNeed {
	var list []loader.CallNeed
	for _, n := range decode.Needs(c) {
		list = append(list, loader.CallNeed{
			Arg: uint8(n.Arg), When: uint8(n.When), Rule: uint8(n.Rule), LenArg: n.LenArg,
			Size: n.Size, Data: n.Data, AtError: n.AtError,
		})
	}
	return list
}

// cacheable tells whether the filter lets all calls through that change
// descriptors.
func cacheable(f *strace.Filter) bool {
	for name := range moving {
		if !f.Match(name) {
			return false
		}
	}
	return true
}
