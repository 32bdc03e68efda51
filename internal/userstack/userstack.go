// Package userstack gives the user side of blocked threads: the chain of calls
// that led into the kernel.
//
// In: a process and the registers its threads entered the kernel with. Out:
// named frames (facts.UserStack), and where a chain is cut, why. It runs inside
// the expendable child only, since it opens the program and reads the process's
// memory, either of which may block for ever. It must never stop, signal or
// trace the process, and never open a file on a device it was told to avoid.
package userstack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
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
	// Parked asks for goroutines that are on no thread, at most this many.
	Parked int `json:"parked,omitempty"`
}

// Thread is a blocked thread and the registers it entered the kernel with.
type Thread struct {
	TID int    `json:"tid"`
	PC  uint64 `json:"pc"`
	SP  uint64 `json:"sp"`
	BP  uint64 `json:"bp,omitempty"`
	LR  uint64 `json:"lr,omitempty"`
}

// Result is the answer.
type Result struct {
	// Runtime is the Go release of the program; "" for other programs.
	Runtime string            `json:"runtime,omitempty"`
	Stacks  []facts.UserStack `json:"stacks"`
	// Parked are goroutines on no thread (TID 0).
	Parked []facts.UserStack `json:"parked,omitempty"`
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
}

func unwind(pid int, params Params) (*Result, error) {
	text, err := expendable.ReadMaps(pid)
	if err != nil {
		return nil, err
	}
	memory := expendable.Memory{PID: pid}
	p := &process{pid: pid, params: params, maps: symbol.ParseMaps(text)}
	p.mem = func(addr uint64, buf []byte) (int, error) { return memory.ReadAt(buf, int64(addr)) }
	defer p.close()
	native := symbol.NewNative(p.maps, p.open)
	r, err := p.goStacks(native)
	if err == nil || !errors.Is(err, symbol.ErrNotGo) {
		return r, err
	}
	r = &Result{}
	for _, t := range params.Threads {
		regs := symbol.Regs{PC: t.PC, SP: t.SP, BP: t.BP, LR: t.LR}
		r.Stacks = append(r.Stacks, stackOf(pid, t.TID, native.Unwind(regs, p.mem)))
	}
	return r, nil
}

func (p *process) close() {
	for _, f := range p.files {
		f.Close()
	}
}

func (p *process) goStacks(native *symbol.NativeTable) (*Result, error) {
	if m, ok := p.program(); ok && p.avoided(m.Device) {
		return nil, fmt.Errorf("program %s lies on a mount that may hang", p.params.Exe)
	}
	f, size, err := expendable.OpenExe(p.pid)
	if err != nil {
		return nil, err
	}
	p.files = append(p.files, f)
	table, err := symbol.OpenGo(f, size)
	if err != nil {
		return nil, err
	}
	bias, ok := table.Bias(p.maps, func(m symbol.Mapping) bool { return m.Path == p.exePath() })
	if !ok {
		return nil, fmt.Errorf("program %s: its mappings do not fit its headers", p.params.Exe)
	}
	proc := table.Process(p.mem, bias)
	proc.Native = native.ForGo(p.mem)
	r := &Result{Runtime: table.Version()}
	for _, t := range p.params.Threads {
		s := proc.Thread(t.TID, symbol.Regs{PC: t.PC, SP: t.SP, BP: t.BP, LR: t.LR})
		r.Stacks = append(r.Stacks, stackOf(p.pid, t.TID, s))
	}
	p.parked(proc, r)
	return r, nil
}

// parked adds the goroutines that wait for other goroutines.
func (p *process) parked(proc *symbol.GoProcess, r *Result) {
	if p.params.Parked <= 0 {
		return
	}
	list, err := proc.Goroutines(p.params.Parked)
	if err != nil {
		r.ParkedErr = err.Error()
		return
	}
	for _, g := range list {
		if g.TID != 0 {
			continue
		}
		s := proc.Parked(g)
		s.Goroutine = &g
		r.Parked = append(r.Parked, stackOf(p.pid, 0, s))
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

// avoided compares a device of /proc/PID/maps (hexadecimal) with those of mount
// tables (decimal).
func (p *process) avoided(device string) bool {
	major, minor, ok := strings.Cut(device, ":")
	a, err1 := strconv.ParseUint(major, 16, 32)
	b, err2 := strconv.ParseUint(minor, 16, 32)
	return ok && err1 == nil && err2 == nil && slices.Contains(p.params.Avoid, fmt.Sprintf("%d:%d", a, b))
}

// open opens the file of a mapping for the native unwinder.
func (p *process) open(m symbol.Mapping) (io.ReaderAt, int64, error) {
	if p.avoided(m.Device) {
		return nil, 0, fmt.Errorf("%s lies on a mount that may hang", m.Path)
	}
	f, size, err := expendable.OpenMapped(p.pid, m.Start, m.End, m.Path)
	if err != nil {
		return nil, 0, err
	}
	p.files = append(p.files, f)
	return f, size, nil
}

func stackOf(pid, tid int, s symbol.Stack) facts.UserStack {
	out := facts.UserStack{PID: pid, TID: tid, End: s.End, Elided: s.Elided, ElidedAt: s.ElidedAt}
	// As in a dump of the runtime's own, its insides are left out; but not
	// where there is nothing else.
	hide := slices.ContainsFunc(s.Frames, func(f symbol.Frame) bool { return !f.Runtime })
	for _, f := range s.Frames {
		if f.Runtime && hide {
			continue
		}
		out.Frames = append(out.Frames, facts.UserFrame{
			Function: f.Function, File: f.File, Line: f.Line, Inlined: f.Inlined, Via: f.Via,
			Module: f.Module, Offset: f.Offset, BuildID: f.BuildID,
		})
	}
	if g := s.Goroutine; g != nil {
		out.Goroutine = &facts.Goroutine{
			ID: g.ID, Status: g.Status, WaitSinceNS: g.WaitSinceNS, CreatedBy: g.CreatedBy, ParentID: g.ParentID, Start: g.Start,
		}
	}
	return out
}
