package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/testkit"
)

// TestScanPodThatWaits leaves a pod alone that the container runtime does not
// know yet: by the kubelet's word, and for as long as it is young.
func TestScanPodThatWaits(t *testing.T) {
	s := newScanned(t)
	kubelet := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"kind":"PodList","items":[{"metadata":{"uid":%q,"name":"waits","namespace":"shop"}}]}`, goneUID)
	}))
	t.Cleanup(kubelet.Close)
	_, err := s.tree.Pod(goneUID, "", "")
	require.NoError(t, err)
	_, err = s.tree.CSIMount(goneUID, testkit.CSIVolume{PV: "pv-dir", Driver: driver, Handle: handleOf("pv-dir"), Node: "node"})
	require.NoError(t, err)
	s.watch(s.csi(goneUID, pvName)) // this one is mounted already, the other not yet
	known := "--kubelet-pods=" + kubelet.URL + "/pods"
	s.clean(known)
	list, r, found := s.scan("--kubelet-pods=none")
	require.Len(t, list, 2, "%s", &r.stdout)
	require.NotContains(t, found.Checked.PodSources, "kubelet")
	require.Equal(t, correlate.ClassOrphanMount, list[0].Class)
	require.Equal(t, correlate.ClassOrphanDir, list[1].Class)
	s.clean("--kubelet-pods=none", "--min-age=1h")
	for _, class := range []correlate.Class{correlate.ClassOrphanMount, correlate.ClassOrphanDir} {
		tool(t, s.Sandbox, exitHung, append([]string{"scan", "--fail-on=stale_rbd_device," + string(class)}, s.flags("--kubelet-pods=none")...)...)
	}

	kubelet.Close() // a kubelet that is down is no kubelet without pods
	list, r, _ = s.scan(known)
	require.Len(t, list, 2, "%s", &r.stdout)
}

// TestScanDetachedMapping keeps a lazily unmounted volume in use by a mapping
// alone.
func TestScanDetachedMapping(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		s := newScanned(t)
		fs := s.watch(s.csi(podUID, pvName))
		f, err := os.Open(file(fs))
		require.NoError(t, err)
		m, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE)
		require.NoError(t, err)
		f.Close()
		require.NoError(t, fs.Detach())
		l := s.one(correlate.ClassDetached, backend)
		wantHolder(t, l, os.Getpid(), "mapping")
		require.NoError(t, unix.Munmap(m))
		s.clean(backend)
	})
}
