package correlate

// effects says what a stuck call stops, for people. A row fits if the process's
// name begins with comm ("" fits every process) and one of calls is part of a
// function's name on the user stack (none fits every stack). The first row that
// fits wins: rows of what runs inside something larger stand before it.
//
// To add a row: put it before the more general one and give it a line in
// effect_test.go.
var effects = []struct {
	comm   string
	calls  []string
	effect string
}{
	// The kubelet, by its own function names; they hold for k3s and kubelite
	// too, which contain it. Sources: pkg/kubelet, Kubernetes 1.13 to 1.34.
	{"", []string{".HandlePodCleanups", ".cleanupOrphanedPodDirs"},
		"kubelet syncLoop is stuck in housekeeping: no pod on this node starts, stops or is cleaned up"},
	{"", []string{".(*GenericPLEG).Relist", ".(*GenericPLEG).relist", ".(*EventedPLEG)"},
		"kubelet PLEG is stuck: container changes go unseen and the node turns NotReady (PLEG is not healthy)"},
	{"", []string{".(*podWorkers).podWorkerLoop", ".(*podWorkers).managePodLoop", ".SyncTerminatingPod", ".SyncTerminatedPod", ".SyncPod"},
		"one kubelet pod worker is stuck: its pod does not start, change or stop; other pods are not affected"},
	{"", []string{".GenerateMountVolumeFunc", ".GenerateUnmountVolumeFunc", ".GenerateUnmountDeviceFunc", ".GenerateMapVolumeFunc", ".GenerateUnmapVolumeFunc",
		".(*nestedPendingOperations).Run"},
		"one kubelet volume operation is stuck: the pod that waits for this volume does not start or stop"},
	{"", []string{".(*reconciler).reconcile", ".(*reconciler).syncStates", ".(*reconciler).sync", ".(*reconciler).Run", "/reconciler.(*reconciler)"},
		"kubelet volume manager is stuck: no volume on this node is mounted or unmounted, pods that need one wait"},
	{"", []string{".(*desiredStateOfWorldPopulator)"},
		"kubelet volume manager learns of no new pods: their volumes are not mounted"},
	{"", []string{"/eviction.(*managerImpl).synchronize"},
		"kubelet eviction manager is stuck: nothing is evicted when the node runs short of memory or disk"},
	{"", []string{".(*realImageGCManager)"},
		"kubelet image garbage collection is stuck: unused images fill the disk"},
	{"", []string{".(*containerGC)", ".(*realContainerGC)"},
		"kubelet container garbage collection is stuck: dead containers and their logs stay"},
	{"", []string{".(*volumeStatCalculator)", ".(*metricsStatFS)", ".(*metricsDu)", ".(*metricsCsi)", "/volume.(*cachedMetrics)"},
		"kubelet volume statistics of one pod are stale, and another thread is lost with each round"},
	{"", []string{"cadvisor/fs.", ".(*realFsHandler)", "cadvisor/container/", "cadvisor/manager."},
		"cAdvisor is stuck: disk usage of containers is stale, and eviction decides by old numbers"},
	{"", []string{"/devicemanager.", "/deviceplugin"},
		"kubelet device manager is stuck: pods that need devices do not start"},
	{"", []string{"/volume/csi.("},
		"a kubelet CSI call is stuck: the volume it is about is not attached, mounted or unmounted"},
	{"", []string{".(*Kubelet).ServeLogs", ".(*Server).ServeHTTP"},
		"one request to the kubelet is stuck: its caller waits"},
	{"", []string{".syncLoopIteration", ".(*Kubelet).syncLoop"},
		"kubelet syncLoop is stuck: no pod on this node starts or stops"},
	{"", []string{".(*Kubelet).initializeModules", ".(*Kubelet).initializeRuntimeDependentModules", ".NewMainKubelet", "app.RunKubelet"},
		"the kubelet does not come up: the node stays NotReady"},

	// Programs around it, by their names.
	{"containerd-shim", nil, "one container's shim is stuck: the container cannot be stopped or removed, its pod stays Terminating"},
	{"containerd", []string{".RemovePodSandbox", ".StopPodSandbox", ".RemoveContainer", ".StopContainer"},
		"containerd cannot stop or remove a container: its pod stays Terminating"},
	{"containerd", nil, "one request to containerd is stuck: the container it is about does not start or stop"},
	{"crio", nil, "one request to CRI-O is stuck: the container it is about does not start or stop"},
	{"conmon", nil, "one container's monitor is stuck: the container cannot be stopped or removed"},
	{"runc", nil, "a container's start, stop or exec is stuck"},
	{"crun", nil, "a container's start, stop or exec is stuck"},
	{"umount", nil, "an unmount does not end: whoever started it waits, and the volume stays in use"},
	{"mount", nil, "a mount does not end: the pod that waits for the volume does not start"},
	{"df", nil, "df hangs, and keeps the mount busy: umount -f fails until it is killed"},
	{"node_exporter", nil, "node_exporter loses a thread on this mount: file-system metrics are late or missing"},
	{"node-problem-de", nil, "node-problem-detector waits for a plugin: it reports no other problem meanwhile"},
	{"cephcsi", nil, "ceph-csi is stuck: volumes of this driver on this node are not mounted or unmounted"},
	{"csi-", nil, "a CSI helper is stuck: volumes of its driver wait"},
	{"systemd", nil, "systemd is stuck in a mount: units wait, and a shutdown will"},
	{"rpc.", nil, "an NFS service of this node is stuck"},
}
