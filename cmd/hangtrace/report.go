package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hangtrace/hangtrace/internal/capture"
	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/leftover"
	"github.com/hangtrace/hangtrace/internal/report"
)

func reportCommand() *cli.Command {
	flags := append(captureFlags(), outputFlags(report.ReportForms())...)
	flags = append(flags, &cli.DurationFlag{Name: "deadline", Value: 5 * time.Second, Usage: "end within this time, whatever hangs"})
	return &cli.Command{
		Name:         "report",
		Usage:        "one-shot: what is hung now, since when, on what, for whom; attaches no probe",
		Flags:        flags,
		Action:       oneShot,
		OnUsageError: usageError,
	}
}

// limitHeap tells from where on the garbage collector trades time for memory:
// with the program itself, ten thousand blocked threads stay below 64 MiB. Below
// that it works half as often as by default: most of a report lives to its end.
func limitHeap() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(36 << 20)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
}

func oneShot(c *cli.Context) error {
	limitHeap()
	if err := noArguments(c); err != nil {
		return err
	}
	opts, err := captureOptions(c)
	if err != nil {
		return err
	}
	deadline := c.Duration("deadline")
	if deadline <= 0 {
		return usage("--deadline %s: must be more than 0; try: --deadline 5s", deadline)
	}
	ctx, cancel := context.WithTimeout(c.Context, deadline)
	defer cancel()
	asked, err := queries(c)
	if err != nil {
		return err
	}
	if opts.Targets, err = capture.FindTargets(opts.Proc, asked); err != nil {
		return targetError(err)
	}
	out, err := openOutput(c, report.ReportForms())
	if err != nil {
		return err
	}
	rec, closeRecord, err := openRecording(c, "report")
	if err != nil {
		return err
	}
	snap, err := look(ctx, opts)
	if err != nil {
		return targetError(err)
	}
	if rec != nil {
		if err := rec.Snapshot(snap); err != nil {
			return exitError{exitFailure, fmt.Errorf("--record %s: %w", c.String("record"), err)}
		}
	}
	opts.Judge.Decoded.Release(snap)
	r, err := judgeReport(snap, opts.Judge)
	if err != nil {
		return exitError{exitFailure, err}
	}
	if err := report.Write(out, out.form, r, out.options); err != nil {
		return outputError(err)
	}
	if err := errors.Join(out.close(), closeRecord()); err != nil {
		return err
	}
	return hungOrNot(len(r.Hangs))
}

// judgeReport gives the hangs of a snapshot, and what they show to be left over.
func judgeReport(snap *facts.Snapshot, opts correlate.Options) (*correlate.Report, error) {
	r, err := correlate.Judge(snap, opts)
	if err != nil {
		return nil, err
	}
	r.Leftovers, err = leftover.OfReport(snap, r, leftoverOptions(opts))
	return r, err
}

func leftoverOptions(opts correlate.Options) leftover.Options {
	return leftover.Options{Kinds: opts.Kinds, ThresholdMS: opts.Threshold.Milliseconds(), Decoded: opts.Decoded}
}

// look takes one snapshot. The session, with all it has read, ends with it.
func look(ctx context.Context, opts capture.Options) (*facts.Snapshot, error) {
	s, err := capture.New(ctx, opts)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.Snapshot(ctx)
}

// hungOrNot gives the exit code of a finished look.
func hungOrNot(hangs int) error {
	if hangs > 0 {
		return exitError{code: exitHung}
	}
	return nil
}
