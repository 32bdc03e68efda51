package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/testkit"
)

const (
	// hostile clears a screen, sets its title, forges a line, turns the text
	// round and is no UTF-8.
	hostile = "\x1b[2J\x1b]0;owned\a\nroot@node:~# \u202e\u009b31m\xff"
	// hostileName is as much of it as the testkit can mount on.
	hostileName = "\x1b[2J\x1b]0;owned\a\u202e\u009b31m"
	// canary stands for whatever is secret.
	canary = "c4n4ry-0f-s3cr3ts"
)

// forbidden lists what must not reach a terminal.
func forbidden(text string) []string {
	var found []string
	for i, r := range text {
		switch {
		case r == utf8.RuneError:
			if _, n := utf8.DecodeRuneInString(text[i:]); n > 1 {
				continue
			}
		case r == '\n' || unicode.IsPrint(r):
			continue
		}
		found = append(found, fmt.Sprintf("%q at %d: %q", r, i, text[max(0, i-40):min(len(text), i+40)]))
	}
	return found
}

// hostileNode has names and texts from whoever runs on a node: a volume's, a
// pod's, a process's, a mount's source, what a driver wrote of its volume. And
// secrets where they usually are: in the environment of the tool and of others,
// on the kubelet's command line, in the kubelet's configuration and in a
// driver's file.
func hostileNode(t *testing.T) (*stage, []string) {
	t.Helper()
	t.Setenv("SECRET_TOKEN", canary)
	s := newStage(t)
	_, err := s.tree.Pod(podUID, "shop"+hostile, "catalog"+hostile)
	require.NoError(t, err)
	point, err := s.tree.CSIMount(podUID, testkit.CSIVolume{PV: "pv" + hostileName, Driver: driver + hostile, Handle: handleOf(pvName) + hostile, Node: "node"})
	require.NoError(t, err)
	data := filepath.Join(filepath.Dir(point), "vol_data.json")
	text, err := os.ReadFile(data)
	require.NoError(t, err)
	var fields map[string]string
	require.NoError(t, json.Unmarshal(text, &fields))
	fields["nodeStageSecret"] = canary
	text, err = json.Marshal(fields)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(data, text, 0o600))

	fs, err := s.MountHangFS(testkit.HangFSOptions{MountPoint: point, Source: "ceph" + hostile})
	require.NoError(t, err)
	require.NoError(t, fs.Fill(4096, "data/file"))
	config := filepath.Join(s.Dir, "config.yaml")
	require.NoError(t, os.WriteFile(config, []byte("staticPodURLHeader:\n  Authorization: ["+canary+"]\n"), 0o600))
	kubelet := s.victim("idle", s.Dir, "--bootstrap-token="+canary, "--config="+config)
	v, err := s.StartVictimAs("evil\x1b[2J\n\u202e", "ops", fs.MountPoint, "stat", "read", "creat")
	require.NoError(t, err)
	p := s.hidden("argument", wordRepeat, filepath.Join(fs.MountPoint, hostile))
	s.hang(v, fs, 3)
	p.say("go")
	s.until("one more request", func() bool {
		n := 0
		held, err := fs.Held()
		require.NoError(t, err)
		for _, of := range held {
			n += of
		}
		return n > 3
	})
	pastThreshold()
	return s, []string{pid(v.PID), pid(p.PID), pid(kubelet.PID)}
}

// TestForeignTextIsHarmless runs every command that speaks to people.
func TestForeignTextIsHarmless(t *testing.T) {
	require.NotEmpty(t, forbidden("a"+hostile), "the check can fail")
	s, targets := hostileNode(t)
	recording := filepath.Join(s.Dir, "hang.rec")
	common := append(targets, threshold, s.kubeletRoot())
	with := func(args ...string) []string { return append(args, common...) }
	for _, args := range [][]string{
		with("report", "--record="+recording), with("report", "--backend=proc"), with("report", "-o", "wide"),
		with("live", "-d", "1s"), with("live", "-d", "1s", "-o", "wide"), with("live", "-d", "1s", "--mode=sample"),
		append([]string{"stacks"}, targets...), append([]string{"stacks", "-o", "folded"}, targets...),
		append([]string{"strace", "--duration=1s"}, targets...), {"strace", "--duration=1s", "-y", "-s", "200", targets[0]},
		{"scan", s.kubeletRoot(), "--min-age=0s"}, {"check", s.kubeletRoot()}, {"doctor"}, {"doctor", "--stats"}, {"replay", recording}, {"replay", recording, "-o", "wide"},
	} {
		t.Run(strings.Join(args[:min(3, len(args))], " "), func(t *testing.T) {
			r := start(t, s.Sandbox, args...)
			r.end(t)
			text := r.stdout.String() + r.stderr.String()
			require.NotEmpty(t, text)
			require.Empty(t, forbidden(text))
			switch args[0] {
			case "doctor", "stacks":
			case "check": // 80 characters have no room for a path
				require.Contains(t, text, "evil")
			default:
				require.Contains(t, text, "owned", "it does not show the name")
			}
		})
	}
}

// TestSecretsStayWhereTheyAre looks for them in all that the tool gives out, and
// in what it records to be given away.
func TestSecretsStayWhereTheyAre(t *testing.T) {
	s, targets := hostileNode(t)
	recording := filepath.Join(s.Dir, "hang.rec")
	common := append(targets, threshold, s.kubeletRoot(), "--fs=all", "--record="+recording)
	for _, name := range []string{"environ", "cmdline"} {
		text, err := os.ReadFile("/proc/" + strings.TrimPrefix(targets[len(targets)-1], "--pid=") + "/" + name)
		require.NoError(t, err)
		require.Contains(t, string(text), canary)
	}
	for _, args := range [][]string{
		append([]string{"report", "-o", "json"}, common...), append([]string{"report", "-o", "json", "--backend=proc"}, common...),
		append([]string{"live", "-o", "ndjson", "--duration=2s"}, common...),
		append([]string{"stacks", "-o", "json"}, targets...),
		append([]string{"strace", "-yy", "--duration=1s", "--record=" + recording}, targets...),
		{"scan", "-o", "json", s.kubeletRoot(), "--min-age=0s"}, {"doctor", "-o", "json"},
	} {
		t.Run(strings.Join(args[:min(4, len(args))], " "), func(t *testing.T) {
			r := start(t, s.Sandbox, args...)
			r.end(t)
			require.NotEmpty(t, r.stdout.String()+r.stderr.String())
			require.NotContains(t, r.stdout.String()+r.stderr.String(), canary)
			if strings.Contains(strings.Join(args, " "), "--record") {
				text, err := os.ReadFile(recording)
				require.NoError(t, err)
				require.Greater(t, len(text), 1000)
				require.NotContains(t, string(text), canary)
			}
		})
	}
}
