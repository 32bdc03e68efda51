package capture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// userStacks reads the calls that led the suspects into the kernel, one child a
// process.
func (s *Session) userStacks(ctx context.Context, snap *facts.Snapshot, suspects []correlate.Suspect) {
	want := make(map[int][]correlate.Suspect)
	var pids []int
	for _, p := range suspects {
		if p.PC == 0 {
			continue
		}
		if known, ok := s.cache.stacks.get(keyOf(p, 0)); ok {
			snap.UserStacks = append(snap.UserStacks, known)
			continue
		}
		if len(want[p.PID]) == 0 {
			pids = append(pids, p.PID)
		}
		want[p.PID] = append(want[p.PID], p)
	}
	for _, pid := range pids {
		list := want[pid]
		if len(list) > stacksMost {
			snap.Skipped = append(snap.Skipped, facts.Skipped{
				What: fmt.Sprintf("user stacks of %d more threads of pid %d", len(list)-stacksMost, pid),
				Why:  fmt.Sprintf("at most %d a process are read", stacksMost),
			})
			list = list[:stacksMost]
		}
		stacks, err := s.processStacks(ctx, snap, pid, list)
		if err != nil {
			snap.Skipped = append(snap.Skipped, facts.Skipped{What: fmt.Sprintf("user stacks of pid %d", pid), Why: err.Error()})
		}
		snap.UserStacks = append(snap.UserStacks, stacks...)
		for _, st := range stacks {
			if i := slices.IndexFunc(list, func(p correlate.Suspect) bool { return p.TID == st.TID }); i >= 0 {
				s.cache.stacks.put(keyOf(list[i], 0), st)
			}
		}
	}
}

func (s *Session) processStacks(ctx context.Context, snap *facts.Snapshot, pid int, list []correlate.Suspect) ([]facts.UserStack, error) {
	exe, err := s.opts.Proc.Readlink(pid, "exe")
	if err != nil {
		return nil, err
	}
	params := userstack.Params{Exe: exe, Avoid: s.avoid(snap, list[0].MountNS)}
	for _, p := range list {
		params.Threads = append(params.Threads, userstack.Thread{TID: p.TID, PC: p.PC, SP: p.SP, BP: p.BP, LR: p.LR})
	}
	r, err := s.askStacks(ctx, pid, params)
	if err != nil {
		return nil, err
	}
	return r.Stacks, nil
}

// askStacks has a child read stacks of one process.
func (s *Session) askStacks(ctx context.Context, pid int, params userstack.Params) (*userstack.Result, error) {
	text, err := json.Marshal(params)
	if err != nil {
		return nil, err
	}
	req := expendable.Request{Op: userstack.Op, PID: pid, Params: text}
	answers, err := s.opts.Runner.Do(ctx, childKey(pid), []expendable.Request{req}, childDeadline(ctx))
	switch {
	case err != nil:
		return nil, err
	case answers[0].Err != "":
		return nil, errors.New(answers[0].Err)
	}
	var r userstack.Result
	if err := json.Unmarshal(answers[0].Result, &r); err != nil {
		return nil, fmt.Errorf("answer of the child: %w", err)
	}
	return &r, nil
}

// avoid lists the devices whose files no child may open: those of every mount
// that somebody else than this machine answers for.
func (s *Session) avoid(snap *facts.Snapshot, ns uint32) []string {
	t, err := mounts.Parse(s.cache.mountinfo[ns], ns, mounts.NewBlocks(snap.Blocks))
	if err != nil {
		return nil
	}
	var list []string
	for _, m := range t.Mounts {
		if m.Kind != mounts.KindBlock && m.Kind != mounts.KindOther && !slices.Contains(list, m.Device) {
			list = append(list, m.Device)
		}
	}
	return list
}
