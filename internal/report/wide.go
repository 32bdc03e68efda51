package report

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/hangtrace/hangtrace/internal/correlate"
)

const (
	none    = "<none>"
	unknown = "<unknown>"
)

var wideHead = []string{"AGE", "PID", "TID", "COMMAND", "ST", "CALL", "KIND", "POD", "VOLUME", "PATH", "WAITS-ON"}

// Wide writes one line a hang, victims included, in columns split by blanks:
// blanks within a value are shown as \040. An age that ends in + is a lower
// bound. Nothing hung gives the line of column names alone.
func Wide(w io.Writer, r *correlate.Report) error {
	widths := make([]int, len(wideHead))
	measure := func(cells []string) {
		for i, cell := range cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	measure(wideHead)
	threads := make(map[correlate.Text]string, len(r.Hangs))
	for _, h := range r.Hangs {
		threads[correlate.Text(h.ID)] = fmt.Sprintf("%d/%d", h.Task.PID, h.Task.TID)
	}
	for _, h := range r.Hangs {
		measure(wideCells(h, threads[h.WaitsBehind]))
	}
	if _, err := io.WriteString(w, align(wideHead, widths)); err != nil {
		return err
	}
	for _, h := range r.Hangs {
		if _, err := io.WriteString(w, align(wideCells(h, threads[h.WaitsBehind]), widths)); err != nil {
			return err
		}
	}
	return nil
}

func align(cells []string, widths []int) string {
	var b strings.Builder
	for i, cell := range cells {
		b.WriteString(cell)
		if i == len(cells)-1 {
			break
		}
		b.WriteString(strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(cell))+2))
	}
	b.WriteByte('\n')
	return b.String()
}

// wideCells gives the columns of one hang; behind is the PID/TID of the thread
// it waits behind, "" if that is not known.
func wideCells(h *correlate.Hang, behind string) []string {
	old := age(millis(h.Blocked.ForMS))
	if h.Blocked.AtLeast {
		old += "+"
	}
	kind, pod, volume := unknown, none, none
	if h.Mount != nil {
		kind = cell(h.Mount.Kind)
		if h.Mount.Attached != nil && !*h.Mount.Attached {
			kind += "(detached)"
		}
	}
	if h.Volume != nil {
		pod, volume = podCell(h.Volume.Pod), volumeCell(h.Volume)
	}
	path := unknown
	if h.Path.Value != "" {
		path = strings.ReplaceAll(cleanPath(string(h.Path.Value)), " ", `\040`)
	}
	return []string{
		old, fmt.Sprint(h.Task.PID), fmt.Sprint(h.Task.TID), cleanWord(h.Task.ProcessComm.Or(h.Task.Comm)),
		cell(h.Task.State), callCell(h), kind, pod, volume, path, waitsCell(h, behind),
	}
}

func cell(t correlate.Text) string { return cleanWord(t.Or(unknown)) }

func callCell(h *correlate.Hang) string {
	switch h.Reason {
	case correlate.ReasonAfterSyscall:
		return "after:" + cleanWord(callName(h))
	case correlate.ReasonPageFault, correlate.ReasonIOWorker, correlate.ReasonKernelThread:
		return string(h.Reason)
	}
	if h.Syscall == nil {
		return unknown
	}
	return cleanWord(callName(h))
}

func podCell(pod *correlate.Pod) string {
	switch {
	case pod == nil:
		return none
	case pod.Name == "":
		return cell(pod.UID)
	}
	return cleanWord(pod.Namespace.Or(unknown) + "/" + string(pod.Name))
}

func volumeCell(v *correlate.Volume) string {
	for _, name := range []correlate.Text{v.PV, v.Name, v.Handle} {
		if name != "" {
			return cell(name)
		}
	}
	return unknown
}

func waitsCell(h *correlate.Hang, behind string) string {
	if h.Role == "victim" {
		return "behind:" + cell(correlate.Text(behind))
	}
	if h.WaitingOn == nil {
		return unknown
	}
	if h.WaitingOn.Name == "" {
		return cleanWord(h.WaitingOn.Kind)
	}
	return cleanWord(h.WaitingOn.Kind + ":" + string(h.WaitingOn.Name))
}
