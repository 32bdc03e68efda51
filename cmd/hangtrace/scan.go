package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hangtrace/hangtrace/internal/capture"
	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/kube"
	"github.com/hangtrace/hangtrace/internal/leftover"
	"github.com/hangtrace/hangtrace/internal/mounts"
	"github.com/hangtrace/hangtrace/internal/record"
	"github.com/hangtrace/hangtrace/internal/report"
)

func scanCommand() *cli.Command {
	return &cli.Command{
		Name:         "scan",
		Usage:        "hunt the node for leftovers: hung, orphaned and detached mounts, dead daemons, stale directories",
		Description:  "Exit code 0: nothing is left over; 3: something is (or, with --fail-on, something of those classes). Commands it prints are never run.",
		Flags:        scanFlags(),
		Action:       scanAction,
		OnUsageError: usageError,
	}
}

func scanFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "fs", Usage: "file systems in question: " + strings.Join(mounts.ValidKinds(), ", ") + " (default: all)"},
		&cli.DurationFlag{Name: "threshold", Aliases: []string{"t"}, Value: time.Second, Usage: "how long a thread or request must be blocked"},
		&cli.BoolFlag{Name: "probe", Usage: "ask each mount something that only its server can answer, by a child that can be given up"},
		&cli.DurationFlag{Name: "min-age", Value: 10 * time.Minute, Usage: "a pod directory that changed since then may belong to a pod that is just starting"},
		&cli.StringFlag{Name: "fail-on", Usage: "exit with 3 only for these `CLASS,...`: " + classNames(", ")},
		&cli.StringFlag{Name: "kubelet-root", Usage: "the kubelet's root `DIR` (default: what the running kubelet says, else /var/lib/kubelet)"},
		&cli.IntFlag{Name: "kubelet-pid", Usage: "the kubelet's `PID`, where several processes are called so"},
		&cli.StringFlag{Name: "kubelet-version", Usage: "the kubelet's `VERSION`, such as 1.34: says more exactly what its next clean-up does"},
		&cli.StringSliceFlag{Name: "cri-socket", Usage: "the container runtime's `SOCKET` on the host (default: the usual places)"},
		kubeletPodsFlag(),
		&cli.StringFlag{Name: "backend", Value: capture.BackendAuto, Usage: "auto, bpf or proc"},
		&cli.DurationFlag{Name: "deadline", Value: 10 * time.Second, Usage: "end within this time, whatever hangs"},
		&cli.StringFlag{Name: "record", Usage: "write what was captured to `FILE` for hangtrace replay (.gz compresses)"},
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: string(report.FormText), Usage: "text, wide, json, yaml or name"},
		&cli.StringFlag{Name: "out", Usage: "write to `FILE` instead of standard output"},
		&cli.BoolFlag{Name: "no-color", Usage: "no colours (as the NO_COLOR variable)"},
	}
}

func kubeletPodsFlag() cli.Flag {
	return &cli.StringFlag{Name: "kubelet-pods", Usage: "the kubelet's list of pods at `URL`, or none (default: the read-only port, " + kube.DefaultKubeletPods + ", where it is open)"}
}

func classNames(sep string) string {
	var names []string
	for _, c := range correlate.Classes() {
		names = append(names, string(c))
	}
	return strings.Join(names, sep)
}

// scanOptions reads the flags that say what to look at. Every file system is in
// question unless --fs names some: a leftover of another kind is one, too.
func scanOptions(c *cli.Context) (capture.Options, capture.ScanOptions, error) {
	opts, err := captureOptions(c)
	if err != nil {
		return opts, capture.ScanOptions{}, err
	}
	if !c.IsSet("fs") {
		opts.Judge.Kinds = mounts.SetOf(mounts.Kinds()...)
	}
	opts.Targets = capture.Targets{All: true, KernelThreads: true}
	if sockets := c.StringSlice("cri-socket"); len(sockets) > 0 {
		opts.CRISockets = sockets
	}
	opts.KubeletPods = c.String("kubelet-pods")
	s := capture.ScanOptions{
		Probe: c.Bool("probe"), MinAge: c.Duration("min-age"), KubeletVersion: c.String("kubelet-version"), KubeletPID: c.Int("kubelet-pid"),
	}
	if s.MinAge < 0 {
		return opts, s, usage("--min-age %s: must not be negative; try: --min-age 10m", s.MinAge)
	}
	if s.KubeletPID < 0 {
		return opts, s, usage("--kubelet-pid %d: must be a process; try: --kubelet-pid $(pidof kubelet)", s.KubeletPID)
	}
	return opts, s, nil
}

