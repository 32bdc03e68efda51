package report

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/hangtrace/hangtrace/internal/correlate"
)

// EventText writes one event of a live session for a person: a short block for
// a new hang, one line for everything else, a few lines to close with. Each
// event is one Write, so that lines of another writer do not land within it.
func EventText(w io.Writer, e *correlate.Event, o Options) error {
	var b bytes.Buffer
	p := &page{w: &b, o: o.filled()}
	p.event(e)
	if p.err != nil || b.Len() == 0 {
		return p.err
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (p *page) event(e *correlate.Event) {
	head := e.Time.In(p.o.Location).Format("15:04:05") + " "
	switch e.Kind {
	case correlate.EventLost:
		p.words(head, indent, p.paint(colorWarn, lossWords("lost records so far: ", "records that lack a part so far: ", "", e.Lost)))
	case correlate.EventNotice:
		p.words(head, indent, clean(e.Notice))
	case correlate.EventSummary:
		p.closing(head, e.Summary)
	default:
		if e.Hang != nil {
			p.hangEvent(head, e)
		}
	}
}

func (p *page) hangEvent(head string, e *correlate.Event) {
	h := e.Hang
	switch e.Kind {
	case correlate.EventHangSeen:
		p.words(head, indent, p.paint(colorBad, fmt.Sprintf("%s hangs %s for %s (%s)",
			who(&h.Task), doing(h), lasting(&h.Blocked), state(&h.Task))))
		p.effect(h)
		p.call(h)
		p.path(h)
		p.mount(h)
		p.volume(h.Volume)
		if h.Role == "victim" {
			p.row("behind", "hang "+clean(h.WaitsBehind.Or("of a thread that is not known")))
			return
		}
		p.userStack(h)
		p.waits(h.WaitingOn)
		p.remedies(h)
	case correlate.EventHangUpdate:
		p.line("%s%s still hangs %s after %s (%s)%s", head, who(&h.Task), doing(h),
			lasting(&h.Blocked), state(&h.Task), onPath(h))
		if e.Located {
			p.mount(h)
			p.volume(h.Volume)
		}
	case correlate.EventHangEnded, correlate.EventSlowCall:
		p.line("%s%s %s%s%s", head, who(&h.Task), p.paint(colorBold, ended(e)), result(e), onPath(h))
	}
}

// ended says "newfstatat ended after 12m41.236s".
func ended(e *correlate.Event) string {
	lasted := lasting(&e.Hang.Blocked)
	if e.DurationNS != nil {
		var resolution uint64
		if e.ResolutionNS != nil {
			resolution = *e.ResolutionNS
		}
		lasted = exact(*e.DurationNS, resolution)
		if e.Hang.Blocked.AtLeast {
			lasted = "at least " + lasted
		}
	}
	what := callName(e.Hang)
	switch e.Hang.Reason {
	case correlate.ReasonPageFault:
		what = "page fault"
	case correlate.ReasonAfterSyscall:
		what = "block after " + what
	case correlate.ReasonIOWorker:
		what = "io_uring worker's block"
	case correlate.ReasonKernelThread:
		what = "block"
	}
	if e.Kind == correlate.EventSlowCall {
		return what + " took " + lasted
	}
	return what + " ended after " + lasted
}

// result says ": -1 EIO (Input/output error)".
func result(e *correlate.Event) string {
	switch {
	case e.RetText != "":
		return ": " + clean(e.RetText)
	case e.Ret != nil:
		return fmt.Sprintf(": %d", *e.Ret)
	}
	return ""
}

func onPath(h *correlate.Hang) string {
	if h.Path.Value == "" {
		return ""
	}
	return ", on " + cleanPath(string(h.Path.Value))
}

func (p *page) closing(head string, s *correlate.LiveSummary) {
	if s == nil {
		return
	}
	verdict := clean(s.Verdict)
	if verdict == "" {
		verdict = count(s.Seen, "hang") + " seen."
	}
	p.words(head, indent, verdict)
	p.words(indent, indent, fmt.Sprintf("In %s: %s seen, %d ended, %d still there, %s; the longest lasted %s.",
		span(millis(s.DurationMS)), count(s.Seen, "hang"), s.Ended, s.StillHung,
		count(s.SlowCalls, "slow call"), span(millis(s.OldestMS))))
	p.byServer(s.ByServer)
	if len(s.Lost) > 0 {
		p.words(indent, indent, p.paint(colorWarn, lossWords("Lost records: ", "Records that lack a part: ", "; hangs may be missing.", s.Lost)))
	}
	if len(s.Elsewhere) > 0 {
		var b bytes.Buffer
		inner := &page{w: &b, o: p.o}
		inner.elsewhere(s.Elsewhere)
		p.line("%s%s", indent, strings.TrimRight(b.String(), "\n"))
	}
}

// lossWords tells records that are missing from looks that were not made in time,
// and from records that lack a part: something of them could not be read, or, of
// a sleep, the exact end is not known.
func lossWords(lost, partial, meaning string, c correlate.Counts) string {
	const looks, sleeps = "looks", "sleeps"
	whole, part := make(correlate.Counts), make(correlate.Counts)
	for place, n := range c {
		switch {
		case place == looks:
		case place == sleeps, strings.HasSuffix(place, "_fault"):
			part[place] = n
		default:
			whole[place] = n
		}
	}
	var said []string
	if len(whole) > 0 {
		said = append(said, lost+counts(whole)+meaning)
	}
	if n := c[looks]; n > 0 {
		said = append(said, count(int(n), "look")+" not made in time (no CPU, too much to look at, or nobody took the output)"+meaning)
	}
	if len(part) > 0 {
		said = append(said, partial+counts(part))
	}
	return strings.Join(said, " ")
}

// counts says "12 in ring, 3 in slots".
func counts(c correlate.Counts) string {
	var parts []string
	for place, n := range c {
		parts = append(parts, fmt.Sprintf("%d in %s", n, clean(place)))
	}
	slices.Sort(parts)
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

var wideWidths = []int{5, 7, 7, 15, 2, 12, 10, 0, 0, 0, 0}

// wide writes one line an event. The widths are guesses: what comes is not
// known when the first line is written.
func (s *Stream) wide(e *correlate.Event) error {
	var b strings.Builder
	if !s.headed {
		s.headed = true
		fmt.Fprintf(&b, "%-8s  %-11s  %s", "TIME", "EVENT", align(wideHead, wideWidths))
	}
	fmt.Fprintf(&b, "%-8s  %-11s  ", e.Time.In(s.o.filled().Location).Format(time.TimeOnly), e.Kind)
	switch {
	case e.Hang != nil:
		h := *e.Hang
		if e.DurationNS != nil {
			h.Blocked.ForMS = int64(*e.DurationNS / uint64(time.Millisecond))
		}
		b.WriteString(align(wideCells(&h, string(h.WaitsBehind)), wideWidths))
	case e.Summary != nil:
		b.WriteString(clean(e.Summary.Verdict) + "\n")
	case e.Kind == correlate.EventLost:
		b.WriteString(counts(e.Lost) + "\n")
	default:
		b.WriteString(clean(e.Notice) + "\n")
	}
	_, err := io.WriteString(s.w, b.String())
	return err
}
