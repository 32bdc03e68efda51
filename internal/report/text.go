package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/hangtrace/hangtrace/internal/correlate"
)

// Text writes a report for a person in a hurry: the verdict in one sentence,
// one block a root hang, then what is missing and what was looked at.
func Text(w io.Writer, r *correlate.Report, o Options) error {
	p := &page{w: w, o: o.filled()}
	p.verdict(r)
	p.byServer(r.Summary.ByServer)
	all := blocks(r.Hangs)
	for i, b := range all {
		if i == p.o.Blocks {
			p.line("")
			p.line("(+%s: -o wide names each)", count(len(all)-i, "more hang"))
			break
		}
		p.line("")
		p.block(b)
	}
	p.line("")
	p.missing(&r.Capture)
	p.looked(r)
	return p.err
}

func (p *page) verdict(r *correlate.Report) {
	verdict := clean(r.Summary.Verdict)
	if verdict == "" {
		verdict = count(r.Summary.HungThreads, "hung thread") + "."
	}
	tokens := strings.Fields(verdict)
	if len(r.Hangs) > 0 && p.o.Color && len(tokens) > 0 {
		tokens[0] = colorBad + tokens[0]
		tokens[len(tokens)-1] += colorOff
	}
	p.flow("", "", tokens)
}

// missing says what was not read, and what this node or these rights do not
// give: an answer with a hole must show the hole.
func (p *page) missing(c *correlate.Capture) {
	if len(c.Skipped) > 0 {
		p.line("%s", p.paint(colorWarn, "not read:"))
		for _, s := range c.Skipped {
			p.words(indent+"- ", indent+"  ", clean(s.What+": "+s.Why))
		}
	}
	if len(c.Degraded) > 0 {
		p.line("%s", p.paint(colorWarn, "known with less certainty:"))
		for _, sentence := range c.Degraded {
			p.words(indent+"- ", indent+"  ", clean(sentence))
		}
	}
}

// looked says what was looked at, so that "nothing hangs" can be weighed.
func (p *page) looked(r *correlate.Report) {
	c := &r.Capture
	kinds := "every file system"
	if len(c.Filesystems) > 0 {
		kinds = clean(strings.Join(c.Filesystems, ", "))
	}
	p.words("", indent, fmt.Sprintf("Looked at %s of %s for calls on %s that block for %s or longer.",
		count(c.Threads, "thread"), count(c.Processes, "process"), kinds, span(millis(c.ThresholdMS))))
	p.elsewhere(r.Summary.Elsewhere)
	p.leftOver(r.Leftovers)
	p.targets(r.Targets)
	p.words("", indent, fmt.Sprintf("Node %s, kernel %s, at %s, in %d ms, from %s, %s.",
		clean(r.Node.Hostname.Or("unknown")), clean(r.Node.Kernel.Or("unknown")), p.stamp(r.TakenAt), r.TookMS,
		clean(c.Backend), count(c.Passes, "pass")))
}

// leftOver counts what a scan would tell more about.
func (p *page) leftOver(list []*correlate.Leftover) {
	if len(list) == 0 {
		return
	}
	byClass := make(map[correlate.Class]int)
	for _, l := range list {
		byClass[l.Class]++
	}
	var parts []string
	for _, class := range correlate.Classes() {
		if n := byClass[class]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, class))
		}
	}
	p.words("", indent, "As the hangs show, this node has "+strings.Join(parts, ", ")+": hangtrace scan looks for more.")
}

func (p *page) elsewhere(kinds map[string]int) {
	if len(kinds) == 0 {
		return
	}
	var parts []string
	for kind, n := range kinds {
		parts = append(parts, fmt.Sprintf("%s on %s", count(n, "thread"), clean(kind)))
	}
	slices.Sort(parts)
	p.words("", indent, "Not shown, blocked on other kinds: "+strings.Join(parts, ", ")+" (--fs all shows them).")
}

// targets names the processes looked at where they are few: on a whole node
// the counts say enough.
func (p *page) targets(targets []correlate.Target) {
	if len(targets) == 0 || len(targets) > 4 {
		return
	}
	var names []string
	for _, t := range targets {
		name := fmt.Sprintf("%s[%d]", clean(t.Comm), t.PID)
		if t.Matched != "" {
			name += " (" + clean(t.Matched) + ")"
		}
		if t.Kubelet != nil && t.Kubelet.RootDir != "" {
			name += " with root directory " + cleanPath(string(t.Kubelet.RootDir))
		}
		if t.Kubelet != nil && t.Kubelet.Healthz != nil {
			name += "; its /healthz/syncloop " + syncLoop(t.Kubelet.Healthz)
		}
		names = append(names, name)
	}
	p.words("", indent, "Targets: "+strings.Join(names, ", ")+".")
}

// syncLoop says what a kubelet says of itself.
func syncLoop(h *correlate.Healthz) string {
	s := "says " + clean(h.SyncLoop)
	if h.SyncLoop == "unknown" {
		s = "is not known"
	}
	if h.Detail != "" {
		s += " (" + clean(string(h.Detail)) + ")"
	}
	return s
}

// byServer is the node's view where it says more than the blocks below: many
// threads, one server.
func (p *page) byServer(list []correlate.ServerCount) {
	threads := 0
	for _, s := range list {
		threads += s.Threads
	}
	if threads < 2 {
		return
	}
	for _, s := range list {
		p.server(&s)
	}
}

func (p *page) server(s *correlate.ServerCount) {
	waits := count(s.Threads, "thread waits")
	if s.Threads > 1 {
		waits = fmt.Sprintf("%d threads", s.Threads)
		if s.Processes > 1 {
			waits += fmt.Sprintf(" in %d processes", s.Processes)
		}
		if s.KernelThreads > 0 {
			waits += fmt.Sprintf(" (%s)", count(s.KernelThreads, "kernel thread"))
		}
		waits += " wait"
	}
	line := fmt.Sprintf("%s for %s, the oldest for %s", waits, clean(s.Name), span(millis(s.OldestMS)))
	if s.Pods > 0 {
		line += ", volumes of " + count(s.Pods, "pod")
	}
	if s.Requests != nil {
		line += "; " + openRequests(s.Requests)
	}
	p.words("- ", "  ", line)
	for _, v := range s.Volumes {
		p.volumeCount(&v)
	}
}

// volumeCount names who else has a volume mounted: they will hang, too.
func (p *page) volumeCount(v *correlate.VolumeCount) {
	name := v.PV.Or(string(v.Source.Or(string(v.Device))))
	if name == "" || len(v.Pods) == 0 {
		return
	}
	line := fmt.Sprintf("%s %s: %s; mounted by %s", clean(v.Kind.Or("volume")), clean(name), count(v.Threads, "thread"),
		clean(strings.Join(v.Pods, ", ")))
	p.words("  - ", "    ", line)
}

// openRequests says "5 requests open, the oldest for 14s, 2 of them without a
// waiting thread".
func openRequests(o *correlate.OpenRequests) string {
	text := count(o.Total, "request") + " open"
	if o.OldestMS != nil {
		text += ", the oldest for " + span(millis(*o.OldestMS))
	}
	if o.Unwaited != nil && *o.Unwaited > 0 {
		text += fmt.Sprintf(", %d without a waiting thread", *o.Unwaited)
	}
	return text
}
