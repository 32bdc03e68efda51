package capture

import (
	"context"
	"time"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// Calls looks once at what the targets' threads are inside of: one pass, the
// paths that their calls name, and with stacks how they got there. It judges
// nothing and leaves out what a report would need beyond that.
func (s *Session) Calls(ctx context.Context, stacks bool) (*facts.Snapshot, error) {
	begin := time.Now()
	snap := &facts.Snapshot{Backend: s.backend.name(), Node: s.cache.node(s.opts.Proc)}
	snap.Targets, snap.AllProcesses = s.opts.Targets.List, s.opts.Targets.All
	pass, err := s.backend.pass(ctx)
	if err != nil {
		return nil, err
	}
	snap.Passes = []facts.Pass{pass}
	snap.Clock, snap.TakenAt = s.opts.Proc.Clock()
	if err := s.backend.clock(&snap.Clock); err != nil {
		snap.Degraded = append(snap.Degraded, "in a call since when is not known: "+err.Error())
	}
	tasks, err := events.DecodeTasks(pass)
	if err != nil {
		return nil, err
	}
	list := inside(tasks, syscalls.Arch(snap.Node.Arch))
	s.userMemory(ctx, snap, list)
	if stacks {
		s.callStacks(ctx, snap, tasks, list)
	}
	snap.TookMS = time.Since(begin).Milliseconds()
	return snap, nil
}

// inside lists the threads that sleep in a call, with the strings it names.
func inside(tasks []events.Task, native syscalls.Arch) []correlate.Suspect {
	var list []correlate.Suspect
	for i := range tasks {
		t := &tasks[i]
		if !t.HasRegs || t.SyscallNR < 0 || !t.Sleeping() || t.Exiting() || t.KernelThread() {
			continue
		}
		arch := native
		if t.Compat {
			arch = arch.Compat()
		}
		p := correlate.Suspect{
			PID: t.PID, TID: t.TID, MountNS: t.MountNS, StartBootNS: t.StartBootNS, Switches: t.Switches(),
			PC: t.PC, SP: t.SP, BP: t.BP, LR: t.LR,
		}
		if t.Compat {
			p.PC = 0 // the unwinders know 64-bit frames
		}
		if call, ok := syscalls.Lookup(arch, t.SyscallNR); ok {
			for i, a := range call.ArgsFor(t.Args) {
				if isString(a) && t.Args[i] != 0 {
					p.Strings = append(p.Strings, t.Args[i])
				}
			}
		}
		list = append(list, p)
	}
	return list
}

func isString(a syscalls.Arg) bool {
	return a.Kind == syscalls.KindPath || a.Kind == syscalls.KindText || a.Kind == syscalls.KindStr
}

func (s *Session) callStacks(ctx context.Context, snap *facts.Snapshot, tasks []events.Task, list []correlate.Suspect) {
	var addrs []uint64
	for i := range tasks {
		addrs = append(addrs, tasks[i].Stack...)
	}
	snap.Symbols = s.Names(addrs)
	s.mountTables(snap, list, func(what string, err error) {
		snap.Skipped = append(snap.Skipped, facts.Skipped{What: what, Why: err.Error()})
	})
	s.userStacks(ctx, snap, list)
}
