package capture

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/userstack"
)

// parkedMost bounds how many goroutines of one process are listed.
const parkedMost = 100_000

// stacksTogether is of how many processes one child reads stacks: starting it
// costs more than most of them, and its deadline is for all of them.
const stacksTogether = 16

// Stacks reads the kernel and user stacks of every thread of the targets, and
// of the goroutines on no thread. A thread that runs has neither: its registers
// are in a CPU.
func (s *Session) Stacks(ctx context.Context) (*facts.StackDump, error) {
	begin := time.Now()
	d := &facts.StackDump{Schema: facts.StackDumpSchema, Node: s.cache.node(s.opts.Proc), Backend: s.backend.name(), Degraded: s.backend.degraded()}
	_, d.TakenAt = s.opts.Proc.Clock()
	skip := func(what string, err error) {
		d.Skipped = append(d.Skipped, facts.Skipped{What: what, Why: err.Error()})
	}
	snap := &facts.Snapshot{} // what may hang here is told from it
	s.devices(snap, skip)
	pids, tasks, err := s.stackTasks(ctx, d)
	if err != nil {
		return nil, err
	}
	if len(pids) == 0 && !s.opts.Targets.All {
		return nil, s.ended()
	}
	for some := range slices.Chunk(pids, stacksTogether) {
		d.Processes = append(d.Processes, s.stacksOf(ctx, snap, some, tasks, skip)...)
	}
	d.Skipped = append(d.Skipped, snap.Skipped...)
	for _, c := range s.opts.Runner.Abandoned() {
		d.Skipped = append(d.Skipped, c.Skipped())
	}
	d.TookMS = time.Since(begin).Milliseconds()
	return d, nil
}

// stackTasks makes a pass and sorts the threads by process.
func (s *Session) stackTasks(ctx context.Context, d *facts.StackDump) (pids []int, byPID map[int][]events.Task, err error) {
	pass, err := s.backend.pass(ctx)
	if err != nil {
		return nil, nil, err
	}
	tasks, err := events.DecodeTasks(pass)
	if err != nil {
		return nil, nil, err
	}
	if s.backend.name() == facts.BackendProc {
		tasks = s.detailed(ctx, pass, tasks, d)
	}
	byPID = make(map[int][]events.Task)
	var addrs []uint64
	for _, t := range tasks {
		if len(byPID[t.PID]) == 0 {
			pids = append(pids, t.PID)
		}
		byPID[t.PID] = append(byPID[t.PID], t)
		addrs = append(addrs, t.Stack...)
	}
	names := s.Names(addrs)
	for _, list := range byPID {
		for i := range list {
			list[i].StackNames = append(list[i].StackNames, named(list[i].Stack, names)...)
		}
	}
	return pids, byPID, nil
}

// named names the frames of a kernel stack as far as they have names.
func named(stack []uint64, names map[uint64]string) []string {
	out := make([]string, len(stack))
	for i, a := range stack {
		if out[i] = names[a]; out[i] == "" {
			out[i] = fmt.Sprintf("%#x", a)
		}
	}
	return out
}

// detailed has the proc backend read calls and stacks of these threads.
func (s *Session) detailed(ctx context.Context, pass facts.Pass, tasks []events.Task, d *facts.StackDump) []events.Task {
	threads := make(map[int][]int)
	for _, t := range tasks {
		threads[t.PID] = append(threads[t.PID], t.TID)
	}
	pass, skipped := s.backend.detail(ctx, pass, threads)
	d.Skipped = append(d.Skipped, skipped...)
	if full, err := events.DecodeTasks(pass); err == nil {
		return full
	}
	return tasks
}

// processStacks is the kernel side of one process.
func processStacks(pid int, tasks []events.Task) facts.ProcessStacks {
	out := facts.ProcessStacks{PID: pid}
	for i := range tasks {
		t := &tasks[i]
		out.Threads = append(out.Threads, facts.ThreadStacks{TID: t.TID, Comm: t.Comm, State: t.Letter(), Kernel: t.StackNames})
		switch {
		case t.TID == pid:
			out.Comm = t.Comm
		case out.Comm == "":
			out.Comm = t.ProcessComm
		}
	}
	return out
}

