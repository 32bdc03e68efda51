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
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/testkit"
)

// differs are the calls whose lines are not those of strace 6.1, with the
// reason. docs/strace.md has the same table.
var differs = map[string]string{
	"ioctl":            "arguments of ioctls but those of terminals and FIONREAD print as addresses",
	"io_uring_setup":   "structures of io_uring print as addresses",
	"membarrier":       "names younger than strace 6.1 print as names",
	"rt_sigreturn":     "the mask stands on the user stack",
	"perf_event_open":  "its structure prints as an address",
	"bpf":              "its structures print as addresses",
	"process_vm_readv": "the remote side prints as an address",
}

// volatile are calls that say something else each time: of those only the text
// is compared, without its numbers.
var volatile = regexp.MustCompile(`^(statfs|fstatfs|select|ppoll|pselect6|time|getrusage|sysinfo|times|clock_gettime|gettimeofday|getrandom|getcpu|adjtimex|uname|getppid|getpgid|getpgrp|getsid|setsid|getresuid|sched_getaffinity)\(`)

var (
	numberOf  = regexp.MustCompile(`0x[0-9a-f]+|\\x[0-9a-f]+|-?\d+`)
	inodeOf   = regexp.MustCompile(`(st_ino|d_ino|d_off|stx_ino|stx_mnt_id|st_dev|f_handle)=(makedev\([^)]*\)|-?[0-9a-fx]+)`)
	timesOf   = regexp.MustCompile(`(st_[amc]time(_nsec)?|stx_[abcm]time)=({[^}]*}|\d+)( /\* [^*]* \*/)?`)
	commentOf = regexp.MustCompile(` /\* [^*]* \*/`)
	idleOf    = regexp.MustCompile(`si_[us]time=\d+( /\* [^*]* \*/)?`)
	numbersOf = regexp.MustCompile(`:\[\d+(->\d+)?(,"[^"]*")?\]>|127\.0\.0\.1:\d+`)
	spacesOf  = regexp.MustCompile(` +(=|<)`)
)

// normal makes lines comparable: PIDs by name, times and inodes left out.
func normal(lines []string, pid int) []string {
	var out []string
	marks := 0
	names := map[string]string{strconv.Itoa(pid): "PID"}
	for _, l := range lines {
		if strings.Contains(l, `prctl(PR_SET_NAME, "marked")`) {
			marks++
			continue
		}
		if marks != 1 {
			continue
		}
		if name, _, _ := strings.Cut(l, "("); name == "clone" || name == "fork" {
			names[l[strings.LastIndexByte(l, ' ')+1:]] = "CHILD"
		}
		out = append(out, normalLine(l, names))
	}
	return out
}

func normalLine(l string, names map[string]string) string {
	if volatile.MatchString(l) {
		l = numberOf.ReplaceAllString(commentOf.ReplaceAllString(l, ""), "N")
	}
	l = numberOf.ReplaceAllStringFunc(l, func(n string) string {
		if name := names[n]; name != "" {
			return name
		}
		return n
	})
	l = numbersOf.ReplaceAllString(l, ":[N]>")
	l = inodeOf.ReplaceAllString(timesOf.ReplaceAllString(l, "$1=T"), "$1=I")
	return spacesOf.ReplaceAllString(idleOf.ReplaceAllString(l, "si_time=T"), " $1")
}

func nameIn(line string) string {
	name, _, _ := strings.Cut(line, "(")
	return name
}

// realStrace traces the same program with strace.
func (s *stage) realStrace(program, dir string, flags ...string) []string {
	s.t.Helper()
	p := s.subject(program, dir)
	file := filepath.Join(s.Dir, "real")
	said := new(testkit.Said)
	cmd := exec.Command(need(s.t, "strace"), append(flags, "-o", file, "-p", strconv.Itoa(p.PID))...)
	cmd.Stderr = said
	tr, err := s.Start(cmd)
	require.NoError(s.t, err)
	s.until("strace is attached", func() bool { return strings.Contains(said.String(), "attached") })
	p.say("go")
	require.NoError(s.t, p.Wait(patience))
	require.NoError(s.t, tr.Wait(patience), "%s", said)
	text, err := os.ReadFile(file)
	require.NoError(s.t, err)
	return normal(strings.Split(string(text), "\n"), p.PID)
}

func (s *stage) ourStrace(program, dir string, flags ...string) []string {
	s.t.Helper()
	p := s.subject(program, dir)
	tr := s.strace(append(flags, "-p", strconv.Itoa(p.PID))...)
	p.say("go")
	require.NoError(s.t, p.Wait(patience))
	lines := tr.lines(exitOK)
	require.Contains(s.t, tr.stderr.String(), "none lost")
	return normal(lines, p.PID)
}

// TestStraceSaysWhatStraceSays has one program make some 250 different calls
// under strace and under hangtrace strace.
func TestStraceSaysWhatStraceSays(t *testing.T) {
	differed := make(map[string]bool)
	for _, flags := range [][]string{nil, {"-v", "-s", "100"}, {"-y"}, {"-yy"}} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			s := newStage(t)
			need(t, "strace")
			program, dir := compiled(t, s.Sandbox, "calls"), filepath.Join(s.Dir, "work")
			require.NoError(t, os.Mkdir(dir, 0o755))
			want := s.realStrace(program, dir, flags...)
			got := s.ourStrace(program, dir, flags...)
			names := make(map[string]bool)
			for _, l := range want {
				names[nameIn(l)] = true
			}
			require.GreaterOrEqual(t, len(names), 200, "different calls")
			require.Len(t, got, len(want), "%s", firstDifference(want, got))
			for i := range want {
				if want[i] == got[i] {
					continue
				}
				name := nameIn(want[i])
				differed[name] = true
				if differs[name] == "" {
					t.Errorf("line %d\nstrace    %s\nhangtrace %s", i, want[i], got[i])
				}
			}
			t.Logf("%d lines of %d calls", len(want), len(names))
		})
	}
	if !t.Failed() && !t.Skipped() {
		checkDifferences(t, differed)
	}
}

func firstDifference(want, got []string) string {
	for i := range want {
		if i >= len(got) || nameIn(want[i]) != nameIn(got[i]) {
			return fmt.Sprintf("line %d\nstrace    %s\nhangtrace %s", i, want[i:min(i+3, len(want))], got[min(i, len(got)):min(i+3, len(got))])
		}
	}
	return "more lines than strace"
}

// checkDifferences holds the documented differences against the true ones.
func checkDifferences(t *testing.T, differed map[string]bool) {
	t.Helper()
	doc, err := os.ReadFile("../../docs/strace.md")
	require.NoError(t, err)
	for name, why := range differs {
		require.Contains(t, string(doc), fmt.Sprintf("| `%s` | %s |", name, why))
		require.True(t, differed[name] || unforced[name], "%s does not differ: take it off the table", name)
	}
	re := regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\|")
	for _, m := range re.FindAllStringSubmatch(string(doc), -1) {
		require.Contains(t, differs, m[1], "docs/strace.md lists a difference that the test does not know")
	}
	require.True(t, slices.IsSorted(rows(re, string(doc))))
}

func rows(re *regexp.Regexp, doc string) (names []string) {
	for _, m := range re.FindAllStringSubmatch(doc, -1) {
		names = append(names, m[1])
	}
	return names
}

// unforced are differences that the program does not bring about.
var unforced = map[string]bool{"rt_sigreturn": true, "perf_event_open": true, "bpf": true, "process_vm_readv": true}
