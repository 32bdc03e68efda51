package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/pprof/profile"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/facts"
)

// The forms of profiles: of `report` blocked time by stack, of `stacks` threads
// by stack.
const (
	FormPprof  Form = "pprof"  // gzipped protobuf, for go tool pprof
	FormFolded Form = "folded" // one line a stack, for flame graphs
)

// sample is one stack of a profile, innermost frame first.
type sample struct {
	frames []frame
	value  int64
	labels map[string]string
}

type frame struct {
	name, file string
	line       int64
}

// writeProfile writes samples in the format of github.com/google/pprof.
func writeProfile(w io.Writer, samples []sample, kind, unit string, at time.Time) error {
	p := &profile.Profile{
		SampleType: []*profile.ValueType{{Type: kind, Unit: unit}},
		TimeNanos:  at.UnixNano(),
	}
	functions := make(map[string]*profile.Function)
	locations := make(map[frame]*profile.Location)
	for _, s := range samples {
		ps := &profile.Sample{Value: []int64{s.value}, Label: make(map[string][]string)}
		for key, value := range s.labels {
			if value != "" {
				ps.Label[key] = []string{clean(value)} // pprof prints it as it is
			}
		}
		for _, f := range s.frames {
			ps.Location = append(ps.Location, locate(p, f, functions, locations))
		}
		p.Sample = append(p.Sample, ps)
	}
	if err := p.CheckValid(); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	return p.Write(w)
}

func locate(p *profile.Profile, f frame, functions map[string]*profile.Function, locations map[frame]*profile.Location) *profile.Location {
	if l := locations[f]; l != nil {
		return l
	}
	fn := functions[f.name+"\x00"+f.file]
	if fn == nil {
		fn = &profile.Function{ID: uint64(len(p.Function) + 1), Name: f.name, SystemName: f.name, Filename: f.file}
		functions[f.name+"\x00"+f.file] = fn
		p.Function = append(p.Function, fn)
	}
	l := &profile.Location{ID: uint64(len(p.Location) + 1), Line: []profile.Line{{Function: fn, Line: f.line}}}
	locations[f] = l
	p.Location = append(p.Location, l)
	return l
}

// folded writes "outermost;...;innermost VALUE" lines.
func folded(w io.Writer, samples []sample) error {
	out := bufio.NewWriter(w)
	for _, s := range samples {
		for i := len(s.frames) - 1; i >= 0; i-- {
			// The separators of the format cannot be part of a name.
			name := strings.NewReplacer(";", ":", " ", "_").Replace(clean(s.frames[i].name))
			out.WriteString(name)
			if i > 0 {
				out.WriteByte(';')
			}
		}
		fmt.Fprintf(out, " %d\n", s.value)
	}
	return out.Flush()
}

// kernelFrames marks kernel functions as perf does, since both sides are in
// one stack.
func kernelFrames(stack []string) []frame {
	var out []frame
	for _, f := range stack {
		out = append(out, frame{name: bareFrame(f) + "_[k]"})
	}
	return out
}

// stackSamples makes a sample of each group of a dump.
func stackSamples(d *facts.StackDump) []sample {
	var out []sample
	for i := range d.Processes {
		p := &d.Processes[i]
		for _, g := range groupStacks(p) {
			s := sample{frames: kernelFrames(g.kernel), value: int64(g.size()), labels: map[string]string{
				"pid": fmt.Sprint(p.PID), "comm": p.Comm,
			}}
			for i, f := range g.user {
				if g.elided > 0 && i == g.elidedAt {
					s.frames = append(s.frames, frame{name: leftOut(g.elided)})
				}
				name := f.Function
				if name == "" {
					name = fmt.Sprintf("%s+%#x", f.Module, f.Offset)
				}
				s.frames = append(s.frames, frame{name: name, file: f.File, line: int64(f.Line)})
			}
			if len(s.frames) == 0 {
				s.frames = []frame{{name: "(running)"}}
			}
			out = append(out, s)
		}
	}
	return out
}

// hangSamples makes a sample of each hung thread: how long it is blocked.
func hangSamples(r *correlate.Report) []sample {
	var out []sample
	for _, h := range r.Hangs {
		s := sample{frames: kernelFrames(h.KernelStack), value: h.Blocked.ForMS * int64(time.Millisecond), labels: map[string]string{
			"path": string(h.Path.Value), "comm": h.Task.ProcessComm.Or(h.Task.Comm),
			"pid": fmt.Sprint(h.Task.PID), "tid": fmt.Sprint(h.Task.TID), "role": h.Role,
		}}
		for _, f := range h.UserStack {
			s.frames = append(s.frames, frame{name: f.Function.Or("?"), file: string(f.File), line: int64(f.Line)})
			if f.Elided > 0 {
				s.frames = append(s.frames, frame{name: leftOut(f.Elided)})
			}
		}
		if v := h.Volume; v != nil {
			s.labels["volume"] = v.PV.Or(string(v.Name))
			if v.Pod != nil {
				s.labels["pod"] = string(v.Pod.UID)
				if v.Pod.Name != "" {
					s.labels["pod"] = v.Pod.Namespace.Or("unknown") + "/" + string(v.Pod.Name)
				}
			}
		}
		if h.WaitingOn != nil {
			s.labels["server"] = h.WaitingOn.Name.Or(h.WaitingOn.Kind)
		}
		if len(s.frames) == 0 {
			s.frames = []frame{{name: "(stack not readable)"}}
		}
		out = append(out, s)
	}
	return out
}
