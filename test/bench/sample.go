package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// The node of the sample mode's bar.
const (
	restingInTarget = 1000
	restingBeside   = 2000
)

// measureSample looks on while sample mode looks once a second at a process
// with many threads, and others beside.
func (b *bench) measureSample(quick bool) error {
	looks := 20 * time.Second
	if quick {
		looks = 8 * time.Second
	}
	target, err := b.StartVictimAs("resting", "rest", strconv.Itoa(restingInTarget))
	if err != nil {
		return err
	}
	defer target.Kill()
	beside, err := b.StartVictimAs("beside", "rest", strconv.Itoa(restingBeside))
	if err != nil {
		return err
	}
	defer beside.Kill()
	a, err := b.hangtrace("--mode=sample", "--threshold=2s", "--pid="+strconv.Itoa(target.PID), "-o", "ndjson")
	if err != nil {
		return err
	}
	time.Sleep(3 * time.Second) // the first looks find out who rests
	var list []float64
	const parts = 4
	for range parts {
		before, err := cpuTime(a.PID)
		if err != nil {
			return err
		}
		began := time.Now()
		time.Sleep(looks / parts)
		after, err := cpuTime(a.PID)
		if err != nil {
			return err
		}
		list = append(list, 100*(after-before).Seconds()/time.Since(began).Seconds())
	}
	resident, err := highWater(a.PID)
	if err != nil {
		return err
	}
	if err := a.stop(); err != nil {
		return err
	}
	b.row(fmt.Sprintf("sample mode, a look a second, %d threads in the target, %d beside: CPU of the tool", restingInTarget, restingBeside),
		"<= 0.5 % of a core", spread(list, " %"), verdict(median(list) <= 0.5))
	b.row("the same: resident at most", "", figure(resident)+" MiB", "")
	return nil
}

// cpuTime is what a process and its children that ended have used. The kernel
// counts ns and tells ticks: the threads' own schedstat is exact.
func cpuTime(pid int) (time.Duration, error) {
	tasks, err := names(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return 0, err
	}
	var total time.Duration
	for _, tid := range tasks {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/schedstat", pid, tid))
		if err != nil {
			return 0, err
		}
		ns, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		if err != nil {
			return 0, err
		}
		total += time.Duration(ns)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The comm may hold anything, so look behind its last parenthesis.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	const cutime, cstime, tick = 13, 14, 10 * time.Millisecond
	for _, i := range []int{cutime, cstime} {
		n, err := strconv.Atoi(string(fields[i]))
		if err != nil {
			return 0, err
		}
		total += time.Duration(n) * tick
	}
	return total, nil
}

// highWater is the most memory a process ever had, in MiB.
func highWater(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var kib float64
		if n, _ := fmt.Sscanf(line, "VmHWM: %f kB", &kib); n == 1 {
			return kib / 1024, nil
		}
	}
	return 0, fmt.Errorf("process %d has no VmHWM", pid)
}
