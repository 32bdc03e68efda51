package capture

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/mounts"
	"github.com/hangtrace/hangtrace/internal/userstack"
)

// stacksMost is of how many threads of one process the user side is read: what
// hangs by the thousand hangs in the same place.
const stacksMost = 64

// stackTries is how often a stack is asked for that is not to be had: a busy
// machine may be late, a process whose memory nobody can read stays so.
const stackTries = 3

// userStacks reads the calls that led the suspects into the kernel.
func (s *Session) userStacks(ctx context.Context, snap *facts.Snapshot, suspects []correlate.Suspect) {
	s.askStacks(ctx, snap, suspects)()
}

// askStacks begins to read them and returns what waits for them and stores them:
// nothing else needs them. Until then s.ask is theirs.
func (s *Session) askStacks(ctx context.Context, snap *facts.Snapshot, suspects []correlate.Suspect) (finish func()) {
	want := make(map[int][]correlate.Suspect)
	more := make(map[int]int) // beyond stacksMost
	var pids []int
	for _, p := range suspects {
		if p.PC == 0 {
			continue
		}
		known, _ := s.cache.stacks.get(keyOf(p, 0))
		if len(known.Frames) > 0 {
			snap.UserStacks = append(snap.UserStacks, known.UserStack)
			continue
		}
		if known.vain == stackTries {
			continue
		}
		switch len(want[p.PID]) {
		case 0:
			pids = append(pids, p.PID)
		case stacksMost:
			more[p.PID]++
			continue
		}
		want[p.PID] = append(want[p.PID], p)
	}
	skip := func(what, why string) {
		snap.Skipped = append(snap.Skipped, facts.Skipped{What: what, Why: why})
	}
	work := make(map[int][]expendable.Request)
	for _, pid := range pids {
		if n := more[pid]; n > 0 {
			skip(fmt.Sprintf("user stacks of %d more threads of pid %d", n, pid), fmt.Sprintf("at most %d a process are read", stacksMost))
		}
		req, err := s.stackRequest(snap, pid, want[pid])
		if err != nil {
			skip(userStacksOf(pid), err.Error())
			continue
		}
		work[pid] = []expendable.Request{req}
	}
	answer := make(chan map[int]reply, 1)
	go func() { answer <- s.ask(ctx, work) }()
	return func() {
		replies := <-answer
		for _, pid := range slices.Sorted(maps.Keys(replies)) {
			r, err := stackResult(replies[pid])
			if err != nil {
				skip(userStacksOf(pid), err.Error())
				r = &userstack.Result{}
			}
			if r.ProgramErr != "" {
				skip(fmt.Sprintf("names in user stacks of pid %d", pid), r.ProgramErr)
			}
			snap.UserStacks = append(snap.UserStacks, r.Stacks...)
			s.cache.keepStacks(want[pid], r.Stacks)
		}
	}
}

// keepStacks remembers the stacks of one process's threads, and counts how often
// one was not to be had.
func (c *cache) keepStacks(list []correlate.Suspect, stacks []facts.UserStack) {
	for _, p := range list {
		known, _ := c.stacks.get(keyOf(p, 0))
		i := slices.IndexFunc(stacks, func(st facts.UserStack) bool { return st.TID == p.TID })
		if i >= 0 {
			known.UserStack = stacks[i]
		}
		if len(known.Frames) == 0 {
			known.vain++
		}
		c.stacks.put(keyOf(p, 0), known)
	}
}

// stackRequest asks for the stacks of threads of one process.
func (s *Session) stackRequest(snap *facts.Snapshot, pid int, list []correlate.Suspect) (expendable.Request, error) {
	params, err := s.program(snap, pid)
	if err != nil {
		return expendable.Request{}, err
	}
	for _, p := range list {
		params.Threads = append(params.Threads, userstack.Thread{TID: p.TID, PC: p.PC, SP: p.SP, BP: p.BP, LR: p.LR, Switches: p.Switches})
	}
	return stackQuestion(pid, params)
}

// program is what a child needs to know of a process: what its program is, and
// which files may be opened.
func (s *Session) program(snap *facts.Snapshot, pid int) (p userstack.Params, err error) {
	if p.Exe, err = s.opts.Proc.Readlink(pid, "exe"); err != nil {
		return p, err
	}
	p.Avoid, p.Known = s.places(snap)
	return p, nil
}

func stackQuestion(pid int, params userstack.Params) (expendable.Request, error) {
	text, err := json.Marshal(params)
	return expendable.Request{Op: userstack.Op, PID: pid, Params: text}, err
}

func stackResult(r reply) (*userstack.Result, error) {
	if err := r.refusal(); err != nil {
		return nil, err
	}
	var result userstack.Result
	if err := json.Unmarshal(r.answers[0].Result, &result); err != nil {
		return nil, fmt.Errorf("answer of the child: %w", err)
	}
	return &result, nil
}

// places sorts devices into those whose files no child may open, as somebody
// else than this machine answers for them, and those that are known to be its
// own. A file system without a disk that is on neither list may be anything: a
// mount that was lazily unmounted is in no table.
func (s *Session) places(snap *facts.Snapshot) (avoid, known []string) {
	blocks := mounts.NewBlocks(snap.Blocks)
	add := func(list *[]string, device string) {
		if !slices.Contains(*list, device) {
			*list = append(*list, device)
		}
	}
	for _, b := range snap.Blocks {
		if _, remote := blocks.Remote(b.Device); remote {
			add(&avoid, b.Device)
		}
	}
	for _, c := range snap.Fuse {
		add(&avoid, c.Device)
	}
	for _, ns := range slices.Sorted(maps.Keys(s.cache.mountinfo)) {
		t, err := mounts.Parse(s.cache.mountinfo[ns], ns, blocks)
		if err != nil {
			continue
		}
		for _, m := range t.Mounts {
			if m.Kind == mounts.KindBlock || m.Kind == mounts.KindOther {
				add(&known, m.Device)
			} else {
				add(&avoid, m.Device)
			}
		}
	}
	return avoid, known
}
