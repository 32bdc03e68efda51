// Command hangtrace finds threads that hang on a file system and names the
// path, mount, pod and volume they hang on.
//
// It is flags, wiring, signals and exit codes; it must never hold logic of its
// own.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/hangtrace/hangtrace/internal/cri"
	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/userstack"
)

func main() {
	// The child that may hang must not depend on anything but its requests.
	if len(os.Args) > 1 && os.Args[1] == expendable.ChildCommand {
		os.Exit(expendable.Main(os.Stdin, os.Stdout, childOperations()))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code := run(ctx, os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// childOperations are what the expendable child can do besides its own.
func childOperations() map[expendable.Op]expendable.Handler {
	ops := new(userstack.Calls).Handlers()
	ops[userstack.Op], ops[cri.Op] = userstack.Handle, cri.Handle
	return ops
}

// run is main with its surroundings passed in. It returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	app := newApp(stdout, stderr)
	err := app.RunContext(ctx, permute(app, args))
	var exit exitError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errGivenUp): // a word about it would wait there, too
		return exitFailure
	case errors.As(err, &exit):
		if exit.err != nil {
			fmt.Fprintln(stderr, "hangtrace: "+oneLine(exit.err))
		}
		return exit.code
	case errors.Is(err, syscall.EPIPE): // "| head -1" has read enough
		return exitOK
	default:
		fmt.Fprintln(stderr, "hangtrace: "+oneLine(err))
		return exitFailure
	}
}

func newApp(stdout, stderr io.Writer) *cli.App {
	return &cli.App{
		Name:                      "hangtrace",
		Usage:                     "find what hangs on a file system: thread, call, path, mount, pod and volume",
		UsageText:                 "hangtrace [live flags]\n   hangtrace report|scan|check|stacks|replay|doctor|version [flags]",
		Description:               "Without a command hangtrace is live: it shows what hangs now, then watches.",
		Flags:                     append(liveFlags(), cli.HelpFlag), // package cli leaves it out where "help" is ours
		Action:                    liveAction,
		Before:                    flagsBeforeCommand,
		Commands:                  []*cli.Command{liveCommand(), reportCommand(), straceCommand(), replayCommand(), stacksCommand(), scanCommand(), checkCommand(), doctorCommand(), versionCommand(), helpCommand()},
		Writer:                    stdout,
		ErrWriter:                 stderr,
		HideVersion:               true,
		HideHelpCommand:           true,
		UseShortOptionHandling:    true,
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*cli.Context, error) {}, // run decides
		OnUsageError:              usageError,
		CommandNotFound:           nil,
	}
}
