package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/testkit"
)

// frameLine is a frame of the program, as both show it.
var frameLine = regexp.MustCompile(`^ > (\S+)\((?:(\S+)\+(0x[0-9a-f]+))?\) \[(0x[0-9a-f]+)\]`)

// frame is where a call came from.
type frame struct{ module, function, into, at string }

// stackedCall is a call and the frames below its line.
type stackedCall struct {
	name   string
	frames []frame
	other  []string // lines that are no such frame
}

// stacked gives the calls of one thread between the marks.
func stacked(t testing.TB, lines []string, tid func(lines []string) string) (calls []stackedCall) {
	t.Helper()
	var whose, marks = tid(lines), 0
	ours := false
	for _, l := range lines {
		if strings.HasPrefix(l, " > ") {
			if !ours || len(calls) == 0 {
				continue
			}
			c := &calls[len(calls)-1]
			if m := frameLine.FindStringSubmatch(l); m != nil {
				c.frames = append(c.frames, frame{m[1], m[2], m[3], m[4]})
			} else {
				c.other = append(c.other, strings.TrimPrefix(l, " > "))
			}
			continue
		}
		id, rest, _ := strings.Cut(l, " ")
		rest = strings.TrimLeft(rest, " ")
		if strings.HasPrefix(rest, "+++") {
			continue // behind which strace has the frames of the exit
		}
		ours = false
		switch {
		case strings.Contains(l, `prctl(PR_SET_NAME, "marked")`):
			marks++
		case marks != 1 || id != whose || strings.HasPrefix(rest, "---") || strings.HasSuffix(rest, "<unfinished ...>"):
		default:
			ours = true
			name, _, _ := strings.Cut(strings.TrimPrefix(rest, "<... "), "(")
			name, _, _ = strings.Cut(name, " ")
			calls = append(calls, stackedCall{name: name})
		}
	}
	return calls
}

// mainThread and otherThread choose whose calls are compared.
func mainThread(lines []string) string {
	id, _, _ := strings.Cut(lines[0], " ")
	return id
}

func otherThread(lines []string) string {
	first := mainThread(lines)
	for _, l := range lines {
		if id, _, _ := strings.Cut(l, " "); id != first && id != "" {
			return id
		}
	}
	return ""
}

// straceWithStacks skips where the installed strace cannot show stacks.
func straceWithStacks(t testing.TB) {
	t.Helper()
	text, err := exec.Command(need(t, "strace"), "-V").Output()
	require.NoError(t, err)
	if !strings.Contains(string(text), "stack-trace=") {
		t.Skip("this strace has no -k")
	}
}

// dynamic builds a program of testdata against the shared C library.
func dynamic(t testing.TB, s *stage, name string) string {
	t.Helper()
	out := filepath.Join(s.Dir, name)
	text, err := exec.Command(need(t, "gcc"), "-O2", "-fomit-frame-pointer", "-pie", "-fPIE", "-pthread", "-w", "-o", out, "testdata/"+name+".c").CombinedOutput()
	require.NoError(t, err, "%s", text)
	return out
}

