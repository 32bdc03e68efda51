package e2e

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/testkit"
	"github.com/hangtrace/hangtrace/internal/testkit/victim"
)

// The pod and volume of most tests.
const (
	podUID   = "3e5c5b0c-7a57-4f6e-9f0e-5c2d8a1b9d42"
	otherUID = "9b1d7f7e-1c0a-4c39-8d3f-27c6a1f0e3aa"
	driver   = "cephfs.csi.ceph.com"
	pvName   = "pvc-0a5c1f2e-6f0f-4a4e-9d0e-9a7d8c6b5a40"
)

// threshold is one that a machine under load does not pass by itself.
var threshold = fmt.Sprintf("--threshold=%dms", 300*testkit.Slow())

func handleOf(pv string) string {
	return "0001-0009-rook-ceph-0000000000000001-" + pv
}

// stage is a kubelet's tree in a sandbox.
type stage struct {
	*testkit.Sandbox
	tree *testkit.KubeletTree
	t    testing.TB
}

func newStage(t testing.TB) *stage {
	t.Helper()
	testkit.NeedBPF(t)
	t.Cleanup(func() { nothingLeft(t) }) // after the sandbox is closed
	s := testkit.New(t)
	tree, err := testkit.NewKubeletTree(s.Dir)
	require.NoError(t, err)
	return &stage{s, tree, t}
}

// csi makes a pod with a CSI volume and mounts a hanging file system there.
func (s *stage) csi(uid, pv string) *testkit.HangFS {
	s.t.Helper()
	return s.mount(s.csiPoint(uid, pv), "")
}

func (s *stage) csiPoint(uid, pv string) string {
	s.t.Helper()
	_, err := s.tree.Pod(uid, "shop", "catalog-0")
	require.NoError(s.t, err)
	point, err := s.tree.CSIMount(uid, testkit.CSIVolume{PV: pv, Driver: driver, Handle: handleOf(pv), Node: "node"})
	require.NoError(s.t, err)
	return point
}

func (s *stage) mount(point, fstype string) *testkit.HangFS {
	s.t.Helper()
	fs, err := s.MountHangFS(testkit.HangFSOptions{MountPoint: point, FSType: fstype})
	require.NoError(s.t, err)
	require.NoError(s.t, fs.Fill(4096, "data/file"))
	return fs
}

func (s *stage) victim(mode string, args ...string) *testkit.Victim {
	s.t.Helper()
	v, err := s.StartVictim(mode, args...)
	require.NoError(s.t, err)
	return v
}

// kubelet starts one that does nothing, and returns the flag that names it: the
// tool reads what is beside the volumes as the kubelet sees it.
func (s *stage) kubelet() string {
	s.t.Helper()
	return pid(s.victim("idle", s.Dir).PID)
}

// hang freezes the volume and lets a victim block n threads on it.
func (s *stage) hang(v *testkit.Victim, fs *testkit.HangFS, n int, ops ...string) []victim.Line {
	s.t.Helper()
	require.NoError(s.t, fs.Freeze(ops...))
	lines, err := v.Hang(n)
	require.NoError(s.t, err)
	return lines
}

func (s *stage) kubeletRoot() string { return "--kubelet-root=" + s.tree.Root }

// pastThreshold waits until what hangs already is old enough to be listed.
func pastThreshold() { time.Sleep(time.Duration(testkit.Slow()) * 500 * time.Millisecond) }

// byTID indexes hangs and fails on a thread that is listed twice.
func byTID(t testing.TB, hangs []*correlate.Hang) map[int]*correlate.Hang {
	t.Helper()
	out := make(map[int]*correlate.Hang)
	for _, h := range hangs {
		if out[h.Task.TID] != nil { // not testify's: there may be ten thousand
			t.Fatalf("thread %d is listed twice", h.Task.TID)
		}
		out[h.Task.TID] = h
	}
	return out
}

// checkVolume wants the mount and the volume of a hang named.
func checkVolume(t testing.TB, h *correlate.Hang, point, uid, pv string) {
	t.Helper()
	require.NotNil(t, h.Mount)
	require.Equal(t, "ceph-fuse", string(h.Mount.Kind))
	require.Equal(t, point, string(h.Mount.Point))
	require.Equal(t, "fuse.ceph-fuse", string(h.Mount.FSType))
	require.NotNil(t, h.Mount.Attached)
	require.True(t, *h.Mount.Attached)
	checkNames(t, h, uid, pv)
}

// checkNames wants pod and volume named.
func checkNames(t testing.TB, h *correlate.Hang, uid, pv string) {
	t.Helper()
	require.NotNil(t, h.Volume, "%+v %+v", h.Path, h.Mount)
	require.Equal(t, pv, string(h.Volume.PV))
	require.Equal(t, driver, string(h.Volume.Driver))
	require.Equal(t, handleOf(pv), string(h.Volume.Handle))
	require.NotNil(t, h.Volume.Pod)
	require.Equal(t, uid, string(h.Volume.Pod.UID))
}

// reasonOf is how a victim's operation hangs.
func reasonOf(op string, inCall correlate.Reason) correlate.Reason {
	if op == "fault" {
		return correlate.ReasonPageFault
	}
	return inCall
}

func file(fs *testkit.HangFS) string { return filepath.Join(fs.MountPoint, "data/file") }

// until waits for a condition.
func (s *stage) until(what string, cond func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(10 * time.Millisecond) {
		require.False(s.t, time.Now().After(deadline), "wanted: %s", what)
	}
}
