package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/capture"
	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/mounts"
	"github.com/hangtrace/hangtrace/internal/proc"
	"github.com/hangtrace/hangtrace/internal/record"
	"github.com/hangtrace/hangtrace/internal/report"
)

func captureFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "pid", Aliases: []string{"p"}, Usage: "`TARGET`: a PID, a process name such as kubelet, cgroup:PATH, pod:UID, or all (kernel threads too); repeatable"},
		&cli.DurationFlag{Name: "threshold", Aliases: []string{"t"}, Value: time.Second, Usage: "how long a thread must be blocked"},
		&cli.StringSliceFlag{Name: "fs", Usage: "file systems in question: " + strings.Join(mounts.ValidKinds(), ", ") + " (default: ceph)"},
		&cli.StringFlag{Name: "kubelet-root", Usage: "the kubelet's root `DIR` (default: what the running kubelet says, else /var/lib/kubelet)"},
		&cli.StringFlag{Name: "backend", Value: capture.BackendAuto, Usage: "auto, bpf or proc"},
		&cli.BoolFlag{Name: "probe-network", Usage: "try a TCP connection with each server that is waited for, from the host's network"},
		&cli.StringFlag{Name: "record", Usage: "write what was captured to `FILE` for hangtrace replay (.gz compresses)"},
	}
}

// outputFlags are the flags of output in these forms.
func outputFlags(forms []report.Form) []cli.Flag {
	names := make([]string, len(forms))
	for i, f := range forms {
		names[i] = string(f)
	}
	return []cli.Flag{
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: string(report.FormText), Usage: strings.Join(names, ", ")},
		&cli.StringFlag{Name: "out", Usage: "write to `FILE` instead of standard output"},
		&cli.BoolFlag{Name: "no-color", Usage: "no colours (as the NO_COLOR variable)"},
	}
}

// judgeOptions reads --threshold and --fs.
func judgeOptions(c *cli.Context) (correlate.Options, error) {
	threshold := c.Duration("threshold")
	if !hasFlag(c.Command.Flags, "threshold") { // a command that does not judge
		return correlate.Options{}, nil
	}
	if threshold <= 0 {
		return correlate.Options{}, usage("--threshold %s: must be more than 0; try: --threshold 1s", threshold)
	}
	kinds, err := mounts.ParseKinds(c.StringSlice("fs"))
	if err != nil {
		return correlate.Options{}, usage("--fs: %w; try: --fs all", err)
	}
	return correlate.Options{Threshold: threshold, Kinds: kinds, Decoded: correlate.NewDecoded()}, nil
}

// queries reads --pid. An empty one is refused: it comes from an unset variable
// in a script, and must not be taken for "every process".
func queries(c *cli.Context) ([]string, error) {
	list := c.StringSlice("pid")
	for _, q := range list {
		if q == "" || q == "pod:" || q == "cgroup:" {
			return nil, usage("--pid %q names no process; try: --pid kubelet (or a PID, cgroup:PATH, pod:UID, all)", q)
		}
	}
	return list, nil
}

// captureOptions reads the flags that say what to look at and how.
func captureOptions(c *cli.Context) (capture.Options, error) {
	judge, err := judgeOptions(c)
	if err != nil {
		return capture.Options{}, err
	}
	switch b := c.String("backend"); b {
	case capture.BackendAuto, capture.BackendBPF, capture.BackendProc:
	default:
		return capture.Options{}, usage("--backend %q is unknown; try: auto, bpf or proc", b)
	}
	if root := c.String("kubelet-root"); root != "" && !strings.HasPrefix(root, "/") {
		return capture.Options{}, usage("--kubelet-root %q is not absolute; try: --kubelet-root /var/lib/kubelet", root)
	}
	p := proc.New("/proc")
	return capture.Options{
		Proc: p, Sys: "/sys", Runner: expendable.NewRunner(expendable.Options{Proc: p, Reuse: true}), Backend: c.String("backend"),
		KubeletRoot: c.String("kubelet-root"), Judge: judge, ProbeNetwork: hasFlag(c.Command.Flags, "probe-network") && c.Bool("probe-network"),
	}, nil
}

// output is where data goes, and in which form.
type output struct {
	io.Writer
	form    report.Form
	options report.Options
	close   func() error
}

func openOutput(c *cli.Context, forms []report.Form) (*output, error) {
	form, err := report.ParseForm(c.String("output"), forms...)
	if err != nil {
		return nil, usage("--output: %w", err)
	}
	out := &output{Writer: c.App.Writer, form: form, close: func() error { return nil }}
	out.options.Location = time.Local
	if name := c.String("out"); name != "" {
		f, err := createFile(name)
		if err != nil {
			return nil, exitError{exitFailure, fmt.Errorf("--out: %w", err)}
		}
		out.Writer, out.close = f, f.Close
		return out, nil
	}
	if f, ok := c.App.Writer.(*os.File); ok {
		if ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
			if form == report.FormPprof {
				return nil, usage("--output pprof is no text for a terminal; try: --out hang.pprof")
			}
			out.options.Color = !c.Bool("no-color") && os.Getenv("NO_COLOR") == ""
			out.options.Width = max(int(ws.Col), 60)
		}
	}
	out.Writer = patiently(c.Context, out.Writer)
	return out, nil
}

// createFile makes a file that only its owner may read: reports name paths and
// pods. A symbolic link in its place is refused.
func createFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w; try: another file name", err)
	}
	return f, nil
}

// openRecording starts the file that --record names; nil without the flag. An
// existing file is only overwritten if it is a recording.
func openRecording(c *cli.Context, command string) (*record.Writer, func() error, error) {
	return createRecording(c.App.ErrWriter, c.String("record"), command, record.Options{
		ThresholdMS: c.Duration("threshold").Milliseconds(), Filesystems: c.StringSlice("fs"), Targets: c.StringSlice("pid"),
		KubeletRoot: c.String("kubelet-root"), Backend: c.String("backend"),
	})
}

// createRecording creates a recording that no other file gives way to. Where it
// cannot be written to its end, stderr is told so, the command goes on, and the
// exit code is 1.
func createRecording(stderr io.Writer, name, command string, opts record.Options) (*record.Writer, func() error, error) {
	if name == "" {
		return nil, func() error { return nil }, nil
	}
	if old, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0); err == nil {
		info, statErr := old.Stat()
		recording := statErr == nil && (info.Size() == 0 || record.IsRecording(old))
		old.Close()
		if !recording {
			return nil, nil, usage("--record %s: the file exists and is no recording; try: another file name", name)
		}
	}
	f, err := createFile(name)
	if err != nil {
		return nil, nil, exitError{exitFailure, fmt.Errorf("--record: %w", err)}
	}
	w, err := record.NewWriter(f, record.Header{
		Created: time.Now(), ToolVersion: version(), Command: command, Options: opts,
	}, record.Compressed(name))
	if err != nil {
		f.Close()
		return nil, nil, exitError{exitFailure, fmt.Errorf("--record %s: %w", name, err)}
	}
	failed := false
	w.GoOn(func(err error) {
		failed = true
		fmt.Fprintln(stderr, "hangtrace: "+oneLine(fmt.Errorf("--record %s: %w; the recording ends here, hangtrace goes on without it", name, err)))
	})
	return w, func() error {
		err := w.Close()
		switch closed := f.Close(); {
		case failed: // which was said
			return exitError{code: exitFailure}
		case err != nil:
			return exitError{exitFailure, fmt.Errorf("--record %s: %w", name, err)}
		default:
			return closed
		}
	}, nil
}
