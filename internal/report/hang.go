package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/hangtrace/hangtrace/internal/correlate"
)

// who names a thread: kubelet[2161/2210], with the thread's own name where it
// differs from the process's.
func who(t *correlate.Task) string {
	name := t.ProcessComm.Or(t.Comm)
	out := fmt.Sprintf("%s[%d/%d]", clean(name), t.PID, t.TID)
	if t.Comm != "" && t.Comm != name {
		out += fmt.Sprintf(" (thread %s)", clean(t.Comm))
	}
	return out
}

// state says S, or D with whether SIGKILL gets through, where that is known.
func state(t *correlate.Task) string {
	s := clean(t.State.Or("unknown"))
	if t.State != "D" || t.Killable == nil {
		return "state " + s
	}
	if *t.Killable {
		return "state D, killable"
	}
	return "state D, not killable"
}

// callName names the call, or what stands in its place.
func callName(h *correlate.Hang) string {
	if h.Syscall == nil {
		return "unknown"
	}
	if h.Syscall.Name == "" {
		return fmt.Sprintf("call %d", h.Syscall.NR)
	}
	return clean(string(h.Syscall.Name))
}

// doing says where the thread hangs, to stand after "hangs".
func doing(h *correlate.Hang) string {
	switch h.Reason {
	case correlate.ReasonPageFault:
		return "in a page fault"
	case correlate.ReasonAfterSyscall:
		return "after " + callName(h) + " returned"
	case correlate.ReasonIOWorker:
		return "in an io_uring worker"
	case correlate.ReasonKernelThread:
		return "in a kernel thread"
	}
	if h.Syscall == nil {
		return "in an unknown call"
	}
	return "in " + callName(h)
}

func lasting(b *correlate.Blocked) string {
	s := span(millis(b.ForMS))
	if b.AtLeast {
		return "at least " + s
	}
	return s
}

func (p *page) stamp(t time.Time) string {
	return t.In(p.o.Location).Format("2006-01-02 15:04:05 MST")
}

// since says from when, and how that is known.
func (p *page) since(h *correlate.Hang) {
	if h.Blocked.Since.IsZero() {
		return
	}
	how := map[string]string{
		"entry":         "the call's entry was seen",
		"last_arrival":  "it last ran then",
		"switch_counts": "it has not run since then",
		"sched_switch":  "it left the CPU then",

		"request":        "its request was made then",
		"goroutine_wait": "the Go runtime saw it blocked then",
	}[h.Blocked.Source]
	if how == "" {
		how = "by " + clean(h.Blocked.Source)
	}
	p.row("since", p.stamp(h.Blocked.Since), "("+how+")")
}

// hang prints the rows below the title of a root.
func (p *page) hang(h *correlate.Hang) {
	p.effect(h)
	p.since(h)
	p.call(h)
	p.path(h)
	p.mount(h)
	p.volume(h.Volume)
	p.stack(h.KernelStack)
	p.userStack(h)
	p.waits(h.WaitingOn)
	p.behind(h.Behind)
	p.remedies(h)
}

// behind says "37 threads in 5 processes wait behind it".
func (p *page) behind(b *correlate.Behind) {
	if b == nil {
		return
	}
	line := count(b.Threads, "thread") + " in " + count(b.Processes, "process")
	if b.KernelThreads > 0 {
		line += fmt.Sprintf(" (%s)", count(b.KernelThreads, "kernel thread"))
	}
	p.row("behind it", line)
}

func (p *page) call(h *correlate.Hang) {
	if h.Syscall == nil || h.Reason == correlate.ReasonPageFault {
		return
	}
	text := clean(string(h.Syscall.Text))
	if text == "" {
		text = callName(h)
	}
	// The path comes whole in the next row: twice makes both hard to find.
	if quoted := `"` + clean(string(h.Path.Value)) + `"`; columns(text)+labelWidth+len(indent) > p.o.Width {
		text = strings.Replace(text, quoted, "<path>", 1)
	}
	p.row("call", text)
}

func (p *page) path(h *correlate.Hang) {
	if h.Path.Value == "" {
		p.row("path", "unknown")
		return
	}
	how := map[string]string{
		"argument": "(from the argument)",
		"fd":       "(from the file descriptor)",
		"cwd":      "(from the working directory)",
		"kernel":   "(from the kernel)",
	}[h.Path.Source]
	if how == "" {
		how = "(" + clean(h.Path.Source) + ")"
	}
	if h.Path.Truncated {
		how = strings.TrimSuffix(how, ")") + ", the end is missing)"
	}
	p.row("path", cleanPath(string(h.Path.Value)), how)
}

