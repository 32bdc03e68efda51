package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/testkit"
)

// one wants a single hang and returns it.
func one(t *testing.T, s *stage, args ...string) *correlate.Hang {
	t.Helper()
	pastThreshold()
	rep := report(t, s.Sandbox, exitHung, append(args, threshold, s.kubeletRoot())...)
	require.Len(t, rep.Hangs, 1)
	return rep.Hangs[0]
}

// TestKubeletGenerations hangs the kubelet's own walk, as each generation of it
// walks: flat in-tree volumes, and CSI. Its calls say what that stops.
func TestKubeletGenerations(t *testing.T) {
	t.Run("1.17", func(t *testing.T) {
		s := newStage(t)
		_, err := s.tree.Pod(podUID, "", "")
		require.NoError(t, err)
		point, err := s.tree.FlatVolume(podUID, "kubernetes.io/cephfs", "orders")
		require.NoError(t, err)
		fs := s.mount(point, "")
		require.NoError(t, fs.Freeze())
		v := s.victim("kubelet", "--root-dir", s.tree.Root, "--generation", "1.17")
		s.held(fs)
		h := one(t, s, pid(v.PID))
		require.Equal(t, point, string(h.Path.Value))
		require.Equal(t, "kubernetes.io/cephfs", string(h.Volume.Plugin))
		require.Equal(t, "orders", string(h.Volume.Name))
		require.Equal(t, podUID, string(h.Volume.Pod.UID))
		require.Equal(t, "ceph-fuse", string(h.Mount.Kind))
		checkHousekeeping(t, h, ".IsLikelyNotMountPoint", ".getMountedVolumePathListFromDisk")
	})
	t.Run("1.34", func(t *testing.T) {
		s := newStage(t)
		fs := s.csi(podUID, pvName)
		require.NoError(t, fs.Freeze())
		v := s.victim("kubelet", "--root-dir", s.tree.Root, "--generation", "1.34")
		s.held(fs)
		h := one(t, s, pid(v.PID))
		require.Equal(t, fs.MountPoint, string(h.Path.Value))
		checkVolume(t, h, fs.MountPoint, podUID, pvName)
		checkHousekeeping(t, h, ".PathExists", ".getPodVolumePathListFromDisk", ".getMountedVolumePathListFromDisk")
		rep := report(t, s.Sandbox, exitHung, pid(v.PID), threshold, "--backend=proc")
		require.Len(t, rep.Hangs, 1)
		checkHousekeeping(t, rep.Hangs[0], ".PathExists", ".getPodVolumePathListFromDisk", ".getMountedVolumePathListFromDisk")
	})
	t.Run("root from the command line", func(t *testing.T) {
		s := newStage(t)
		fs := s.csi(podUID, pvName)
		require.NoError(t, fs.Freeze())
		v := s.victim("kubelet", "--root-dir", s.tree.Root)
		s.held(fs)
		pastThreshold()
		rep := report(t, s.Sandbox, exitHung, pid(v.PID), threshold)
		require.Len(t, rep.Hangs, 1)
		checkVolume(t, rep.Hangs[0], fs.MountPoint, podUID, pvName)
	})
}

// bind ends before the sandbox does: it would keep the superblock.
func (s *stage) bind(from, to string) error {
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return os.NewSyscallError("bind", err)
	}
	s.t.Cleanup(func() {
		if err := unix.Unmount(to, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			s.t.Error(os.NewSyscallError("umount", err))
		}
	})
	return nil
}

