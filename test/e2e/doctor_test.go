package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/doctor"
	"github.com/hangtrace/hangtrace/internal/loader"
)

// TestDoctorTellsWhatIsLacking holds what doctor says of this kernel against
// what report and live say of themselves: neither may lack what the other has.
func TestDoctorTellsWhatIsLacking(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	v := s.victim("ops", fs.MountPoint, "stat")
	s.hang(v, fs, 1)
	pastThreshold()

	var d doctor.Report
	require.NoError(t, json.Unmarshal([]byte(tool(t, s.Sandbox, exitOK, "doctor", "-o", "json").stdout.String()), &d))
	states := make(map[string]doctor.State)
	for _, c := range d.Checks {
		states[c.Name] = c.State
		t.Logf("%s: %s", c.Name, c.State)
	}
	rep := report(t, s.Sandbox, exitHung, pid(v.PID), threshold, "--backend=bpf", s.kubeletRoot())
	l := watch(t, s.Sandbox, pid(v.PID), threshold, s.kubeletRoot(), "--mode=trace")
	l.await(correlate.EventHangSeen, 0, 1)
	var notices []string
	for _, e := range l.stop(exitHung) {
		notices = append(notices, e.Notice)
	}
	degraded := make([]string, len(rep.Capture.Degraded))
	for i, text := range rep.Capture.Degraded {
		degraded[i] = string(text)
	}
	for _, c := range []struct {
		check string
		state doctor.State
		said  []string
		text  string
	}{
		{"file iterator", doctor.Partly, degraded, "paths of descriptors from /proc links"},
		{"kernel symbol names", doctor.Partly, degraded, "kernel names from kallsyms"},
		{"last_arrival", doctor.No, degraded, "blocked since when is known only as far as"},
		{"walk over kernel structures", doctor.No, degraded, "who waits for whom is known by stacks only"},
		{"walk over kernel structures", doctor.Partly, degraded, "not walked"},
		{"tracing: " + loader.ProbeEvery, doctor.No, notices, "calls made while another thread is preempted"},
		{"tracing: " + loader.ProbeSeed, doctor.No, notices, "calls already in flight: their return is not seen"},
	} {
		require.Contains(t, states, c.check)
		lacks := strings.Contains(strings.Join(c.said, "\n"), c.text)
		require.Equal(t, states[c.check] == c.state, lacks, "doctor says %s of %s, report and live %q", states[c.check], c.check, c.said)
	}
}
