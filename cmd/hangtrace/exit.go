package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hangtrace/hangtrace/internal/capture"
	"github.com/hangtrace/hangtrace/internal/loader"
)

// The exit codes of every command but check.
const (
	exitOK      = 0 // nothing hung
	exitFailure = 1
	exitUsage   = 2
	exitHung    = 3 // at least one hang found
)

// exitError ends the program with a code, and with a line if err is set.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e exitError) Unwrap() error { return e.err }

// usage makes an error of a wrong command line, with the next step.
func usage(format string, args ...any) error {
	return exitError{exitUsage, fmt.Errorf(format, args...)}
}

// usageError is called by package cli on a command line it cannot read.
func usageError(c *cli.Context, err error, _ bool) error { return flagError(c, err) }

// targetError adds the next step to an error of finding the targets.
func targetError(err error) error {
	var many *capture.AmbiguousError
	switch {
	case errors.As(err, &many):
		return exitError{exitFailure, fmt.Errorf("%w; try: --pid %d", err, many.PIDs[0])}
	case errors.Is(err, capture.ErrNoTarget):
		return exitError{exitFailure, fmt.Errorf("%w; try: hangtrace report (looks at every process)", err)}
	}
	var exit exitError
	switch {
	case errors.As(err, &exit):
		return err
	case errors.Is(err, loader.ErrNotSupported):
		return exitError{exitFailure, fmt.Errorf("%w; try: --backend proc", err)}
	case strings.Contains(err.Error(), "try: "):
		return exitError{exitFailure, err}
	}
	return exitError{exitFailure, fmt.Errorf("%w; try: hangtrace doctor", err)}
}

// oneLine makes an error fit on the one line it is allowed.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
