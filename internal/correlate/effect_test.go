package correlate

import "testing"

// Each row of the table has a chain that it must win, written as the program
// itself prints it.
func TestEffectOfEveryRow(t *testing.T) {
	const k = "k8s.io/kubernetes/pkg/kubelet"
	tests := []struct {
		comm  string
		chain []string
		row   int
	}{
		{"kubelet", []string{"os.Stat", "k8s.io/mount-utils.PathExists", k + ".(*Kubelet).cleanupOrphanedPodDirs", k + ".(*Kubelet).HandlePodCleanups", k + ".(*Kubelet).syncLoopIteration"}, 0},
		{"kubelet", []string{"os.Lstat", k + "/pleg.(*GenericPLEG).Relist"}, 1},
		{"kubelet", []string{k + ".(*Kubelet).SyncPod", k + ".(*podWorkers).podWorkerLoop"}, 2},
		{"kubelet", []string{"os.Stat", "k8s.io/kubernetes/pkg/volume/util/operationexecutor.(*operationGenerator).GenerateUnmountVolumeFunc.func1"}, 3},
		{"kubelet", []string{"os.Stat", k + "/volumemanager/reconciler.(*reconciler).reconcile"}, 4},
		{"kubelet", []string{k + "/volumemanager/populator.(*desiredStateOfWorldPopulator).populatorLoop"}, 5},
		{"kubelet", []string{"syscall.Statfs", k + "/eviction.(*managerImpl).synchronize"}, 6},
		{"kubelet", []string{k + "/images.(*realImageGCManager).GarbageCollect"}, 7},
		{"kubelet", []string{k + "/kuberuntime.(*containerGC).evictContainers"}, 8},
		{"kubelet", []string{"golang.org/x/sys/unix.Statfs", "k8s.io/kubernetes/pkg/volume.(*metricsStatFS).GetMetrics", k + "/server/stats.(*volumeStatCalculator).calcAndStoreStats"}, 9},
		{"kubelet", []string{"os.Lstat", "github.com/google/cadvisor/fs.GetDirUsage"}, 10},
		{"kubelet", []string{k + "/cm/devicemanager.(*ManagerImpl).Allocate"}, 11},
		{"kubelet", []string{"os.Stat", "k8s.io/kubernetes/pkg/volume/csi.(*csiMountMgr).SetUpAt"}, 12},
		{"kubelet", []string{k + ".(*Kubelet).ServeLogs", "net/http.HandlerFunc.ServeHTTP"}, 13},
		{"kubelet", []string{k + ".(*Kubelet).syncLoopIteration", k + ".(*Kubelet).syncLoop"}, 14},
		{"kubelet", []string{k + ".(*Kubelet).initializeModules", k + ".(*Kubelet).Run"}, 15},
		{"containerd-shim", []string{"os.RemoveAll"}, 16},
		{"containerd", []string{"github.com/containerd/containerd/pkg/cri/server.(*criService).StopPodSandbox"}, 17},
		{"containerd", nil, 18},
		{"crio", nil, 19},
		{"conmon", nil, 20},
		{"runc", nil, 21},
		{"crun", nil, 22},
		{"umount", nil, 23},
		{"umount.nfs", nil, 23},
		{"mount", nil, 24},
		{"df", nil, 25},
		{"node_exporter", nil, 26},
		{"node-problem-det", nil, 27},
		{"node-problem-de", nil, 27},
		{"cephcsi", nil, 28},
		{"csi-provisioner", nil, 29},
		{"systemd", nil, 30},
		{"rpc.mountd", nil, 31},
	}
	covered := make(map[int]bool)
	for _, tt := range tests {
		var stack []Frame
		for _, f := range tt.chain {
			stack = append(stack, Frame{Function: Text(f)})
		}
		covered[tt.row] = true
		if got := effectOf(tt.comm, stack); got != effects[tt.row].effect {
			t.Errorf("%s %q: %q, want row %d %q", tt.comm, tt.chain, got, tt.row, effects[tt.row].effect)
		}
	}
	for i, row := range effects {
		if !covered[i] {
			t.Errorf("row %d (%s) has no test", i, row.effect)
		}
	}
	if got := effectOf("postgres", []Frame{{Function: "fsync"}}); got != "" {
		t.Errorf("an unknown program has the effect %q", got)
	}
}
