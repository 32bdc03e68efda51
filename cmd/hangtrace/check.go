package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hangtrace/hangtrace/internal/capture"
	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/leftover"
	"github.com/hangtrace/hangtrace/internal/mounts"
	"github.com/hangtrace/hangtrace/internal/report"
)

// The exit codes of check, which are those of node-problem-detector's plugins.
const (
	checkOK      = 0
	checkProblem = 1
	checkUnknown = 2
)

// The values of check --what.
const (
	whatAll       = "all"
	whatHangs     = "hangs"
	whatLeftovers = "leftovers"
)

// checkShortest is the shortest deadline that leaves time for a look at all.
const checkShortest = time.Second

// looking is the part of the deadline that the looking may take: the judgement
// of ten thousand hung threads on a busy node takes its time, too.
func looking(deadline time.Duration) time.Duration { return deadline * 3 / 5 }

func checkCommand() *cli.Command {
	return &cli.Command{
		Name:  "check",
		Usage: "one line of at most 80 characters for node-problem-detector: exit 0 fine, 1 hang or dangerous leftover, 2 unknown",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "what", Value: whatAll, Usage: "hangs, leftovers (what hung or died and nobody waits for yet) or all"},
			&cli.StringSliceFlag{Name: "fs", Usage: "file systems in question: " + strings.Join(mounts.ValidKinds(), ", ") + " (default: all)"},
			&cli.DurationFlag{Name: "threshold", Aliases: []string{"t"}, Value: 5 * time.Second, Usage: "how long a thread must be blocked"},
			&cli.DurationFlag{Name: "min-age", Value: 10 * time.Minute, Usage: "a pod directory that changed since then may belong to a pod that is just starting"},
			&cli.StringFlag{Name: "kubelet-root", Usage: "the kubelet's root `DIR`"},
			&cli.IntFlag{Name: "kubelet-pid", Usage: "the kubelet's `PID`, where several processes are called so"},
			&cli.StringSliceFlag{Name: "cri-socket", Usage: "the container runtime's `SOCKET` on the host (default: the usual places)"},
			kubeletPodsFlag(),
			&cli.StringFlag{Name: "backend", Value: capture.BackendAuto, Usage: "auto, bpf or proc"},
			&cli.DurationFlag{Name: "deadline", Value: 4 * time.Second, Usage: "answer within this time, whatever hangs"},
			&cli.BoolFlag{Name: "here", Hidden: true, Usage: "look in this very process"},
		},
		Action:       checkAction,
		OnUsageError: usageError,
	}
}

func checkAction(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	if what := c.String("what"); !slices.Contains([]string{whatAll, whatHangs, whatLeftovers}, what) {
		return usage("--what %q is unknown; try: hangs, leftovers or all", what)
	}
	deadline := c.Duration("deadline")
	if deadline < checkShortest {
		return usage("--deadline %s is too short; try: --deadline 4s", deadline)
	}
	var line string
	var code int
	if c.Bool("here") {
		line, code = checkHere(c, deadline)
	} else {
		// The looking is done by a child, so that nothing that it may run into
		// can hold up the answer or the end of this process.
		line, code = checkElsewhere(c.Context, deadline)
	}
	if _, err := fmt.Fprintln(c.App.Writer, line); err != nil {
		return exitError{checkUnknown, err}
	}
	if code == checkOK {
		return nil
	}
	return exitError{code: code}
}

// checkElsewhere has a child look and waits no longer than the deadline.
func checkElsewhere(ctx context.Context, deadline time.Duration) (string, int) {
	ctx, cancel := context.WithTimeout(ctx, deadline-150*time.Millisecond)
	defer cancel()
	read, write, err := os.Pipe()
	if err != nil {
		return report.Clip("unknown: " + err.Error()), checkUnknown
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return report.Clip("unknown: " + err.Error()), checkUnknown
	}
	child, err := os.StartProcess("/proc/self/exe", append(slices.Clone(os.Args), "--here"), &os.ProcAttr{
		Dir: "/", Files: []*os.File{null, write, null},
		// It dies with this process, which a supervisor may kill alone.
		Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	})
	write.Close()
	null.Close()
	if err != nil {
		return report.Clip("unknown: " + err.Error()), checkUnknown
	}
	answer := make(chan string, 1)
	ended := make(chan int, 1)
	go func() {
		text, _ := io.ReadAll(io.LimitReader(read, 4096))
		answer <- string(text)
		if state, err := child.Wait(); err == nil {
			ended <- state.ExitCode()
		} else {
			ended <- checkUnknown
		}
	}()
	text := ""
	for {
		select {
		case text = <-answer:
		case code := <-ended:
			return childAnswer(text, code)
		case <-ctx.Done():
			_ = child.Kill()
			return report.Clip(fmt.Sprintf("unknown: the look at this node did not end within %s", deadline)), checkUnknown
		}
	}
}

// childAnswer believes a child only if it kept to the protocol.
func childAnswer(text string, code int) (string, int) {
	line, rest, ok := strings.Cut(text, "\n")
	if !ok || rest != "" || code < checkOK || code > checkUnknown || line == "" {
		return report.Clip(fmt.Sprintf("unknown: the look at this node ended with code %d", code)), checkUnknown
	}
	return report.Clip(line), code
}

// checkHere looks, and says what it saw.
func checkHere(c *cli.Context, deadline time.Duration) (string, int) {
	unknown := func(err error) (string, int) { return report.Clip("unknown: " + oneLine(err)), checkUnknown }
	opts, scan, err := scanOptions(c)
	if err != nil {
		return unknown(err)
	}
	ctx, cancel := context.WithTimeout(c.Context, looking(deadline))
	defer cancel()
	snap, err := lookForLeftovers(ctx, opts, scan)
	if err != nil {
		return unknown(err)
	}
	judge := opts.Judge
	if snap.Backend == facts.BackendProc {
		// It knows of no time before its own first look.
		judge.Threshold = min(judge.Threshold, 300*time.Millisecond)
	}
	hangs, found, err := judgeScan(snap, judge)
	if err != nil {
		return unknown(err)
	}
	hangs.Hangs = slices.DeleteFunc(hangs.Hangs, func(h *correlate.Hang) bool {
		return h.Mount != nil && !judge.Kinds.Has(mounts.Kind(h.Mount.Kind))
	})
	return checkLine(c.String("what"), hangs, found)
}

func checkLine(what string, hangs *correlate.Report, found *correlate.Scan) (string, int) {
	if what != whatLeftovers {
		if line := report.CheckHangs(hangs); line != "" {
			return line, checkProblem
		}
	}
	if what != whatHangs {
		if line := report.CheckLeftovers(leftover.Dangerous(found.Leftovers)); line != "" {
			return line, checkProblem
		}
	}
	if found.Checked.Processes == 0 {
		return "unknown: no process could be looked at", checkUnknown
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "no file system hangs: %d mounts, %d processes", found.Checked.Mounts, found.Checked.Processes)
	return report.Clip(b.String()), checkOK
}
