package correlate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// describe fills in what a report says of the node, the capture and the
// targets.
func (w *world) describe(r *Report) {
	s := w.snap
	r.Node = Node{Hostname: Text(s.Node.Hostname), Kernel: Text(s.Node.Kernel), BootID: Text(s.Node.BootID), UptimeS: s.Node.UptimeS}
	r.Capture = Capture{
		Backend: s.Backend, Passes: len(s.Passes), ThresholdMS: w.opts.Threshold.Milliseconds(), Degraded: s.Degraded,
	}
	for _, k := range w.opts.Kinds.List() {
		r.Capture.Filesystems = append(r.Capture.Filesystems, string(k))
	}
	for _, k := range s.Skipped {
		r.Capture.Skipped = append(r.Capture.Skipped, Skipped(k))
	}
	pids := make(map[int]bool)
	for i := range w.last {
		pids[w.last[i].PID] = true
	}
	r.Capture.Processes, r.Capture.Threads = len(pids), len(w.last)
	for _, t := range s.Targets {
		r.Targets = append(r.Targets, w.target(t))
	}
	if s.AllProcesses { // of every process, those that hang are worth naming
		w.hungTargets(r)
	}
}

func (w *world) target(t facts.Target) Target {
	out := Target{PID: t.PID, Matched: t.Matched}
	p := w.procs[t.PID]
	if p == nil {
		return out
	}
	out.Comm, out.Exe, out.Threads = p.Comm, Text(p.Exe), p.Threads
	if !p.StartedAt.IsZero() {
		out.StartedAt = &p.StartedAt
	}
	if p.Kubelet != nil {
		out.Kubelet = &Kubelet{RootDir: Text(p.Kubelet.RootDir)}
		if h := p.Kubelet.Healthz; h != nil {
			out.Kubelet.Healthz = &Healthz{SyncLoop: h.SyncLoop, Detail: Text(h.Detail)}
		}
	}
	return out
}

func (w *world) hungTargets(r *Report) {
	listed := make(map[int]bool)
	for _, t := range r.Targets {
		listed[t.PID] = true
	}
	for _, h := range r.Hangs {
		if pid := h.Task.PID; !listed[pid] && w.procs[pid] != nil {
			listed[pid] = true
			r.Targets = append(r.Targets, w.target(facts.Target{PID: pid}))
		}
	}
}

func (w *world) summarise(r *Report, elsewhere map[string]int) Summary {
	s := Summary{HungThreads: len(r.Hangs), Elsewhere: elsewhere}
	for _, h := range r.Hangs {
		if h.Role == RoleRoot {
			s.Roots++
		} else {
			s.Victims++
		}
		s.OldestMS = max(s.OldestMS, h.Blocked.ForMS)
	}
	s.ByServer = w.byServer(r.Hangs)
	r.Summary.ByServer = s.ByServer
	s.Verdict = verdict(r, elsewhere)
	return s
}

// verdict is the one sentence that is read first.
func verdict(r *Report, elsewhere map[string]int) string {
	rest := elsewhereSentence(elsewhere)
	if len(r.Hangs) == 0 {
		what := "nothing hangs on " + strings.Join(r.Capture.Filesystems, ", ")
		if rest != "" {
			return what + "; " + rest
		}
		return what
	}
	h := r.Hangs[0]
	var b strings.Builder
	fmt.Fprintf(&b, "%s (pid %d)", h.Task.ProcessComm.Or(h.Task.Comm), h.Task.PID)
	b.WriteString(" hangs")
	if h.Syscall != nil {
		fmt.Fprintf(&b, " in %s", h.Syscall.Name.Or("a system call"))
	} else if h.Reason == ReasonPageFault {
		b.WriteString(" in a page fault")
	}
	b.WriteString(where(h))
	b.WriteString(since(h.Blocked))
	if n := len(r.Hangs) - 1; n > 0 {
		pids := make(map[int]bool)
		for _, h := range r.Hangs {
			pids[h.Task.PID] = true
		}
		fmt.Fprintf(&b, "; %d more %s, %d in all in %s", n, plural(n, "thread hangs", "threads hang"), len(r.Hangs), count(len(pids), "process", "processes"))
	}
	b.WriteString(oneServer(r.Summary.ByServer, len(r.Hangs)))
	if rest != "" {
		b.WriteString("; " + rest)
	}
	return b.String()
}

// oneServer says that all hung threads wait for the same server, if they do.
func oneServer(list []ServerCount, hung int) string {
	if hung < 2 || len(list) != 1 || list[0].Threads != hung {
		return ""
	}
	of := ""
	if n := list[0].Pods; n > 0 {
		of = " on volumes of " + count(n, "pod", "pods")
	}
	return fmt.Sprintf("; all %d%s wait for %s", hung, of, list[0].Name)
}

func where(h *Hang) string {
	var b strings.Builder
	if h.Mount != nil && h.Mount.Kind != "" {
		fmt.Fprintf(&b, " on %s", h.Mount.Kind)
		if h.Mount.Attached != nil && !*h.Mount.Attached {
			b.WriteString(" (mount detached)")
		}
	}
	v := h.Volume
	if v == nil {
		return b.String()
	}
	if name := v.PV.Or(string(v.Name)); name != "" {
		fmt.Fprintf(&b, ", volume %s", name)
	}
	if v.Pod == nil {
		return b.String()
	}
	switch pod := v.Pod; {
	case pod.Name != "":
		fmt.Fprintf(&b, " of pod %s/%s", pod.Namespace, pod.Name)
		if pod.State == "deleted" {
			b.WriteString(" (deleted)")
		}
	case pod.State == "deleted":
		fmt.Fprintf(&b, " of deleted pod %s", pod.UID)
	default:
		fmt.Fprintf(&b, " of pod %s", pod.UID)
	}
	return b.String()
}

func since(bl Blocked) string {
	age := (time.Duration(bl.ForMS) * time.Millisecond).Round(time.Second)
	if age < time.Second {
		age = time.Duration(bl.ForMS) * time.Millisecond
	}
	if bl.AtLeast {
		return fmt.Sprintf(", for at least %s", age)
	}
	return fmt.Sprintf(", for %s", age)
}

// elsewhereSentence counts what hangs on kinds that were not asked for.
func elsewhereSentence(c map[string]int) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(c)) {
		n := c[k]
		parts = append(parts, fmt.Sprintf("%s blocked on %s", count(n, "more thread is", "more threads are"), k))
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(parts, ", ") + ": --fs all"
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func count(n int, one, many string) string { return fmt.Sprintf("%d %s", n, plural(n, one, many)) }
