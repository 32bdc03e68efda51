package capture

import (
	"context"
	"fmt"
	"time"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/userstack"
)

// parkedMost bounds how many goroutines of one process are listed.
const parkedMost = 100_000

// Stacks reads the kernel and user stacks of every thread of the targets, and
// of the goroutines on no thread. A thread that runs has neither: its registers
// are in a CPU.
func (s *Session) Stacks(ctx context.Context) (*facts.StackDump, error) {
	begin := time.Now()
	pass, err := s.backend.pass(ctx)
	if err != nil {
		return nil, err
	}
	tasks, err := events.DecodeTasks(pass)
	if err != nil {
		return nil, err
	}
	d := &facts.StackDump{Schema: facts.StackDumpSchema, Node: s.cache.node(s.opts.Proc), Backend: s.backend.name(), Degraded: s.backend.degraded()}
	_, d.TakenAt = s.opts.Proc.Clock()
	if s.backend.name() == facts.BackendProc {
		if tasks, err = s.detailed(ctx, pass, tasks, d); err != nil {
			return nil, err
		}
	}
	byPID := make(map[int][]events.Task)
	var pids []int
	var addrs []uint64
	for _, t := range tasks {
		if len(byPID[t.PID]) == 0 {
			pids = append(pids, t.PID)
		}
		byPID[t.PID] = append(byPID[t.PID], t)
		addrs = append(addrs, t.Stack...)
	}
	names := s.Names(addrs)
	for _, pid := range pids {
		d.Processes = append(d.Processes, s.stacksOf(ctx, pid, byPID[pid], names, d))
	}
	d.TookMS = time.Since(begin).Milliseconds()
	return d, nil
}

// detailed has the proc backend read the stacks of every thread.
func (s *Session) detailed(ctx context.Context, pass facts.Pass, tasks []events.Task, d *facts.StackDump) ([]events.Task, error) {
	threads := make(map[int][]int)
	for _, t := range tasks {
		threads[t.PID] = append(threads[t.PID], t.TID)
	}
	pass, skipped := s.backend.detail(ctx, pass, threads)
	d.Skipped = append(d.Skipped, skipped...)
	return events.DecodeTasks(pass)
}

func (s *Session) stacksOf(ctx context.Context, pid int, tasks []events.Task, names map[uint64]string, d *facts.StackDump) facts.ProcessStacks {
	out := facts.ProcessStacks{PID: pid, Comm: tasks[0].ProcessComm}
	skip := func(err error) {
		d.Skipped = append(d.Skipped, facts.Skipped{What: fmt.Sprintf("user stacks of pid %d", pid), Why: err.Error()})
	}
	params := userstack.Params{Parked: parkedMost}
	for _, t := range tasks {
		ts := facts.ThreadStacks{TID: t.TID, Comm: t.Comm, State: t.Letter(), Kernel: t.StackNames}
		for _, a := range t.Stack {
			name := names[a]
			if name == "" {
				name = fmt.Sprintf("%#x", a)
			}
			ts.Kernel = append(ts.Kernel, name)
		}
		out.Threads = append(out.Threads, ts)
		if t.TID == pid {
			out.Comm = t.Comm
		}
		if t.Sleeping() && t.HasRegs && !t.KernelThread() && !t.IOWorker() && !t.Exiting() && !t.Compat {
			params.Threads = append(params.Threads, userstack.Thread{TID: t.TID, PC: t.PC, SP: t.SP, BP: t.BP, LR: t.LR})
		}
	}
	if len(params.Threads) == 0 {
		return out
	}
	exe, err := s.opts.Proc.Readlink(pid, "exe")
	if err != nil {
		skip(err)
		return out
	}
	out.Exe, params.Exe = exe, exe
	if text, err := s.opts.Proc.Mountinfo(pid); err == nil {
		s.cache.mountinfo[tasks[0].MountNS] = text
	}
	params.Avoid = s.avoid(&facts.Snapshot{}, tasks[0].MountNS)
	r, err := s.askStacks(ctx, pid, params)
	if err != nil {
		skip(err)
		return out
	}
	out.Runtime, out.Parked, out.ParkedErr = r.Runtime, r.Parked, r.ParkedErr
	attach(&out, r.Stacks)
	return out
}

func attach(p *facts.ProcessStacks, stacks []facts.UserStack) {
	byTID := make(map[int]*facts.UserStack, len(stacks))
	for i := range stacks {
		byTID[stacks[i].TID] = &stacks[i]
	}
	for i := range p.Threads {
		p.Threads[i].User = byTID[p.Threads[i].TID]
	}
}
