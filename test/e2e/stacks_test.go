package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// stacks runs the command and decodes what it says.
func stacks(t testing.TB, s *stage, args ...string) *facts.StackDump {
	t.Helper()
	r := tool(t, s.Sandbox, exitOK, append([]string{"stacks", "-o", "json"}, args...)...)
	var d facts.StackDump
	require.NoError(t, json.Unmarshal([]byte(r.stdout.String()), &d), "%s", &r.stdout)
	require.Len(t, d.Processes, 1, "%+v", d.Skipped)
	return &d
}

// pprofOf shows a profile with the tool that it is for; "" where there is none,
// as in a virtual machine.
func pprofOf(t testing.TB, s *stage, flags []string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		return ""
	}
	file := filepath.Join(s.Dir, "profile.pb.gz")
	code := exitOK
	if args[0] == "report" {
		code = exitHung
	}
	tool(t, s.Sandbox, code, append(args, "-o", "pprof", "--out", file)...)
	cmd := exec.Command("go", append(append([]string{"tool", "pprof"}, flags...), file)...)
	cmd.Env = append(os.Environ(), "PPROF_TMPDIR="+s.Dir)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

func contains(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		require.Contains(t, text, part)
	}
}

// TestStacksOfHung looks at every thread of a kubelet that hangs, in every form.
func TestStacksOfHung(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	require.NoError(t, fs.Freeze())
	k := s.victim("kubelet", "--root-dir="+s.tree.Root)
	s.held(fs)
	for _, backend := range backends {
		d := stacks(t, s, pid(k.PID), "--backend="+backend)
		p := d.Processes[0]
		require.Equal(t, "kubelet", p.Comm)
		require.Regexp(t, `^go1\.\d+`, p.Runtime)
		require.Empty(t, p.ParkedErr)
		require.NotEmpty(t, p.Parked, "the runtime's own goroutines are parked")
		hung := 0
		for _, th := range p.Threads {
			if th.User == nil || !called(th.User, ".cleanupOrphanedPodDirs") {
				continue
			}
			hung++
			require.Empty(t, th.User.End)
			require.True(t, called(th.User, "os.Stat"))
			require.Contains(t, strings.Join(th.Kernel, " "), "request_wait_answer", backend)
			require.NotNil(t, th.User.Goroutine)
			require.Equal(t, "syscall", th.User.Goroutine.Status)
			require.Contains(t, th.User.Goroutine.CreatedBy, "runKubelet")
		}
		require.Equal(t, 1, hung, backend)
		text := tool(t, s.Sandbox, exitOK, "stacks", pid(k.PID), "--backend="+backend).stdout.String()
		contains(t, text, "1 @ 1 in ", "kernel  request_wait_answer", ".(*kubelet).syncLoop ", "internal/testkit/victim/kubelet.go:", "on no thread, go1.")
		folded := tool(t, s.Sandbox, exitOK, "stacks", pid(k.PID), "-o", "folded", "--backend="+backend).stdout.String()
		require.Regexp(t, `(?m)^\S*\.\(\*kubelet\)\.syncLoop;\S*;os\.Stat;\S*;request_wait_answer\S*_\[k\] 1$`, folded)
	}
	if top := pprofOf(t, s, []string{"-top"}, "stacks", pid(k.PID)); top != "" {
		contains(t, top, "Type: threads", "request_wait_answer", "_[k]", ".(*kubelet).syncLoop", "os.Stat")
	}
	pastThreshold()
	if top := pprofOf(t, s, []string{"-top"}, "report", pid(k.PID), threshold, s.kubeletRoot()); top != "" {
		contains(t, top, "Type: blocked", "request_wait_answer", "_[k]", ".(*kubelet).syncLoop", "os.Stat")
		tags := pprofOf(t, s, []string{"-tags"}, "report", pid(k.PID), threshold, s.kubeletRoot())
		contains(t, tags, "pod:", podUID, "volume:", pvName, "path:", fs.MountPoint, "server:", "ceph-fuse[")
	}
	folded := tool(t, s.Sandbox, exitHung, "report", pid(k.PID), threshold, "-o", "folded").stdout.String()
	require.Regexp(t, `;os\.Stat;\S*;request_wait_answer\S*_\[k\] \d{9,}\n`, folded)
}

func called(u *facts.UserStack, function string) bool {
	for _, f := range u.Frames {
		if strings.HasSuffix(f.Function, function) {
			return true
		}
	}
	return false
}

