package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/doctor"
	"github.com/hangtrace/hangtrace/internal/testkit"
	"github.com/hangtrace/hangtrace/internal/testkit/victim"
)

// leastSet are the capabilities that the documents ask for, by the names that a
// container's description gives them.
var leastSet = map[string]uintptr{
	"CAP_BPF": unix.CAP_BPF, "CAP_PERFMON": unix.CAP_PERFMON, "CAP_SYS_PTRACE": unix.CAP_SYS_PTRACE,
	"CAP_SYSLOG": unix.CAP_SYSLOG, "CAP_DAC_READ_SEARCH": unix.CAP_DAC_READ_SEARCH,
}

// allowed makes commands of the tool that run with certain rights.
type allowed func(args ...string) *exec.Cmd

// asUser is an ordinary user with the least set, less one.
func asUser(t testing.TB, without string) allowed {
	return func(args ...string) *exec.Cmd {
		cmd := exec.Command(binary(t), args...)
		const nobody = 65534
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		for name, number := range leastSet {
			if name != without {
				cmd.SysProcAttr.AmbientCaps = append(cmd.SysProcAttr.AmbientCaps, number)
			}
		}
		return cmd
	}
}

// inContainer is a pod's container with the node's PIDs, made by runc: every
// capability dropped but some, a root that cannot be written and that holds the
// tool alone, no file system of the node, a network of its own.
func inContainer(t testing.TB, s *stage, caps []string) allowed {
	t.Helper()
	runc := need(t, "runc")
	bundle, state := filepath.Join(s.Dir, "bundle"), filepath.Join(s.Dir, "runc")
	for _, dir := range []string{"proc", "sys", "dev"} {
		require.NoError(t, os.MkdirAll(filepath.Join(bundle, "rootfs", dir), 0o755))
	}
	program, err := os.ReadFile(binary(t))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(bundle, "rootfs/hangtrace"), program, 0o755))
	runs := 0
	return func(args ...string) *exec.Cmd {
		runs++ // two may run at a time
		name := fmt.Sprintf("hangtrace-%s-%d", filepath.Base(s.Dir), runs)
		t.Cleanup(func() { _ = exec.Command(runc, "--root", state, "delete", "--force", name).Run() })
		text, err := json.Marshal(podContainer(caps, args))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(bundle, "config.json"), text, 0o600))
		return exec.Command(runc, "--root", state, "run", "--bundle", bundle, name)
	}
}

