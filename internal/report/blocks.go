package report

import (
	"fmt"
	"strings"

	"github.com/hangtrace/hangtrace/internal/correlate"
)

// block is what one block of text shows: a hang, the threads of the same
// process that hang in just the same way, and the victims behind them.
type block struct {
	head    *correlate.Hang
	same    []*correlate.Hang
	victims []*correlate.Hang
}

// sameness is what hangs must share to be one block. 10,000 threads in a stat
// of one path are one thing to read.
type sameness struct {
	pid                      int
	doing, role              string
	path, point, device      correlate.Text
	waitingKind, waitingName string
}

func samenessOf(h *correlate.Hang) sameness {
	s := sameness{pid: h.Task.PID, doing: doing(h), role: h.Role, path: h.Path.Value}
	if h.Mount != nil {
		s.point, s.device = h.Mount.Point, h.Mount.Device
	}
	if h.WaitingOn != nil {
		s.waitingKind, s.waitingName = h.WaitingOn.Kind, string(h.WaitingOn.Name)
	}
	return s
}

// blocks sorts hangs under their roots, in the report's own order. A victim
// whose root is not among the hangs gets a block of its own.
func blocks(hangs []*correlate.Hang) []*block {
	byID := make(map[string]*correlate.Hang, len(hangs))
	for _, h := range hangs {
		byID[h.ID] = h
	}
	var out []*block
	seen := make(map[sameness]*block)
	of := make(map[string]*block)
	for _, h := range hangs {
		if rootOf(h, byID) != h {
			continue
		}
		// A path that is not known says nothing about being the same one.
		key := samenessOf(h)
		b := seen[key]
		if b == nil || key.path == "" {
			b = &block{head: h}
			seen[key] = b
			out = append(out, b)
		} else {
			b.same = append(b.same, h)
			if h.Blocked.ForMS > b.head.Blocked.ForMS {
				b.head, b.same[len(b.same)-1] = h, b.head
			}
		}
		of[h.ID] = b
	}
	for _, h := range hangs {
		if root := rootOf(h, byID); root != h {
			of[root.ID].victims = append(of[root.ID].victims, h)
		}
	}
	return out
}

// rootOf follows a victim to whom it waits behind, and gives the hang itself
// for a root, for a victim of somebody unknown, and in a ring.
func rootOf(h *correlate.Hang, byID map[string]*correlate.Hang) *correlate.Hang {
	at := h
	for range len(byID) {
		next := byID[string(at.WaitsBehind)]
		if at.WaitsBehind == "" || next == nil {
			if at.Role == "victim" {
				return h
			}
			return at
		}
		at = next
	}
	return h
}

func (p *page) block(b *block) {
	h := b.head
	subject, verb := who(&h.Task), "hangs"
	if len(b.same) > 0 {
		subject += fmt.Sprintf(" and %d more of its threads", len(b.same))
		verb = "hang"
	}
	title := fmt.Sprintf("%s %s %s for %s (%s)", subject, verb, doing(h), lasting(&h.Blocked), state(&h.Task))
	p.words("", indent, p.paint(colorBold, title))
	p.hang(h)
	if len(b.same) > 0 {
		p.row("threads", tids(b.same, 12)...)
	}
	if h.Role == "victim" {
		p.row("behind", "it waits for a lock whose holder is not among the hung threads")
	}
	p.victims(b.victims)
}

func tids(hangs []*correlate.Hang, most int) []string {
	out := []string{"also"}
	for i, h := range hangs {
		if i == most {
			return append(out, fmt.Sprintf("(+%d more)", len(hangs)-i))
		}
		out = append(out, fmt.Sprint(h.Task.TID))
	}
	return out
}

// victims says how many wait behind a root and names a few, each process
// before a second thread of any.
func (p *page) victims(victims []*correlate.Hang) {
	if len(victims) == 0 {
		return
	}
	var order [][]*correlate.Hang
	at := make(map[int]int)
	for _, v := range victims {
		i, ok := at[v.Task.PID]
		if !ok {
			i = len(order)
			at[v.Task.PID] = i
			order = append(order, nil)
		}
		order[i] = append(order[i], v)
	}
	verb := "wait"
	if len(victims) == 1 {
		verb = "waits"
	}
	p.row("victims", fmt.Sprintf("%s in %s %s behind it:",
		count(len(victims), "thread"), count(len(order), "process"), verb))
	rest := indent + strings.Repeat(" ", labelWidth)
	shown := 0
	for depth := 0; shown < len(victims) && shown < p.o.Victims; depth++ {
		for _, threads := range order {
			if depth < len(threads) && shown < p.o.Victims {
				v := threads[depth]
				p.line("%s%s %s, %s, %s", rest, who(&v.Task), doing(v), lasting(&v.Blocked), state(&v.Task))
				shown++
			}
		}
	}
	if left := len(victims) - shown; left > 0 {
		p.line("%s(+%d more: -o wide names each)", rest, left)
	}
}
