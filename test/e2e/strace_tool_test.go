package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/testkit"
)

// need skips the test in a guest without a program; elsewhere it has to be
// there.
func need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil && os.Getenv("HANGTRACE_KERNEL") != "" {
		t.Skipf("a guest has no %s", program)
	}
	require.NoError(t, err, "try: apt-get install %s", program)
	return path
}

// compiled builds a program of testdata.
func compiled(t testing.TB, s *testkit.Sandbox, name string, flags ...string) string {
	t.Helper()
	out := filepath.Join(s.Dir, name)
	args := append([]string{"-O1", "-static", "-w", "-pthread", "-o", out, "testdata/" + name + ".c"}, flags...)
	text, err := exec.Command(need(t, "gcc"), args...).CombinedOutput()
	require.NoError(t, err, "%s", text)
	return out
}

// subject is a program to be traced: it says that it is ready and waits for a
// line.
func (s *stage) subject(path string, args ...string) *helper {
	s.t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Dir = s.Dir
	p, err := s.Start(cmd)
	require.NoError(s.t, err)
	h := &helper{p, s.t}
	require.Equal(s.t, "ready", h.line())
	return h
}

// tracer is a running hangtrace strace.
type tracer struct {
	*run
	t    testing.TB
	file string
}

// strace starts hangtrace strace with its lines in a file and waits until
// everything is attached.
func (s *stage) strace(args ...string) *tracer {
	s.t.Helper()
	stamp := strconv.FormatInt(time.Now().UnixNano(), 36)
	file, rdy := filepath.Join(s.Dir, "lines-"+stamp), filepath.Join(s.Dir, "ready-"+stamp)
	tr := &tracer{start(s.t, s.Sandbox, append([]string{"strace", "-o", file, "--ready-file", rdy, "--deadline", (5 * time.Second * time.Duration(testkit.Slow())).String()}, args...)...), s.t, file}
	tr.await("it is ready", func() bool {
		_, err := os.Stat(rdy)
		return err == nil
	})
	return tr
}

// await waits for a condition while the tracer runs.
func (tr *tracer) await(what string, cond func() bool) {
	tr.t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(10 * time.Millisecond) {
		select {
		case <-tr.Ended():
			require.True(tr.t, cond(), "strace ended before %s: %s\n%s", what, &tr.stderr, tr.text())
			return
		default:
		}
		require.False(tr.t, time.Now().After(deadline), "wanted: %s\n%s\n%s", what, &tr.stderr, tr.text())
	}
}

// text is what was written so far.
func (tr *tracer) text() string {
	text, _ := os.ReadFile(tr.file)
	return string(text)
}

// says waits for lines that match.
func (tr *tracer) says(pattern string) string {
	tr.t.Helper()
	re, found := regexp.MustCompile("(?m)"+pattern), ""
	tr.await(pattern, func() bool {
		found = re.FindString(tr.text())
		return found != ""
	})
	return found
}

// stop ends it with Ctrl-C and gives its lines.
func (tr *tracer) stop(code int) []string {
	tr.t.Helper()
	require.NoError(tr.t, tr.Signal(os.Interrupt))
	return tr.lines(code)
}

// lines waits for the end.
func (tr *tracer) lines(code int) []string {
	tr.t.Helper()
	require.Equal(tr.t, code, tr.end(tr.t), "%s\n%s", &tr.stderr, tr.text())
	return strings.Split(strings.TrimSuffix(tr.text(), "\n"), "\n")
}
