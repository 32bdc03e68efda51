package correlate

import "time"

// ScanSchema names what hangtrace scan emits; docs/schema describes it.
const ScanSchema = "hangtrace.scan/v1"

// Class is a kind of leftover.
type Class string

// The classes, the most dangerous first.
const (
	ClassUmountStuck      Class = "umount_stuck"
	ClassHungMount        Class = "hung_mount"
	ClassDeadFuse         Class = "dead_fuse_connection"
	ClassDetached         Class = "detached_superblock"
	ClassForeignNamespace Class = "foreign_namespace_mount"
	ClassOrphanMount      Class = "orphan_mount"
	ClassStaleRBD         Class = "stale_rbd_device"
	ClassOrphanDir        Class = "orphan_dir"
)

// Classes lists every class in that order.
func Classes() []Class {
	return []Class{
		ClassUmountStuck, ClassHungMount, ClassDeadFuse, ClassDetached,
		ClassForeignNamespace, ClassOrphanMount, ClassStaleRBD, ClassOrphanDir,
	}
}

// The values of Leftover.Health.
const (
	HealthResponding = "responding"
	HealthHung       = "hung"
	HealthUnknown    = "unknown"
)

// Scan is the answer to "what is left over on this node".
type Scan struct {
	Schema    string          `json:"schema"`
	TakenAt   time.Time       `json:"taken_at"`
	TookMS    int64           `json:"took_ms"`
	Node      Node            `json:"node"`
	Checked   Checked         `json:"checked"`
	Leftovers List[*Leftover] `json:"leftovers"`
	Summary   ScanSummary     `json:"summary"`
}

// Checked says what was looked at, and what was not.
type Checked struct {
	Processes       int           `json:"processes"`
	Namespaces      int           `json:"mount_namespaces"`
	Mounts          int           `json:"mounts"`
	PodDirs         int           `json:"pod_dirs"`
	Pods            int           `json:"pods"`
	PodSources      List[string]  `json:"pod_sources"`
	FuseConnections int           `json:"fuse_connections"`
	CephClients     int           `json:"ceph_clients"`
	RBDDevices      int           `json:"rbd_devices"`
	HungThreads     int           `json:"hung_threads"`
	Probed          int           `json:"probed"`
	Walker          bool          `json:"walker"`
	Skipped         List[Skipped] `json:"skipped"`
	Degraded        List[string]  `json:"degraded"`
}

// Leftover is one finding.
type Leftover struct {
	// ID is stable for the same thing across scans of one boot.
	ID     string  `json:"id"`
	Class  Class   `json:"class"`
	Path   Text    `json:"path"`
	Mount  *Mount  `json:"mount"`
	Volume *Volume `json:"volume"`
	// Health is responding, hung or unknown; for a directory without a mount
	// null.
	Health   Text         `json:"health"`
	Evidence List[string] `json:"evidence"`
	Holders  List[Holder] `json:"holders"`
	// HoldersMore is how many holders are not listed.
	HoldersMore int `json:"holders_more"`
	// NextPass is what the kubelet does with it at its next clean-up.
	NextPass Text         `json:"next_kubelet_pass"`
	Remedies List[Remedy] `json:"remedies"`
	Warnings List[string] `json:"warnings"`
}

// Holder is a process that keeps a leftover alive or waits for it.
type Holder struct {
	PID int `json:"pid"`
	// TID is set for a blocked thread.
	TID       Number     `json:"tid"`
	Comm      string     `json:"comm"`
	How       string     `json:"how"` // "fd 7", "cwd", "root", "mapping", "blocked", "daemon", "namespace"
	Path      Text       `json:"path"`
	ForMS     int64      `json:"for_ms,omitempty"`
	Container *Container `json:"container"`
}

// ScanSummary adds a scan up.
type ScanSummary struct {
	Findings int           `json:"findings"`
	ByClass  map[Class]int `json:"by_class"`
	Verdict  string        `json:"verdict"`
}
