package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/doctor"
	"github.com/hangtrace/hangtrace/internal/testkit"
)

// stats runs doctor --stats and picks a session.
func stats(t testing.TB, s *testkit.Sandbox, pid int) doctor.Session {
	t.Helper()
	r := tool(t, s, exitOK, "doctor", "--stats", "-o", "json")
	var st doctor.Stats
	require.NoError(t, json.Unmarshal([]byte(r.stdout.String()), &st), "%s", &r.stdout)
	require.Empty(t, st.NotSeen)
	for _, session := range st.Sessions {
		if session.PID != nil && *session.PID == pid {
			require.Nil(t, session.Error)
			return session
		}
	}
	require.Fail(t, "no such session", "PID %d: %s", pid, &r.stdout)
	return doctor.Session{}
}

// counts are the counters of a unit by site.
func counts(t testing.TB, s doctor.Session, unit string) map[string]uint64 {
	t.Helper()
	found := make(map[string]uint64)
	for _, u := range s.Units {
		if u.Name != unit {
			continue
		}
		for _, c := range u.Counters {
			found[c.Site] = c.Count
			require.NotEmpty(t, c.Words)
		}
		checkPrograms(t, u)
	}
	require.NotEmpty(t, found, "no unit %s: %+v", unit, s)
	return found
}

// checkPrograms wants what every kernel of the last years tells of a program.
func checkPrograms(t testing.TB, u doctor.Unit) {
	t.Helper()
	require.NotEmpty(t, u.Programs)
	require.NotEmpty(t, u.Maps)
	verified := os.Getenv("HANGTRACE_KERNEL") != "5.10" // since 5.16
	for _, p := range u.Programs {
		require.True(t, strings.HasPrefix(p.Name, u.Name+"_"), "%s: %+v", u.Name, p)
		require.NotEmpty(t, p.Type)
		require.NotNil(t, p.JITedBytes, p.Name)
		require.NotNil(t, p.MemoryBytes, p.Name)
		require.NotNil(t, p.LoadedAt, p.Name)
		require.Equal(t, verified, p.VerifiedInstructions != nil, p.Name)
		require.Equal(t, verified, p.Missed != nil, p.Name)
	}
}

// TestStatsOfStrace stops a tracer with a small buffer, so that it loses calls,
// and wants doctor to show as many lost as the tracer itself says later.
func TestStatsOfStrace(t *testing.T) {
	const calls = 5000
	s := newStage(t)
	p := s.hidden("flood", wordFlood, strconv.Itoa(calls))
	tr := s.strace("--buffer=64K", "-e", "trace=close", "-p", strconv.Itoa(p.PID))
	before := counts(t, stats(t, s.Sandbox, tr.PID), "strace")
	require.Zero(t, before["lost_entries"])

	require.NoError(t, tr.Signal(syscall.SIGSTOP))
	p.say("go")
	require.Equal(t, "done", p.line())
	session := stats(t, s.Sandbox, tr.PID)
	got := counts(t, session, "strace")
	require.NoError(t, tr.Signal(syscall.SIGCONT))
	tr.stop(exitOK)

	require.EqualValues(t, calls, got["calls"]-before["calls"])
	require.Positive(t, got["lost_entries"])
	require.Less(t, got["lost_entries"], uint64(calls))
	require.Contains(t, tr.stderr.String(), fmt.Sprintf("%d calls traced, %d lost; %d returns", got["calls"], got["lost_entries"], got["lost_exits"]))
	require.Contains(t, session.Command, "--buffer=64K")
	require.NotNil(t, session.StartedAt)
}

// TestStatsOfLive wants a path that could be read at no time to be counted, by
// doctor and by the session itself.
func TestStatsOfLive(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	page := filepath.Join(s.Dir, "path")
	require.NoError(t, os.WriteFile(page, []byte(file(fs)+"\x00"), 0o600))
	p := s.hidden("unmapper", wordUnmap, page)
	l := watch(t, s.Sandbox, pid(p.PID), threshold, s.kubeletRoot())
	require.Zero(t, counts(t, stats(t, s.Sandbox, l.PID), "trace")["path_fault"])

	require.NoError(t, fs.Freeze())
	p.say("ask")
	s.held(fs)
	p.say("unmap")
	require.Equal(t, "unmapped", p.line())
	l.await(correlate.EventHangSeen, 0, 1)
	require.NoError(t, fs.Thaw())
	require.Equal(t, "answered", p.line())
	l.until("the return is counted", func() bool {
		return counts(t, stats(t, s.Sandbox, l.PID), "trace")["path_fault"] == 1
	})
	list := l.stop(exitHung)
	require.Equal(t, correlate.Counts{"path_fault": 1}, list[len(list)-1].Summary.Lost)
}

// runFlood makes as many calls as it is told to, of a kind that it does not make
// else.
func runFlood(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := ready(); err != nil {
		return err
	}
	for i := range n {
		unix.Close(1_000_000 + i)
	}
	fmt.Println("done")
	_, err = bufio.NewReader(os.Stdin).ReadString('\n')
	return err
}

// runUnmap asks for a path that lies in a page of a file, which no program has
// in its memory before the kernel itself has read it, and unmaps the page while
// the call is blocked. Argument: the file.
func runUnmap(args []string) error {
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	page, err := unix.Mmap(int(f.Fd()), 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	in := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	answered := make(chan unix.Errno)
	go func() {
		var to unix.Statx_t
		at := unix.AT_FDCWD
		_, _, errno := unix.Syscall6(unix.SYS_STATX, uintptr(at), uintptr(unsafe.Pointer(&page[0])), unix.AT_STATX_FORCE_SYNC, unix.STATX_BASIC_STATS,
			uintptr(unsafe.Pointer(&to)), 0)
		answered <- errno
	}()
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	if err := unix.Munmap(page); err != nil {
		return err
	}
	fmt.Println("unmapped")
	if errno := <-answered; errno != 0 {
		return errno
	}
	fmt.Println("answered")
	_, err = in.ReadString('\n')
	return err
}
