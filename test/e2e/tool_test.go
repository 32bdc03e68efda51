package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/testkit"
)

// patience is how long anything may take on a slow, busy machine.
var patience = time.Duration(testkit.Slow()) * 60 * time.Second

// deadlines are the commands' own, in seconds.
var deadlines = map[string]int{"report": 5, "scan": 10, "stacks": 5, "check": 4, "doctor": 5}

// inTime gives a command more time where the machine is slow, unless the test
// itself says how much.
func inTime(args []string) []string {
	says := slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--deadline") })
	if len(args) == 0 || says || testkit.Slow() == 1 || deadlines[args[0]] == 0 {
		return args
	}
	return append(slices.Clone(args), fmt.Sprintf("--deadline=%ds", deadlines[args[0]]*testkit.Slow()))
}

// The exit codes of the contract.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	exitHung    = 3
)

// backends are both ways to look.
var backends = []string{"bpf", "proc"}

// binary is the program under test.
func binary(t testing.TB) string {
	t.Helper()
	name := os.Getenv("HANGTRACE_BIN")
	if name == "" {
		name = "../../bin/hangtrace"
	}
	path, err := filepath.Abs(name)
	require.NoError(t, err)
	_, err = os.Stat(path)
	require.NoError(t, err, "try: make build")
	return path
}

// run is a run of the tool.
type run struct {
	*testkit.Process
	cmd            *exec.Cmd
	stdout, stderr testkit.Said
	took           time.Duration
	began          time.Time
}

func start(t testing.TB, s *testkit.Sandbox, args ...string) *run {
	t.Helper()
	return startCommand(t, s, exec.Command(binary(t), inTime(args)...))
}

// startCommand starts the tool in a way of its own.
func startCommand(t testing.TB, s *testkit.Sandbox, cmd *exec.Cmd) *run {
	t.Helper()
	r := &run{cmd: cmd, began: time.Now()}
	r.cmd.Stdout, r.cmd.Stderr = &r.stdout, &r.stderr
	var err error
	r.Process, err = s.Start(r.cmd)
	require.NoError(t, err)
	return r
}

// end waits for the end and returns the exit code.
func (r *run) end(t testing.TB) int {
	t.Helper()
	err := r.Wait(patience)
	r.took = time.Since(r.began)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	require.NoError(t, err, "stdout: %s\nstderr: %s", &r.stdout, &r.stderr)
	return 0
}

// measured runs the tool to its end and tells what it used.
func measured(t testing.TB, s *testkit.Sandbox, args ...string) (*run, testkit.Usage) {
	t.Helper()
	file := filepath.Join(s.Dir, "usage")
	r := &run{cmd: testkit.Measured(file, append([]string{binary(t)}, inTime(args)...)...)}
	r.cmd.Stdout, r.cmd.Stderr = &r.stdout, &r.stderr
	var err error
	r.Process, err = s.Start(r.cmd)
	require.NoError(t, err)
	require.Equal(t, exitOK, r.end(t), "%s", &r.stderr)
	used, err := testkit.ReadUsage(file)
	require.NoError(t, err)
	r.took = used.Took
	return r, used
}

// tool runs the tool to its end and wants an exit code.
func tool(t testing.TB, s *testkit.Sandbox, code int, args ...string) *run {
	t.Helper()
	r := start(t, s, args...)
	got := r.end(t)
	require.Equal(t, code, got, "hangtrace %s\nstdout: %s\nstderr: %s", strings.Join(args, " "), &r.stdout, &r.stderr)
	return r
}

// report runs report on processes and decodes what it says.
func report(t testing.TB, s *testkit.Sandbox, code int, args ...string) *correlate.Report {
	t.Helper()
	r := tool(t, s, code, append([]string{"report", "-o", "json"}, args...)...)
	var rep correlate.Report
	require.NoError(t, json.Unmarshal([]byte(r.stdout.String()), &rep), "%s", &r.stdout)
	return &rep
}

