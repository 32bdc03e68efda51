package capture

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/loader"
	"github.com/hangtrace/hangtrace/internal/mounts"
	"github.com/hangtrace/hangtrace/internal/proc"
	"github.com/hangtrace/hangtrace/internal/storage"
)

// gather reads what the suspects of a snapshot need: first what cannot block,
// then user memory and files through expendable children. Pods and stacks, which
// depend on little else, are asked for beside the rest.
func (s *Session) gather(ctx context.Context, snap *facts.Snapshot) {
	skip := func(what string, err error) {
		snap.Skipped = append(snap.Skipped, facts.Skipped{What: what, Why: err.Error()})
	}
	s.targetFacts(snap)
	s.symbols(snap, skip)
	suspects, err := correlate.Suspects(snap, s.opts.Judge.Decoded)
	if err != nil {
		skip("threads", err)
		return
	}
	if s.backend.name() == facts.BackendProc && len(suspects) > 0 {
		suspects = s.detail(ctx, snap, suspects)
	}
	s.mountTables(snap, suspects, skip)
	if len(suspects) == 0 {
		defer s.askHealth(ctx, snap, nil)()
		s.inventory(ctx, snap, skip)
		return
	}
	s.startWalker()
	if !s.opts.Again { // a session that goes on reads it once something hangs
		s.askLog()
	}
	pods := s.askPods(ctx)
	s.devices(snap, skip)
	s.fuseDaemons(ctx, snap, suspects)
	s.openFiles(snap, suspects, skip)
	s.links(snap, suspects)
	s.suspectProcesses(snap, suspects)
	defer s.askHealth(ctx, snap, suspects)()
	s.userMemory(ctx, snap, suspects)
	s.resolve(ctx, snap, suspects)
	stacks := s.askStacks(ctx, snap, suspects)
	// Behind the paths, as it may take long until the walker is loaded; before the
	// volumes, which it may name.
	s.walk(ctx, snap, suspects)
	s.storageFacts(ctx, snap, suspects, skip)
	s.kube(ctx, snap, pods, skip)
	stacks()
}

// detail has the proc backend read calls and stacks of the threads that its
// cheap pass left in question, and asks again.
func (s *Session) detail(ctx context.Context, snap *facts.Snapshot, suspects []correlate.Suspect) []correlate.Suspect {
	threads := make(map[int][]int)
	for _, p := range suspects {
		threads[p.PID] = append(threads[p.PID], p.TID)
	}
	i := len(snap.Passes) - 1
	pass, skipped := s.backend.detail(ctx, snap.Passes[i], threads)
	snap.Passes[i] = pass
	snap.Skipped = append(snap.Skipped, skipped...)
	again, err := correlate.Suspects(snap, s.opts.Judge.Decoded)
	if err != nil {
		return suspects
	}
	return again
}

func (s *Session) symbols(snap *facts.Snapshot, skip func(string, error)) {
	snap.Symbols = s.cache.symbols
	addrs, err := correlate.StackAddresses(snap, s.opts.Judge.Decoded)
	if err != nil {
		skip("kernel stacks", err)
		return
	}
	if len(addrs) == 0 {
		return
	}
	names, err := s.backend.symbols(addrs)
	if err != nil {
		skip("names of kernel functions", err)
	}
	maps.Copy(s.cache.symbols, names)
}

// rest has the passes to come leave out what need not be looked into again.
func (s *Session) rest(snap *facts.Snapshot) {
	rests, err := correlate.Rests(snap, s.opts.Judge.Decoded)
	if err != nil || len(rests) == 0 {
		return
	}
	var seen map[int]bool
	alive := func(tid int) bool {
		if seen == nil {
			seen = correlate.TIDs(snap, s.opts.Judge.Decoded)
		}
		return seen[tid]
	}
	// Without it the next pass costs more, and says the same.
	_ = s.backend.rest(rests, alive)
}

// targetFacts describes the targets; with every process as a target only the
// suspects are described, later.
func (s *Session) targetFacts(snap *facts.Snapshot) {
	for _, t := range s.opts.Targets.List {
		s.process(snap, t.PID)
	}
}

func (s *Session) process(snap *facts.Snapshot, pid int) {
	if slices.ContainsFunc(snap.Processes, func(p facts.Process) bool { return p.PID == pid }) {
		return
	}
	p, err := s.opts.Proc.Process(pid)
	if err != nil {
		return // it ended meanwhile: its threads are gone, too
	}
	s.cache.kubelet(s.opts, &p)
	snap.Processes = append(snap.Processes, p)
}

func (s *Session) suspectProcesses(snap *facts.Snapshot, suspects []correlate.Suspect) {
	const most = 512
	for _, p := range suspects {
		if len(snap.Processes) < most {
			s.process(snap, p.PID)
		}
	}
}

