package e2e

import (
	"fmt"
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
	"github.com/hangtrace/hangtrace/internal/testkit/victim"
)

// stateOf is the state letter and the call of a thread.
func stateOf(t testing.TB, pid, tid int) (string, int) {
	t.Helper()
	th, err := testkit.ReadThread(pid, tid)
	require.NoError(t, err)
	return th.State, th.Syscall
}

// callOf is how strace shows the call of an operation on a file.
var callOf = map[string]string{
	"stat":         `newfstatat(CWD, "PATH",  <unfinished`,
	"statfs":       `statfs("PATH",  <unfinished`,
	"creat":        `openat(CWD, "PATH", O_WRONLY|O_CREAT|O_CLOEXEC, 0644 <unfinished`,
	"unlink":       `unlinkat(CWD, "PATH", 0 <unfinished`,
	"mkdir":        `mkdirat(CWD, "PATH", 0755 <unfinished`,
	"symlink":      `symlinkat("ANY", CWD, "PATH" <unfinished`,
	"rename":       `renameat(CWD, "PATH", CWD, "PATH.new" <unfinished`,
	"getxattr":     `getxattr("PATH", "user.none",  <unfinished`,
	"getdents":     `getdents64(FD<PATH>,  <unfinished`,
	"openat-dirfd": `openat(FD<DIR>, "BASE", O_RDONLY|O_CLOEXEC <unfinished`,
}

// TestStraceShowsWhatHangsAlready attaches to threads that are blocked in FUSE:
// each is shown with its call, path and age, at the start and at the end; and
// none of them notices.
func TestStraceShowsWhatHangsAlready(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	var ops []string
	for op := range callOf {
		ops = append(ops, op)
	}
	v := s.victim("ops", append([]string{fs.MountPoint}, ops...)...)
	lines := s.hang(v, fs, len(ops))
	for _, l := range lines { // which are written just before the calls
		s.until(l.Op+" blocks", func() bool {
			th, err := testkit.ReadThread(v.PID, l.TID)
			return err == nil && th.Wchan == "request_wait_answer"
		})
	}
	pastThreshold()
	for _, l := range lines {
		state, _ := stateOf(t, v.PID, l.TID)
		require.Equal(t, "S", state, "%s", l.Op)
	}
	tr := s.strace("-f", "-y", "--threshold=300ms", "-p", strconv.Itoa(v.PID))
	first := tr.text()
	for _, l := range lines {
		state, _ := stateOf(t, v.PID, l.TID)
		require.Equal(t, "S", state, "%s while it is traced", l.Op)
		age := ageOf(t, first, l)
		require.GreaterOrEqual(t, age, 400*time.Millisecond, "%s", l.Op)
	}
	all := strings.Join(tr.stop(exitHung), "\n")
	require.Less(t, tr.took, patience)
	last := all[len(first):]
	for _, l := range lines {
		require.Greater(t, ageOf(t, last, l), ageOf(t, first, l), "%s", l.Op)
		state, _ := stateOf(t, v.PID, l.TID)
		require.Equal(t, "S", state, "%s afterwards", l.Op)
	}
	require.Contains(t, tr.stderr.String(), "calls traced")
	require.NoError(t, fs.Thaw())
	_, err := v.Await(victim.EventReturned, len(ops), patience)
	require.NoError(t, err)
}

// ageOf finds the line of a blocked thread and its age.
func ageOf(t testing.TB, text string, l victim.Line) time.Duration {
	t.Helper()
	pattern := strings.NewReplacer(
		"PATH", regexp.QuoteMeta(l.Path), "DIR", regexp.QuoteMeta(filepath.Dir(l.Path)), "BASE", regexp.QuoteMeta(filepath.Base(l.Path)),
		"CWD", `AT_FDCWD<[^>]*>`, "FD", `\d+`, "ANY", `[^"]*`,
	).Replace(regexp.QuoteMeta(callOf[l.Op]))
	re := regexp.MustCompile(fmt.Sprintf(`(?m)^%d +%s \.\.\.> <for at least (\d+\.\d+)>$`, l.TID, pattern))
	m := re.FindStringSubmatch(text)
	require.NotNil(t, m, "%s of %s is not in\n%s", re, l.Op, text)
	d, err := time.ParseDuration(m[len(m)-1] + "s")
	require.NoError(t, err)
	return d
}

// TestStraceFollowsAHang sees a call block, return, and one more stay.
func TestStraceFollowsAHang(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	p := s.hidden("statter", wordRepeat, file(fs))
	tr := s.strace("-f", "-T", "--threshold=300ms", "-e", "trace=newfstatat,lstat", "-p", strconv.Itoa(p.PID))
	require.NoError(t, fs.Freeze())
	p.say("go")
	s.held(fs)
	call := `newfstatat\(AT_FDCWD, "` + regexp.QuoteMeta(file(fs)) + `", `
	tr.says(`^\d+ +(newfstatat\(AT_FDCWD, |lstat\()"` + regexp.QuoteMeta(file(fs)) + `", $`) // an open line while it blocks
	pastThreshold()
	require.NoError(t, fs.Thaw())
	p.line()
	took := tr.says(call + `\{st_mode=S_IFREG\|0644, st_size=4096, \.\.\.\}, AT_SYMLINK_NOFOLLOW\) = 0 <\d\.\d+>$`)
	require.Regexp(t, `<0\.[4-9]|<[1-9]`, took)
	require.NoError(t, fs.Freeze())
	p.say("go")
	s.held(fs)
	pastThreshold()
	all := tr.stop(exitHung)
	require.Regexp(t, call+` <unfinished \.\.\.> <for \d\.\d+>$`, all[len(all)-1])
	require.NoError(t, fs.Thaw())
}

// TestStraceEndsWhateverHangs wants Ctrl-C to be heard while a thread of the
// target is jammed so that no memory of its can be read.
func TestStraceEndsWhateverHangs(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	v := s.victim("jam", fs.MountPoint)
	s.hang(v, fs, 2)
	pastThreshold()
	tr := s.strace("-f", "-y", "-p", strconv.Itoa(v.PID))
	begin := time.Now()
	require.NoError(t, tr.Signal(os.Interrupt))
	code := tr.end(t)
	require.Contains(t, []int{exitOK, exitHung}, code)
	require.Less(t, time.Since(begin), 10*time.Second)
	require.NotEmpty(t, tr.text())
	require.NoError(t, fs.Abort())
}

// TestRealStraceIsNoHelp is why: on the same thread strace turns S into D, and
// prints nothing.
func TestRealStraceIsNoHelp(t *testing.T) {
	s := newStage(t)
	program := need(t, "strace")
	fs := s.csi(podUID, pvName)
	v := s.victim("ops", fs.MountPoint, "stat")
	tid := s.hang(v, fs, 1)[0].TID
	file := filepath.Join(s.Dir, "real")
	cmd := exec.Command(program, "-o", file, "-p", strconv.Itoa(tid))
	cmd.Stderr = new(testkit.Said)
	p, err := s.Start(cmd)
	require.NoError(t, err)
	s.until("strace turned S into D", func() bool {
		state, _ := stateOf(t, v.PID, tid)
		return state == "D"
	})
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Empty(t, text)
	require.NoError(t, fs.Abort())
	require.NoError(t, p.Signal(os.Interrupt))
	_ = p.Wait(patience)
}
