package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/testkit"
)

// pluginConfig is what node-problem-detector reads of a custom plugin monitor
// (pkg/custompluginmonitor/types).
type pluginConfig struct {
	Plugin       string `json:"plugin"`
	PluginConfig struct {
		Timeout         string `json:"timeout"`
		MaxOutputLength int    `json:"max_output_length"`
		Concurrency     int    `json:"concurrency"`
	} `json:"pluginConfig"`
	Source     string                                   `json:"source"`
	Conditions []struct{ Type, Reason, Message string } `json:"conditions"`
	Rules      []struct {
		Type, Condition, Reason, Path, Timeout string
		Args                                   []string
	} `json:"rules"`
}

// status is what node-problem-detector makes of a run (plugin.run).
type status struct {
	code   int
	output string
	took   time.Duration
}

// detect runs a rule as node-problem-detector does: in a process group of its
// own, killed at the timeout, its output cut.
func detect(t testing.TB, path string, args []string, timeout time.Duration, most int) status {
	t.Helper()
	cmd := exec.Command(path, args...)
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	begin := time.Now()
	require.NoError(t, cmd.Start())
	killed := time.AfterFunc(timeout, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	err := cmd.Wait()
	require.True(t, killed.Stop(), "the plugin ran into its timeout")
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	out := strings.TrimSpace(stdout.String())
	require.LessOrEqual(t, len(out), most, "cut by node-problem-detector: %q", out)
	return status{cmd.ProcessState.ExitCode(), out, time.Since(begin)}
}

// TestCheckAsPlugin runs the shipped configuration's rules on a node with a
// hang.
func TestCheckAsPlugin(t *testing.T) {
	text, err := os.ReadFile("../../deploy/node-problem-detector/hangtrace.json")
	if errors.Is(err, os.ErrNotExist) {
		t.Skip(err) // in a guest there is only the test binary
	}
	require.NoError(t, err)
	var config pluginConfig
	require.NoError(t, json.Unmarshal(text, &config))
	require.Equal(t, "custom", config.Plugin)
	require.Equal(t, 80, config.PluginConfig.MaxOutputLength)
	conditions := make(map[string]bool)
	for _, c := range config.Conditions {
		conditions[c.Type] = true
	}
	s := newScanned(t)
	fs := s.watch(s.csi(podUID, pvName))
	v := s.victim("ops", fs.MountPoint, "stat", "open")
	s.hang(v, fs, 2)
	pastThreshold()
	for _, rule := range config.Rules {
		require.True(t, conditions[rule.Condition], rule.Condition)
		require.Equal(t, "permanent", rule.Type)
		timeout, err := time.ParseDuration(rule.Timeout)
		require.NoError(t, err)
		for _, backend := range backends {
			args := append(append([]string{}, rule.Args...), s.flags("--backend="+backend)...)
			got := detect(t, binary(t), args, timeout, config.PluginConfig.MaxOutputLength)
			t.Logf("%s %s: %d %q in %v", rule.Reason, backend, got.code, got.output, got.took.Round(time.Millisecond))
			require.Equal(t, 1, got.code)
			require.NotContains(t, got.output, "\n")
		}
	}
	// The line is about the worst hang of the node, which on a machine with
	// other tests need not be ours.
	hangs := detect(t, binary(t), append([]string{"check", "--what=hangs", "--fs=ceph-fuse"}, s.flags()...), 5*time.Second, 80)
	require.Regexp(t, `^ceph-fuse ceph-fuse\[\d+\] silent \w+: kubelet \w+ .*waiters?$`, hangs.output)
}

// TestCheckFindsAHang wants the answer of a node with a hang, in one short line.
func TestCheckFindsAHang(t *testing.T) {
	s := newScanned(t)
	fs := s.watch(s.csi(podUID, pvName))
	v := s.victim("ops", fs.MountPoint, "stat", "open")
	s.hang(v, fs, 2)
	pastThreshold()
	for _, backend := range backends {
		r := tool(t, s.Sandbox, 1, append([]string{"check", "--what=hangs"}, s.flags("--backend="+backend, threshold)...)...)
		out := strings.TrimSpace(r.stdout.String())
		require.LessOrEqual(t, utf8.RuneCountInString(out), 80)
		require.Regexp(t, `silent|blocked|hung`, out) // of the worst hang, which on a machine with other tests need not be ours
		require.NotContains(t, out, "\n")
	}
}

// TestCheckUnknown wants exit code 2 for what is no answer.
func TestCheckUnknown(t *testing.T) {
	testkit.NeedRoot(t)
	for _, args := range [][]string{{"--deadline=1ms"}, {"--no-such-flag"}, {"--what=x"}, {"argument"}} {
		cmd := exec.Command(binary(t), append([]string{"check"}, args...)...)
		_ = cmd.Run()
		require.Equal(t, 2, cmd.ProcessState.ExitCode(), "%v", args)
	}
}

// TestCheckInTime stops the child that looks: the answer comes all the same.
func TestCheckInTime(t *testing.T) {
	s := newScanned(t)
	r := start(t, s.Sandbox, append([]string{"check", "--deadline=2s"}, s.flags()...)...)
	var child string
	for deadline := time.Now().Add(patience); child == "" && time.Now().Before(deadline); {
		names, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(r.PID), "task", "*", "children"))
		for _, name := range names {
			text, _ := os.ReadFile(name)
			for _, id := range strings.Fields(string(text)) {
				// Until it executes, its parent waits in vfork.
				if args, _ := os.ReadFile("/proc/" + id + "/cmdline"); strings.Contains(string(args), "--here") {
					child = id
				}
			}
		}
	}
	require.NotEmpty(t, child)
	id, err := strconv.Atoi(child)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(id, syscall.SIGSTOP))
	require.Equal(t, 2, r.end(t))
	require.Less(t, r.took, 4*time.Second)
	require.Contains(t, r.stdout.String(), "unknown")
	require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSpace(r.stdout.String())), 80)
}
