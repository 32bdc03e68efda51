package userstack

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/symbol"
)

// The operations of a Calls: OpOpen (Params without threads) names the process,
// OpCalls (a list of CallParams) asks for chains of it.
const (
	OpOpen  expendable.Op = "userstack-open"
	OpCalls expendable.Op = "userstack-calls"
)

// CallParams is one call as it was made: the registers, and what was copied of
// the stack then.
type CallParams struct {
	Thread
	Stack []Piece `json:"stack,omitempty"`
	// Full tells that more of the stack was not copied for want of room.
	Full bool `json:"full,omitempty"`
}

// Piece is a part of a stack.
type Piece struct {
	Addr uint64 `json:"addr"`
	Data []byte `json:"data"`
}

// CallStack is the chain of a call.
type CallStack struct {
	facts.UserStack
	// Read are the places of the stack that decided about it, from the stack
	// pointer: a call from the same place with the same words there has the same
	// chain.
	Read []int64 `json:"read,omitempty"`
}

// mapsAge is how long mappings are good for. What lies in none is looked for
// sooner: something may just have been loaded.
const (
	mapsAge   = time.Second
	mapsYoung = 20 * time.Millisecond
)

// Calls gives the chains of calls that were made in the past, from copies of
// their stacks. It lives in one child, for one process: programs are opened
// once, and mappings looked at again from time to time.
type Calls struct {
	p    *process
	text string // of the mappings
	// identity tells the program that runs from one that executed in its place.
	identity [2]uint64
	asOf     time.Time
	native   *symbol.NativeTable
	table    *symbol.GoTable // of a Go program
	bias     uint64
	why      error   // why the program was not looked into
	read     []int64 // see CallStack
}

// Handlers are the operations of one child.
func (c *Calls) Handlers() map[expendable.Op]expendable.Handler {
	return map[expendable.Op]expendable.Handler{OpOpen: c.open, OpCalls: c.calls}
}

func (c *Calls) open(req expendable.Request, _ func(expendable.Answer)) (expendable.Answer, error) {
	var params Params
	if err := json.Unmarshal(req.Params, &params); err != nil {
		return expendable.Answer{}, fmt.Errorf("request: %w", err)
	}
	if c.p != nil {
		c.p.close()
	}
	*c = Calls{p: newProcess(req.PID, params, "")}
	return expendable.Answer{}, c.look()
}

// look reads the mappings, and opens anew what lies elsewhere than before. Of a
// process that ended those of before stay.
func (c *Calls) look() error {
	text, err := expendable.ReadMaps(c.p.pid)
	c.asOf = time.Now()
	switch {
	case err != nil:
		return err
	case text == "" || text == c.text: // "": it is a zombie
		return nil
	}
	p := newProcess(c.p.pid, c.p.params, text)
	if id := identity(p.maps); c.native == nil {
		c.identity = id
	} else if c.identity != id {
		return errReplaced
	}
	c.p.close()
	c.p, c.text = p, text
	c.native = symbol.NewNative(c.p.maps, c.p.open)
	c.table, c.bias, c.why = c.p.goTable()
	if errors.Is(c.why, symbol.ErrNotGo) {
		c.why = nil
	}
	return nil
}

func (c *Calls) calls(req expendable.Request, _ func(expendable.Answer)) (expendable.Answer, error) {
	var list []CallParams
	if err := json.Unmarshal(req.Params, &list); err != nil {
		return expendable.Answer{}, fmt.Errorf("request: %w", err)
	}
	if c.p == nil || c.native == nil {
		return expendable.Answer{}, errors.New("its mappings were never read")
	}
	if time.Since(c.asOf) > mapsAge {
		_ = c.look() // it may have ended: then what was known stays
	}
	out := make([]CallStack, len(list))
	for i := range list {
		s := c.call(&list[i])
		out[i] = CallStack{UserStack: stackOf(c.p.pid, list[i].TID, s), Read: slices.Compact(slices.Sorted(slices.Values(c.read)))}
	}
	text, err := json.Marshal(out)
	return expendable.Answer{Result: text}, err
}

