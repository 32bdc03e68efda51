package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hangtrace/hangtrace/internal/capture"
	"github.com/hangtrace/hangtrace/internal/report"
)

func stacksCommand() *cli.Command {
	flags := []cli.Flag{}
	for _, f := range captureFlags() {
		switch f.Names()[0] {
		case "pid", "backend":
			flags = append(flags, f)
		}
	}
	flags = append(flags, outputFlags(report.StacksForms())...)
	flags = append(flags, &cli.DurationFlag{Name: "deadline", Value: 5 * time.Second, Usage: "end within this time, whatever hangs"})
	return &cli.Command{
		Name:         "stacks",
		Usage:        "kernel and user (Go) stacks of every thread of a target, grouped; no ptrace, signal or token",
		Flags:        flags,
		Action:       stacks,
		OnUsageError: usageError,
	}
}

func stacks(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	if len(c.StringSlice("pid")) == 0 {
		return usage("no target is given; try: hangtrace stacks --pid kubelet")
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
	if opts.Targets, err = capture.FindTargets(opts.Proc, c.StringSlice("pid")); err != nil {
		return targetError(err)
	}
	out, err := openOutput(c, report.StacksForms())
	if err != nil {
		return err
	}
	s, err := capture.New(ctx, opts)
	if err != nil {
		return exitError{exitFailure, fmt.Errorf("%w; try: --backend proc", err)}
	}
	defer s.Close()
	dump, err := s.Stacks(ctx)
	if err != nil {
		return targetError(err)
	}
	if err := report.Stacks(out, out.form, dump, out.options); err != nil {
		return outputError(err)
	}
	return errors.Join(out.close())
}
