package session

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hangtrace/hangtrace/internal/capture"
	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/strace"
	"github.com/hangtrace/hangtrace/internal/userstack"
)

const (
	// stackPatience is how long a few stacks may take. A process that is slower
	// is left alone for a while: its program lies on what hangs, or its memory map
	// is locked.
	stackPatience = 2 * time.Second
	stackAgain    = time.Minute
	// mostAsked are a few.
	mostAsked = 64
	// mostStackChildren bounds the children that are kept.
	mostStackChildren = 16
	// mostAhead bounds what is kept of calls that are never shown.
	mostAhead = 20_000
	// fullStack is the least that is copied where there is no room for more.
	fullStack = 3 * 4096
)

// stacks names the stacks of calls, on the session's own goroutine: a child for
// each process opens its programs and unwinds.
type stacks struct {
	capture *capture.Session
	runner  *expendable.Runner
	of      map[int]*stackChild
	used    int
	// ahead are the program's lines of calls that are not shown yet.
	ahead map[callKey][]string
	// told are the modules whose build was named: once is enough.
	told map[string]bool
	// sleeps are where threads sleep at the end, by thread.
	sleeps map[int][]uint64
}

// callKey is a call of a thread.
type callKey struct {
	tid int
	seq uint32
}

func newStacks(r *expendable.Runner) *stacks {
	return &stacks{runner: r, of: make(map[int]*stackChild), ahead: make(map[callKey][]string), told: make(map[string]bool)}
}

func (s *stacks) close() {
	for _, c := range s.of {
		if c.kept != nil {
			c.kept.Close()
		}
	}
}

// forget is told of a program that took another's place.
func (s *stacks) forget(pid int) {
	if c := s.of[pid]; c != nil && c.kept != nil {
		c.kept.Close()
	}
	delete(s.of, pid)
}

// lines are what stands below a call: the kernel's frames if it slept, then the
// program's, innermost first.
func (s *stacks) lines(c *strace.CallStack) []string {
	kernel := c.Kernel
	if c.Inside && len(s.sleeps[c.TID]) > 0 {
		kernel = s.sleeps[c.TID]
	}
	list := kernelLines(kernel, s.capture)
	if c.Program == nil {
		return append(list, "(lost)")
	}
	at := callKey{c.TID, c.Seq}
	if _, ok := s.ahead[at]; !ok {
		s.unwind(c.PID, []*events.Strace{c.Program})
	}
	list = append(list, s.ahead[at]...)
	if !c.Inside {
		delete(s.ahead, at)
	}
	return list
}

// prepare unwinds a batch of stacks at once, as each question to a child takes
// two turns on a CPU, which on a busy machine are long in coming.
func (s *stacks) prepare(data []byte) {
	if len(s.ahead) > mostAhead {
		clear(s.ahead)
	}
	work, gone := make(map[int][]*events.Strace), make(map[int]bool)
	var r events.Strace
	for len(data) > 0 {
		var err error
		if data, err = events.NextStrace(data, &r); err != nil {
			return // whoever shows the records says so
		}
		switch {
		case r.Kind == events.StraceExec, r.Kind == events.StraceDeath && r.Leader:
			gone[r.PID] = true // what follows is of another program
		case r.Kind == events.StraceStack && !gone[r.PID]:
			one := r
			work[r.PID] = append(work[r.PID], &one)
		}
	}
	for _, pid := range slices.Sorted(maps.Keys(work)) {
		s.unwind(pid, work[pid])
	}
}

// unwind puts the lines of calls of one process into s.ahead. Of those from one
// place one is asked about, and then those that its chain does not fit.
func (s *stacks) unwind(pid int, list []*events.Strace) {
	const rounds = 3
	for round := 1; len(list) > 0; round++ {
		now := time.Now()
		known, places := s.child(pid).chains, make(map[place]bool)
		var asked, rest []*events.Strace
		for _, r := range list {
			if lines, ok := known.find(r, events.AppendSegments(nil, r.Memory), now); ok {
				s.ahead[callKey{r.TID, r.Seq}] = lines
			} else if places[placeOf(r)] && round < rounds {
				rest = append(rest, r)
			} else {
				places[placeOf(r)] = true
				asked = append(asked, r)
			}
		}
		for part := range slices.Chunk(asked, mostAsked) {
			s.resolve(pid, part)
		}
		list = rest
	}
}

// resolve has the child unwind calls.
func (s *stacks) resolve(pid int, list []*events.Strace) {
	var asked []*events.Strace
	var params []userstack.CallParams
	for _, r := range list {
		if r.Compat {
			s.ahead[callKey{r.TID, r.Seq}] = noFrames(r, "32-bit programs are not unwound")
			continue
		}
		asked, params = append(asked, r), append(params, callParams(r))
	}
	if len(asked) == 0 {
		return
	}
	found, err := s.ask(pid, params)
	now := time.Now()
	for i, r := range asked {
		var lines []string
		if err != nil {
			lines = noFrames(r, err.Error())
		} else {
			lines = s.userLines(&found[i].UserStack)
			s.of[pid].chains.learn(r, events.AppendSegments(nil, r.Memory), &found[i], lines, now)
		}
		s.ahead[callKey{r.TID, r.Seq}] = lines
	}
}

func noFrames(r *events.Strace, why string) []string {
	pc := r.PC
	if r.Compat {
		pc = uint64(uint32(pc))
	}
	return []string{fmt.Sprintf("0x%x (%s)", pc, why)}
}

func callParams(r *events.Strace) userstack.CallParams {
	p := userstack.CallParams{Thread: userstack.Thread{TID: r.TID, PC: r.PC, SP: r.SP, BP: r.BP, LR: r.LR}}
	total := 0
	for _, g := range events.AppendSegments(nil, r.Memory) {
		p.Stack = append(p.Stack, userstack.Piece{Addr: g.Addr, Data: g.Data})
		total += len(g.Data)
	}
	p.Full = total >= fullStack
	return p
}

func (s *stacks) userLines(u *facts.UserStack) (list []string) {
	for _, f := range u.Frames {
		text := frameText(f)
		if f.BuildID != "" && !s.told[f.Module] {
			s.told[f.Module] = true
			text += " (build ID " + f.BuildID + ")"
		}
		list = append(list, text)
	}
	if u.End != "" {
		list = append(list, "("+u.End+")")
	}
	return list
}

func (s *stacks) ask(pid int, params []userstack.CallParams) ([]userstack.CallStack, error) {
	child := s.child(pid)
	if child.why != nil {
		return nil, child.why
	}
	a, err := s.request(child, userstack.OpCalls, pid, params)
	if err != nil {
		return nil, err
	}
	return userstack.Stacks(a, len(params))
}
