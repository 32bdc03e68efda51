package strace

import (
	"fmt"
	"io"
	"math"
	"sort"
	"strings"

	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// row counts the calls of one name.
type row struct {
	name           string
	calls, errors  uint64
	ns             uint64
	min, max       uint64
	pending        uint64 // have not returned
	pendingNS      uint64 // their time so far
	pendingAtLeast bool   // some of them began before the tracer
}

// table is what -c prints.
type table struct {
	calls map[string]*row
}

func (t *table) row(name string) *row {
	r := t.calls[name]
	if r == nil {
		r = &row{name: name, min: math.MaxUint64}
		t.calls[name] = r
	}
	return r
}

// count takes in a call that returned.
func (p *Printer) count(t *thread, ret int64, took uint64) {
	if !p.o.Summary {
		return
	}
	failed := syscalls.ErrnoOf(ret) != 0
	if p.o.status()&statusOf(ret) == 0 || !t.kept || len(p.o.Paths) > 0 && !p.onPath(t) {
		return
	}
	if p.o.Only {
		p.lines++
	}
	r := p.table.row(nameOf(t.call))
	r.calls++
	r.ns += took
	r.min, r.max = min(r.min, took), max(r.max, took)
	if failed {
		r.errors++
	}
}

// pending takes in a call that has not returned at the end.
func (p *Printer) pending(t *thread, now uint64) {
	r := p.table.row(nameOf(t.call))
	r.pending++
	if t.since != 0 && now > t.since {
		r.pendingNS += now - t.since
	}
	r.pendingAtLeast = r.pendingAtLeast || !t.known
}

// The columns of -U.
var columns = []struct {
	names []string
	head  string
	width int
	text  func(r *row, total *row) string
}{
	{[]string{"time-percent", "time"}, "% time", 6, func(r, total *row) string {
		if total.ns == 0 {
			return "0.00"
		}
		return fmt.Sprintf("%.2f", 100*float64(r.ns)/float64(total.ns))
	}},
	{[]string{"total-time"}, "seconds", 11, func(r, _ *row) string { return fmt.Sprintf("%.6f", float64(r.ns)/1e9) }},
	{[]string{"min-time", "shortest"}, "shortest", 11, func(r, _ *row) string {
		if r.calls == 0 {
			return "0.000000"
		}
		return fmt.Sprintf("%.6f", float64(r.min)/1e9)
	}},
	{[]string{"max-time", "longest"}, "longest", 11, func(r, _ *row) string { return fmt.Sprintf("%.6f", float64(r.max)/1e9) }},
	{[]string{"avg-time"}, "usecs/call", 11, func(r, _ *row) string { return fmt.Sprint(r.average() / 1000) }},
	{[]string{"calls", "count"}, "calls", 9, func(r, _ *row) string { return fmt.Sprint(r.calls) }},
	{[]string{"errors", "error"}, "errors", 9, func(r, _ *row) string { return orBlank(r.errors) }},
	{[]string{"unreturned", "pending"}, "unreturned", 10, func(r, _ *row) string { return orBlank(r.pending) }},
	{[]string{"unreturned-time", "pending-time"}, "so far (s)", 12, func(r, _ *row) string {
		if r.pending == 0 {
			return ""
		}
		more := ""
		if r.pendingAtLeast {
			more = ">="
		}
		return fmt.Sprintf("%s%.3f", more, float64(r.pendingNS)/1e9)
	}},
	{[]string{"name", "syscall", "syscall-name"}, "syscall", 16, func(r, _ *row) string { return r.name }},
}

// defaultColumns are strace's, and ours for calls that have not returned.
var defaultColumns = []string{"time-percent", "total-time", "avg-time", "calls", "errors", "unreturned", "unreturned-time", "name"}

func orBlank(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func (r *row) average() uint64 {
	if r.calls == 0 {
		return 0
	}
	return r.ns / r.calls
}

func columnIndex(name string) int {
	for i, c := range columns {
		for _, n := range c.names {
			if n == name {
				return i
			}
		}
	}
	return -1
}

// ParseColumns reads -U. The name of the call always stands last.
func ParseColumns(text string) ([]string, error) {
	list := strings.Split(text, ",")
	named := false
	for _, name := range list {
		i := columnIndex(name)
		if i < 0 {
			return nil, fmt.Errorf("column %q is unknown: there are time-percent, total-time, min-time, max-time, avg-time, calls, errors, unreturned, unreturned-time, name", name)
		}
		named = named || columns[i].head == "syscall"
	}
	if !named {
		list = append(list, "name")
	}
	return list, nil
}

// sorts are the orders of -S.
var sorts = map[string]func(a, b *row) bool{
	"time":            func(a, b *row) bool { return a.ns > b.ns },
	"total-time":      func(a, b *row) bool { return a.ns > b.ns },
	"time-percent":    func(a, b *row) bool { return a.ns > b.ns },
	"min-time":        func(a, b *row) bool { return a.min > b.min },
	"max-time":        func(a, b *row) bool { return a.max > b.max },
	"avg-time":        func(a, b *row) bool { return a.average() > b.average() },
	"calls":           func(a, b *row) bool { return a.calls > b.calls },
	"count":           func(a, b *row) bool { return a.calls > b.calls },
	"errors":          func(a, b *row) bool { return a.errors > b.errors },
	"name":            func(a, b *row) bool { return a.name < b.name },
	"unreturned":      func(a, b *row) bool { return a.pending > b.pending },
	"unreturned-time": func(a, b *row) bool { return a.pendingNS > b.pendingNS },
	"none":            func(a, b *row) bool { return false },
	"nothing":         func(a, b *row) bool { return false },
}

// ParseSort checks -S.
func ParseSort(name string) error {
	if sorts[name] == nil {
		return fmt.Errorf("order %q is unknown: there are time, calls, errors, name, min-time, max-time, avg-time, unreturned, unreturned-time, none", name)
	}
	return nil
}

func (p *Printer) writeTable() error {
	var rows []*row
	total := &row{name: "total", min: math.MaxUint64}
	for _, r := range p.table.calls {
		rows = append(rows, r)
		total.calls += r.calls
		total.errors += r.errors
		total.ns += r.ns
		total.min, total.max = min(total.min, r.min), max(total.max, r.max)
		total.pending += r.pending
		total.pendingNS += r.pendingNS
		total.pendingAtLeast = total.pendingAtLeast || r.pendingAtLeast
	}
	sort.Slice(rows, func(i, j int) bool { return rows[i].name < rows[j].name })
	if by := sorts[p.o.SortBy]; by != nil {
		sort.SliceStable(rows, func(i, j int) bool { return by(rows[i], rows[j]) })
	} else {
		sort.SliceStable(rows, func(i, j int) bool { return rows[i].ns > rows[j].ns })
	}
	names := p.o.Columns
	if len(names) == 0 {
		names = defaultColumns
	}
	named := 16
	for _, r := range rows {
		named = max(named, len(r.name))
	}
	var b strings.Builder
	line := func(text func(i int) string) {
		for n, name := range names {
			i := columnIndex(name)
			if n > 0 {
				b.WriteByte(' ')
			}
			if columns[i].head == "syscall" {
				b.WriteString(text(i))
			} else {
				fmt.Fprintf(&b, "%*s", columns[i].width, text(i))
			}
		}
		b.WriteByte('\n')
	}
	rule := func() {
		line(func(i int) string {
			if columns[i].head == "syscall" {
				return strings.Repeat("-", named)
			}
			return strings.Repeat("-", columns[i].width)
		})
	}
	line(func(i int) string { return columns[i].head })
	rule()
	for _, r := range rows {
		line(func(i int) string { return columns[i].text(r, total) })
	}
	rule()
	line(func(i int) string { return columns[i].text(total, total) })
	_, err := io.WriteString(p.o.Output, b.String())
	return err
}
