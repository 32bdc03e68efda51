package report

import (
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/facts"
)

// Stacks writes the stacks of whole processes in one of the forms text, json,
// pprof and folded.
func Stacks(w io.Writer, form Form, d *facts.StackDump, o Options) error {
	switch form {
	case FormText:
		return stacksText(w, d, o)
	case FormJSON:
		whole := *d // an empty list, not null: there is nothing
		whole.Processes = append([]facts.ProcessStacks{}, d.Processes...)
		whole.Skipped = append([]facts.Skipped{}, d.Skipped...)
		whole.Degraded = append([]string{}, d.Degraded...)
		return jsonValue(w, whole)
	case FormPprof:
		return writeProfile(w, stackSamples(d), "threads", "count", d.TakenAt)
	case FormFolded:
		return folded(w, stackSamples(d))
	}
	return fmt.Errorf("form %q does not exist for stacks; try: text, json, pprof or folded", form)
}

// stackGroup is the threads or goroutines that share both stacks.
type stackGroup struct {
	kernel []string
	user   []facts.UserFrame
	// elided frames are left out behind user[elidedAt-1].
	elided, elidedAt int
	end              string
	states           map[string]int
	tids             []int
	ids              []uint64 // goroutines
}

// groupStacks puts equal stacks together, the most frequent first.
func groupStacks(p *facts.ProcessStacks) []*stackGroup {
	groups := make(map[string]*stackGroup)
	var order []*stackGroup
	add := func(kernel []string, u *facts.UserStack, state string, tid int) {
		var key strings.Builder
		for _, f := range kernel {
			key.WriteString(bareFrame(f) + "\n")
		}
		g := &stackGroup{kernel: kernel, states: make(map[string]int)}
		if u != nil {
			g.user, g.end, g.elided, g.elidedAt = u.Frames, u.End, u.Elided, u.ElidedAt
			fmt.Fprintf(&key, "|%d", u.Elided)
			for _, f := range u.Frames {
				fmt.Fprintf(&key, "|%s:%d %s+%x\n", f.Function, f.Line, f.Module, f.Offset)
			}
			key.WriteString(u.End)
		}
		if known := groups[key.String()]; known != nil {
			g = known
		} else {
			groups[key.String()] = g
			order = append(order, g)
		}
		g.states[state]++
		if tid != 0 {
			g.tids = append(g.tids, tid)
		}
		if u != nil && u.Goroutine != nil {
			g.ids = append(g.ids, u.Goroutine.ID)
		}
	}
	for i := range p.Threads {
		t := &p.Threads[i]
		add(t.Kernel, t.User, t.State, t.TID)
	}
	for i := range p.Parked {
		u := &p.Parked[i]
		status := "parked"
		if u.Goroutine != nil && u.Goroutine.Status != "" {
			status = u.Goroutine.Status
		}
		add(nil, u, status, 0)
	}
	sort.SliceStable(order, func(i, j int) bool { return order[i].size() > order[j].size() })
	return order
}

func (g *stackGroup) size() int {
	n := 0
	for _, c := range g.states {
		n += c
	}
	return n
}

func stacksText(w io.Writer, d *facts.StackDump, o Options) error {
	p := &page{w: w, o: o.filled()}
	for i := range d.Processes {
		ps := &d.Processes[i]
		if i > 0 {
			p.line("")
		}
		head := fmt.Sprintf("%s[%d]: %s", clean(ps.Comm), ps.PID, count(len(ps.Threads), "thread"))
		if ps.Runtime != "" {
			head += fmt.Sprintf(", %s on no thread, %s", count(len(ps.Parked), "goroutine"), clean(ps.Runtime))
		}
		p.line("%s", head)
		if ps.ParkedErr != "" {
			p.words("", indent, "goroutines on no thread are missing: "+clean(ps.ParkedErr))
		}
		for _, g := range groupStacks(ps) {
			p.line("")
			p.group(g)
		}
	}
	p.line("")
	p.missing(&correlate.Capture{Skipped: skippedOf(d.Skipped), Degraded: d.Degraded})
	p.line("Node %s, kernel %s, at %s, in %d ms, from %s.", clean(d.Node.Hostname), clean(d.Node.Kernel), p.stamp(d.TakenAt), d.TookMS, clean(d.Backend))
	return p.err
}

func skippedOf(list []facts.Skipped) correlate.List[correlate.Skipped] {
	var out correlate.List[correlate.Skipped]
	for _, s := range list {
		out = append(out, correlate.Skipped(s))
	}
	return out
}

func (p *page) group(g *stackGroup) {
	var what []string
	var states []string
	for s := range g.states {
		states = append(states, s)
	}
	sort.Strings(states)
	for _, s := range states {
		what = append(what, fmt.Sprintf("%d in %s", g.states[s], clean(s)))
	}
	const most = 8
	if len(g.tids) > 0 {
		what = append(what, "tid "+someNumbers(g.tids, most))
	}
	if len(g.ids) > 0 {
		what = append(what, "goroutine "+someNumbers(g.ids, most))
	}
	p.words(fmt.Sprintf("%d @ ", g.size()), indent, strings.Join(what, "; "))
	for _, f := range g.kernel {
		p.line("%s%s", indent+"kernel  ", clean(f))
	}
	for i, f := range g.user {
		if g.elided > 0 && i == g.elidedAt {
			p.line("%s%s", indent+"        ", leftOut(g.elided))
		}
		p.line("%s%s", indent+"        ", userFrame(f))
	}
	if g.end != "" {
		p.words(indent+"        ", indent+"        ", "(ends: "+clean(g.end)+")")
	}
}

func someNumbers[N int | uint64](list []N, most int) string {
	var parts []string
	for i, n := range list {
		if i == most {
			parts = append(parts, fmt.Sprintf("and %d more", len(list)-i))
			break
		}
		parts = append(parts, fmt.Sprint(n))
	}
	return strings.Join(parts, ", ")
}

func userFrame(f facts.UserFrame) string {
	name := f.Function
	switch {
	case name == "" && f.Module != "":
		name = fmt.Sprintf("%s+%#x", f.Module, f.Offset)
		if f.BuildID != "" {
			name += " (build ID " + f.BuildID + ")"
		}
	case name == "":
		name = "?"
	}
	if f.File != "" {
		name += fmt.Sprintf(" %s:%d", f.File, f.Line)
	}
	if f.Via != "" {
		name += " (" + f.Via + ")"
	}
	return clean(name)
}
