// Package userstack gives the user side of blocked threads: the chain of calls
// that led into the kernel.
//
// In: a process and the registers its threads entered the kernel with. Out:
// named frames (facts.UserStack), and where a chain is cut, why. It runs inside
// the expendable child only, since it opens the program and reads the process's
// memory, either of which may block for ever. It must never stop, signal or
// trace the process, never open a file on a device it was told to avoid, and
// never give out the chain of a thread that ran while its stack was read.
package userstack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/symbol"
)

// Op is the operation that Handle serves: Request.PID and Params give the rest.
const Op expendable.Op = "userstack"

// Params of a request.
type Params struct {
	Exe     string   `json:"exe"` // where /proc/PID/exe points
	Threads []Thread `json:"threads"`
	// Avoid are devices ("0:28") whose files may not be opened: those of
	// mounts that may hang.
	Avoid []string `json:"avoid,omitempty"`
	// Known are devices of this machine's own file systems.
	Known []string `json:"known,omitempty"`
	// Parked asks for goroutines that are on no thread, at most this many.
	Parked int `json:"parked,omitempty"`
	// Again asks to look once more at threads that ran, and these are threads
	// that ran when the registers were taken.
	Again   bool  `json:"again,omitempty"`
	Running []int `json:"running,omitempty"`
}

// Thread is a blocked thread and the registers it entered the kernel with.
type Thread struct {
	TID int    `json:"tid"`
	PC  uint64 `json:"pc"`
	SP  uint64 `json:"sp"`
	BP  uint64 `json:"bp,omitempty"`
	LR  uint64 `json:"lr,omitempty"`
	// Switches is how often it had left a CPU when these registers were taken.
	Switches uint64 `json:"switches"`
}

// Result is the answer.
type Result struct {
	// Runtime is the Go release of the program; "" for other programs.
	Runtime string            `json:"runtime,omitempty"`
	Stacks  []facts.UserStack `json:"stacks"`
	// Fresh are the threads that were looked at once more, by TID: their stacks
	// are from then, and so must be all else that is told of them.
	Fresh map[int]Fresh `json:"fresh,omitempty"`
	// Parked are goroutines on no thread (TID 0).
	Parked []facts.UserStack `json:"parked,omitempty"`
	// ProgramErr is why the program itself could not be looked into: what is
	// known of its frames is where they are.
	ProgramErr string `json:"program_err,omitempty"`
	// ParkedErr is why they could not be found.
	ParkedErr string `json:"parked_err,omitempty"`
}

// Handle serves one request inside the child.
func Handle(req expendable.Request, _ func(expendable.Answer)) (expendable.Answer, error) {
	var p Params
	if err := json.Unmarshal(req.Params, &p); err != nil {
		return expendable.Answer{}, fmt.Errorf("request: %w", err)
	}
	r, err := unwind(req.PID, p)
	if err != nil {
		return expendable.Answer{}, err
	}
	text, err := json.Marshal(r)
	return expendable.Answer{Result: text}, err
}

// process is one look at a process.
type process struct {
	pid    int
	params Params
	maps   []symbol.Mapping
	mem    symbol.Memory
	files  []*os.File
	// unwinder gives a new look at the memory, with nothing known of before.
	unwinder func() func(t Thread) symbol.Stack
}

func unwind(pid int, params Params) (*Result, error) {
	text, err := expendable.ReadMaps(pid)
	if err != nil {
		return nil, err
	}
	p := newProcess(pid, params, text)
	defer p.close()
	native := symbol.NewNative(p.maps, p.open)
	p.unwinder = func() func(t Thread) symbol.Stack {
		return func(t Thread) symbol.Stack { return native.Unwind(t.regs(), p.mem) }
	}
	r := &Result{}
	if err := p.goProgram(native, r); err != nil && !errors.Is(err, symbol.ErrNotGo) {
		r.ProgramErr = err.Error()
	}
	p.threads(r)
	return r, nil
}

func newProcess(pid int, params Params, maps string) *process {
	memory := expendable.Memory{PID: pid}
	p := &process{pid: pid, params: params, maps: symbol.ParseMaps(maps)}
	p.mem = func(addr uint64, buf []byte) (int, error) { return memory.ReadAt(buf, int64(addr)) }
	return p
}

func (t Thread) regs() symbol.Regs { return symbol.Regs{PC: t.PC, SP: t.SP, BP: t.BP, LR: t.LR} }

func (p *process) close() {
	for _, f := range p.files {
		f.Close()
	}
}

// goTable opens the program if it is a Go program; bias is where it lies.
func (p *process) goTable() (table *symbol.GoTable, bias uint64, err error) {
	m, ok := p.program()
	if !ok {
		return nil, 0, fmt.Errorf("program %s: it is not mapped, so where it lies is not known", p.params.Exe)
	}
	if err := p.mayOpen(m); err != nil {
		return nil, 0, fmt.Errorf("program %s %w", p.params.Exe, err)
	}
	f, size, err := expendable.OpenExe(p.pid)
	if err != nil {
		return nil, 0, err
	}
	p.files = append(p.files, f)
	if table, err = symbol.OpenGo(f, size); err != nil {
		return nil, 0, err
	}
	bias, ok = table.Bias(p.maps, func(m symbol.Mapping) bool { return m.Path == p.exePath() })
	if !ok {
		return nil, 0, fmt.Errorf("program %s: its mappings do not fit its headers", p.params.Exe)
	}
	return table, bias, nil
}

