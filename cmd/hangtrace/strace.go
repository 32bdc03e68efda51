package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hangtrace/hangtrace/internal/capture"
	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/loader"
	"github.com/hangtrace/hangtrace/internal/proc"
	"github.com/hangtrace/hangtrace/internal/record"
	"github.com/hangtrace/hangtrace/internal/strace/session"
)

const straceUsage = `hangtrace strace [-p TARGET]... [-CcffkqqqrtttTvyyzZ] [-e EXPR]... [-P PATH]... [-s SIZE] [-a COLUMN]
                    [-o FILE] [-S ORDER] [-U COLUMNS] [--ring N] [--threshold TIME] [--duration TIME]
                    [--deadline TIME]`

const straceDescription = `Every call of the target in strace's lines: no ptrace, no stop, and what is already blocked comes first.

   -p TARGET        a PID, a process name such as kubelet, cgroup:PATH, pod:UID, or all; repeatable (default: the kubelet)
   -f               follow children; the threads of a target are always followed
   -ff              with -o FILE: a file for each thread, FILE.TID
   -e trace=SET     names, %file %desc %process %network %memory %signal %ipc %stat %lstat %fstat %statfs..., /REGEX, ! before all
   -e status=SET    successful, failed, unfinished; -z is successful, -Z is failed
   -e signal=SET    signals to show
   -P PATH          only calls that name PATH or act on its descriptor; repeatable
   -y -yy           paths of descriptors; with addresses of sockets and numbers of devices
   -s SIZE          how much of data is shown (32; paths come whole)
   -v               structures and lists in full
   -o FILE          instead of standard error
   -t -tt -ttt      time of day, with microseconds, as seconds since 1970; -r since the line before
   -T               how long each call took
   -a COLUMN        where "=" stands (40)
   -c -C            a table of counts at the end: only, or too; -S ORDER, -U COLUMNS; its times are wall-clock time
   -k               where in the program each call was made, and where in the kernel it slept
   -q -qq -qqq      no word about attached, about exited threads, about signals
   --ring N         keep the last N calls of each thread, print them when a call takes longer than --threshold (1s)
   --buffer SIZE    what the kernel may be ahead of the lines before calls are lost (16M); 64K to 1G
   --duration TIME  end after this time (default: until Ctrl-C)
   --deadline TIME  what the calls in flight are about is asked for so long at the start (5s)
   --record FILE    write the session down for hangtrace replay FILE, which shows it again
   --ready-file F   create F once everything is attached`

func straceCommand() *cli.Command {
	return &cli.Command{
		Name:            "strace",
		Usage:           "what to type instead of strace -f -p: the same lines without ptrace",
		UsageText:       straceUsage,
		Description:     straceDescription,
		SkipFlagParsing: true, // getopt's grammar: -ttf, -s100
		Action:          straceAction,
	}
}

func straceAction(c *cli.Context) error {
	line, err := parseStrace(c.Args().Slice())
	if err != nil {
		return exitError{exitUsage, err}
	}
	if line.help {
		return cli.ShowSubcommandHelp(c)
	}
	opts, err := straceSession(line)
	if err != nil {
		return err
	}
	stderr := patiently(c.Context, c.App.ErrWriter)
	opts.Messages = stderr
	closeOutput, err := straceOutput(line, &opts, stderr)
	if err != nil {
		return err
	}
	rec, closeRecord, err := createRecording(stderr, line.record, "strace", record.Options{
		ThresholdMS: line.threshold.Milliseconds(), Targets: line.pids, KubeletRoot: line.root, Arguments: c.Args().Slice(),
	})
	if err != nil {
		return errors.Join(err, closeOutput())
	}
	opts.Recorder = rec
	opts.Ready = func() error {
		if line.duration > 0 {
			endAfter(stderr, line.duration)
		}
		if line.ready != "" {
			f, err := createFile(line.ready)
			if err != nil {
				return fmt.Errorf("--ready-file: %w", err)
			}
			return f.Close()
		}
		return nil
	}
	debug.SetGCPercent(400) // lines are garbage at once: collect less often, the heap is small
	sum, err := session.Run(c.Context, opts)
	closed := errors.Join(closeOutput(), closeRecord())
	if err != nil {
		return straceError(errors.Join(err, closed))
	}
	straceSummary(stderr, sum, line.quiet)
	if closed != nil {
		return straceError(closed)
	}
	return hungOrNot(sum.Hung)
}