// pid makes the flag that names a process.
func pid(n int) string { return "--pid=" + strconv.Itoa(n) }

// live is a running live session.
type live struct {
	*run
	t *testing.T
}

// watch starts live and waits until everything is attached.
func watch(t *testing.T, s *testkit.Sandbox, args ...string) *live {
	t.Helper()
	file := filepath.Join(s.Dir, "ready-"+strconv.FormatInt(time.Now().UnixNano(), 36))
	r := start(t, s, append([]string{"-o", "ndjson", "--ready-file", file}, args...)...)
	l := &live{r, t}
	l.until("it is ready", func() bool {
		_, err := os.Stat(file)
		return err == nil
	})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("live %v\n%sstderr: %s", args, brief(l.events()), &r.stderr)
		}
	})
	return l
}

// until waits for a condition while the session runs.
func (l *live) until(what string, cond func() bool) {
	l.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if cond() {
			return
		}
		if err := l.Wait(0); !errors.Is(err, testkit.ErrNotEnded) && !cond() {
			require.FailNow(l.t, "live ended early", "before %s: %v", what, err)
		}
		if time.Now().After(deadline) {
			require.FailNow(l.t, "live did not get there", "wanted: %s", what)
		}
	}
}

// events are those printed so far.
func (l *live) events() []correlate.Event { return decode(l.t, l.stdout.String()) }

// brief shows events for people.
func brief(list []correlate.Event) string {
	var b strings.Builder
	for _, e := range list {
		fmt.Fprintf(&b, "%s %s %s", e.Time.Format("05.000"), e.Kind, e.Notice)
		if h := e.Hang; h != nil {
			call := correlate.Text("-")
			if h.Syscall != nil {
				call = h.Syscall.Name
			}
			fmt.Fprintf(&b, " %d %s %s %q %dms %s ret=%q", h.Task.TID, h.Reason, call, h.Path.Value, h.Blocked.ForMS, h.Blocked.Source, e.RetText)
			if m := h.Mount; m != nil {
				fmt.Fprintf(&b, " %s %q %s", m.Kind, m.Point, m.From)
			}
		}
		if e.Summary != nil {
			b.WriteString(" " + e.Summary.Verdict)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// decode takes whole lines only: the last one may still be on its way.
func decode(t testing.TB, text string) []correlate.Event {
	t.Helper()
	var out []correlate.Event
	for line := range strings.Lines(text) {
		if !strings.HasSuffix(line, "\n") {
			break
		}
		var e correlate.Event
		require.NoError(t, json.Unmarshal([]byte(line), &e), "%s", line)
		out = append(out, e)
	}
	return out
}

// of lists the events of a kind about a thread; thread 0 means all.
func of(list []correlate.Event, kind correlate.EventKind, tid int) []correlate.Event {
	var out []correlate.Event
	for _, e := range list {
		if e.Kind == kind && (tid == 0 || e.Hang != nil && e.Task.TID == tid) {
			out = append(out, e)
		}
	}
	return out
}

// await waits until n events of a kind about a thread have come.
func (l *live) await(kind correlate.EventKind, tid, n int) []correlate.Event {
	l.t.Helper()
	var got []correlate.Event
	l.until(strconv.Itoa(n)+" times "+string(kind), func() bool {
		got = of(l.events(), kind, tid)
		return len(got) >= n
	})
	return got
}

// stop ends the session with Ctrl-C and returns all its events, the last of
// which is the summary.
func (l *live) stop(code int) []correlate.Event {
	l.t.Helper()
	require.NoError(l.t, l.Signal(os.Interrupt))
	require.Equal(l.t, code, l.end(l.t), "stderr: %s", &l.stderr)
	list := l.events()
	require.NotEmpty(l.t, list)
	require.Equal(l.t, correlate.EventSummary, list[len(list)-1].Kind)
	return list
}