// goProgram has a Go program unwound as such, and adds its parked goroutines.
func (p *process) goProgram(native *symbol.NativeTable, r *Result) error {
	table, bias, err := p.goTable()
	if err != nil {
		return err
	}
	look := func() *symbol.GoProcess {
		proc := table.Process(p.mem, bias)
		proc.Native = native.ForGo(p.mem)
		return proc
	}
	p.unwinder = func() func(t Thread) symbol.Stack {
		proc := look()
		return func(t Thread) symbol.Stack { return proc.Thread(t.TID, t.regs()) }
	}
	r.Runtime = table.Version()
	if p.params.Parked > 0 {
		p.parked(look(), look(), r)
	}
	return nil
}

// parked adds the goroutines on no thread. Nothing counts how often a goroutine
// has run, so only what two looks agree on is given out.
func (p *process) parked(first, second *symbol.GoProcess, r *Result) {
	list, err := first.Goroutines(p.params.Parked)
	if err != nil {
		r.ParkedErr = err.Error()
		return
	}
	stacks := make(map[uint64]facts.UserStack, len(list))
	for _, g := range list {
		if g.TID == 0 {
			stacks[g.ID] = stackOf(p.pid, 0, first.Parked(g))
		}
	}
	again, err := second.Goroutines(p.params.Parked)
	if err != nil {
		r.ParkedErr = err.Error()
		return
	}
	for _, g := range again {
		s, ok := stacks[g.ID]
		if !ok || g.TID != 0 {
			continue // it came, or went onto a thread, just now
		}
		now := stackOf(p.pid, 0, second.Parked(g))
		now.Goroutine.WaitSinceNS = s.Goroutine.WaitSinceNS // a collection may just have noted it
		if !reflect.DeepEqual(now, s) {
			s = facts.UserStack{PID: p.pid, End: ran, Goroutine: now.Goroutine}
		}
		r.Parked = append(r.Parked, s)
	}
}

func (p *process) exePath() string { return strings.TrimSuffix(p.params.Exe, " (deleted)") }

func (p *process) program() (symbol.Mapping, bool) {
	i := slices.IndexFunc(p.maps, func(m symbol.Mapping) bool { return m.Path == p.exePath() })
	if i < 0 {
		return symbol.Mapping{}, false
	}
	return p.maps[i], true
}

// mayOpen tells whether a mapped file may be opened: one that lies on a mount
// that may hang may not. Devices are hexadecimal in /proc/PID/maps and decimal
// in mount tables.
func (p *process) mayOpen(m symbol.Mapping) error {
	major, minor, ok := strings.Cut(m.Device, ":")
	a, err1 := strconv.ParseUint(major, 16, 32)
	b, err2 := strconv.ParseUint(minor, 16, 32)
	device := fmt.Sprintf("%d:%d", a, b)
	switch {
	case !ok || err1 != nil || err2 != nil:
		return fmt.Errorf("lies on an unknown device (%q)", m.Device)
	case slices.Contains(p.params.Avoid, device):
		return fmt.Errorf("lies on a mount that may hang (device %s)", device)
	case a == 0 && !slices.Contains(p.params.Known, device) && !strings.HasPrefix(m.Path, "/memfd:"):
		return fmt.Errorf("lies on device %s, which is in no mount table: it may hang", device)
	}
	return nil
}

// open opens the file of a mapping for the native unwinder.
func (p *process) open(m symbol.Mapping) (io.ReaderAt, int64, error) {
	if err := p.mayOpen(m); err != nil {
		return nil, 0, err
	}
	f, size, err := expendable.OpenMapped(p.pid, m.Start, m.End, m.Path)
	if err != nil {
		return nil, 0, err
	}
	p.files = append(p.files, f)
	return f, size, nil
}

func stackOf(pid, tid int, s symbol.Stack) facts.UserStack {
	out := facts.UserStack{PID: pid, TID: tid, End: s.End, Elided: s.Elided}
	// As in a dump of the runtime's own, its insides are left out; but not
	// where there is nothing else.
	hide := slices.ContainsFunc(s.Frames, func(f symbol.Frame) bool { return !f.Runtime })
	for i, f := range s.Frames {
		if s.Elided > 0 && i == s.ElidedAt {
			out.ElidedAt = len(out.Frames)
		}
		if f.Runtime && hide {
			continue
		}
		out.Frames = append(out.Frames, facts.UserFrame{
			Function: f.Function, File: f.File, Line: f.Line, Inlined: f.Inlined, Via: f.Via,
			Module: f.Module, Offset: f.Offset, BuildID: f.BuildID, Into: f.Into,
		})
	}
	if g := s.Goroutine; g != nil {
		out.Goroutine = &facts.Goroutine{
			ID: g.ID, Status: g.Status, WaitSinceNS: g.WaitSinceNS, CreatedBy: g.CreatedBy, ParentID: g.ParentID, Start: g.Start,
		}
	}
	return out
}