func straceSession(line *straceLine) (session.Options, error) {
	p := proc.New("/proc")
	opts := session.Options{
		Lines: line.lines, Filter: line.filter, Follow: line.follow > 0, Stacks: line.stacks, Duration: line.duration, FirstLook: line.deadline,
		RingSize: line.buffer,
		Capture: capture.Options{
			Proc: p, Sys: "/sys", Runner: expendable.NewRunner(expendable.Options{Proc: p}), Backend: capture.BackendAuto,
			KubeletRoot: line.root, Judge: correlate.Options{Threshold: line.threshold},
		},
	}
	opts.Lines.Location = time.Local
	asked := line.pids
	if len(asked) == 0 {
		asked = []string{"kubelet"}
	}
	var err error
	opts.Capture.Targets, err = capture.FindTargets(p, asked)
	if len(line.pids) == 0 && errors.Is(err, capture.ErrNoTarget) {
		return opts, usage("no kubelet runs here and no target is given; try: hangtrace strace -p TARGET (a PID, a name, or all)")
	}
	if err != nil {
		return opts, targetError(err)
	}
	return opts, nil
}

// straceError adds the next step.
func straceError(err error) error {
	if errors.Is(err, loader.ErrNotSupported) {
		return exitError{exitFailure, fmt.Errorf("%w; try: hangtrace report (needs no BPF), hangtrace doctor", err)}
	}
	return targetError(err)
}

// replayStrace shows the lines of a recording.
func replayStrace(rd *record.Reader, opts correlate.Options, out, stderr io.Writer) (int, error) {
	line, err := parseStrace(rd.Header().Options.Arguments)
	if err != nil {
		return 0, fmt.Errorf("%w in its header: %w", record.ErrDamaged, err)
	}
	o := session.Options{Lines: line.lines, Filter: line.filter, Stacks: line.stacks, Messages: stderr}
	o.Capture.Judge = opts
	o.Lines.Location, o.Lines.Output, o.Lines.Threshold = time.Local, out, opts.Threshold
	if line.output != "" {
		o.Lines.Prefix, o.Lines.Notices = line.follow > 0, stderr
	}
	sum, err := session.Replay(rd, o)
	if err == nil {
		straceSummary(stderr, sum, line.quiet)
	}
	return sum.Hung, err
}

// straceOutput opens what -o names: one file, or one for each thread.
func straceOutput(line *straceLine, opts *session.Options, stderr io.Writer) (func() error, error) {
	opts.Lines.Output = stderr
	if line.output == "" {
		return func() error { return nil }, nil
	}
	var files []*os.File
	create := func(name string) (io.Writer, error) {
		f, err := createFile(name)
		if err != nil {
			return nil, exitError{exitFailure, fmt.Errorf("-o: %w", err)}
		}
		files = append(files, f)
		return f, nil
	}
	if line.follow > 1 {
		opts.Lines.Notices = stderr
		byTID := make(map[int]io.Writer)
		opts.Lines.Files = func(tid int) (io.Writer, error) {
			if byTID[tid] == nil {
				w, err := create(line.output + "." + strconv.Itoa(tid))
				if err != nil {
					return nil, err
				}
				byTID[tid] = w
			}
			return byTID[tid], nil
		}
	} else {
		w, err := create(line.output)
		if err != nil {
			return nil, err
		}
		opts.Lines.Output, opts.Lines.Notices, opts.Lines.Prefix = w, stderr, line.follow > 0
	}
	return func() error {
		var errs []error
		for _, f := range files {
			errs = append(errs, f.Close())
		}
		return errors.Join(errs...)
	}, nil
}

// straceSummary says what was lost; silence means that nothing was.
func straceSummary(w io.Writer, s session.Summary, quiet int) {
	switch {
	case s.Lost+s.LostReturns+s.LostOthers+s.LostStacks+s.NoRoom > 0:
		fmt.Fprintf(w, "hangtrace: %d calls traced, %d lost; %d returns, %d signals, births and deaths lost", s.Calls, s.Lost, s.LostReturns, s.LostOthers)
		if s.LostStacks > 0 {
			fmt.Fprintf(w, "; %d stacks lost", s.LostStacks)
		}
		if s.NoRoom > 0 {
			fmt.Fprintf(w, "; %d calls of threads there was no room for", s.NoRoom)
		}
		if s.Busy > 0 {
			fmt.Fprintf(w, "; %d of these because of a thread that was preempted while it wrote", s.Busy)
		}
		fmt.Fprintln(w)
	case quiet > 0:
	case s.Skipped > 0:
		fmt.Fprintf(w, "hangtrace: %d calls traced\n", s.Calls)
	default:
		fmt.Fprintf(w, "hangtrace: %d calls traced, none lost\n", s.Calls)
	}
	if s.Skipped > 0 {
		fmt.Fprintf(w, "hangtrace: %d times, for whatever process, the kernel did not run the programs: calls may be missing\n", s.Skipped)
		if s.Degraded != "" {
			fmt.Fprintf(w, "hangtrace: %s\n", s.Degraded)
		}
	}
}