func (c *Calls) call(params *CallParams) symbol.Stack {
	s := c.chain(params)
	if s.End != "" && time.Since(c.asOf) > mapsYoung {
		if before := c.text; c.look() == nil && c.text != before {
			return c.chain(params)
		}
	}
	return s
}

func (c *Calls) chain(params *CallParams) symbol.Stack {
	if !c.entered(params.PC) {
		return symbol.Stack{Frames: []symbol.Frame{{PC: params.PC}}, End: fmt.Sprintf("%#x is in code that is not there any more", params.PC)}
	}
	mem := c.memory(params)
	var s symbol.Stack
	c.read = c.read[:0]
	saw := func(addr uint64, n int) {
		for i := 0; i < n; i += 8 {
			if inPieces(params.Stack, addr+uint64(i)) {
				c.read = append(c.read, int64(addr+uint64(i)-params.SP))
			}
		}
	}
	c.native.Saw = saw
	if c.table != nil {
		proc := c.table.Process(mem, c.bias)
		proc.Saw(saw)
		proc.Native = c.native.ForGo(mem)
		s = proc.Chain(params.regs())
	} else {
		s = c.native.Unwind(params.regs(), mem)
	}
	switch {
	case s.End == "":
	case params.Full:
		s.End = "deeper than what was copied of its stack"
	case c.why != nil:
		s.End = c.why.Error()
	}
	return s
}

// errReplaced says that the process runs another program by now.
var errReplaced = errors.New("it executed another program")

// identity is where the kernel put its own page and the end of the stack, which
// it chooses at each execution.
func identity(list []symbol.Mapping) (id [2]uint64) {
	for _, m := range list {
		switch m.Path {
		case "[vdso]":
			id[0] = m.Start
		case "[stack]":
			id[1] = m.End
		}
	}
	return id
}

// entered tells whether the instruction in front of pc is one that enters the
// kernel. If not, the mappings are not those of the call.
func (c *Calls) entered(pc uint64) bool {
	var b [4]byte
	n, err := c.p.mem(pc-4, b[:])
	if err != nil || n < len(b) {
		return true // it ended: nothing contradicts
	}
	switch string(b[2:]) {
	case "\x0f\x05", "\x0f\x34", "\xcd\x80": // syscall, sysenter, int $0x80
		return true
	}
	return string(b[:]) == "\x01\x00\x00\xd4" // svc #0
}

// memory is the stack as it was, and the program's code, which stays. The rest
// is not what it was when the call was made, so nothing may be concluded from it.
func (c *Calls) memory(params *CallParams) symbol.Memory {
	return func(addr uint64, buf []byte) (int, error) {
		if n := fromPieces(params.Stack, addr, buf); n > 0 {
			return n, nil
		}
		for _, m := range c.p.maps {
			if m.Executable() && addr >= m.Start && addr < m.End {
				return c.p.mem(addr, buf)
			}
		}
		return 0, fmt.Errorf("%#x was not copied", addr)
	}
}

// fromPieces fills buf, which is read by pages: what lies in front of the first
// piece is below the stack pointer, where no caller left anything.
func fromPieces(list []Piece, addr uint64, buf []byte) int {
	n := 0
	for _, p := range list {
		at := addr + uint64(n)
		end := p.Addr + uint64(len(p.Data))
		if at >= end || end < p.Addr {
			continue
		}
		if at < p.Addr {
			gap := p.Addr - at
			if n > 0 || gap >= uint64(len(buf)) {
				break
			}
			clear(buf[:gap])
			n, at = int(gap), p.Addr
		}
		n += copy(buf[n:], p.Data[at-p.Addr:])
	}
	return n
}

func inPieces(list []Piece, addr uint64) bool {
	return slices.ContainsFunc(list, func(p Piece) bool { return addr >= p.Addr && addr-p.Addr < uint64(len(p.Data)) })
}

// Stacks reads the answer to OpCalls, which has one for each call.
func Stacks(a expendable.Answer, calls int) (list []CallStack, err error) {
	if a.Err != "" {
		return nil, errors.New(a.Err)
	}
	if err := json.Unmarshal(a.Result, &list); err != nil {
		return nil, err
	}
	if len(list) != calls {
		return nil, fmt.Errorf("%d stacks for %d calls", len(list), calls)
	}
	return list, nil
}
