package userstack

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/symbol"
)

const (
	// ran is why a chain is cut off that may be made of two.
	ran = "it ran while its stack was read"

	againTries = 20                     // at one thread
	againMost  = 400 * time.Millisecond // for all of them
	againPause = 500 * time.Microsecond // it runs now: it may not in a moment
)

// Fresh is a thread as it was when it was looked at once more.
type Fresh struct {
	State  string   `json:"state"`
	Kernel []string `json:"kernel,omitempty"` // name+0xoffset [module], innermost first
}

// threads gives the chain of each thread that has not run since its registers
// were taken. Those of others may be made of a stack that they have left since.
func (p *process) threads(r *Result) {
	unwind := p.unwinder()
	var moved []int
	for _, t := range p.params.Threads {
		s := stackOf(p.pid, t.TID, unwind(t))
		r.Stacks = append(r.Stacks, s)
	}
	for i, t := range p.params.Threads {
		if now, err := expendable.LookAt(p.pid, t.TID); err != nil || now.Switches != t.Switches {
			r.Stacks[i] = facts.UserStack{PID: p.pid, TID: t.TID, End: ran}
			moved = append(moved, i)
		}
	}
	if !p.params.Again {
		return
	}
	until := time.Now().Add(againMost)
	for _, i := range moved {
		if s, ok := p.again(r, r.Stacks[i].TID, until); ok {
			r.Stacks[i] = s
		}
	}
	for _, tid := range p.params.Running {
		if s, ok := p.again(r, tid, until); ok {
			r.Stacks = append(r.Stacks, s)
		}
	}
}

// again takes both sides of a thread anew, until it does not run meanwhile.
func (p *process) again(r *Result, tid int, until time.Time) (s facts.UserStack, ok bool) {
	for try := 0; try < againTries && time.Now().Before(until); try++ {
		before, err := expendable.LookAt(p.pid, tid)
		if err != nil {
			return s, false // it ended
		}
		call, stack, err := expendable.CallAndStack(p.pid, tid)
		if err != nil {
			return s, false
		}
		t, blocked := threadOf(tid, call)
		if !blocked {
			time.Sleep(againPause)
			continue
		}
		chain := p.unwinder()(t)
		if after, err := expendable.LookAt(p.pid, tid); err != nil || after.Switches != before.Switches {
			continue
		}
		if r.Fresh == nil {
			r.Fresh = make(map[int]Fresh)
		}
		r.Fresh[tid] = Fresh{State: before.State, Kernel: kernelFrames(stack)}
		return stackOf(p.pid, tid, chain), true
	}
	return s, false
}

// threadOf reads /proc/PID/task/TID/syscall: "running", "NR ARGS SP PC", or
// "-1 SP PC".
func threadOf(tid int, call string) (Thread, bool) {
	f := strings.Fields(call)
	if len(f) != 3 && len(f) != 9 {
		return Thread{}, false
	}
	sp, err1 := strconv.ParseUint(f[len(f)-2], 0, 64)
	pc, err2 := strconv.ParseUint(f[len(f)-1], 0, 64)
	return Thread{TID: tid, PC: pc, SP: sp}, err1 == nil && err2 == nil
}

// kernelFrames reads /proc/PID/task/TID/stack.
func kernelFrames(text string) (out []string) {
	for line := range strings.Lines(text) {
		f, ok := symbol.ParseKernelFrame(line)
		if !ok {
			continue
		}
		name := fmt.Sprintf("%s+%#x", f.Name, f.Offset)
		if f.Module != "" {
			name += " [" + f.Module + "]"
		}
		out = append(out, name)
	}
	return out
}
