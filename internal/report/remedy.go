package report

import (
	"fmt"
	"strings"

	"github.com/hangtrace/hangtrace/internal/correlate"
)

// userFrames is how many calls of a user stack are shown: enough to come from
// the system call to what the program was about.
const userFrames = 12

// userStack prints the calls that led into the kernel, packages cut to their
// last element; json has it all.
func (p *page) userStack(h *correlate.Hang) {
	if len(h.UserStack) == 0 {
		return
	}
	var tokens []string
	shown := h.UserStack[plumbing(h.UserStack):]
	for i, f := range shown {
		if i == userFrames {
			tokens = append(tokens, fmt.Sprintf("(+%d more)", len(shown)-i))
			break
		}
		if i > 0 {
			tokens = append(tokens, "<")
		}
		tokens = append(tokens, clean(shortFunction(f.Function.Or("?"))))
		if f.Elided > 0 {
			tokens = append(tokens, "<", leftOut(f.Elided))
		}
	}
	if h.Goroutine != nil {
		g := fmt.Sprintf("goroutine %d", h.Goroutine.ID)
		if h.Goroutine.WaitMin != nil {
			g += fmt.Sprintf(", %d minutes", *h.Goroutine.WaitMin)
		}
		tokens = append(tokens, "("+g+")")
	}
	if h.UserStackEnd != "" {
		tokens = append(tokens, "(ends: "+clean(string(h.UserStackEnd))+")")
	}
	p.row("called by", tokens...)
}

// leftOut stands for the middle of a stack that is too deep.
func leftOut(n int) string { return fmt.Sprintf("(%s left out)", count(n, "frame")) }

// plumbing counts the innermost calls that every program makes on its way into
// the kernel: of os.Stat and its insides only os.Stat itself is news.
func plumbing(stack []correlate.Frame) int {
	n := 0
	for n < len(stack)-1 && hasPrefix(stack[n].Function, "syscall.", "runtime.", "internal/", "golang.org/x/sys/unix.") {
		n++
	}
	for n < len(stack)-1 && hasPrefix(stack[n].Function, "os.") && hasPrefix(stack[n+1].Function, "os.") {
		n++
	}
	return n
}

func hasPrefix(s correlate.Text, prefixes ...string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(string(s), p) {
			return true
		}
	}
	return false
}

// effect prints what does not work meanwhile, and what the kubelet itself says
// of that.
func (p *page) effect(h *correlate.Hang) {
	if h.Effect == "" {
		return
	}
	p.words(indent+"effect"+strings.Repeat(" ", labelWidth-len("effect")), indent+strings.Repeat(" ", labelWidth), clean(string(h.Effect)))
	if h.Healthz != "" {
		p.row("healthz", strings.Fields(clean(h.Healthz))...)
	}
}

// shortFunction turns "k8s.io/kubernetes/pkg/kubelet.(*Kubelet).syncLoop" into
// "kubelet.(*Kubelet).syncLoop".
func shortFunction(name string) string {
	head, rest, generic := strings.Cut(name, "[")
	if i := strings.LastIndexByte(head, '/'); i >= 0 {
		head = head[i+1:]
	}
	if generic {
		return head + "[" + rest
	}
	return head
}

// remedies prints what frees the hang: each command on a line of its own, to be
// copied whole, and never wrapped.
func (p *page) remedies(h *correlate.Hang) { p.freeing(h.Remedies, h.Warnings) }

func (p *page) freeing(remedies []correlate.Remedy, warnings []string) {
	rest := indent + strings.Repeat(" ", labelWidth)
	for i, r := range remedies {
		head := indent + "to free" + strings.Repeat(" ", labelWidth-len("to free"))
		if i > 0 {
			head = rest
		}
		p.line("%s%s", head, p.paint(colorBold, cleanPath(r.Command)))
		p.words(rest+"- frees: ", rest+"  ", clean(r.Frees))
		p.words(rest+"- risk: ", rest+"  ", clean(r.Risk))
	}
	for _, w := range warnings {
		p.words(indent+"avoid"+strings.Repeat(" ", labelWidth-len("avoid")), rest, clean(w))
	}
}
