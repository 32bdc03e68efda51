package main

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strconv"
	"time"
)

// The calls of kinds.
const (
	callStat = iota
	callGetppid
	callEpoll
)

var (
	allKinds = []int{callStat, callGetppid, callEpoll}
	justStat = []int{callStat}
)

// The tools' names, as the table has them.
const (
	nameTrace     = "hangtrace, trace mode"
	nameOther     = "hangtrace, trace mode, of another process"
	nameSample    = "hangtrace, sample mode"
	nameLines     = "hangtrace strace, to /dev/null"
	nameFile      = "hangtrace strace, to a file"
	nameSameCore  = "strace -f -p, same core"
	nameOtherCore = "strace -f -p, another core"
	namePerf      = "perf trace -p"
	nameBpftrace  = "bpftrace one-liner"
	// The controls: what the method itself makes of nothing.
	nameNothing    = "nothing attached"
	nameEmptyAgain = "the empty pair once more"
)

// tools lists what can be measured here, and leaves out the rest.
func (b *bench) tools(empty *emptyPair) []tool {
	list := []tool{
		{name: nameNothing, kinds: allKinds, start: (*bench).idler},
		{name: nameEmptyAgain, kinds: allKinds, start: func(b *bench) (*attached, error) { return b.emptyAgain(empty) }},
		{name: nameTrace, kinds: allKinds, start: func(b *bench) (*attached, error) { return b.live("trace", b.victim.PID) }},
		{name: nameOther, kinds: allKinds, start: func(b *bench) (*attached, error) { return b.live("trace", b.idle.PID) }},
		{name: nameSample, kinds: allKinds, start: func(b *bench) (*attached, error) { return b.live("sample", b.victim.PID) }},
		{name: nameLines, kinds: justStat, start: func(b *bench) (*attached, error) { return b.strace("/dev/null") }},
		{name: nameFile, kinds: justStat, start: func(b *bench) (*attached, error) { return b.strace(b.Dir + "/lines") }},
	}
	for _, r := range []struct {
		tool
		program string
		cores   int
	}{
		{tool{name: nameSameCore, waits: true, start: func(b *bench) (*attached, error) { return b.realStrace(b.core) }}, "strace", 1},
		{tool{name: nameOtherCore, waits: true, start: func(b *bench) (*attached, error) { return b.realStrace(b.otherCore) }}, "strace", 2},
		{tool{name: namePerf, waits: true, start: (*bench).perfTrace}, "perf", 1},
		{tool{name: nameBpftrace, start: (*bench).bpftrace}, "bpftrace", 1},
	} {
		if _, err := exec.LookPath(r.program); err != nil {
			b.leaveOut(r.name, "%s is not installed", r.program)
			continue
		}
		if b.cores < r.cores {
			b.leaveOut(r.name, "this machine has one core")
			continue
		}
		r.rival, r.kinds = true, justStat
		list = append(list, r.tool)
	}
	return list
}

// visit is one tool's turn.
type visit struct {
	untraced, empty, traced costs
	waits                   bool
}

// costs are those of each kind of call.
type costs [len(kinds)]cost

// visits maps a tool's name to its visits, by turn: a turn may lack a tool.
type visits map[string]map[int]*visit

const (
	roundLength  = 1500 * time.Microsecond
	roundsUnder  = 15 // beneath a tool, of each kind
	roundsBeside = 7  // before and after it
	// settle is how long a tool gets after it attached for its first look.
	settle = 250 * time.Millisecond
	// rivalTurns: a rival is visited in one of so many turns.
	rivalTurns = 3
)

