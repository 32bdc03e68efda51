package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/correlate"
)

const housekeeping = "kubelet syncLoop is stuck in housekeeping: no pod on this node starts, stops or is cleaned up"

// checkHousekeeping wants the sentence, and the calls that it was made from.
func checkHousekeeping(t testing.TB, h *correlate.Hang, inner ...string) {
	t.Helper()
	require.Equal(t, housekeeping, string(h.Effect))
	outer := []string{".podVolumesExist", ".cleanupOrphanedPodDirs", ".HandlePodCleanups", ".syncLoopIteration", ".syncLoop"}
	requireChain(t, h.UserStack, append(append([]string{"os.Stat"}, inner...), outer...))
	require.NotNil(t, h.Goroutine)
	require.Empty(t, h.UserStackEnd)
}

// requireChain wants these calls in this order, each with its file and line.
func requireChain(t testing.TB, stack []correlate.Frame, want []string) {
	t.Helper()
	rest := stack
	for _, w := range want {
		i := 0
		for i < len(rest) && !strings.HasSuffix(string(rest[i].Function), w) {
			i++
		}
		require.Less(t, i, len(rest), "%s is missing in %v", w, stack)
		require.NotEmpty(t, rest[i].File, w)
		require.NotZero(t, rest[i].Line, w)
		rest = rest[i+1:]
	}
}

// TestHealthz compares what hangs with what the kubelet says of itself, in every
// way that it may answer.
func TestHealthz(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	var answer atomic.Value
	release := make(chan struct{})
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz/syncloop" {
			http.NotFound(w, r)
			return
		}
		switch answer.Load() {
		case "ok":
			fmt.Fprint(w, "ok")
		case "failed":
			http.Error(w, "internal server error: sync Loop took longer than expected", http.StatusInternalServerError)
		case "token":
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
		case "silent":
			<-release
		}
	}))
	// Stopped before the sandbox looks whether anything is left.
	defer server.Close()
	defer close(release)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)
	config := filepath.Join(s.Dir, "config.yaml")
	require.NoError(t, os.WriteFile(config, []byte("kind: KubeletConfiguration\nport: "+port+"\nauthentication: {anonymous: {enabled: true}}\n"), 0o600))
	require.NoError(t, fs.Freeze())
	k := s.victim("kubelet", "--root-dir="+s.tree.Root, "--config="+config)
	s.held(fs)
	pastThreshold()

	for _, tt := range []struct{ answer, state, text string }{
		{"ok", "ok", "/healthz/syncloop still says ok: it needs 5 minutes to notice"},
		{"failed", "failed", "/healthz/syncloop says failed: the kubelet has noticed by itself"},
		{"token", "unknown", "/healthz/syncloop not known: it answers only to a token (status 401)"},
		{"silent", "unknown", "no answer within 1s"},
	} {
		answer.Store(tt.answer)
		rep := report(t, s.Sandbox, exitHung, pid(k.PID), threshold)
		require.Len(t, rep.Targets, 1)
		require.NotNil(t, rep.Targets[0].Kubelet, tt.answer)
		require.NotNil(t, rep.Targets[0].Kubelet.Healthz, tt.answer)
		require.Equal(t, tt.state, rep.Targets[0].Kubelet.Healthz.SyncLoop, "%s: %+v", tt.answer, rep.Targets[0].Kubelet.Healthz)
		require.Equal(t, housekeeping, string(rep.Hangs[0].Effect), "what the kubelet says must cost nothing else")

		text := tool(t, s.Sandbox, exitHung, "report", pid(k.PID), threshold)
		require.Contains(t, strings.Join(strings.Fields(text.stdout.String()), " "), tt.text, tt.answer)
	}
}