func (s *Session) devices(snap *facts.Snapshot, skip func(string, error)) {
	blocks, skipped, err := storage.Blocks(s.opts.Sys)
	if err != nil {
		skip("block devices", err)
	}
	snap.Blocks = blocks
	snap.Skipped = append(snap.Skipped, skipped...)
	fuse, degraded, err := storage.FuseConnections(s.opts.Sys)
	if err != nil {
		skip("FUSE connections", err)
	}
	snap.Fuse = fuse
	snap.Degraded = append(snap.Degraded, degraded...)
}

func pidsOf(suspects []correlate.Suspect, want func(correlate.Suspect) bool) []int {
	var pids []int
	seen := make(map[int]bool)
	for _, s := range suspects {
		if want(s) && !seen[s.PID] {
			seen[s.PID] = true
			pids = append(pids, s.PID)
		}
	}
	return pids
}

// openFiles asks the file iterator about the processes whose calls act on
// descriptors.
func (s *Session) openFiles(snap *facts.Snapshot, suspects []correlate.Suspect, skip func(string, error)) {
	pids := pidsOf(suspects, func(p correlate.Suspect) bool { return len(p.FDs) > 0 })
	if len(pids) == 0 {
		return
	}
	pass, err := s.backend.files(pids)
	if err == nil {
		snap.Files = append(snap.Files, pass)
		return
	}
	if !errors.Is(err, loader.ErrNotSupported) {
		skip("open files", err)
	}
}

// links reads where working directories and descriptors point: names from the
// kernel's cache, which never touch what they name.
func (s *Session) links(snap *facts.Snapshot, suspects []correlate.Suspect) {
	done := make(map[string]bool)
	add := func(pid int, name string, fd int) {
		key := fmt.Sprintf("%d %s", pid, name)
		if done[key] {
			return
		}
		done[key] = true
		to, err := s.opts.Proc.Readlink(pid, name)
		if err != nil {
			return // closed, or gone
		}
		l := facts.Link{PID: pid, Name: name, To: to}
		if fd >= 0 {
			l.FDInfo, _ = s.opts.Proc.FDInfo(pid, fd)
		}
		snap.Links = append(snap.Links, l)
	}
	for _, p := range suspects {
		if p.Cwd {
			add(p.PID, "cwd", -1)
		}
		if len(snap.Files) > 0 && s.backend.filePaths() {
			continue
		}
		for _, fd := range p.FDs {
			add(p.PID, fmt.Sprintf("fd/%d", fd), fd)
		}
	}
}

// userMemory reads path strings and mappings.
func (s *Session) userMemory(ctx context.Context, snap *facts.Snapshot, suspects []correlate.Suspect) {
	work := make(map[int][]expendable.Request)
	for _, pid := range pidsOf(suspects, func(p correlate.Suspect) bool { return len(p.Strings) > 0 || p.Fault }) {
		work[pid] = s.cache.memoryRequests(snap, suspects, pid)
	}
	replies := s.ask(ctx, work)
	for _, pid := range slices.Sorted(maps.Keys(replies)) {
		r := replies[pid]
		s.cache.keepMemory(snap, suspects, pid, r.answers)
		if err := r.refusal(); err != nil {
			snap.Skipped = append(snap.Skipped, facts.Skipped{What: fmt.Sprintf("memory of pid %d (paths given by address)", pid), Why: err.Error()})
		}
	}
}

// forEach runs f for every PID, a few at a time.
func forEach(pids []int, f func(pid int)) {
	const workers = 8
	var wg sync.WaitGroup
	queue := make(chan int)
	for range min(workers, len(pids)) {
		wg.Go(func() {
			for pid := range queue {
				f(pid)
			}
		})
	}
	for _, pid := range pids {
		queue <- pid
	}
	close(queue)
	wg.Wait()
}

// mountTables reads the mount table of every namespace that matters: those of
// the suspects, of the targets, and of the kubelet.
func (s *Session) mountTables(snap *facts.Snapshot, suspects []correlate.Suspect, skip func(string, error)) {
	readers := make(map[uint32]int) // namespace -> process
	add := func(ns uint32, pid int) {
		if _, ok := readers[ns]; !ok && ns != 0 {
			readers[ns] = pid
		}
	}
	for _, p := range suspects {
		add(p.MountNS, p.PID)
	}
	for _, p := range snap.Processes {
		add(p.MountNS, p.PID)
	}
	if pid := s.hostPID(); pid != 0 && (len(suspects) > 0 || len(readers) > 0) {
		if ns, err := s.opts.Proc.Namespace(pid, "mnt"); err == nil {
			snap.HostMountNS = ns
			add(ns, pid)
		}
	}
	s.cache.readers = readers
	for _, ns := range slices.Sorted(maps.Keys(readers)) {
		text, err := s.opts.Proc.Mountinfo(readers[ns])
		if errors.Is(err, proc.ErrGone) {
			continue
		}
		if err != nil {
			skip(fmt.Sprintf("mounts of pid %d", readers[ns]), err)
			continue
		}
		if s.cache.unchanged(ns, text) && s.opts.Judge.Memory != nil {
			continue
		}
		snap.Mounts = append(snap.Mounts, facts.MountTable{Namespace: ns, PID: readers[ns], Text: string(mounts.Redact(text)), AsOf: snap.TakenAt})
	}
}
