package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hangtrace/hangtrace/internal/doctor"
	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/proc"
)

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "what this node and these rights allow, and what is lost without",
		Description: "Tries every capability, kernel feature and data source. Exit code 1: hangs cannot be seen at all.\n\n" +
			"With --stats it tries nothing: it finds the BPF programs of every session of hangtrace that runs on this node, and shows what they " +
			"counted: what was lost, what could not be read, how often and for how long they ran, how big they are. Exit code 1: not everything is known.",
		OnUsageError: usageError,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "text", Usage: "text, json or yaml"},
			&cli.StringFlag{Name: "out", Usage: "write to `FILE` instead of standard output"},
			&cli.DurationFlag{Name: "deadline", Value: 5 * time.Second, Usage: "give each of the three groups of checks this time, or --stats"},
			&cli.BoolFlag{Name: "stats", Usage: "show what the programs of running sessions counted, instead"},
		},
		Action: doctorAction,
	}
}

func doctorAction(c *cli.Context) (err error) {
	if err := noArguments(c); err != nil {
		return err
	}
	form := c.String("output")
	if !slices.Contains(doctor.Forms(), form) {
		return usage("--output: unknown output form %q; try: %s", form, strings.Join(doctor.Forms(), ", "))
	}
	if d := c.Duration("deadline"); d <= 0 {
		return usage("--deadline %s: must be more than 0; try: --deadline 5s", d)
	}
	w := c.App.Writer
	if name := c.String("out"); name != "" {
		f, err := createFile(name)
		if err != nil {
			return exitError{exitFailure, fmt.Errorf("--out: %w", err)}
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		w = f
	}
	p := proc.New("/proc")
	opts := doctor.Options{Proc: p, Sys: "/sys", Runner: expendable.NewRunner(expendable.Options{Proc: p}), Deadline: c.Duration("deadline")}
	if c.Bool("stats") {
		return doctorStats(c, w, opts)
	}
	r := doctor.Examine(c.Context, opts)
	if err := doctor.Write(w, form, r); err != nil {
		return outputError(err)
	}
	if r.Level == doctor.Blind {
		return exitError{code: exitFailure}
	}
	return nil
}

func doctorStats(c *cli.Context, w io.Writer, opts doctor.Options) error {
	stats := doctor.Count(c.Context, opts)
	if err := doctor.WriteStats(w, c.String("output"), stats); err != nil {
		return outputError(err)
	}
	if !stats.Complete() {
		return exitError{code: exitFailure}
	}
	return nil
}
