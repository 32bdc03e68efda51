package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// sink is where strace mode puts what it sees.
type sink struct {
	name string
	args []string
	bar  float64 // calls a second of one thread without a loss
}

func (b *bench) sinks() []sink {
	return []sink{
		{"recorded in binary, not formatted, to /dev/null", []string{"-c", "-o", "/dev/null", "--record", "/dev/null"}, 1.4e6},
		{"formatted to /dev/null", []string{"-o", "/dev/null"}, 0},
		{"formatted to a file", []string{"-o", filepath.Join(b.Dir, "lines")}, 500_000},
	}
}

// flow is one run of strace mode over victims that call as often as they are
// told to.
type flow struct {
	made, shown, lost int
	seconds           float64
}

func (f flow) rate() float64 { return float64(f.made) / f.seconds }

const (
	burst    = 500
	flowTime = 1500 * time.Millisecond
)

// rates are tried from below until calls are lost; 0 is without a pause.
var rates = []int{300_000, 500_000, 700_000, 1_000_000, 1_400_000, 0}

// throughput finds the highest rate of calls without a loss, for each sink and
// number of threads. It gives the rates by sink, those of one thread first.
func (b *bench) throughput(quick bool) error {
	threads := []int{1, 4}
	var list []*victim
	for range threads[len(threads)-1] {
		v, err := startVictim(b.Sandbox, b.core)
		if err != nil {
			return err
		}
		list = append(list, v)
		defer v.Kill()
	}
	for _, s := range b.sinks() {
		for _, n := range threads {
			if quick && n > 1 {
				continue
			}
			best, first, err := b.limit(s, list[:n])
			if err != nil {
				b.leaveOut("strace mode, "+s.name, "%v", err)
				break
			}
			b.flowRow(s, n, best, first)
			b.progress("strace mode, %s, %d threads", s.name, n)
		}
	}
	return nil
}

// limit raises the rate until calls are lost. It gives the last run without a
// loss and the first with one, of which either may be missing.
func (b *bench) limit(s sink, list []*victim) (best, first *flow, err error) {
	for _, rate := range rates {
		f, err := b.flow(s, list, rate)
		if err != nil {
			return best, first, err
		}
		if f.lost > 0 {
			return best, f, nil
		}
		if rate > 0 && f.rate() < 0.9*float64(rate) && best != nil {
			return f, nil, nil // the victims cannot call more often beneath it
		}
		best = f
	}
	return best, nil, nil
}

// flow runs strace mode while the victims make rate calls a second together.
func (b *bench) flow(s sink, list []*victim, rate int) (*flow, error) {
	args := []string{"strace", "-f"}
	for _, v := range list {
		args = append(args, "-p", strconv.Itoa(v.PID))
	}
	a, err := b.hangtrace(append(args, s.args...)...)
	if err != nil {
		return nil, err
	}
	// Most that a thread makes in the time at a microsecond a call.
	period, rounds := time.Duration(0), int(flowTime/time.Microsecond)/burst
	if rate > 0 {
		period = time.Duration(float64(burst*len(list)) / float64(rate) * float64(time.Second))
		rounds = int(flowTime / period)
	}
	began := time.Now()
	for _, v := range list {
		if err := v.command(callStat, burst, min(rounds, maxRounds), period); err != nil {
			return nil, err
		}
	}
	for _, v := range list {
		if _, err := v.results(min(rounds, maxRounds), patience); err != nil {
			return nil, err
		}
	}
	f := &flow{made: len(list) * min(rounds, maxRounds) * burst, seconds: time.Since(began).Seconds()}
	if err := a.stop(); err != nil {
		return nil, err
	}
	f.shown, f.lost, err = summary(a.output.String())
	f.shown -= f.lost
	return f, err
}

func (b *bench) flowRow(s sink, threads int, best, first *flow) {
	what := fmt.Sprintf("strace mode, stat, %s, %s: calls a second without a loss", s.name, plural(threads, "thread"))
	got := "lost some at every rate"
	value := 0.0
	if best != nil {
		value = best.rate()
		got = figure(value)
	}
	if first != nil {
		got += fmt.Sprintf("; of %s a second %s were lost, %s shown", figure(first.rate()), percent(first.lost, first.made),
			figure(float64(first.shown)/first.seconds))
	}
	if s.bar > 0 && threads == 1 {
		b.row(what, ">= "+figure(s.bar), got, verdict(value >= s.bar))
		return
	}
	b.row(what, "", got, "")
}

func percent(part, whole int) string {
	return fmt.Sprintf("%.0f %%", 100*float64(part)/float64(max(whole, 1)))
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// version is the first line of what a program says of itself.
func version(program, flag string) string {
	path, err := exec.LookPath(program)
	if err != nil {
		return ""
	}
	text, err := exec.Command(path, flag).CombinedOutput()
	if err != nil {
		return filepath.Base(path)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

func kernel() string {
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}