// TestStacksOfIdle looks at a program that is fine: nothing is missing, nothing
// is made up, and the program goes on.
func TestStacksOfIdle(t *testing.T) {
	s := newStage(t)
	v := s.victim("idle", s.Dir)
	for _, backend := range backends {
		d := stacks(t, s, pid(v.PID), "--backend="+backend)
		p := d.Processes[0]
		require.Empty(t, d.Skipped)
		whole := 0
		for _, th := range p.Threads {
			if th.User == nil {
				require.Equal(t, "R", th.State, "%+v", th)
				continue
			}
			require.NotEmpty(t, th.Kernel, "%+v", th)
			if th.User.End == "" {
				whole++
				last := th.User.Frames[len(th.User.Frames)-1].Function
				require.Regexp(t, `^(runtime\.|main\.|testing\.|github\.com/)`, last, "%+v", th.User)
			}
		}
		require.Greater(t, whole, len(p.Threads)/2, "%+v", p.Threads)
		main := 0
		for _, g := range p.Parked {
			require.NotNil(t, g.Goroutine)
			if g.Goroutine.ID == 1 {
				main++
			}
		}
		for _, th := range p.Threads {
			if th.User != nil && th.User.Goroutine != nil && th.User.Goroutine.ID == 1 {
				main++
			}
		}
		require.Equal(t, 1, main, "the main goroutine is somewhere, once")
	}
	require.NoError(t, v.Say("quit"))
	require.NoError(t, v.Wait(patience), "it was neither stopped nor killed")
}

// TestStacksWithoutProgram keeps away from a program that lies on the volume
// that hangs: its frames are named by where they are, and that is said.
func TestStacksWithoutProgram(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	program := filepath.Join(fs.MountPoint, "data/program")
	copyFile(t, "/bin/sleep", program)
	cmd := exec.Command(program, "1000")
	p, err := s.Start(cmd)
	require.NoError(t, err)
	goProgram := filepath.Join(fs.MountPoint, "data/goprogram")
	copyFile(t, "/proc/self/exe", goProgram) // waits for a line, and does nothing else
	q, err := s.Start(exec.Command(goProgram, wordRepeat, "/"))
	require.NoError(t, err)
	require.Equal(t, "ready", (&helper{q, t}).line())
	require.NoError(t, fs.Freeze())
	for _, who := range []int{p.PID, q.PID} {
		for _, detached := range []bool{false, true} {
			if detached && who == q.PID {
				require.NoError(t, fs.Detach())
			}
			r := tool(t, s.Sandbox, exitOK, "stacks", "-o", "json", pid(who))
			device := fmt.Sprintf("device %d:%d", fs.Major, fs.Minor)
			contains(t, r.stdout.String(), "may hang", device, `"module": "`, `"offset": `)
			require.NotContains(t, r.stdout.String(), "cannot be killed", "a child was lost to it")
		}
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, text, 0o755))
}

// TestStacksOfJammed looks at a process whose memory nobody can read: the
// kernel's side is there, and the rest is named, in time.
func TestStacksOfJammed(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	v := s.victim("jam", fs.MountPoint)
	lines := s.hang(v, fs, jamThreads)
	for _, backend := range backends {
		d := stacks(t, s, pid(v.PID), "--backend="+backend)
		byTID := make(map[int]facts.ThreadStacks)
		for _, th := range d.Processes[0].Threads {
			byTID[th.TID] = th
		}
		for _, l := range lines {
			require.NotEmpty(t, byTID[l.TID].Kernel, "%s %s", backend, l.Op)
			require.Nil(t, byTID[l.TID].User, "%s %s", backend, l.Op)
		}
		require.Contains(t, fmt.Sprint(d.Skipped), fmt.Sprintf("user stacks of pid %d", v.PID), backend)
	}
}

// TestNativeStacks reports a program that is not Go: by the names that its
// libraries export, and where there are none by module, offset and build ID.
func TestNativeStacks(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	require.NoError(t, fs.Freeze())
	p, err := s.Start(exec.Command("stat", fs.MountPoint+"/data/file"))
	require.NoError(t, err)
	s.held(fs)
	pastThreshold()
	for _, backend := range backends {
		h := byTID(t, report(t, s.Sandbox, exitHung, pid(p.PID), threshold, "--backend="+backend).Hangs)[p.PID]
		require.NotNil(t, h, backend)
		require.Greater(t, len(h.UserStack), 2, "%s %+v %s", backend, h.UserStack, h.UserStackEnd)
		require.Empty(t, h.UserStackEnd, backend)
		require.Nil(t, h.Goroutine)
		require.Regexp(t, `stat`, string(h.UserStack[0].Function), "%s: the call of the C library", backend)
		own := 0
		for _, f := range h.UserStack {
			if regexp.MustCompile(`^/\S*/stat\+0x[0-9a-f]+$`).MatchString(string(f.Function)) {
				own++
				require.Regexp(t, `^[0-9a-f]{40}$`, f.BuildID)
			}
		}
		require.NotZero(t, own, "%s: the frames of the stripped program: %+v", backend, h.UserStack)
	}
}
