package correlate

import (
	"strings"

	"github.com/hangtrace/hangtrace/internal/kube"
)

// effects says what a stuck call stops, for people. A row fits if it is of such
// a process (where), and if one of calls is part of a function's name on the
// user stack (none fits every stack). The first row that fits wins: rows of
// what runs inside something larger stand before it.
//
// To add a row: put it before the more general one and give it a line in
// effect_test.go.
var effects = []effectRow{
	// The kubelet, by its own function names, which k3s and kubelite share: they
	// contain it. Sources: pkg/kubelet, Kubernetes 1.13 to 1.34.
	{where: inKubelet, calls: []string{".HandlePodCleanups", ".cleanupOrphanedPodDirs"}, loop: true,
		effect: "kubelet syncLoop is stuck in housekeeping: no pod on this node starts, stops or is cleaned up"},
	{where: inKubelet, calls: []string{".(*GenericPLEG).Relist", ".(*GenericPLEG).relist", ".(*EventedPLEG)"},
		effect: "kubelet PLEG is stuck: container changes go unseen and the node turns NotReady (PLEG is not healthy)"},
	{where: inKubelet, calls: []string{".(*podWorkers).podWorkerLoop", ".(*podWorkers).managePodLoop", ".SyncTerminatingPod", ".SyncTerminatedPod", ".SyncPod"},
		effect: "one kubelet pod worker is stuck: its pod does not start, change or stop; other pods are not affected"},
	{where: inKubelet, calls: []string{".GenerateMountVolumeFunc", ".GenerateUnmountVolumeFunc", ".GenerateUnmountDeviceFunc", ".GenerateMapVolumeFunc", ".GenerateUnmapVolumeFunc",
		".(*nestedPendingOperations).Run"},
		effect: "one kubelet volume operation is stuck: the pod that waits for this volume does not start or stop"},
	{where: inKubelet, calls: []string{"/volumemanager/reconciler."},
		effect: "kubelet volume manager is stuck: no volume on this node is mounted or unmounted, pods that need one wait"},
	{where: inKubelet, calls: []string{".(*desiredStateOfWorldPopulator)"},
		effect: "kubelet volume manager learns of no new pods: their volumes are not mounted"},
	{where: inKubelet, calls: []string{"/pluginmanager/"},
		effect: "kubelet plugin manager is stuck: CSI drivers and device plugins that start do not register"},
	{where: inKubelet, calls: []string{"/eviction.(*managerImpl).synchronize"},
		effect: "kubelet eviction manager is stuck: nothing is evicted when the node runs short of memory or disk"},
	{where: inKubelet, calls: []string{".(*realImageGCManager)"},
		effect: "kubelet image garbage collection is stuck: unused images fill the disk"},
	{where: inKubelet, calls: []string{".(*containerGC)", ".(*realContainerGC)"},
		effect: "kubelet container garbage collection is stuck: dead containers and their logs stay"},
	{where: inKubelet, calls: []string{"/logs.(*containerLogManager)"},
		effect: "kubelet log rotation is stuck: logs of containers fill the disk"},
	{where: inKubelet, calls: []string{".(*volumeStatCalculator)", ".(*metricsStatFS)", ".(*metricsDu)", ".(*metricsCsi)", "/volume.(*cachedMetrics)"},
		effect: "kubelet volume statistics of one pod are stale, and another thread is lost with each round"},
	{where: inKubelet, calls: []string{"cadvisor/fs.", ".(*realFsHandler)", "cadvisor/container/", "cadvisor/manager."},
		effect: "cAdvisor is stuck: disk usage of containers is stale, and eviction decides by old numbers"},
	{where: inKubelet, calls: []string{"/kubelet/stats.", "/kubelet/server/stats."},
		effect: "kubelet statistics do not come: kubectl top and the metrics server lack numbers of this node"},
	{where: inKubelet, calls: []string{"/devicemanager.", "/deviceplugin"},
		effect: "kubelet device manager is stuck: pods that need devices do not start"},
	{where: inKubelet, calls: []string{"/volume/csi.("},
		effect: "a kubelet CSI call is stuck: the volume it is about is not attached, mounted or unmounted"},
	{where: inKubelet, calls: []string{".(*Kubelet).ServeLogs", "/kubelet/server.(*Server).ServeHTTP"},
		effect: "one request to the kubelet is stuck: its caller waits"},
	{where: inKubelet, calls: []string{".syncLoopIteration", ".(*Kubelet).syncLoop"}, loop: true,
		effect: "kubelet syncLoop is stuck: no pod on this node starts or stops"},
	{where: inKubelet, calls: []string{".(*Kubelet).initializeModules", ".(*Kubelet).initializeRuntimeDependentModules", ".NewMainKubelet", "app.RunKubelet"},
		effect: "the kubelet does not come up: the node stays NotReady"},

	// Programs around it, by their names, which the kernel cuts at 15 bytes.
	{where: named("containerd-shim*"), effect: "one container's shim is stuck: the container cannot be stopped or removed, its pod stays Terminating"},
	{where: named("containerd"), calls: []string{".RemovePodSandbox", ".StopPodSandbox", ".RemoveContainer", ".StopContainer"},
		effect: "containerd cannot stop or remove a container: its pod stays Terminating"},
	{where: named("containerd"), effect: "one request to containerd is stuck: the container it is about does not start or stop"},
	{where: named("crio"), effect: "one request to CRI-O is stuck: the container it is about does not start or stop"},
	{where: named("conmon*"), effect: "one container's monitor is stuck: the container cannot be stopped or removed"},
	{where: named("runc*", "crun*"), effect: "a container's start, stop or exec is stuck"},
	{where: named("umount", "umount.*"), effect: "an unmount does not end: whoever started it waits, and the volume stays in use"},
	{where: named("mount", "mount.*"), effect: "a mount does not end: the pod that waits for the volume does not start"},
	{where: named("df"), effect: "df hangs, and keeps the mount busy: umount -f fails until it is killed"},
	{where: named("cadvisor"), effect: "cAdvisor is stuck: disk usage of containers is stale"},
	{where: named("node_exporter"), effect: "node_exporter loses a thread on this mount: file-system metrics are late or missing"},
	{where: named("node-problem-de*"), effect: "node-problem-detector is stuck: what it watches for goes unreported meanwhile"},
	{where: named("cephcsi*"), effect: "ceph-csi is stuck: volumes of this driver on this node are not mounted or unmounted"},
	{where: named("csi-*"), effect: "a CSI helper is stuck: volumes of its driver wait"},
	{where: named("systemd"), effect: "systemd is stuck in a mount: units wait, and a shutdown will"},
	{where: named("rpc.*"), effect: "an NFS service of this node is stuck"},
}

