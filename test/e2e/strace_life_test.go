package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/testkit"
)

// whole puts the lines of each thread together: what was unfinished with its
// end. Threads come in the order of their first line.
func whole(t testing.TB, lines []string) (order []string, of map[string][]string) {
	t.Helper()
	of = make(map[string][]string)
	open := make(map[string]string)
	for _, l := range lines {
		tid, l, _ := strings.Cut(l, " ")
		l = strings.TrimLeft(l, " ")
		if _, known := of[tid]; !known {
			order = append(order, tid)
			of[tid] = nil
		}
		if head, ok := strings.CutSuffix(l, " <unfinished ...>"); ok {
			require.Empty(t, open[tid], "two calls of %s at a time", tid)
			open[tid] = head
			continue
		}
		if strings.HasPrefix(l, "<... ") {
			_, rest, ok := strings.Cut(l, " resumed>")
			require.True(t, ok, "%s", l)
			require.NotEmpty(t, open[tid], "%s resumes what did not begin: %s", tid, l)
			l, open[tid] = open[tid]+rest, ""
		}
		if _, other, ok := strings.Cut(l, "+++ superseded by execve in pid "); ok {
			other, _, _ = strings.Cut(other, " ") // whose call goes on under this ID
			open[tid], open[other] = open[other], ""
		}
		of[tid] = append(of[tid], l)
	}
	return order, of
}

// alike are what is no difference of substance, or a documented one.
var alike = []struct{ from, to *regexp.Regexp }{
	{regexp.MustCompile(`\{len=\d+, filter=0x[0-9a-f]+\}|\[\d+\](, set_tid_size)`), regexp.MustCompile(`ADDR$1`)},
	{regexp.MustCompile(`parent_tid=\[\d+\]`), regexp.MustCompile(`parent_tid=ADDR`)},
	{regexp.MustCompile(`= \? ERESTARTNOHAND.*`), regexp.MustCompile(`= ?`)},
	{regexp.MustCompile(`rt_sigreturn\(\{mask=\[\]\}\)`), regexp.MustCompile(`rt_sigreturn()`)},
	{regexp.MustCompile(`0x[0-9a-f]{5,}`), regexp.MustCompile(`ADDR`)},
	{regexp.MustCompile(`"(\\x[0-9a-f]{2})+"`), regexp.MustCompile(`RANDOM`)},
	{regexp.MustCompile(`tv_nsec=\d+`), regexp.MustCompile(`tv_nsec=N`)},
	{regexp.MustCompile(`si_[us]time=\d+( /\* [^*]* \*/)?`), regexp.MustCompile(`si_time=T`)},
	{regexp.MustCompile(` +=`), regexp.MustCompile(` =`)},
}

// life gives the lines of each thread, with the threads named by their order.
func life(t testing.TB, lines []string) []string {
	t.Helper()
	order, of := whole(t, lines)
	number := regexp.MustCompile(`\b\d+\b`)
	var out []string
	for i, tid := range order {
		// When a child ends is not up to its parent.
		slices.SortStableFunc(of[tid], func(a, b string) int { return childEnded(a) - childEnded(b) })
		for _, l := range of[tid] {
			if strings.HasPrefix(l, "--- stopped by") || strings.HasPrefix(l, "--- SIGSYS") {
				continue // only the one, only the other shows it: docs/strace.md
			}
			for _, a := range alike {
				l = a.from.ReplaceAllString(l, a.to.String())
			}
			l = number.ReplaceAllStringFunc(l, func(n string) string {
				if at := slices.Index(order, n); at >= 0 {
					return fmt.Sprintf("T%d", at)
				}
				return n
			})
			out = append(out, fmt.Sprintf("T%d %s", i, l))
		}
	}
	return out
}

func childEnded(line string) int { return strings.Count(line, "--- SIGCHLD") }

// afterMark drops what comes before the subject's mark.
func afterMark(lines []string) []string {
	i := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, `prctl(PR_SET_NAME, "marked")`) })
	return lines[i+1:]
}

