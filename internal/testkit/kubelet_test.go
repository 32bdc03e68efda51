package testkit

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const deletedPod = "0c3f2d4e-8a51-4c59-9a05-5b1f0ed2a7d1"

// awaitFrame waits until a thread of the victim is inside that kernel function.
func awaitFrame(t *testing.T, pid int, function string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		threads, err := Threads(pid)
		require.NoError(t, err)
		for _, th := range threads {
			if inFrame(th, function) {
				return
			}
		}
		if time.Now().After(deadline) {
			show(t, pid)
			t.Fatalf("no thread in %s", function)
		}
	}
}

func TestKubeletVictimHangsAsTheRealOne(t *testing.T) {
	csi := CSIVolume{PV: "pvc-1", Driver: "cephfs.csi.ceph.com", Handle: "0001-h", Node: "n1"}
	for name, c := range map[string]struct {
		generation string
		mountPoint func(*KubeletTree) (string, error)
		hangs      bool
	}{
		"1.17 flat": {"1.17", func(k *KubeletTree) (string, error) {
			return k.FlatVolume(deletedPod, "kubernetes.io/cephfs", "pvc-data")
		}, true},
		"1.17 csi": {"1.17", func(k *KubeletTree) (string, error) { return k.CSIMount(deletedPod, csi) }, false},
		"1.34 flat": {"1.34", func(k *KubeletTree) (string, error) {
			return k.FlatVolume(deletedPod, "kubernetes.io/cephfs", "pvc-data")
		}, false},
		"1.34 csi": {"1.34", func(k *KubeletTree) (string, error) { return k.CSIMount(deletedPod, csi) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(t)
			tree, err := NewKubeletTree(s.Dir)
			require.NoError(t, err)
			_, err = tree.Pod(deletedPod, "", "")
			require.NoError(t, err)
			point, err := c.mountPoint(tree)
			require.NoError(t, err)
			f, err := s.MountHangFS(HangFSOptions{MountPoint: point})
			require.NoError(t, err)
			v, err := s.StartVictim("kubelet", "--root-dir", tree.Root, "--generation", c.generation, "--interval", "20ms")
			require.NoError(t, err)
			require.NoError(t, f.Freeze())
			if c.hangs {
				awaitFrame(t, v.PID, "request_wait_answer")
				heldAtLeast(t, f, "GETATTR", 1)
			} else {
				time.Sleep(500 * time.Millisecond)
				held, err := f.Held()
				require.NoError(t, err)
				require.Empty(t, held)
			}
		})
	}
}

func TestKubeletTreeLayouts(t *testing.T) {
	k, err := NewKubeletTree(t.TempDir())
	require.NoError(t, err)
	_, err = k.Pod(deletedPod, "shop", "db-0")
	require.NoError(t, err)
	v := CSIVolume{PV: "pvc-1", Driver: "d", Handle: "h"}
	for _, step := range []func() (string, error){
		func() (string, error) { return k.FlatVolume(deletedPod, "kubernetes.io/cephfs", "data") },
		func() (string, error) { return k.CSIMount(deletedPod, v) },
		func() (string, error) { return k.GlobalMount(v) },
		func() (string, error) { v := v; v.OldLayout = true; return k.GlobalMount(v) },
		func() (string, error) { return k.BlockVolume(deletedPod, v) },
		func() (string, error) { return k.SubPath(deletedPod, "data", "app", 0) },
	} {
		_, err := step()
		require.NoError(t, err)
	}
	hash := "aaa9402664f1a41f40ebbc52c9993eb66aeb366602958fdfaa283b71e64db123" // sha256 of "h"
	pod := filepath.Join(k.Root, "pods", deletedPod)
	for _, want := range []string{
		pod + "/volumes/kubernetes.io~cephfs/data",
		pod + "/volumes/kubernetes.io~csi/pvc-1/mount",
		pod + "/volumes/kubernetes.io~csi/pvc-1/vol_data.json",
		pod + "/volumeDevices/kubernetes.io~csi",
		pod + "/volume-subpaths/data/app/0",
		k.Root + "/plugins/kubernetes.io/csi/d/" + hash + "/globalmount",
		k.Root + "/plugins/kubernetes.io/csi/d/" + hash + "/vol_data.json",
		k.Root + "/plugins/kubernetes.io/csi/pv/pvc-1/globalmount",
		k.Logs + "/shop_db-0_" + deletedPod,
	} {
		_, err := os.Lstat(want)
		require.NoError(t, err)
	}
}
