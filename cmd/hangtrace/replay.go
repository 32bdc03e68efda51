package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/mounts"
	"github.com/hangtrace/hangtrace/internal/record"
	"github.com/hangtrace/hangtrace/internal/report"
)

func replayCommand() *cli.Command {
	return &cli.Command{
		Name:         "replay",
		Usage:        "render a recording again, in any form, on any machine, with no rights",
		ArgsUsage:    "FILE",
		OnUsageError: usageError,
		Flags: append(outputFlags(report.ReportForms()),
			&cli.DurationFlag{Name: "threshold", Aliases: []string{"t"}, Usage: "judge with another threshold than was recorded"},
			&cli.StringSliceFlag{Name: "fs", Usage: "judge with other file systems than were recorded"},
		),
		Action: replay,
	}
}

func replay(c *cli.Context) error {
	if c.Args().Len() != 1 {
		return usage("replay takes one FILE; try: hangtrace replay hang.rec")
	}
	name := c.Args().First()
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return exitError{exitFailure, fmt.Errorf("%w; try: a file written by --record", err)}
	}
	defer f.Close()
	rd, err := record.NewReader(f)
	if err != nil {
		return recordingError(name, err)
	}
	opts, err := replayOptions(c, rd.Header())
	if err != nil {
		return err
	}
	forms := report.ReportForms()
	switch rd.Header().Command {
	case "scan":
		forms = report.ScanForms()
	case "strace":
		forms = []report.Form{report.FormText}
	}
	out, err := openOutput(c, forms)
	if err != nil {
		return err
	}
	var hangs int
	switch rd.Header().Command {
	case "live":
		hangs, err = replayLive(rd, opts, out)
	case "scan":
		hangs, err = replayScan(rd, opts, out)
	case "strace":
		hangs, err = replayStrace(rd, opts, out, c.App.ErrWriter)
	default:
		hangs, err = replayReport(rd, opts, out)
	}
	// What stood before a cut has been shown.
	if err := errors.Join(err, out.close()); err != nil {
		return recordingError(name, err)
	}
	return hungOrNot(hangs)
}

// recordingError adds the next step to an error of reading a recording.
func recordingError(name string, err error) error {
	next := "a file written by --record"
	switch {
	case errors.Is(err, record.ErrNewer):
		next = "the hangtrace that made it, or a later one"
	case errors.Is(err, record.ErrTruncated):
		next = "a recording whose hangtrace was not killed; what stood before the cut is shown"
	case errors.Is(err, record.ErrDamaged):
		next = "another copy of the file"
	case strings.Contains(err.Error(), "try: "):
		return exitError{exitFailure, fmt.Errorf("%s: %w", name, err)}
	}
	return exitError{exitFailure, fmt.Errorf("%s: %w; try: %s", name, err, next)}
}

func replayOptions(c *cli.Context, h record.Header) (correlate.Options, error) {
	opts := correlate.Options{Threshold: time.Duration(h.Options.ThresholdMS) * time.Millisecond}
	if c.IsSet("threshold") {
		if opts.Threshold = c.Duration("threshold"); opts.Threshold <= 0 {
			return opts, usage("--threshold %s: must be more than 0; try: --threshold 1s", opts.Threshold)
		}
	}
	kinds := h.Options.Filesystems
	if c.IsSet("fs") {
		kinds = c.StringSlice("fs")
	}
	if h.Command == "scan" && len(kinds) == 0 {
		kinds = []string{"all"}
	}
	var err error
	if opts.Kinds, err = mounts.ParseKinds(kinds); err != nil {
		return opts, usage("--fs: %w; try: --fs all", err)
	}
	return opts, nil
}

func replayReport(rd *record.Reader, opts correlate.Options, out *output) (hangs int, err error) {
	for {
		frame, err := rd.Next()
		if errors.Is(err, io.EOF) {
			return hangs, nil
		}
		if err != nil {
			return hangs, err
		}
		if frame.Snapshot == nil {
			continue
		}
		r, err := judgeReport(frame.Snapshot, opts)
		if err != nil {
			return hangs, err
		}
		hangs = len(r.Hangs)
		if err := report.Write(out, out.form, r, out.options); err != nil {
			return hangs, err
		}
	}
}
