package session

import (
	"github.com/hangtrace/hangtrace/internal/loader"
	"github.com/hangtrace/hangtrace/internal/strace"
	"github.com/hangtrace/hangtrace/internal/syscalls"
	"github.com/hangtrace/hangtrace/internal/syscalls/decode"
)

// moving are the calls after which a descriptor stands for something else, and
// those that change the working directory. An execve tells of itself.
var (
	moving  = []string{"close", "close_range", "dup2", "dup3"}
	leaving = []string{"chdir", "fchdir", "chroot", "pivot_root"}
)

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
	switch c.Name {
	case "poll", "ppoll", "ppoll_time64":
		row.Waits = loader.WaitsPoll
	case "select", "pselect6", "_newselect", "pselect6_time64":
		row.Waits = loader.WaitsSelect
	}
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

// cacheable tells whether the filter lets all of these calls through that there
// are.
func cacheable(f *strace.Filter, calls []string) bool {
	for _, name := range calls {
		if _, ok := syscalls.ByName(native, name); ok && !f.Match(name) {
			return false
		}
	}
	return true
}