func (p *page) mount(h *correlate.Hang) {
	m := h.Mount
	if m == nil {
		p.row("mount", "unknown")
		return
	}
	what := clean(m.Kind.Or("unknown kind"))
	if m.FSType != "" && m.FSType != m.Kind {
		what += " (" + clean(string(m.FSType)) + ")"
	}
	tokens := []string{what}
	if m.Attached != nil && !*m.Attached {
		tokens = append(tokens, p.paint(colorWarn, "DETACHED (in no mount table any more)"))
	}
	if m.Image != "" {
		tokens = append(tokens, "image "+clean(m.Image))
	}
	if m.Device != "" {
		tokens = append(tokens, "device "+clean(string(m.Device)))
	}
	if m.ID != 0 {
		tokens = append(tokens, fmt.Sprintf("mount %d", m.ID))
	}
	switch m.From {
	case "mountinfo":
	case "remembered":
		tokens = append(tokens, "remembered from before")
	default:
		tokens = append(tokens, "known by the "+clean(m.From))
	}
	if m.Source+m.Point != "" {
		tokens[len(tokens)-1] += ","
	}
	tokens = commas(tokens)
	if m.Source != "" {
		tokens = append(tokens, "from", cleanPath(string(m.Source)))
	}
	// No comma stands right after a path: it would be copied along.
	switch {
	case m.Point != "" && m.Point == h.Path.Value:
		tokens = append(tokens, "at the path itself")
	case m.Point != "":
		tokens = append(tokens, "at", cleanPath(string(m.Point)))
	}
	p.row("mount", tokens...)
}

// commas puts a comma after every token but the last.
func commas(tokens []string) []string {
	for i := range tokens[:max(0, len(tokens)-1)] {
		tokens[i] += ","
	}
	return tokens
}

func (p *page) volume(v *correlate.Volume) {
	if v == nil {
		return
	}
	if v.Pod != nil {
		p.row("pod", podTokens(v.Pod)...)
	}
	var tokens []string
	add := func(key string, value correlate.Text) {
		if value != "" {
			tokens = append(tokens, key+" "+clean(string(value)))
		}
	}
	add("pv", v.PV)
	add("pvc", v.PVC)
	if v.Name != v.PV {
		add("name", v.Name)
	}
	add("driver", v.Driver)
	if v.Driver == "" {
		add("plugin", v.Plugin)
	}
	add("handle", v.Handle)
	add("subpath", v.SubPath)
	p.row("volume", commas(tokens)...)
}

func podTokens(pod *correlate.Pod) []string {
	name := "name unknown"
	if pod.Name != "" {
		name = clean(pod.Namespace.Or("unknown") + "/" + string(pod.Name))
	}
	how := clean(pod.State)
	if pod.State == "unknown" {
		how = "state unknown"
	}
	if pod.Source != "" {
		how += ", from " + clean(pod.Source)
	}
	return []string{name + ",", "uid " + clean(pod.UID.Or("unknown")), "(" + how + ")"}
}

// stack prints the first frames without offsets; json has it all.
func (p *page) stack(frames []string) {
	if len(frames) == 0 {
		p.row("stack", "not readable")
		return
	}
	var tokens []string
	for i, frame := range frames {
		if i == p.o.Frames {
			tokens = append(tokens, fmt.Sprintf("(+%d more)", len(frames)-i))
			break
		}
		if i > 0 {
			tokens = append(tokens, "<")
		}
		tokens = append(tokens, clean(bareFrame(frame)))
	}
	p.row("stack", tokens...)
}

// bareFrame turns "name+0x1a/0x40 [fuse]" into "name [fuse]".
func bareFrame(frame string) string {
	name, module, _ := strings.Cut(frame, " ")
	if i := strings.Index(name, "+0x"); i > 0 {
		name = name[:i]
	}
	if module == "" {
		return name
	}
	return name + " " + module
}

func (p *page) waits(on *correlate.WaitingOn) {
	if on == nil {
		p.row("waits on", "unknown")
		return
	}
	p.waitsFor("waits on", on)
	if on.DaemonWaitsOn != nil {
		p.waitsFor("in turn", on.DaemonWaitsOn.WaitingOn())
	}
}

func (p *page) waitsFor(label string, on *correlate.WaitingOn) {
	what := clean(on.Kind)
	if on.Name != "" {
		what += " " + clean(string(on.Name))
	}
	tokens := []string{p.paint(colorBold, what)}
	if on.Address != "" {
		tokens = append(tokens, clean(string(on.Address)))
	}
	if on.State != "" {
		tokens = append(tokens, "("+clean(string(on.State))+")")
	}
	if r := on.Request; r != nil {
		tokens[len(tokens)-1] += ","
		tokens = append(tokens, request(r)...)
	}
	p.row(label, tokens...)
	rest := indent + strings.Repeat(" ", labelWidth)
	for _, evidence := range on.Evidence {
		p.words(rest+"- ", rest+"  ", clean(evidence))
	}
}

// request says "request 4711 readdir /d2 for 12m41s, 1 attempt".
func request(r *correlate.Request) []string {
	tokens := []string{"request " + clean(r.ID)}
	if r.Op != "" {
		tokens = append(tokens, clean(string(r.Op)))
	}
	if r.Target != "" {
		tokens = append(tokens, cleanPath(string(r.Target)))
	}
	if r.ForMS != nil {
		age := span(millis(*r.ForMS))
		if r.AtLeast {
			age = "at least " + age
		}
		tokens = append(tokens, "for "+age)
	}
	if r.Attempts != nil && *r.Attempts > 0 {
		tokens[len(tokens)-1] += ","
		tokens = append(tokens, count(*r.Attempts, "attempt"))
	}
	return tokens
}
