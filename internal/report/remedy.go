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
	for i, f := range h.UserStack {
		if i == userFrames {
			tokens = append(tokens, fmt.Sprintf("(+%d more)", len(h.UserStack)-i))
			break
		}
		if i > 0 {
			tokens = append(tokens, "<")
		}
		tokens = append(tokens, clean(shortFunction(f.Function.Or("?"))))
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
func (p *page) remedies(h *correlate.Hang) {
	rest := indent + strings.Repeat(" ", labelWidth)
	for i, r := range h.Remedies {
		head := indent + "to free" + strings.Repeat(" ", labelWidth-len("to free"))
		if i > 0 {
			head = rest
		}
		p.line("%s%s", head, p.paint(colorBold, cleanPath(r.Command)))
		p.words(rest+"- frees: ", rest+"  ", clean(r.Frees))
		p.words(rest+"- risk: ", rest+"  ", clean(r.Risk))
	}
	for _, w := range h.Warnings {
		p.words(indent+"avoid"+strings.Repeat(" ", labelWidth-len("avoid")), rest, clean(w))
	}
}