// failOn reads --fail-on; nil: every class.
func failOn(c *cli.Context) ([]correlate.Class, error) {
	text := c.String("fail-on")
	if text == "" {
		return nil, nil
	}
	var list []correlate.Class
	for word := range strings.SplitSeq(text, ",") {
		class := correlate.Class(strings.TrimSpace(word))
		if !slices.Contains(correlate.Classes(), class) {
			return nil, usage("--fail-on: class %q is unknown; try: %s", word, classNames(","))
		}
		list = append(list, class)
	}
	return list, nil
}

func scanAction(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	opts, scan, err := scanOptions(c)
	if err != nil {
		return err
	}
	deadline := c.Duration("deadline")
	if deadline <= 0 {
		return usage("--deadline %s: must be more than 0; try: --deadline 10s", deadline)
	}
	fail, err := failOn(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context, deadline)
	defer cancel()
	out, err := openOutput(c, report.ScanForms())
	if err != nil {
		return err
	}
	rec, closeRecord, err := openRecording(c, "scan")
	if err != nil {
		return err
	}
	snap, err := lookForLeftovers(ctx, opts, scan)
	if err != nil {
		return err
	}
	if rec != nil {
		if err := rec.Snapshot(snap); err != nil {
			return exitError{exitFailure, fmt.Errorf("--record %s: %w", c.String("record"), err)}
		}
	}
	found, err := writeScan(out, snap, opts.Judge)
	if err := errors.Join(err, out.close(), closeRecord()); err != nil {
		return err
	}
	return leftoverOrNot(found, fail)
}

func lookForLeftovers(ctx context.Context, opts capture.Options, scan capture.ScanOptions) (*facts.Snapshot, error) {
	s, err := capture.New(ctx, opts)
	if err != nil {
		return nil, targetError(err)
	}
	defer s.Close()
	snap, err := s.Scan(ctx, scan)
	if err != nil {
		return nil, targetError(err)
	}
	return snap, nil
}

// judgeScan gives the hangs and the leftovers of a snapshot.
func judgeScan(snap *facts.Snapshot, opts correlate.Options) (*correlate.Report, *correlate.Scan, error) {
	all := opts
	all.Kinds = mounts.SetOf(mounts.Kinds()...) // a thread tells of its mount, whatever --fs says
	r, err := correlate.Judge(snap, all)
	if err != nil {
		return nil, nil, exitError{exitFailure, err}
	}
	found, err := leftover.Judge(snap, r, leftoverOptions(opts))
	if err != nil {
		return nil, nil, exitError{exitFailure, err}
	}
	return r, found, nil
}

func writeScan(out *output, snap *facts.Snapshot, opts correlate.Options) (*correlate.Scan, error) {
	_, found, err := judgeScan(snap, opts)
	if err != nil {
		return nil, err
	}
	if err := report.WriteScan(out, out.form, found, out.options); err != nil {
		return nil, outputError(err)
	}
	return found, nil
}

func leftoverOrNot(s *correlate.Scan, fail []correlate.Class) error {
	for _, l := range s.Leftovers {
		if fail == nil || slices.Contains(fail, l.Class) {
			return exitError{code: exitHung}
		}
	}
	return nil
}

// replayScan renders a recording of scan again.
func replayScan(rd *record.Reader, opts correlate.Options, out *output) (findings int, err error) {
	for {
		frame, err := rd.Next()
		if errors.Is(err, io.EOF) {
			return findings, nil
		}
		if err != nil {
			return findings, err
		}
		if frame.Snapshot == nil {
			continue
		}
		found, err := writeScan(out, frame.Snapshot, opts)
		if err != nil {
			return findings, err
		}
		findings = len(found.Leftovers)
	}
}
