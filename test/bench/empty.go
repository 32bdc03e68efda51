package main

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
)

// emptyPair are two programs that return at once, on the hooks that the tool
// uses and attached as it does: nobody who is told of each call costs less.
type emptyPair struct {
	programs []*ebpf.Program
	links    []link.Link
}

func newEmptyPair() (*emptyPair, error) {
	_ = rlimit.RemoveMemlock() // refused where it is not needed
	p := &emptyPair{}
	for _, hook := range []string{"sys_exit", "sys_enter"} {
		prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Name: "empty_" + hook, Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: hook, License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("empty program on %s: %w", hook, err), p.close())
		}
		p.programs = append(p.programs, prog)
	}
	return p, nil
}

func (p *emptyPair) attach() error {
	for _, prog := range p.programs {
		l, err := link.AttachTracing(link.TracingOptions{Program: prog})
		if err != nil {
			return errors.Join(fmt.Errorf("attach the empty pair: %w", err), p.detach())
		}
		p.links = append(p.links, l)
	}
	return nil
}

func (p *emptyPair) detach() error {
	var errs []error
	for _, l := range p.links {
		errs = append(errs, l.Close())
	}
	p.links = nil
	return errors.Join(errs...)
}

func (p *emptyPair) close() error {
	errs := []error{p.detach()}
	for _, prog := range p.programs {
		errs = append(errs, prog.Close())
	}
	return errors.Join(errs...)
}

// hooks counts the programs on raw tracepoints of the whole machine: with those
// of others a call is dearer than it looks.
func hooks() int {
	n := 0
	it := new(link.Iterator)
	defer it.Close()
	for it.Next() {
		info, err := it.Link.Info()
		if err != nil {
			continue
		}
		if t := info.Tracing(); info.Type == link.RawTracepointType || info.Type == link.TracingType && t != nil && ebpf.AttachType(t.AttachType) == ebpf.AttachTraceRawTp {
			n++
		}
	}
	return n
}
