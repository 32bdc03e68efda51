package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/testkit"
)

// condition is a node condition as node-problem-detector reports it.
type condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// detector is the custom plugin monitor of the real node-problem-detector.
type detector struct {
	*scanned
	program string
	config  map[string]any
}

func newDetector(t testing.TB) *detector {
	t.Helper()
	text, err := os.ReadFile("../../deploy/node-problem-detector/hangtrace.json")
	if errors.Is(err, os.ErrNotExist) {
		t.Skip(err) // in a guest there is only the test binary
	}
	require.NoError(t, err)
	testkit.NeedRoot(t)
	d := &detector{program: filepath.Join(t.TempDir(), "npd")}
	require.NoError(t, json.Unmarshal(text, &d.config))
	build := exec.Command("go", "build", "-o", d.program, ".")
	build.Dir, build.Env = "../npd", append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	d.scanned = newScanned(t)
	return d
}

// conditions has it run the shipped rules, with this build of the plugin and
// further flags, and gives the conditions in the end.
func (d *detector) conditions(flags ...string) map[string]condition {
	d.t.Helper()
	for _, r := range d.config["rules"].([]any) {
		rule := r.(map[string]any)
		shipped, ok := rule["shipped"]
		if !ok {
			shipped = rule["args"]
			rule["shipped"] = shipped
		}
		args := append([]any{}, shipped.([]any)...)
		for _, f := range d.flags(flags...) {
			args = append(args, f)
		}
		rule["path"], rule["args"] = binary(d.t), args
	}
	text, err := json.Marshal(d.config)
	require.NoError(d.t, err)
	file := filepath.Join(d.t.TempDir(), "config.json")
	require.NoError(d.t, os.WriteFile(file, text, 0o644))
	cmd := exec.Command(d.program, file)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(d.t, err, "%s", &stderr)
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var last struct {
		Conditions []condition `json:"conditions"`
	}
	require.NoError(d.t, json.Unmarshal([]byte(lines[len(lines)-1]), &last))
	byType := make(map[string]condition)
	for _, c := range last.Conditions {
		byType[c.Type] = c
	}
	return byType
}

// TestCheckUnderNodeProblemDetector has the real one load the shipped
// configuration and run its rules, and wants the node conditions to follow.
func TestCheckUnderNodeProblemDetector(t *testing.T) {
	d := newDetector(t)
	// Other tests hang FUSE on this machine at the same time, none hangs rbd.
	got := d.conditions("--fs=rbd")
	require.Equal(t, condition{"StorageHung", "False", "NoStorageHang", "no thread hangs on a file system"}, got["StorageHung"])
	require.Equal(t, condition{"StorageLeftover", "False", "NoStorageLeftover", "no dangerous leftover of a volume"}, got["StorageLeftover"])

	fs := d.watch(d.csi(podUID, pvName))
	v := d.victim("ops", fs.MountPoint, "stat", "open")
	d.hang(v, fs, 2)
	pastThreshold()
	got = d.conditions("--fs=ceph-fuse")
	t.Log(got)
	require.Equal(t, "True", got["StorageHung"].Status)
	require.Equal(t, "ThreadHangsOnStorage", got["StorageHung"].Reason)
	require.Regexp(t, `^ceph-fuse( .+)? silent \w+: kubelet \w+ `, got["StorageHung"].Message)
	require.Equal(t, "True", got["StorageLeftover"].Status)
	require.Equal(t, "VolumeLeftBehind", got["StorageLeftover"].Reason)
	for _, c := range got {
		require.LessOrEqual(t, len(c.Message), 80)
		require.NotContains(t, c.Message, "Timeout")
	}

	// A look that cannot be made is neither fine nor a problem.
	got = d.conditions("--what=nonsense")
	require.Equal(t, "Unknown", got["StorageHung"].Status)
	require.Equal(t, "Unknown", got["StorageLeftover"].Status)
}