// stacksOf reads the stacks of some processes.
func (s *Session) stacksOf(ctx context.Context, snap *facts.Snapshot, pids []int, tasks map[int][]events.Task, skip func(string, error)) []facts.ProcessStacks {
	list := make([]facts.ProcessStacks, len(pids))
	work := make(map[int][]expendable.Request, len(pids))
	for i, pid := range pids {
		p := &list[i]
		*p = processStacks(pid, tasks[pid])
		req, err := s.allStacks(snap, p, tasks[pid])
		switch {
		case err != nil:
			skip(userStacksOf(pid), err)
		case req != nil:
			work[pid] = []expendable.Request{*req}
		}
	}
	replies := s.ask(ctx, work)
	for i := range list {
		p := &list[i]
		reply, asked := replies[p.PID]
		if !asked {
			continue
		}
		r, err := stackResult(reply)
		if err != nil {
			skip(userStacksOf(p.PID), err)
			continue
		}
		if r.ProgramErr != "" {
			skip(userStacksOf(p.PID), errors.New(r.ProgramErr))
		}
		p.Runtime, p.Parked, p.ParkedErr = r.Runtime, r.Parked, r.ParkedErr
		attach(p, r)
	}
	return list
}

func userStacksOf(pid int) string { return fmt.Sprintf("user stacks of pid %d", pid) }

// allStacks asks for the user side of all threads of a process; nil: none has
// one.
func (s *Session) allStacks(snap *facts.Snapshot, p *facts.ProcessStacks, tasks []events.Task) (*expendable.Request, error) {
	var threads []userstack.Thread
	var running []int
	for i := range tasks {
		t := &tasks[i]
		switch {
		case t.KernelThread() || t.IOWorker() || t.Exiting() || t.Compat:
		case t.Sleeping() && t.HasRegs:
			threads = append(threads, userstack.Thread{TID: t.TID, PC: t.PC, SP: t.SP, BP: t.BP, LR: t.LR, Switches: t.Switches()})
		default:
			running = append(running, t.TID)
		}
	}
	if len(threads)+len(running) == 0 {
		return nil, nil
	}
	s.readMounts(p.PID, tasks[0].MountNS)
	params, err := s.program(snap, p.PID)
	if err != nil {
		return nil, err
	}
	p.Exe = params.Exe
	params.Parked, params.Again, params.Threads, params.Running = parkedMost, true, threads, running
	req, err := stackQuestion(p.PID, params)
	return &req, err
}

// StackParams tells of a process's program before anything of it is asked.
func (s *Session) StackParams(pid int) (userstack.Params, error) {
	if ns, err := s.opts.Proc.Namespace(pid, "mnt"); err == nil {
		s.readMounts(pid, ns)
	}
	snap := &facts.Snapshot{}
	s.devices(snap, func(string, error) {}) // what is on no list is not opened
	return s.program(snap, pid)
}

// readMounts reads the mount tables that say where files of a process lie: its
// own, and the node's, which has what its own is made of.
func (s *Session) readMounts(pid int, ns uint32) {
	read := func(pid int, ns uint32) {
		if _, ok := s.cache.mountinfo[ns]; ok || ns == 0 {
			return
		}
		if text, err := s.opts.Proc.Mountinfo(pid); err == nil {
			s.cache.mountinfo[ns] = text
		}
	}
	read(pid, ns)
	host := s.hostPID()
	if ns, err := s.opts.Proc.Namespace(host, "mnt"); err == nil {
		read(host, ns)
	}
}

func attach(p *facts.ProcessStacks, r *userstack.Result) {
	byTID := make(map[int]*facts.UserStack, len(r.Stacks))
	for i := range r.Stacks {
		byTID[r.Stacks[i].TID] = &r.Stacks[i]
	}
	for i := range p.Threads {
		t := &p.Threads[i]
		t.User = byTID[t.TID]
		if f, ok := r.Fresh[t.TID]; ok {
			t.State, t.Kernel = f.State, f.Kernel
		}
	}
}
