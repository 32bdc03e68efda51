package report

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hangtrace/hangtrace/internal/correlate"
)

// CheckWidth is how much of a plugin's output node-problem-detector keeps when
// it is not told otherwise (max_output_length).
const CheckWidth = 80

// CheckHangs says in one line what hangs: the kubelet's hang before others, a
// root before its victims, the oldest first. "" when nothing does.
func CheckHangs(r *correlate.Report) string {
	if len(r.Hangs) == 0 {
		return ""
	}
	worst := slices.MinFunc(r.Hangs, func(a, b *correlate.Hang) int {
		if d := checkRank(a) - checkRank(b); d != 0 {
			return d
		}
		return int(b.Blocked.ForMS/1000 - a.Blocked.ForMS/1000)
	})
	head := "file system"
	if worst.Mount != nil && worst.Mount.Kind != "" {
		head = cleanWord(string(worst.Mount.Kind))
	}
	if on := worst.WaitingOn; on != nil && on.Name != "" {
		head += " " + strings.ReplaceAll(cleanWord(string(on.Name)), `\040`, " ")
	}
	head += " silent " + age(millis(worst.Blocked.ForMS)) + ": " +
		cleanWord(worst.Task.ProcessComm.Or(worst.Task.Comm)) + " " + checkCall(worst)
	tail := ""
	if more := len(r.Hangs) - 1; more > 0 {
		tail = " +" + count(more, "waiter")
	}
	return fit(head, checkVolume(worst.Volume, string(worst.Path.Value)), tail)
}

// checkRank puts the kubelet first and victims last.
func checkRank(h *correlate.Hang) int {
	rank := 2
	if h.Task.ProcessComm == "kubelet" {
		rank = 0
	}
	if h.Role == "victim" {
		rank++
	}
	return rank
}

func checkCall(h *correlate.Hang) string {
	if h.Reason == correlate.ReasonPageFault {
		return "page fault"
	}
	name := callName(h)
	if name == "newfstatat" || name == "fstatat" || name == "lstat" || name == "statx" {
		name = "stat" // all of a kind, and columns are few
	}
	return cleanWord(name)
}

// CheckLeftovers says in one line what is left over. "" when nothing is.
func CheckLeftovers(list []*correlate.Leftover) string {
	if len(list) == 0 {
		return ""
	}
	l := list[0]
	head := strings.ReplaceAll(string(l.Class), "_", " ")
	if l.Mount != nil && l.Mount.Kind != "" {
		head = cleanWord(string(l.Mount.Kind)) + " " + head
	}
	if l.Mount != nil && l.Mount.Device != "" {
		head += " " + cleanWord(string(l.Mount.Device))
	}
	if len(l.Holders) > 0 {
		head += fmt.Sprintf(" held by %s[%d]", cleanWord(l.Holders[0].Comm), l.Holders[0].PID)
	}
	tail := ""
	if more := len(list) - 1; more > 0 {
		tail = fmt.Sprintf(" +%d more", more)
	}
	return fit(head+":", checkVolume(l.Volume, string(l.Path)), tail)
}

// checkVolume names a volume and its pod, or else the path, whose end says
// most.
func checkVolume(v *correlate.Volume, path string) string {
	if v == nil {
		return cleanWord(path)
	}
	name := volumeCell(v)
	if v.Pod != nil && v.Pod.Name != "" {
		name += " (" + cleanWord(string(v.Pod.Namespace)+"/"+string(v.Pod.Name)) + ")"
	} else if v.Pod != nil && v.Pod.UID != "" {
		name += " (pod " + cleanWord(string(v.Pod.UID)) + ")"
	}
	return name
}

// fit joins the parts on one line. What is too long is cut in the middle of the
// volume, and only then at the end: "..." marks both.
func fit(head, middle, tail string) string {
	const dots = "..."
	room := CheckWidth - utf8.RuneCountInString(head) - utf8.RuneCountInString(tail) - 1
	runes := []rune(middle)
	switch {
	case middle == "":
	case len(runes) <= room:
		head += " " + middle
	case room >= 12:
		keep := room - len(dots)
		head += " " + string(runes[:keep/2]) + dots + string(runes[len(runes)-(keep-keep/2):])
	}
	return Clip(head + tail)
}

// Clip makes a line that is safe to print and no longer than CheckWidth bytes.
func Clip(line string) string {
	line = clean(strings.TrimSpace(line))
	if len(line) <= CheckWidth {
		return line
	}
	// It is bytes that node-problem-detector counts when it cuts.
	end := 0
	for i := range line {
		if i > CheckWidth-3 {
			break
		}
		end = i
	}
	return line[:end] + "..."
}
