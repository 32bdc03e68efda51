package correlate

import (
	"strings"
	"testing"
	"time"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// Each row of the table has a chain that it must win, written as the program
// itself prints it.
func TestEffectOfEveryRow(t *testing.T) {
	const k = "k8s.io/kubernetes/pkg/kubelet"
	tests := []struct {
		comm  string
		chain []string
		want  string // how the effect begins, enough to tell it from the others
	}{
		{"kubelet", []string{"os.Stat", "k8s.io/mount-utils.PathExists", k + ".(*Kubelet).cleanupOrphanedPodDirs", k + ".(*Kubelet).HandlePodCleanups", k + ".(*Kubelet).syncLoopIteration"}, "kubelet syncLoop is stuck in housekeeping"},
		{"kubelet", []string{"os.Lstat", k + "/pleg.(*GenericPLEG).Relist"}, "kubelet PLEG"},
		{"kubelet", []string{k + ".(*Kubelet).SyncPod", k + ".(*podWorkers).podWorkerLoop"}, "one kubelet pod worker"},
		{"kubelet", []string{"os.Stat", "k8s.io/kubernetes/pkg/volume/util/operationexecutor.(*operationGenerator).GenerateUnmountVolumeFunc.func1"}, "one kubelet volume operation"},
		{"kubelet", []string{"os.Stat", k + "/volumemanager/reconciler.(*reconciler).reconcile"}, "kubelet volume manager is stuck"},
		{"kubelet", []string{k + "/volumemanager/populator.(*desiredStateOfWorldPopulator).populatorLoop"}, "kubelet volume manager learns"},
		{"kubelet", []string{"syscall.Statfs", k + "/eviction.(*managerImpl).synchronize"}, "kubelet eviction"},
		{"kubelet", []string{k + "/images.(*realImageGCManager).GarbageCollect"}, "kubelet image garbage"},
		{"kubelet", []string{k + "/kuberuntime.(*containerGC).evictContainers"}, "kubelet container garbage"},
		{"kubelet", []string{"golang.org/x/sys/unix.Statfs", "k8s.io/kubernetes/pkg/volume.(*metricsStatFS).GetMetrics", k + "/server/stats.(*volumeStatCalculator).calcAndStoreStats"}, "kubelet volume statistics"},
		{"kubelet", []string{"os.Lstat", "github.com/google/cadvisor/fs.GetDirUsage"}, "cAdvisor is stuck"},
		{"kubelet", []string{k + "/cm/devicemanager.(*ManagerImpl).Allocate"}, "kubelet device manager"},
		{"kubelet", []string{"os.Stat", "k8s.io/kubernetes/pkg/volume/csi.(*csiMountMgr).SetUpAt"}, "a kubelet CSI call"},
		{"kubelet", []string{"os.Stat", k + "/pluginmanager/reconciler.(*reconciler).reconcile"}, "kubelet plugin manager"},
		{"kubelet", []string{"os.Lstat", k + "/logs.(*containerLogManager).rotateLogs"}, "kubelet log rotation"},
		{"kubelet", []string{"syscall.Statfs", k + "/stats.(*Provider).RootFsStats"}, "kubelet statistics"},
		{"kubelet", []string{k + "/server.(*Server).ServeHTTP"}, "one request to the kubelet"},
		{"k3s-server", []string{"os.Stat", k + ".(*Kubelet).syncLoop"}, "kubelet syncLoop is stuck:"},
		{"kubelet", []string{k + ".(*Kubelet).ServeLogs", "net/http.HandlerFunc.ServeHTTP"}, "one request to the kubelet"},
		{"kubelet", []string{k + ".(*Kubelet).syncLoopIteration", k + ".(*Kubelet).syncLoop"}, "kubelet syncLoop is stuck:"},
		{"kubelet", []string{k + ".(*Kubelet).initializeModules", k + ".(*Kubelet).Run"}, "the kubelet does not come up"},
		{"containerd-shim", []string{"os.RemoveAll"}, "one container's shim"},
		{"containerd", []string{"github.com/containerd/containerd/pkg/cri/server.(*criService).StopPodSandbox"}, "containerd cannot stop"},
		{"containerd", nil, "one request to containerd"},
		{"crio", nil, "one request to CRI-O"},
		{"conmon", nil, "one container's monitor"},
		{"runc", nil, "a container's start"},
		{"crun", nil, "a container's start"},
		{"umount", nil, "an unmount"},
		{"umount.nfs", nil, "an unmount"},
		{"mount", nil, "a mount"},
		{"df", nil, "df hangs"},
		{"node_exporter", nil, "node_exporter"},
		{"node-problem-det", nil, "node-problem-detector"},
		{"node-problem-de", nil, "node-problem-detector"},
		{"cephcsi", nil, "ceph-csi"},
		{"csi-provisioner", nil, "a CSI helper"},
		{"systemd", nil, "systemd"},
		{"cadvisor", []string{"syscall.Statfs"}, "cAdvisor is stuck: disk usage of containers is stale"},
		{"rpc.mountd", nil, "an NFS service"},
	}
	covered := make(map[*effectRow]bool)
	for _, tt := range tests {
		var stack []Frame
		for _, f := range tt.chain {
			stack = append(stack, Frame{Function: Text(f)})
		}
		row := effectOf(process{comm: tt.comm}, stack)
		if row == nil || !strings.HasPrefix(row.effect, tt.want) {
			t.Errorf("%s %q: %+v, want %q", tt.comm, tt.chain, row, tt.want)
		}
		covered[row] = true
	}
	for i := range effects {
		if !covered[&effects[i]] {
			t.Errorf("row %d (%s) has no test", i, effects[i].effect)
		}
	}
}

// What is like a row and is none.
func TestNoEffect(t *testing.T) {
	for comm, call := range map[string]string{
		"postgres":        "fsync",
		"operator":        "example.org/operator/volumemanager/reconciler.(*reconciler).reconcile",
		"webhook":         "google.golang.org/grpc.(*Server).ServeHTTP",
		"scheduler":       "k8s.io/kubernetes/pkg/scheduler.(*Scheduler).SyncPod",
		"mountpoint":      "stat",
		"dfs":             "statfs",
		"systemd-journal": "openat",
		"containerd-stre": "stat",
		"umounter":        "umount",
	} {
		if row := effectOf(process{comm: comm}, []Frame{{Function: Text(call)}}); row != nil {
			t.Errorf("%s in %s: %q", comm, call, row.effect)
		}
	}
	if row := effectOf(process{comm: "renamed", kubelet: true}, []Frame{{Function: "victim.(*kubelet).HandlePodCleanups"}}); row == nil || !row.loop {
		t.Errorf("a kubelet by its executable: %+v", row)
	}
}

func TestCompareHealthz(t *testing.T) {
	for want, tt := range map[string]struct {
		said facts.KubeletHealth
		age  time.Duration
	}{
		"still says ok: it needs 5 minutes to notice":                     {facts.KubeletHealth{SyncLoop: "ok"}, 3 * time.Minute},
		"still says ok, after more than the 5 minutes it needs to notice": {facts.KubeletHealth{SyncLoop: "ok"}, 7 * time.Minute},
		"says failed: the kubelet has noticed by itself":                  {facts.KubeletHealth{SyncLoop: "failed", Detail: "internal"}, 7 * time.Minute},
		"not known: it answers only to a token (status 401)":              {facts.KubeletHealth{SyncLoop: "unknown", Detail: "it answers only to a token (status 401)"}, time.Hour},
	} {
		if got := compareHealthz(&tt.said, tt.age.Milliseconds()); got != "/healthz/syncloop "+want {
			t.Errorf("%+v after %v: %q, want %q", tt.said, tt.age, got, want)
		}
	}
}
