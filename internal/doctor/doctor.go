// Package doctor finds out what a node and these rights allow.
//
// In: where /proc and /sys are, a runner of expendable children. Out: a Report:
// each capability, kernel feature and data source, tried for real and not
// looked up in a table, with what is lost without it. It must never wait
// without a deadline, leave anything attached, or touch a mount that may hang.
package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/loader"
	"github.com/hangtrace/hangtrace/internal/proc"
)

// Schema names what Write emits; docs/output.md describes it.
const Schema = "hangtrace.doctor/v1"

// State says whether something is there.
type State string

// The states of a check.
const (
	Yes     State = "yes"
	Partly  State = "partly"
	No      State = "no"
	Absent  State = "absent"  // this node has no such thing: nothing is lost
	Unknown State = "unknown" // no answer within the deadline
)

// Level says how much of hangtrace works.
type Level string

// The levels.
const (
	Full     Level = "full"     // report and live know all that they can know
	Degraded Level = "degraded" // they work and say what they know with less certainty
	Blind    Level = "blind"    // hangs of other users' processes cannot be seen
)

// The groups of checks.
const (
	GroupRights = "rights"
	GroupKernel = "kernel"
	GroupData   = "data"
)

// Check is one thing that was tried.
type Check struct {
	Group string `json:"group"`
	Name  string `json:"name"`
	State State  `json:"state"`
	// Detail is what was seen, Lost what is lost without it. Lost is null where
	// nothing is.
	Detail *string `json:"detail"`
	Lost   *string `json:"lost"`
}

// Report is what Examine found.
type Report struct {
	Schema  string    `json:"schema"`
	TakenAt time.Time `json:"taken_at"`
	TookMS  int64     `json:"took_ms"`
	Node    Node      `json:"node"`
	Level   Level     `json:"level"`
	Verdict string    `json:"verdict"`
	Checks  []Check   `json:"checks"`
}

// Node names the machine.
type Node struct {
	Hostname string `json:"hostname"`
	Kernel   string `json:"kernel"`
	Arch     string `json:"arch"`
}

// Options configures Examine.
type Options struct {
	Proc *proc.FS
	// Sys is where sysfs is mounted: "/sys".
	Sys    string
	Runner *expendable.Runner
	// Deadline bounds each group of checks. This field is optional: 5 s.
	Deadline time.Duration
	// CRISockets are the container runtimes to ask. This field is optional: the
	// known places.
	CRISockets []string
}

// examiner collects what the checks find.
type examiner struct {
	opts Options
	mu   sync.Mutex // a group that is given up may go on
	list []Check
}

// Examine tries everything. It ends within the deadline of each group.
func Examine(ctx context.Context, opts Options) Report {
	if opts.Deadline <= 0 {
		opts.Deadline = 5 * time.Second
	}
	begin := time.Now()
	n := opts.Proc.Node()
	r := Report{Schema: Schema, TakenAt: begin, Node: Node{n.Hostname, n.Kernel, n.Arch}}
	for _, g := range []struct {
		name string
		run  func(*examiner, context.Context)
	}{{GroupRights, (*examiner).rights}, {GroupKernel, (*examiner).kernel}, {GroupData, (*examiner).data}} {
		r.Checks = append(r.Checks, within(ctx, opts, g.name, g.run)...)
	}
	r.Level, r.Verdict = judge(r.Checks)
	r.TookMS = time.Since(begin).Milliseconds()
	return r
}

// within runs a group, and gives it up at the deadline with what it had not
// found yet said to be unknown.
func within(ctx context.Context, opts Options, group string, run func(*examiner, context.Context)) []Check {
	ctx, cancel := context.WithTimeout(ctx, opts.Deadline)
	defer cancel()
	e := &examiner{opts: opts}
	done := make(chan struct{})
	go func() {
		run(e, ctx)
		close(done)
	}()
	select {
	case <-done:
		return e.found()
	case <-time.After(opts.Deadline + opts.Deadline/10):
		return append(e.found(), Check{Group: group, Name: unanswered + group, State: Unknown,
			Detail: text(fmt.Sprintf("no answer within %s (--deadline)", opts.Deadline)), Lost: text("what these checks would have told")})
	}
}

// unanswered begins the name of what stands for the checks of a group that did
// not end.
const unanswered = "the rest of "

func (e *examiner) found() []Check {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.list)
}

func (e *examiner) add(c Check) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, c)
}

// check adds a result: err nil means yes, else no with what is lost.
func (e *examiner) check(group, name string, err error, detail, lost string) bool {
	if err == nil {
		e.add(Check{Group: group, Name: name, State: Yes, Detail: text(detail)})
		return true
	}
	e.add(Check{Group: group, Name: name, State: No, Detail: text(err.Error()), Lost: text(lost)})
	return false
}

func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// judge says how much works.
func judge(checks []Check) (Level, string) {
	missing, given, late := 0, make(map[string]bool), false
	for _, c := range checks {
		given[c.Name] = c.State == Yes || c.State == Partly
		late = late || strings.HasPrefix(c.Name, unanswered)
		if c.State == No || c.State == Partly || c.State == Unknown {
			missing++
		}
	}
	rest := ""
	if missing > 0 {
		rest = fmt.Sprintf("; %d of %d checks tell what is lost", missing, len(checks))
	}
	iterator, threads := given[checkIterator], given[checkCalls]
	tracer := given[checkTracing+loader.ProbeEnter] && given[checkTracing+loader.ProbeExit]
	switch {
	case late && !iterator:
		return Degraded, "how much works is not known, as the checks did not end in time (try: a longer --deadline)" + rest
	case !iterator && !threads:
		return Blind, "hangs cannot be seen: neither the task iterator works nor are calls of other users' processes readable in /proc" + rest
	case !iterator:
		return Degraded, "report and live work with /proc alone (--backend proc)" + rest
	case !tracer:
		return Degraded, "report works in full; live looks at threads instead of tracing their calls" + rest
	case missing > 0:
		return Degraded, "report and live work" + rest
	}
	return Full, "report and live work in full"
}

// The checks that the verdict hangs on.
const (
	checkIterator = "task iterator"
	checkTracing  = "tracing: "
	checkCalls    = "calls of other processes"
)
