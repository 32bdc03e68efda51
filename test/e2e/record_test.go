package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/testkit/victim"
)

// TestReplayOfReportIsTheReport wants the same bytes from a recording.
func TestReplayOfReportIsTheReport(t *testing.T) {
	for _, backend := range backends {
		for _, name := range []string{"hang.rec", "hang.rec.gz"} {
			t.Run(backend+" "+name, func(t *testing.T) {
				s := newStage(t)
				fs := s.csi(podUID, pvName)
				v := s.victim("ops", fs.MountPoint, "stat", "read", "fault", "openat-cwd")
				s.hang(v, fs, 4)
				pastThreshold()
				file := filepath.Join(s.Dir, name)
				first := tool(t, s.Sandbox, exitHung, "report", "-o", "json", pid(v.PID), threshold, "--backend="+backend, s.kubeletRoot(), "--record", file)
				again := tool(t, s.Sandbox, exitHung, "replay", "-o", "json", file)
				require.Equal(t, first.stdout.String(), again.stdout.String())
				checkCut(t, s, file, first.stdout.String())
			})
		}
	}
}

// TestRecordingOnFullDisk wants what hangs to be shown all the same, one line
// about the recording, and exit code 1.
func TestRecordingOnFullDisk(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	v := s.victim("ops", fs.MountPoint, "stat", "read")
	s.hang(v, fs, 2)
	pastThreshold()
	small := filepath.Join(s.Dir, "small")
	require.NoError(t, os.Mkdir(small, 0o755))
	require.NoError(t, unix.Mount("none", small, "tmpfs", 0, "size=4k"))
	defer unix.Unmount(small, unix.MNT_DETACH)
	file := filepath.Join(small, "r")
	for name, args := range map[string][]string{
		"report": {"report", "-o", "json", threshold, s.kubeletRoot()},
		"live":   {"-o", "ndjson", threshold, "-d", "2s", s.kubeletRoot()},
		"strace": {"strace", "--duration=2s"},
	} {
		r := tool(t, s.Sandbox, exitFailure, append(args, pid(v.PID), "--record", file)...)
		shown := r.stdout.String() + r.stderr.String()
		require.Contains(t, shown, "newfstatat(", name)
		require.Equal(t, 1, strings.Count(r.stderr.String(), "no space left on device"), "%s: %s", name, &r.stderr)
		require.Contains(t, r.stderr.String(), "hangtrace goes on without it", name)
		require.NoError(t, os.Remove(file))
	}
}

// checkCut cuts the end off a recording: what stood before it is shown, and the
// cut is an error.
func checkCut(t *testing.T, s *stage, file, whole string) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	end := 12 // of the end frame
	if strings.HasSuffix(file, ".gz") {
		end = 40 // and gzip's own end
	}
	require.NoError(t, os.WriteFile(file, text[:len(text)-end], 0o600))
	cut := tool(t, s.Sandbox, exitFailure, "replay", "-o", "json", file)
	require.Equal(t, whole, cut.stdout.String())
	require.Contains(t, cut.stderr.String(), "recording cut off")
	require.Equal(t, 1, strings.Count(cut.stderr.String(), "\n"))
	require.NoError(t, os.WriteFile(file, text[:len(text)/2], 0o600))
	cut = tool(t, s.Sandbox, exitFailure, "replay", "-o", "json", file)
	require.Empty(t, cut.stdout.String())
	require.Contains(t, cut.stderr.String(), "recording cut off")
}

// TestReplayOfLiveIsTheSession wants the same events from a recording: hangs,
// ends, calls between two looks, notices and the summary.
func TestReplayOfLiveIsTheSession(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	v := s.victim("ops", fs.MountPoint, "stat", "fault", "getdents", "write")
	other := s.victim("idle", s.Dir)
	file := filepath.Join(s.Dir, "live.rec")
	l := watch(t, s.Sandbox, pid(v.PID), pid(other.PID), threshold, s.kubeletRoot(), "--record", file)
	s.hang(v, fs, 4)
	l.await(correlate.EventHangSeen, 0, 4)
	require.NoError(t, fs.Detach())
	l.await(correlate.EventHangUpdate, 0, 8)
	require.NoError(t, fs.Thaw())
	_, err := v.Await(victim.EventReturned, 4, patience)
	require.NoError(t, err)
	l.await(correlate.EventHangEnded, 0, 4)
	require.NoError(t, other.Kill())
	l.await(correlate.EventNotice, 0, 1)
	l.stop(exitHung)
	again := tool(t, s.Sandbox, exitHung, "replay", "-o", "ndjson", file)
	require.Equal(t, strings.Split(l.stdout.String(), "\n"), strings.Split(again.stdout.String(), "\n"))

	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, text[:len(text)*2/3], 0o600))
	cut := tool(t, s.Sandbox, exitFailure, "replay", "-o", "ndjson", file)
	require.NotEmpty(t, cut.stdout.String())
	require.True(t, strings.HasPrefix(l.stdout.String(), cut.stdout.String()))
	require.Contains(t, cut.stderr.String(), "recording cut off")
}
