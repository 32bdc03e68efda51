package loader

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/bpf"
)

// Probe is what became of trying one thing out. Err is nil where it works.
type Probe struct {
	Name string
	Err  error
}

// The names of what ProbeKernel and ProbeTracing try.
const (
	ProbeBTF     = "BTF"
	ProbeRing    = "ring buffer"
	ProbeEnter   = "sys_enter"
	ProbeExit    = "sys_exit"
	ProbeSwitch  = "sched_switch"
	ProbeProcess = "fork, exec and exit"
	ProbeSeed    = "return of calls in flight"
	ProbeEvery   = "every call"
)

// ProbeKernel tries what every program needs.
func ProbeKernel() []Probe {
	_ = rlimit.RemoveMemlock() // see NewSnapshotter
	_, err := btf.LoadKernelSpec()
	probes := []Probe{{ProbeBTF, err}}
	ring, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: uint32(os.Getpagesize())})
	if err == nil {
		err = ring.Close()
	}
	return append(probes, Probe{ProbeRing, refusal(err)})
}

// tracingProbes lists the programs that give one thing to the live tracer, in
// the order in which they are tried: a later one stands in for an earlier.
var tracingProbes = []struct {
	name     string
	all      bool // each is needed, instead of any
	programs []string
}{
	{ProbeExit, true, []string{"trace_exit"}},
	{ProbeEnter, false, []string{"trace_enter", "trace_enter_plain"}},
	{ProbeSwitch, false, []string{"trace_switch", "trace_switch_old"}},
	{ProbeProcess, true, []string{"trace_fork", "trace_exec", "trace_death"}},
	{ProbeSeed, true, []string{"trace_seed"}},
}

// ProbeTracing loads and attaches each of the live tracer's programs by itself,
// with no target, and detaches it again.
func ProbeTracing() []Probe {
	_ = rlimit.RemoveMemlock() // see NewSnapshotter
	var probes []Probe
	for _, p := range tracingProbes {
		var first error
		for _, name := range p.programs {
			err := probeProgram(name)
			if err != nil && first == nil {
				first = err
			}
			if err == nil && !p.all {
				first = nil
				break
			}
		}
		probes = append(probes, Probe{p.name, refusal(first)})
	}
	every := Probe{ProbeEvery, probes[0].Err} // nothing without the programs
	if every.Err == nil {
		every.Err = probeEvery()
	}
	return append(probes, every)
}

func probeEvery() error {
	spec, err := bpf.LoadTrace()
	if err != nil {
		return fmt.Errorf("embedded object: %w", err)
	}
	known, err := newTypes().of(spec)
	if err != nil || !known.preempted() {
		return nil // programs at the tracepoints have all calls
	}
	return perfEvents()
}

func probeProgram(name string) (err error) {
	spec, err := bpf.LoadTrace()
	if err != nil {
		return fmt.Errorf("embedded object: %w", err)
	}
	for other := range spec.Programs {
		if other != name {
			delete(spec.Programs, other)
		}
	}
	coll, err := loadCollection(spec, nil)
	if err != nil {
		return err
	}
	defer coll.Close()
	prog := coll.Programs[name]
	if prog.Type() == ebpf.Syscall {
		return nil // run on demand, never attached
	}
	l, err := attachProgram(name, prog)
	if err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	return l.Close()
}

// refusal says in a few words why the kernel refused: what the verifier said
// of each instruction is of no use to who reads it here.
func refusal(err error) error {
	var verifier *ebpf.VerifierError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: needs root, or CAP_BPF and CAP_PERFMON", unix.EPERM)
	case lockedDown(err):
		return errLockdown
	case errors.As(err, &verifier):
		if lines := slices.DeleteFunc(slices.Clone(verifier.Log), func(l string) bool { return l == "" }); len(lines) > 0 {
			return fmt.Errorf("%w: the kernel's verifier: %s", ErrNotSupported, lines[len(lines)-1])
		}
	}
	return notSupported(err)
}
