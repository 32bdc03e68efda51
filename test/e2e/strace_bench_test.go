package e2e

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/testkit"
)

// tracedLoad runs the load under a tracer and gives how long it took in
// microseconds, and how many of its calls were lost. An empty command is none.
func tracedLoad(b *testing.B, program string, threads, calls int, tracer ...string) (took, lost float64) {
	b.Helper()
	s := newStage(b)
	p := s.subject(program, strconv.Itoa(threads), "1", strconv.Itoa(calls), "0")
	target := []string{"-f", "-e", "trace=close", "-p", strconv.Itoa(p.PID)}
	end := func() {}
	switch {
	case len(tracer) == 0:
	case tracer[0] == "strace":
		said := new(testkit.Said)
		cmd := exec.Command(need(b, "strace"), append(append(tracer[1:], "-o", "/dev/null"), target...)...)
		cmd.Stderr = said
		tr, err := s.Start(cmd)
		require.NoError(b, err)
		s.until("strace is attached", func() bool { return strings.Contains(said.String(), "attached") })
		end = func() { require.NoError(b, tr.Wait(patience)) }
	default:
		tr := s.strace(append(target, tracer[1:]...)...)
		end = func() {
			require.Equal(b, exitOK, tr.end(b), "%s", &tr.stderr)
			said := tr.stderr.String()
			if i := strings.Index(said, " calls traced, "); i >= 0 {
				_, _ = fmt.Sscanf(said[i:], " calls traced, %f lost", &lost)
			}
		}
	}
	p.say("go")
	_, err := fmt.Sscan(p.line(), &took)
	require.NoError(b, err)
	require.NoError(b, p.Wait(patience))
	end()
	return took, lost
}

// BenchmarkStrace has a program make calls as fast as it can under no tracer,
// under hangtrace strace and under strace, one after the other in each round, and
// gives how many times longer it took: medians of the rounds' ratios. What the
// machine does besides falls on all of them.
func BenchmarkStrace(b *testing.B) {
	s := newStage(b)
	program := compiled(b, s.Sandbox, "load")
	tracers := []struct {
		name    string
		command []string
		calls   int // strace takes its time
	}{
		{"hangtrace", []string{"hangtrace"}, 200_000},
		{"hangtrace-c", []string{"hangtrace", "-c"}, 200_000},
		{"hangtrace-k", []string{"hangtrace", "-k"}, 50_000},
		{"strace", []string{"strace"}, 5_000},
		{"strace-k", []string{"strace", "-k"}, 500},
	}
	for _, threads := range []int{1, 16} {
		b.Run(fmt.Sprintf("threads-%d", threads), func(b *testing.B) {
			ratios, lost, cost := make(map[string][]float64), make(map[string][]float64), make(map[string][]float64)
			for b.Loop() {
				for _, t := range tracers {
					calls := t.calls / threads
					alone, _ := tracedLoad(b, program, threads, calls*10)
					with, n := tracedLoad(b, program, threads, calls, t.command...)
					each := float64(calls * threads)
					ratios[t.name] = append(ratios[t.name], with/max(alone/10, 1))
					lost[t.name] = append(lost[t.name], 100*n/each)
					cost[t.name] = append(cost[t.name], 1000*with/each)
				}
			}
			for _, t := range tracers {
				b.ReportMetric(median(ratios[t.name]), "x-"+t.name)
				b.ReportMetric(median(cost[t.name]), "ns/call-"+t.name)
				if t.command[0] == "hangtrace" {
					b.ReportMetric(median(lost[t.name]), "%lost-"+t.name)
				}
			}
		})
	}
}