// TestStraceFollowsLife has processes and threads come and go under strace and
// under hangtrace strace: each thread's lines must be the same.
func TestStraceFollowsLife(t *testing.T) {
	for _, mode := range []string{"fork", "vfork", "threads", "exec", "seccomp", "signals", "kill", "reuse", "compat"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			need(t, "strace")
			program := compiled(t, s.Sandbox, "life")
			want := life(t, s.realLife(program, mode))
			p := s.subject(program, mode)
			tr := s.strace("-f", "-p", strconv.Itoa(p.PID))
			p.say("go")
			_ = p.Wait(patience)
			got := life(t, afterMark(tr.lines(exitOK)))
			require.Contains(t, tr.stderr.String(), "none lost")
			require.Greater(t, len(want), 10)
			require.Equal(t, want, got)
		})
	}
}

func (s *stage) realLife(program, mode string) []string {
	s.t.Helper()
	p := s.subject(program, mode)
	file, said := filepath.Join(s.Dir, "real"), new(testkit.Said)
	cmd := exec.Command("strace", "-f", "-o", file, "-p", strconv.Itoa(p.PID))
	cmd.Stderr = said
	tr, err := s.Start(cmd)
	require.NoError(s.t, err)
	s.until("strace is attached", func() bool { return strings.Contains(said.String(), "attached") })
	p.say("go")
	_ = p.Wait(patience)
	require.NoError(s.t, tr.Wait(patience))
	text, err := os.ReadFile(file)
	require.NoError(s.t, err)
	return afterMark(strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"))
}

// TestStraceOfARestartedCall is stopped and goes on by restart_syscall.
func TestStraceOfARestartedCall(t *testing.T) {
	s := newStage(t)
	p := s.subject(compiled(t, s.Sandbox, "life"), "restart")
	tr := s.strace("-f", "-p", strconv.Itoa(p.PID))
	p.say("go")
	require.NoError(t, p.Wait(patience))
	order, of := whole(t, afterMark(tr.lines(exitOK)))
	all := strings.Join(of[order[0]], "\n")
	require.Regexp(t, `nanosleep\(.*\) += \? ERESTART_RESTARTBLOCK \(Interrupted by signal\)\n`+
		`--- SIGSTOP \{si_signo=SIGSTOP, si_code=SI_USER, si_pid=`+order[1]+`, si_uid=0\} ---\n`+
		`--- SIGCONT \{.*\n(--- SIGCHLD .*\n)?`+
		`restart_syscall\(<\.\.\. resuming interrupted nanosleep \.\.\.>\) += 0\n`, all)
}

// TestStraceOfAnotherPIDNamespace shows the threads by the node's numbers; what
// calls return is in the target's own.
func TestStraceOfAnotherPIDNamespace(t *testing.T) {
	s := newStage(t)
	cmd := exec.Command(compiled(t, s.Sandbox, "life"), "fork")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	sp, err := s.Start(cmd)
	require.NoError(t, err)
	p := &helper{sp, t}
	require.Equal(t, "ready", p.line())
	tr := s.strace("-f", "-p", strconv.Itoa(p.PID))
	p.say("go")
	require.NoError(t, p.Wait(patience))
	order, of := whole(t, afterMark(tr.lines(exitOK)))
	require.Equal(t, strconv.Itoa(p.PID), order[0])
	require.Regexp(t, `(?m)^clone\(.*\) = 2$`, strings.Join(of[order[0]], "\n"))
	require.NotEqual(t, "2", order[1])
	require.Regexp(t, `(?m)^getppid\(\) += 1$`, strings.Join(of[order[1]], "\n"))
}

// TestStraceWithoutFollowing leaves children out, but not threads.
func TestStraceWithoutFollowing(t *testing.T) {
	s := newStage(t)
	program := compiled(t, s.Sandbox, "life")
	for mode, threads := range map[string]int{"fork": 0, "threads": 3} {
		p := s.subject(program, mode)
		tr := s.strace("-p", strconv.Itoa(p.PID))
		p.say("go")
		require.NoError(t, p.Wait(patience))
		all := strings.Join(tr.lines(exitOK), "\n")
		require.Equal(t, threads, strings.Count(all, "getsid("), "%s", all)
		require.NotContains(t, all, "getppid(")
	}
}