// TestSharedDevice mounts one superblock for two pods, by its global mount and
// two binds: each caller's path says whose volume it is.
func TestSharedDevice(t *testing.T) {
	s := newStage(t)
	global, err := s.tree.GlobalMount(testkit.CSIVolume{PV: pvName, Driver: driver, Handle: handleOf(pvName)})
	require.NoError(t, err)
	fs := s.mount(global, "")
	first, second := s.csiPoint(podUID, pvName), s.csiPoint(otherUID, pvName)
	for _, point := range []string{first, second} {
		require.NoError(t, s.bind(global, point))
	}
	sub, err := s.tree.SubPath(otherUID, pvName, "app", 0)
	require.NoError(t, err)
	require.NoError(t, s.bind(filepath.Join(global, "data"), sub))
	a := s.victim("ops", first, "stat")
	b := s.victim("ops", second, "read")
	c := s.victim("ops", sub, "statx")
	ta, tb := s.hang(a, fs, 1)[0], s.hang(b, fs, 1)[0]
	tc := s.hang(c, fs, 1)[0]
	pastThreshold()
	rep := report(t, s.Sandbox, exitHung, pid(a.PID), pid(b.PID), pid(c.PID), threshold, s.kubeletRoot())
	got := byTID(t, rep.Hangs)
	require.Len(t, got, 3)
	require.Equal(t, ta.Path, string(got[ta.TID].Path.Value))
	checkVolume(t, got[ta.TID], first, podUID, pvName)
	require.Equal(t, tb.Path, string(got[tb.TID].Path.Value))
	checkVolume(t, got[tb.TID], second, otherUID, pvName)
	require.Equal(t, tc.Path, string(got[tc.TID].Path.Value))
	require.Equal(t, sub, string(got[tc.TID].Mount.Point))
	require.Equal(t, otherUID, string(got[tc.TID].Volume.Pod.UID))
	require.Equal(t, "app/0", string(got[tc.TID].Volume.SubPath))
}

// TestLinkIntoAVolume asks by a path that looks local.
func TestLinkIntoAVolume(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	link := filepath.Join(s.Dir, "link")
	require.NoError(t, os.Symlink(filepath.Join(fs.MountPoint, "data"), link))
	p := s.hidden("linked", wordRepeat, filepath.Join(link, "file"))
	k := s.kubelet()
	require.NoError(t, fs.Freeze())
	p.say("go")
	s.held(fs)
	for _, backend := range backends {
		h := one(t, s, pid(p.PID), k, "--backend="+backend)
		require.Equal(t, filepath.Join(link, "file"), string(h.Path.Value))
		checkVolume(t, h, fs.MountPoint, podUID, pvName)
	}
}

// TestOvermount covers a hanging volume with another one: whoever comes by the
// path hangs on the upper, who was below before on the lower.
func TestOvermount(t *testing.T) {
	s := newStage(t)
	lower := s.csi(podUID, pvName)
	below := s.victim("ops", lower.MountPoint, "read")
	upper := s.mount(lower.MountPoint, "")
	above := s.victim("ops", upper.MountPoint, "stat")
	tb, ta := s.hang(below, lower, 1)[0], s.hang(above, upper, 1)[0]
	pastThreshold()
	rep := report(t, s.Sandbox, exitHung, pid(below.PID), pid(above.PID), threshold, s.kubeletRoot())
	got := byTID(t, rep.Hangs)
	require.Len(t, got, 2)
	require.Equal(t, lower.MountID, int(got[tb.TID].Mount.ID))
	require.Equal(t, upper.MountID, int(got[ta.TID].Mount.ID))
	checkNames(t, got[tb.TID], podUID, pvName)
	checkNames(t, got[ta.TID], podUID, pvName)
}

// TestContainerSeesAnotherPath hangs in a mount namespace of its own, where the
// volume has another path: it is named through the kubelet's mount.
func TestContainerSeesAnotherPath(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	k := s.kubelet()
	inside := filepath.Join(s.Dir, "container/data")
	p := s.hiddenIn("app", unix.CLONE_NEWNS, wordContainer, fs.MountPoint, inside, "data/file")
	l := watch(t, s.Sandbox, pid(p.PID), k, threshold, s.kubeletRoot())
	time.Sleep(time.Second)
	require.NoError(t, fs.Freeze())
	p.say("go")
	s.held(fs)
	check := func(h *correlate.Hang) {
		require.Equal(t, filepath.Join(inside, "data/file"), string(h.Path.Value))
		require.Equal(t, inside, string(h.Mount.Point))
		require.Equal(t, "ceph-fuse", string(h.Mount.Kind))
		checkNames(t, h, podUID, pvName)
	}
	for _, backend := range backends {
		check(one(t, s, pid(p.PID), k, "--backend="+backend))
	}
	check(l.await(correlate.EventHangSeen, 0, 1)[0].Hang)
	require.NoError(t, fs.Thaw())
	require.Equal(t, int64(0), *l.await(correlate.EventHangEnded, 0, 1)[0].Ret)
	l.stop(exitHung)
}
