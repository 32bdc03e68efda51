package capture

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/hangtrace/hangtrace/internal/expendable"
)

// reply is what came of the requests about one process.
type reply struct {
	answers []expendable.Answer
	err     error
}

// refusal is why a process was not asked, or what the first request that failed
// met with.
func (r reply) refusal() error {
	if r.err != nil {
		return r.err
	}
	for _, a := range r.answers {
		if a.Err != "" {
			return errors.New(a.Err)
		}
	}
	return nil
}

// asker is Session.ask.
type asker func(ctx context.Context, work map[int][]expendable.Request) map[int]reply

// askRounds is how many children are tried for all processes at once before
// each process gets its own.
const askRounds = 3

// ask has expendable children do requests about several processes. Starting a
// child costs far more than its answers, so one child is asked about all of
// them; the process that it hangs on is left to a child of its own, now and for
// the rest of the session, and the others to the next child.
func (s *Session) ask(ctx context.Context, work map[int][]expendable.Request) map[int]reply {
	replies := make(map[int]reply, len(work))
	var together, single []int
	for _, pid := range slices.Sorted(maps.Keys(work)) {
		switch {
		case len(work[pid]) == 0:
		case s.cache.jammed[pid]:
			single = append(single, pid)
		default:
			together = append(together, pid)
		}
	}
	for round := 0; len(together) > 1 && round < askRounds && ctx.Err() == nil; round++ {
		done := s.askTogether(ctx, together, work, replies)
		if done < len(together) {
			s.cache.jammed[together[done]] = true
			single = append(single, together[done])
			done++
		}
		together = together[done:]
	}
	var mu sync.Mutex
	forEach(append(single, together...), func(pid int) {
		answers, err := s.opts.Runner.Do(ctx, childKey(pid), work[pid], childDeadline(ctx))
		mu.Lock()
		defer mu.Unlock()
		replies[pid] = reply{answers, err}
	})
	return replies
}

// askTogether asks one child about all processes and tells how many of them, in
// order, were answered.
func (s *Session) askTogether(ctx context.Context, pids []int, work map[int][]expendable.Request, replies map[int]reply) int {
	var all []expendable.Request
	for _, pid := range pids {
		all = append(all, work[pid]...)
	}
	answers, err := s.opts.Runner.Do(ctx, fmt.Sprintf("pids:%d-%d", pids[0], pids[len(pids)-1]), all, childDeadline(ctx))
	answered := len(answers)
	if err != nil {
		answered = slices.IndexFunc(answers, func(a expendable.Answer) bool {
			return a.Err == err.Error() || strings.HasPrefix(a.Err, "not asked: ")
		})
	}
	at := 0
	for i, pid := range pids {
		n := len(work[pid])
		if at+n > answered {
			return i
		}
		replies[pid] = reply{answers: answers[at : at+n]}
		at += n
	}
	return len(pids)
}