// TestStraceStacksAreStraces has a program without frame pointers make calls
// from various depths, under strace -k and under hangtrace strace -k: every call
// must come from the same places. Names may be missing, but not differ, unless
// it is that strace names the nearest symbol, to which the place does not belong.
func TestStraceStacksAreStraces(t *testing.T) {
	s := newStage(t)
	straceWithStacks(t)
	program := dynamic(t, s, "stacks")
	real, ours := s.realStacks(program), s.ourStacks(program)
	for who, tid := range map[string]func([]string) string{"main": mainThread, "thread": otherThread} {
		want, got := stacked(t, real, tid), stacked(t, ours, tid)
		require.Equal(t, callNames(want), callNames(got), who)
		require.Contains(t, callNames(want), map[string]string{"main": "clock_nanosleep", "thread": "getegid"}[who])
		named := make(map[string]bool)
		for i := range want {
			if want[i].name == "rt_sigreturn" { // strace shows where it goes, not where it is made
				require.NotEmpty(t, got[i].frames, got[i].other)
				got[i].frames = got[i].frames[1:]
			}
			require.Equal(t, places(want[i].frames), places(got[i].frames), "%s of %s: %v", want[i].name, who, got[i].other)
			for j, f := range got[i].frames {
				if f.function != "" && symbols(want[i].frames[j]) {
					require.Equal(t, want[i].frames[j].into, f.into, "%s: %v, strace has %v", want[i].name, f, want[i].frames[j])
					named[f.function] = true
				}
			}
			for _, line := range got[i].other { // the kernel's, and why a chain that both cut off ends there
				require.Regexp(t, `^[a-zA-Z_][\w.]*\+0x[0-9a-f]+$|^\(.* has no call frame information\)$`, line, "%s of %s", want[i].name, who)
			}
		}
		for _, name := range map[string][]string{"main": {"deep", "compare", "handler", "sleeps", "files", "main"}, "thread": {"thread"}}[who] {
			require.True(t, named[name], "%s is in no chain of %v", name, named)
		}
	}
}

// symbols tells whether strace's name is of the program, whose symbols are all
// there.
func symbols(f frame) bool { return strings.HasSuffix(f.module, "/stacks") }

func callNames(list []stackedCall) (names []string) {
	for _, c := range list {
		names = append(names, c.name)
	}
	return names
}

func places(list []frame) (out []string) {
	for _, f := range list {
		out = append(out, f.module+" "+f.at)
	}
	return out
}

func (s *stage) realStacks(program string) []string {
	s.t.Helper()
	p := s.subject(program)
	file, said := filepath.Join(s.Dir, "real"), new(testkit.Said)
	cmd := exec.Command("strace", "-f", "-k", "-o", file, "-p", strconv.Itoa(p.PID))
	cmd.Stderr = said
	tr, err := s.Start(cmd)
	require.NoError(s.t, err)
	s.until("strace is attached", func() bool { return strings.Contains(said.String(), "attached") })
	p.say("go")
	require.NoError(s.t, p.Wait(patience))
	require.NoError(s.t, tr.Wait(patience))
	text, err := os.ReadFile(file)
	require.NoError(s.t, err)
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func (s *stage) ourStacks(program string) []string {
	s.t.Helper()
	p := s.subject(program)
	tr := s.strace("-f", "-k", "-p", strconv.Itoa(p.PID))
	p.say("go")
	require.NoError(s.t, p.Wait(patience))
	lines := tr.lines(exitOK)
	require.Contains(s.t, tr.stderr.String(), "none lost")
	return lines
}

// TestStraceStackOfASleep shows where in the kernel a call slept, below the line
// of a call that began while it was watched, and that of one that did not sleep
// without.
func TestStraceStackOfASleep(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	p := s.hidden("statter", wordRepeat, file(fs))
	tr := s.strace("-f", "-k", "--threshold=300ms", "-e", "trace=newfstatat,lstat,gettid", "-p", strconv.Itoa(p.PID)) // no getpid: Go's monitor makes it while another waits
	require.NoError(t, fs.Freeze())
	p.say("go")
	s.held(fs)
	pastThreshold()
	require.NoError(t, fs.Thaw())
	p.line()
	call := `newfstatat\(AT_FDCWD, "` + regexp.QuoteMeta(file(fs)) + `", `
	tr.says(call + `\{st_mode=.*\n > (request_wait_answer|__fuse_\w+)\+0x[0-9a-f]+(?:\n > .*)*\n > .*e2e\.runRepeat`)
	tr.says(`gettid\(\) += \d+\n > .*RawSyscallNoError`)
	require.NoError(t, fs.Freeze())
	p.say("go")
	s.held(fs)
	pastThreshold()
	all := strings.Join(tr.stop(exitHung), "\n")
	require.Regexp(t, call+` <unfinished \.\.\.> <for .*>\n > (request_wait_answer|__fuse_\w+)\+0x[0-9a-f]+(?:\n > .*)*\n > .*e2e\.runRepeat`, all)
	require.NoError(t, fs.Thaw())
}
