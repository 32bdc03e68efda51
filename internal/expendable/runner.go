package expendable

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/proc"
)

// ErrDeadline says that the deadline passed before every answer had come.
var ErrDeadline = errors.New("deadline passed")

// ErrSilent says that the child asked and got no answer within the patience.
var ErrSilent = errors.New("no answer")

// OutstandingError says that nothing was asked because a former child for the
// same key still lives.
type OutstandingError struct {
	Key string
	PID int
	// Doing and Since are empty when another run of the program, over or not, has the
	// child.
	Doing string
	Since time.Time
}

func (e *OutstandingError) Error() string {
	if e.Doing == "" {
		return fmt.Sprintf("ask about %s: child %d of another run is blocked on it", e.Key, e.PID)
	}
	return fmt.Sprintf("ask about %s: child %d is still busy since %s: %s",
		e.Key, e.PID, e.Since.Format(time.RFC3339), e.Doing)
}

// Options of a runner.
type Options struct {
	// Proc is where children and those of earlier runs are found. This field
	// is optional: /proc.
	Proc *proc.FS
	// Exe is the program and Args its arguments without the program's name.
	// These fields are optional: this program, with ChildCommand.
	Exe  string
	Args []string
	// Reuse has a child that answered everything do the next requests, too,
	// whatever their key: to start one costs more than most answers. Call
	// Release when no more are to come. This field is optional.
	Reuse bool
	// Grace is how long a killed child may take to die before it is given
	// up. This field is optional: 100 ms.
	Grace time.Duration
}

// Runner starts children and remembers those that do not die. It may be used
// by several goroutines.
type Runner struct {
	opts Options

	mu       sync.Mutex
	children map[string]*process // by key: running or abandoned
	idle     []*process          // alive, and asked nothing
	dying    []*process          // killed while they were idle, not yet reaped
	earlier  map[string]earlier  // by name, as of scanned
	scanned  time.Time
}

// Child is a child that was killed and did not die.
type Child struct {
	PID int
	// StartBootNS is when it started, in ns since boot.
	StartBootNS uint64
	Key         string
	// Doing is the request it is blocked in.
	Doing string
	// Since is when it was started.
	Since time.Time
}

// Skipped says in a report what the child was to read.
func (c Child) Skipped() facts.Skipped {
	return facts.Skipped{
		What: c.Doing,
		Why:  fmt.Sprintf("child %d hangs in it since %s and cannot be killed", c.PID, c.Since.Format(time.RFC3339)),
	}
}

// NewRunner returns a runner. It starts nothing.
func NewRunner(opts Options) *Runner {
	if opts.Proc == nil {
		opts.Proc = proc.New("/proc")
	}
	if opts.Exe == "" {
		opts.Exe = "/proc/self/exe"
	}
	if opts.Args == nil {
		opts.Args = []string{ChildCommand}
	}
	if opts.Grace <= 0 {
		opts.Grace = 100 * time.Millisecond
	}
	return &Runner{opts: opts, children: map[string]*process{}}
}

// Do lets one child do the requests in order and returns one answer each, also
// when it returns an error: what was not answered says so in its Err. The key
// names what the requests may hang on: a process, a device. A child that hangs is
// given up at the deadline, one that is still at work some deadlines later and
// when ctx ends. Do returns within the grace, or some graces, after that:
// ErrDeadline, the context's error, an *OutstandingError when a former child for
// the key lives, or why the child failed.
func (r *Runner) Do(ctx context.Context, key string, reqs []Request, deadline time.Duration) ([]Answer, error) {
	if len(reqs) == 0 {
		return nil, nil
	}
	if err := ctx.Err(); err != nil {
		return unanswered(reqs, nil, "not asked: "+err.Error()), err
	}
	return r.converse(ctx, key, reqs, deadline, nil)
}

// Probe is Do for one OpProbe or OpRead, which tells a slow node from a silent
// mount: the patience begins when the child asks, and ErrSilent says that it
// was used up. The deadline is for all.
func (r *Runner) Probe(ctx context.Context, key string, req Request, deadline, patience time.Duration) (Answer, error) {
	if err := ctx.Err(); err != nil {
		return Answer{Err: "not asked: " + err.Error()}, err
	}
	ctx, silent := context.WithCancelCause(ctx)
	defer silent(nil)
	list, err := r.converse(ctx, key, []Request{req}, deadline, func() {
		time.AfterFunc(patience, func() { silent(ErrSilent) })
	})
	return list[0], err
}