// podContainer is the description that a container runtime makes of a pod with
// hostPID, "drop: [ALL]", "add: caps", readOnlyRootFilesystem and
// allowPrivilegeEscalation: false.
func podContainer(caps, args []string) any {
	type m = map[string]any
	return m{
		"ociVersion": "1.0.2",
		"process": m{
			"args": append([]string{"/hangtrace"}, args...), "cwd": "/", "user": m{"uid": 0, "gid": 0},
			"env":             []string{"PATH=/"},
			"capabilities":    m{"bounding": caps, "effective": caps, "permitted": caps},
			"noNewPrivileges": true,
		},
		"root":     m{"path": "rootfs", "readonly": true},
		"hostname": "node",
		"mounts": []m{
			{"destination": "/proc", "type": "proc", "source": "proc", "options": []string{"nosuid", "noexec", "nodev"}},
			{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": []string{"nosuid", "noexec", "nodev", "ro"}},
		},
		"linux": m{
			"namespaces": []m{{"type": "mount"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}},
			"maskedPaths": []string{"/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
				"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"},
			"readonlyPaths": []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
}

// TestRights runs every command with the least set, and wants what root gets.
// What is missing then is said, and is no more than the documents say.
func TestRights(t *testing.T) {
	for name, row := range map[string]struct {
		rights func(s *stage) allowed
		// missing is what a report says it cannot know; nil for nothing.
		missing []string
	}{
		"an ordinary user": {func(s *stage) allowed { return asUser(t, "") }, nil},
		"a container": {func(s *stage) allowed { return inContainer(t, s, slices.Sorted(maps.Keys(leastSet))) },
			[]string{"the FUSE control file system is not mounted", "the kernel's log cannot be read"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			fs := s.csi(podUID, pvName)
			v := s.victim("ops", fs.MountPoint, "stat", "read", "fault")
			w := &rightsTest{s, row.rights(s), fs, v, s.hang(v, fs, 3)}
			pastThreshold()
			w.report(t, row.missing)
			w.scan(t)
			w.check(t)
			w.doctor(t)
			w.strace(t)
			w.live(t)
		})
	}
}

// rightsTest is a node with three threads that hang.
type rightsTest struct {
	*stage
	with   allowed
	fs     *testkit.HangFS
	victim *testkit.Victim
	lines  []victim.Line
}

// run runs the tool to its end and wants an exit code.
func (w *rightsTest) run(t *testing.T, code int, args ...string) *run {
	t.Helper()
	r := startCommand(t, w.Sandbox, w.with(args...))
	require.Equal(t, code, r.end(t), "%v\nstdout: %s\nstderr: %s", args, &r.stdout, &r.stderr)
	return r
}

func (w *rightsTest) json(t *testing.T, into any, code int, args ...string) {
	t.Helper()
	r := w.run(t, code, append(args, "-o", "json")...)
	require.NoError(t, json.Unmarshal([]byte(r.stdout.String()), into), "%s", &r.stdout)
}

func (w *rightsTest) report(t *testing.T, missing []string) {
	t.Helper()
	for _, backend := range backends {
		var rep correlate.Report
		w.json(t, &rep, exitHung, "report", pid(w.victim.PID), threshold, w.kubeletRoot(), "--backend="+backend)
		got := byTID(t, rep.Hangs)
		require.Len(t, got, len(w.lines))
		for _, line := range w.lines {
			h := got[line.TID]
			require.NotNil(t, h, line.Op)
			checkOp(t, h, line, correlate.ReasonInSyscall)
			checkVolume(t, h, w.fs.MountPoint, podUID, pvName)
			require.NotEmpty(t, h.UserStack)
		}
		text := strings.Join(rep.Capture.Degraded, "\n")
		for _, want := range missing {
			require.Contains(t, text, want)
		}
		if missing == nil {
			require.NotContains(t, text, "cannot be")
		}
	}
}

func (w *rightsTest) scan(t *testing.T) {
	t.Helper()
	var found correlate.Scan
	w.json(t, &found, exitHung, "scan", w.kubeletRoot(), "--min-age=0s", threshold)
	for _, l := range found.Leftovers {
		if l.Class == correlate.ClassHungMount && string(l.Path) == w.fs.MountPoint {
			require.Equal(t, pvName, string(l.Volume.PV))
			require.NotEmpty(t, l.Holders)
			return
		}
	}
	require.FailNow(t, "the hung mount is not found", "%+v", found.Leftovers)
}

func (w *rightsTest) check(t *testing.T) {
	t.Helper()
	r := w.run(t, 1, "check", w.kubeletRoot(), threshold)
	require.Contains(t, r.stdout.String(), "ceph-fuse")
}

func (w *rightsTest) doctor(t *testing.T) {
	t.Helper()
	var r doctor.Report
	w.json(t, &r, exitOK, "doctor")
	for _, c := range r.Checks {
		switch {
		case c.Group == doctor.GroupRights:
			require.Equal(t, c.Name == "CAP_SYS_ADMIN", c.State == doctor.No, "%s", c.Name)
		case c.Name == "task iterator", c.Name == "tracing: sys_enter", c.Name == "tracing: sys_exit":
			require.Equal(t, doctor.Yes, c.State, "%s", c.Name)
		}
	}
}

func (w *rightsTest) strace(t *testing.T) {
	t.Helper()
	p := w.hidden("statter", wordRepeat, w.Dir)
	r := startCommand(t, w.Sandbox, w.with("strace", pid(p.PID), "-e", "trace=file"))
	for deadline := time.Now().Add(patience); !strings.Contains(r.stderr.String(), strconv.Quote(w.Dir)); time.Sleep(20 * time.Millisecond) {
		require.False(t, time.Now().After(deadline), "%s", &r.stderr)
		p.say("go")
		p.line()
	}
	w.stats(t, pid(p.PID))
	require.NoError(t, r.Signal(os.Interrupt))
	require.Equal(t, exitOK, r.end(t))
}

// stats reads the counters of a session with the same rights, without asking the
// kernel for programs by number, which is CAP_SYS_ADMIN's.
func (w *rightsTest) stats(t *testing.T, target string) {
	t.Helper()
	var st doctor.Stats
	w.json(t, &st, exitOK, "doctor", "--stats")
	for _, s := range st.Sessions {
		if slices.Contains(s.Command, target) { // in a container its PID is not runc's
			require.NotNil(t, s.PID)
			require.Nil(t, s.Error)
			require.Positive(t, counts(t, s, "strace")["calls"])
			return
		}
	}
	require.Fail(t, "the session is not seen", "%+v", st)
}

// live sees the hangs that were there, and their end.
func (w *rightsTest) live(t *testing.T) {
	t.Helper()
	l := &live{startCommand(t, w.Sandbox, w.with("-o", "ndjson", pid(w.victim.PID), threshold, w.kubeletRoot())), t}
	l.await(correlate.EventHangSeen, 0, len(w.lines))
	time.Sleep(time.Second) // a tick, at which the tracer learns of them
	require.NoError(t, w.fs.Thaw())
	l.await(correlate.EventHangEnded, 0, len(w.lines))
	for _, e := range l.stop(exitHung) {
		if e.Kind == correlate.EventHangEnded {
			require.Equal(t, e.Reason == correlate.ReasonPageFault, e.Ret == nil)
		}
	}
}

// TestEachRightIsSaid takes one capability away at a time: the report still
// finds every hang, and says what it could not read for want of it.
func TestEachRightIsSaid(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	v := s.victim("ops", fs.MountPoint, "stat", "read", "fault")
	lines := s.hang(v, fs, 3)
	pastThreshold()
	for without, said := range map[string]string{
		"CAP_BPF":             "BPF is refused: needs root, or CAP_BPF and CAP_PERFMON",
		"CAP_PERFMON":         "BPF is refused: needs root, or CAP_BPF and CAP_PERFMON",
		"CAP_SYS_PTRACE":      "memory of pid " + strconv.Itoa(v.PID),
		"CAP_SYSLOG":          "the kernel's log cannot be read",
		"CAP_DAC_READ_SEARCH": "memory of pid " + strconv.Itoa(v.PID),
	} {
		t.Run(without, func(t *testing.T) {
			w := &rightsTest{stage: s, with: asUser(t, without)}
			var rep correlate.Report
			w.json(t, &rep, exitHung, "report", pid(v.PID), threshold, s.kubeletRoot())
			require.Len(t, byTID(t, rep.Hangs), len(lines))
			text := fmt.Sprint(rep.Capture.Skipped, rep.Capture.Degraded)
			require.Contains(t, text, said)
			for _, h := range rep.Hangs {
				require.NotNil(t, h.Mount)
				require.Equal(t, "ceph-fuse", string(h.Mount.Kind))
				require.Equal(t, podUID, string(h.Volume.Pod.UID))
			}
		})
	}
	t.Run("a container with none", func(t *testing.T) {
		w := &rightsTest{stage: s, with: inContainer(t, s, nil)}
		var rep correlate.Report
		w.json(t, &rep, exitOK, "report", threshold)
		text := fmt.Sprint(rep.Capture.Degraded)
		require.Contains(t, text, "BPF is refused")
		require.Contains(t, text, "their hangs are not seen")
	})
}
