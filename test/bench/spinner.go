package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/hangtrace/hangtrace/internal/testkit"
)

// victim is a process that makes calls on command.
type victim struct {
	*testkit.Process
	PID int // of the thread that makes them; Process is its parent
	in  io.Writer
	out *os.File
}

// startVictim starts one on a core, which asks for a file of its own.
func startVictim(s *testkit.Sandbox, cpu int) (*victim, error) {
	file, err := os.CreateTemp(s.Dir, "asked-for-")
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	p, err := s.Start(exec.Command("/proc/self/exe", wordSpin, strconv.Itoa(cpu), file.Name()))
	if err != nil {
		return nil, fmt.Errorf("victim: %w", err)
	}
	v := &victim{Process: p, in: p.Stdin}
	v.out = p.Stdout.(*os.File)
	var pid uint64
	if err := binary.Read(v.out, binary.NativeEndian, &pid); err != nil {
		return nil, fmt.Errorf("victim: %w", err)
	}
	v.PID = int(pid)
	// The first calls look up the name and fault in the pages.
	for kind := range kinds {
		if _, err := v.rounds(kind, 2000, 1); err != nil {
			return nil, fmt.Errorf("victim: %w", err)
		}
	}
	return v, nil
}

// command begins rounds of calls of a kind.
func (v *victim) command(kind, calls, rounds int, period time.Duration) error {
	c := spinCommand{uint64(kind), uint64(calls), uint64(rounds), uint64(period)}
	return binary.Write(v.in, binary.NativeEndian, &c)
}

// cost is that of a call in ns: by the clock, and of the thread's own CPU time.
type cost struct{ wall, cpu float64 }

// results waits for the rounds to end and gives the time of each.
func (v *victim) results(rounds int, limit time.Duration) ([]cost, error) {
	if err := v.out.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return nil, err
	}
	raw := make([]uint64, 2*rounds) // of spinResult
	if err := binary.Read(v.out, binary.NativeEndian, raw); err != nil {
		return nil, fmt.Errorf("%d rounds: %w", rounds, err)
	}
	out := make([]cost, rounds)
	for i := range out {
		out[i] = cost{float64(raw[2*i]), float64(raw[2*i+1])}
	}
	return out, nil
}

// rounds makes them and gives what a call cost in each.
func (v *victim) rounds(kind, calls, rounds int) ([]cost, error) {
	if err := v.command(kind, calls, rounds, 0); err != nil {
		return nil, err
	}
	out, err := v.results(rounds, 30*time.Second)
	for i := range out {
		out[i].wall /= float64(calls)
		out[i].cpu /= float64(calls)
	}
	return out, err
}

// perCall is the median of what a call costs, in rounds of about the given
// length.
func (v *victim) perCall(kind, rounds int, length time.Duration) (cost, error) {
	probe, err := v.rounds(kind, 20, 3)
	if err != nil {
		return cost{}, err
	}
	calls := min(max(int(float64(length)/medians(probe).wall), 20), 1_000_000)
	list, err := v.rounds(kind, calls, rounds)
	if err != nil {
		return cost{}, err
	}
	return medians(list), nil
}

func medians(list []cost) cost {
	var wall, cpu []float64
	for _, c := range list {
		wall, cpu = append(wall, c.wall), append(cpu, c.cpu)
	}
	return cost{median(wall), median(cpu)}
}

func mean(a, b cost) cost { return cost{(a.wall + b.wall) / 2, (a.cpu + b.cpu) / 2} }