// converse is what Do and Probe have in common.
func (r *Runner) converse(ctx context.Context, key string, reqs []Request, deadline time.Duration, asking func()) ([]Answer, error) {
	p, err := r.begin(key, reqs[0].String())
	if err != nil {
		return unanswered(reqs, nil, "not asked: "+err.Error()), err
	}
	got := &answers{list: make([]Answer, len(reqs)), final: make([]bool, len(reqs)), asking: asking}
	bounded, cancel := r.bounded(ctx, p, deadline)
	whole, err := p.converse(bounded, r.opts, reqs, got)
	cancel()
	if whole && r.keepIdle(p) {
		return got.list, nil
	}
	if err == nil && p.reused && !slices.Contains(got.final, true) && len(p.words) == 0 {
		// It died while it was idle, without any fault of these requests.
		p.hangUp()
		r.end(p)
		return r.converse(ctx, key, reqs, deadline, asking)
	}
	next := slices.Index(got.final, false)
	if next >= 0 {
		r.mu.Lock()
		p.doing = reqs[next].String()
		r.mu.Unlock()
	}
	p.hangUp()
	ended := r.end(p)
	if next < 0 {
		return got.list, nil
	}
	if err == nil {
		err = fmt.Errorf("child %d ended early%s", p.pid, p.lastWords(ended))
	}
	err = fmt.Errorf("%s: %w", reqs[next], err)
	return unanswered(reqs, got, err.Error()), err
}

// unanswered fills in the answers that did not come: the first of them is the
// one that why is about.
func unanswered(reqs []Request, got *answers, why string) []Answer {
	if got == nil {
		got = &answers{list: make([]Answer, len(reqs)), final: make([]bool, len(reqs))}
	}
	first := true
	for i := range got.list {
		if got.final[i] {
			continue
		}
		got.list[i].Index, got.list[i].Err = i, why
		if first {
			first, why = false, "not reached: "+why
		}
	}
	return got.list
}

// Abandoned returns the children that were killed and still live, by key.
func (r *Runner) Abandoned() []Child {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reapDying()
	var out []Child
	for key, p := range r.children {
		if !p.abandoned {
			continue
		}
		if gone, _ := p.reap(); gone {
			delete(r.children, key)
			continue
		}
		out = append(out, Child{
			PID: p.pid, StartBootNS: p.startBootNS, Key: key, Doing: p.doing, Since: p.since,
		})
	}
	slices.SortFunc(out, func(a, b Child) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// begin reserves the key and takes or starts a child.
func (r *Runner) begin(key, doing string) (*process, error) {
	p := &process{key: key, doing: doing, since: time.Now()}
	if err := r.reserve(p); err != nil {
		return nil, err
	}
	if r.takeIdle(p) {
		return p, nil
	}
	return r.launch(p)
}

// launch starts a child for what is reserved.
func (r *Runner) launch(p *process) (*process, error) {
	pid, requests, replies, err := start(r.opts)
	if err != nil {
		r.forget(p)
		return nil, fmt.Errorf("start a child to ask about %s: %w", p.key, err)
	}
	self, _ := r.opts.Proc.Process(pid)
	r.mu.Lock()
	defer r.mu.Unlock()
	p.pid, p.startBootNS, p.requests, p.answers = pid, self.StartBootNS, requests, replies
	return p, nil
}

func (r *Runner) reserve(p *process) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if former, ok := r.children[p.key]; ok {
		gone := false
		if former.abandoned {
			gone, _ = former.reap()
		}
		if !gone {
			return &OutstandingError{Key: p.key, PID: former.pid, Doing: former.doing, Since: former.since}
		}
		delete(r.children, p.key)
	}
	if pid, ok := r.leftBehind(childName(p.key)); ok {
		return &OutstandingError{Key: p.key, PID: pid}
	}
	r.children[p.key] = p
	return nil
}

func (r *Runner) forget(p *process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.children, p.key)
}

// end kills the child and gives it the grace to die, else abandons it. One that
// waits for a CPU to die on is not blocked in anything: it gets more.
func (r *Runner) end(p *process) (ended string) {
	p.kill()
	until := time.Now().Add(r.opts.Grace)
	most := until.Add(extensions * r.opts.Grace)
	for wait := 200 * time.Microsecond; ; wait = min(2*wait, 10*time.Millisecond) {
		gone, how := p.reap()
		if gone {
			r.forget(p)
			return how
		}
		if now := time.Now(); now.After(most) || now.After(until) && !r.opts.Proc.Runnable(p.pid) {
			r.mu.Lock()
			p.abandoned = true
			r.mu.Unlock()
			return ""
		}
		time.Sleep(wait)
	}
}