// measureCalls visits the tools in turn until the time is over.
func (b *bench) measureCalls(budget time.Duration) (visits, error) {
	empty, err := newEmptyPair()
	if err != nil {
		return nil, err
	}
	defer empty.close()
	list := b.tools(empty)
	out := make(visits)
	for _, t := range list {
		out[t.name] = make(map[int]*visit)
	}
	began, told := time.Now(), time.Now()
	for turn := 0; turn == 0 || time.Since(began) < budget; turn++ {
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		for _, t := range list {
			if t.rival && turn%rivalTurns != 0 || b.failed[t.name] > 1 || turn > 0 && time.Since(began) > budget {
				continue
			}
			if hooks() > 0 && time.Since(began) < budget/3 {
				time.Sleep(200 * time.Millisecond) // others may be done soon
				continue
			}
			v, err := b.visit(t, empty)
			switch {
			case err != nil:
				b.failed[t.name]++
				if b.failed[t.name] > 1 {
					b.leaveOut(t.name, "%v", err)
				}
			case v == nil:
				b.disturbed++
			default:
				out[t.name][turn] = v
			}
			if time.Since(told) > 10*time.Second {
				told = time.Now()
				b.progress("calls: turn %d", turn+1)
			}
		}
	}
	return out, nil
}

// visit measures one tool; nil says that others began or ended to trace.
func (b *bench) visit(t tool, empty *emptyPair) (*visit, error) {
	others := hooks()
	var untraced, floor, traced, untraced2, floor2 costs
	steps := []func() error{
		func() error { return b.perCall(t.kinds, roundsBeside, &untraced) },
		func() error { return b.beneath(empty, t.kinds, &floor) },
		func() error { return b.beneathTool(t, &traced) },
		func() error { return b.beneath(empty, t.kinds, &floor2) },
		func() error { return b.perCall(t.kinds, roundsBeside, &untraced2) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if hooks() != others {
		return nil, nil
	}
	if others > 0 {
		b.foreign++
	}
	v := &visit{traced: traced, waits: t.waits}
	for k := range kinds {
		v.untraced[k], v.empty[k] = mean(untraced[k], untraced2[k]), mean(floor[k], floor2[k])
	}
	return v, nil
}

func (b *bench) perCall(list []int, rounds int, out *costs) (err error) {
	for _, k := range list {
		if out[k], err = b.victim.perCall(k, rounds, roundLength); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) beneath(empty *emptyPair, list []int, out *costs) error {
	if err := empty.attach(); err != nil {
		return err
	}
	err := b.perCall(list, roundsBeside, out)
	if derr := empty.detach(); err == nil {
		err = derr
	}
	return err
}

func (b *bench) beneathTool(t tool, out *costs) error {
	a, err := t.start(b)
	if err != nil {
		return err
	}
	time.Sleep(settle)
	err = b.perCall(t.kinds, roundsUnder, out)
	if serr := a.stop(); err == nil {
		err = serr
	}
	if err != nil {
		return fmt.Errorf("%s: %w", strconv.Quote(a.output.last()), err)
	}
	return nil
}

// overUntraced is what a call of the kind costs, to an untraced one.
func (v *visit) overUntraced(kind int) float64 {
	if v.waits {
		return v.traced[kind].wall / v.untraced[kind].wall
	}
	return v.traced[kind].cpu / v.untraced[kind].cpu
}

// overUntraced gives the ratios of a tool's calls to untraced ones.
func (v visits) overUntraced(name string, kind int) (out []float64) {
	for _, one := range v[name] {
		out = append(out, one.overUntraced(kind))
	}
	return out
}

// overEmpty gives those to calls beneath the empty pair.
func (v visits) overEmpty(name string, kind int) (out []float64) {
	for _, one := range v[name] {
		out = append(out, one.traced[kind].cpu/one.empty[kind].cpu)
	}
	return out
}

// over gives the ratios of one tool's cost to another's in the same turn, each
// by what was untraced beside it.
func (v visits) over(name, other string, kind int) (out []float64) {
	for turn, a := range v[name] {
		if o, ok := v[other][turn]; ok {
			out = append(out, a.overUntraced(kind)/o.overUntraced(kind))
		}
	}
	return out
}
