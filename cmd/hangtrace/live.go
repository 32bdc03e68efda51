package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/hangtrace/hangtrace/internal/capture"
	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/live"
	"github.com/hangtrace/hangtrace/internal/record"
	"github.com/hangtrace/hangtrace/internal/report"
)

func liveFlags() []cli.Flag {
	flags := append(captureFlags(), outputFlags(report.Forms())...)
	return append(flags,
		&cli.DurationFlag{Name: "duration", Aliases: []string{"d"}, Usage: "end after this time (default: until Ctrl-C)"},
		&cli.StringFlag{Name: "mode", Value: string(live.ModeAuto), Usage: "trace hooks the calls; sample only looks, and costs the targets nothing; auto is sample for --pid all, else trace"},
		&cli.StringFlag{Name: "ready-file", Usage: "create `FILE` once all probes are attached"},
	)
}

func liveCommand() *cli.Command {
	return &cli.Command{
		Name:         "live",
		Usage:        "follow system calls and blocked threads; the default without a command",
		Flags:        liveFlags(),
		Action:       liveAction,
		OnUsageError: usageError,
	}
}

func liveAction(c *cli.Context) error {
	limitHeap()
	if err := noArguments(c); err != nil {
		return err
	}
	opts, err := liveOptions(c)
	if err != nil {
		return err
	}
	out, err := openOutput(c, report.Forms())
	if err != nil {
		return err
	}
	rec, closeRecord, err := openRecording(c, "live")
	if err != nil {
		return err
	}
	opts.Recorder = rec
	stream, err := report.NewStream(out, out.form, out.options)
	if err != nil {
		return usage("--output: %w", err)
	}
	opts.Sink = func(e *correlate.Event) error { return outputError(stream.Write(e)) }
	opts.Ready = func() error {
		if opts.Duration > 0 {
			endAfter(out.Writer, opts.Duration)
		}
		return ready(c)
	}
	hangs, err := live.Run(c.Context, opts)
	if err := errors.Join(out.close(), closeRecord()); err != nil {
		return err
	}
	if err != nil {
		return targetError(err)
	}
	return hungOrNot(hangs)
}

func liveOptions(c *cli.Context) (live.Options, error) {
	asked, err := queries(c)
	if err != nil {
		return live.Options{}, err
	}
	opts := live.Options{Queries: asked, Duration: c.Duration("duration"), Mode: live.Mode(c.String("mode"))}
	switch opts.Mode {
	case live.ModeAuto, live.ModeSample, live.ModeTrace:
	default:
		return opts, usage("--mode %q is unknown; try: auto, sample or trace", opts.Mode)
	}
	if opts.Duration < 0 {
		return opts, usage("--duration %s: must not be negative; try: --duration 30s", opts.Duration)
	}
	if opts.Capture, err = captureOptions(c); err != nil {
		return opts, err
	}
	if len(opts.Queries) == 0 {
		opts.Queries = []string{"kubelet"}
		if opts.Capture.Targets, err = capture.FindTargets(opts.Capture.Proc, opts.Queries); errors.Is(err, capture.ErrNoTarget) {
			return opts, usage("no kubelet runs here and no target is given; try: hangtrace --pid TARGET (a PID, a name, or all)")
		}
	} else {
		opts.Capture.Targets, err = capture.FindTargets(opts.Capture.Proc, opts.Queries)
	}
	if err != nil {
		return opts, targetError(err)
	}
	return opts, nil
}

// ready creates the file that --ready-file names.
func ready(c *cli.Context) error {
	name := c.String("ready-file")
	if name == "" {
		return nil
	}
	f, err := createFile(name)
	if err != nil {
		return fmt.Errorf("--ready-file: %w", err)
	}
	return f.Close()
}

// replayLive feeds a recording of live to a tracker as it was fed then.
func replayLive(rd *record.Reader, opts correlate.Options, out *output) (int, error) {
	p := live.NewReplay(opts)
	stream, err := report.NewStream(out, out.form, out.options)
	if err != nil {
		return 0, err
	}
	for {
		frame, err := rd.Next()
		if errors.Is(err, io.EOF) {
			return p.Hung(), stream.Write(p.Summary())
		}
		if err != nil {
			return p.Hung(), err
		}
		list, err := p.Frame(frame)
		if err != nil {
			return p.Hung(), err
		}
		for _, e := range list {
			if err := stream.Write(e); err != nil {
				return p.Hung(), err
			}
		}
	}
}
