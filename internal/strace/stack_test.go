package strace

import (
	"fmt"
	"testing"

	"github.com/hangtrace/hangtrace/internal/events"
)

// withStacks shows where calls were made as PC and kernel addresses.
func withStacks(o Options) Options {
	o.Prefix, o.Column = true, 1
	o.Stack = func(c *CallStack) []string {
		list := []string{"(lost)"}
		if c.Program != nil {
			list = []string{fmt.Sprintf("%#x %s", c.Program.PC, c.Program.Memory)}
		}
		if c.Inside {
			list = append(list, "inside")
		}
		for _, a := range c.Kernel {
			list = append(list, fmt.Sprintf("kernel %#x", a))
		}
		return list
	}
	return o
}

func (pl *play) stack(tid int, pc uint64, memory string) {
	pl.t.Helper()
	copied := []byte(memory)
	pl.record(events.Strace{Kind: events.StraceStack, TID: tid, Seq: pl.seq[tid], PC: pc, Memory: copied})
	clear(copied) // as the buffer is read anew
}

func (pl *play) slept(tid int, kernel ...uint64) {
	pl.t.Helper()
	pl.record(events.Strace{Kind: events.StraceSlept, TID: tid, Seq: pl.seq[tid], Kernel: kernel})
}

// TestStacksBelowTheirCalls wants each below its own call, whatever comes in
// between, and a lost one told of.
func TestStacksBelowTheirCalls(t *testing.T) {
	pl := newPlay(t, withStacks(Options{}))
	pl.enter(10, "read", nil, 3, 0x1000, 5)
	pl.stack(10, 1, "one")
	pl.enter(11, "close", nil, 4)
	pl.stack(11, 2, "two")
	pl.exit(11, 0, nil)
	pl.slept(10, 0xa, 0xb)
	pl.exit(10, 0, nil)
	pl.call(10, "getpid", 10)
	pl.enter(10, "pause", nil)
	pl.stack(10, 3, "three")
	if err := pl.p.Finish(pl.ns); err != nil {
		t.Fatal(err)
	}
	pl.want(
		`10    read(3,  <unfinished ...>`,
		`11    close(4) = 0`,
		` > 0x2 two`,
		`10    <... read resumed>"", 5) = 0`,
		` > 0x1 one`,
		` > kernel 0xa`,
		` > kernel 0xb`,
		`10    getpid() = 10`,
		` > (lost)`,
		`10    pause( <unfinished ...>`,
		`10    pause( <unfinished ...> <for 0.001000>`,
		` > 0x3 three`,
		` > inside`,
	)
}

// TestStackOfExecve is that of the program that called it: its tables are asked
// before they are forgotten.
func TestStackOfExecve(t *testing.T) {
	o := withStacks(Options{Quiet: 3})
	forgotten := false
	inner := o.Stack
	o.Stack = func(c *CallStack) []string {
		if forgotten {
			return []string{"of the next program"}
		}
		return inner(c)
	}
	o.Forget = func(int) { forgotten = true }
	pl := newPlay(t, o)
	pl.enter(10, "execve", nil)
	pl.stack(10, 1, "one")
	pl.record(events.Strace{Kind: events.StraceExec, TID: 10, Other: 10})
	pl.exit(10, 0, nil)
	pl.want(`10    execve(NULL, NULL, NULL) = 0`, ` > 0x1 one`)
}

// TestStackOfRing is shown of the call that takes long alone.
func TestStackOfRing(t *testing.T) {
	pl := newPlay(t, withStacks(Options{Ring: 3, Threshold: 5_000_000}))
	pl.enter(10, "getpid", nil)
	pl.stack(10, 1, "one")
	pl.exit(10, 10, nil)
	pl.enter(10, "close", nil, 3)
	pl.stack(10, 2, "two")
	pl.ns += 20 * ms
	if err := pl.p.Tick(pl.ns); err != nil {
		t.Fatal(err)
	}
	pl.want(
		`hangtrace: the last 1 calls of thread 10:`,
		`10    getpid() = 10`,
		`10    close(3 <unfinished ...> <for 0.021000>`,
		` > 0x2 two`,
		` > inside`,
	)
}