type effectRow struct {
	where  func(process) bool
	calls  []string
	effect string
	// loop marks what stops the kubelet's sync loop, of which it says itself at
	// its healthz address whether it runs.
	loop bool
}

// process is what a row may ask about.
type process struct {
	comm    string
	kubelet bool // it is one, or contains one
}

func inKubelet(p process) bool { return p.kubelet }

// named fits processes of these names; one that ends in "*" is the beginning of
// a name.
func named(names ...string) func(process) bool {
	return func(p process) bool {
		for _, n := range names {
			if start, open := strings.CutSuffix(n, "*"); p.comm == n || open && strings.HasPrefix(p.comm, start) {
				return true
			}
		}
		return false
	}
}

// effectOf says what does not work while a thread is stuck in these calls. The
// table decides; its first row that fits wins. nil: none does.
func effectOf(p process, stack []Frame) *effectRow {
	if _, ok := kube.IsKubelet(p.comm, ""); ok {
		p.kubelet = true
	}
	// A kubelet under a name nobody knows still has its functions.
	p.kubelet = p.kubelet || anyCall(stack, []string{"k8s.io/kubernetes/pkg/kubelet"})
	for i := range effects {
		row := &effects[i]
		if row.where(p) && (len(row.calls) == 0 || anyCall(stack, row.calls)) {
			return row
		}
	}
	return nil
}

func anyCall(stack []Frame, calls []string) bool {
	for _, f := range stack {
		for _, c := range calls {
			if strings.Contains(string(f.Function), c) {
				return true
			}
		}
	}
	return false
}

// effect fills in what does not work while a thread hangs, and what the kubelet
// itself says of that.
func (w *world) effect(h *Hang) {
	p := process{comm: h.Task.ProcessComm.Or(h.Task.Comm)}
	known := w.procs[h.Task.PID]
	p.kubelet = known != nil && known.Kubelet != nil
	row := effectOf(p, h.UserStack)
	if row == nil {
		return
	}
	h.Effect = Text(row.effect)
	if row.loop && p.kubelet && known.Kubelet.Healthz != nil {
		h.Healthz = compareHealthz(known.Kubelet.Healthz, h.Blocked.ForMS)
	}
}
