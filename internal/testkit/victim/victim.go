// Package victim is the program that hangs.
package victim

import (
	"errors"
	"io"
)

// Run runs the mode args name.
func Run(args []string, in io.Reader, out io.Writer) error { return errors.New("none") }
