package main

import (
	"errors"
	"fmt"
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
		Name:         "doctor",
		Usage:        "what this node and these rights allow, and what is lost without",
		Description:  "Tries every capability, kernel feature and data source. Exit code 1: hangs cannot be seen at all.",
		OnUsageError: usageError,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "text", Usage: "text, json or yaml"},
			&cli.StringFlag{Name: "out", Usage: "write to `FILE` instead of standard output"},
			&cli.DurationFlag{Name: "deadline", Value: 5 * time.Second, Usage: "give each of the three groups of checks this time"},
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
	r := doctor.Examine(c.Context, doctor.Options{Proc: p, Sys: "/sys", Runner: expendable.NewRunner(expendable.Options{Proc: p}), Deadline: c.Duration("deadline")})
	if err := doctor.Write(w, form, r); err != nil {
		return outputError(err)
	}
	if r.Level == doctor.Blind {
		return exitError{code: exitFailure}
	}
	return nil
}
