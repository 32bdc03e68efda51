package facts

// Scan is what a hunt for leftovers reads beyond a Snapshot's other facts.
type Scan struct {
	// HostPID is the process whose view of the node counts: the kubelet, else
	// init. HostNS is its mount namespace.
	HostPID int    `json:"host_pid"`
	HostNS  uint32 `json:"host_ns"`
	// KubeletVersion is as the user gave it: "1.34"; "" unknown.
	KubeletVersion string `json:"kubelet_version,omitempty"`
	// MinAgeS is how long a directory must be unchanged before it can be a
	// leftover: younger ones may belong to a pod that is just starting.
	MinAgeS int64 `json:"min_age_s"`

	Processes  int              `json:"processes"`
	Namespaces []MountNamespace `json:"namespaces"`
	// MountDevices are the devices of every mount in any table, those included
	// whose lines are not kept in Snapshot.Mounts.
	MountDevices []string `json:"mount_devices"`
	// Mounts is how many lines the tables had.
	Mounts int `json:"mounts"`
	// Dirs are directories below <kubelet root>/pods, never below a mount.
	Dirs []KubeDir `json:"dirs,omitempty"`
	// DirsRead tells that the list is whole.
	DirsRead bool `json:"dirs_read"`
	// LivePods are the UIDs of pods with a process in their cgroup.
	LivePods []string `json:"live_pods,omitempty"`
	// Files are what processes hold on file systems in question.
	Files []HeldFile `json:"files,omitempty"`

	// BDIs are the names in /sys/class/bdi: "0:48", "ceph-1". Supers are the
	// names in /sys/fs/ext4 and the like: "ext4/rbd0".
	BDIs   []string `json:"bdis,omitempty"`
	Supers []string `json:"supers,omitempty"`
	// Ceph are the kernel's ceph clients as debugfs shows them.
	Ceph []CephClient `json:"ceph,omitempty"`
	// Daemons are the processes with /dev/fuse open. DaemonsNumbered tells that
	// each names its connection: then a connection of no daemon is dead.
	Daemons         []FuseDaemon `json:"daemons,omitempty"`
	DaemonsNumbered bool         `json:"daemons_numbered"`
	// FuseBefore are the connections at the beginning of the scan; those of
	// the Snapshot are of its end.
	FuseBefore []FuseConnection `json:"fuse_before,omitempty"`
	Probes     []Probe          `json:"probes,omitempty"`
}

// MountNamespace is a mount namespace that some process is in.
type MountNamespace struct {
	ID  uint32 `json:"id"`
	PID int    `json:"pid"` // whose mountinfo was read
	// Members are some of the processes in it, Processes how many there are.
	Members   []int `json:"members,omitempty"`
	Processes int   `json:"processes"`
}

// KubeDir is a name below a kubelet's root directory.
type KubeDir struct {
	Path string `json:"path"`
	// MTimeNS is when the directory last changed (unix time); 0 unknown: it
	// may be a mount point, which is not touched.
	MTimeNS int64 `json:"mtime_ns,omitempty"`
	File    bool  `json:"file,omitempty"`
}

// HeldFile is something that keeps a file system in use.
type HeldFile struct {
	PID int `json:"pid"`
	// How is "fd 7", "cwd", "root" or "mapping".
	How    string `json:"how"`
	Path   string `json:"path,omitempty"`
	Device string `json:"device,omitempty"` // "0:53"; "" unknown
	FSType string `json:"fstype,omitempty"`
	// Detached tells that its mount is in no mount table.
	Detached bool `json:"detached,omitempty"`
}

// CephClient is a directory of /sys/kernel/debug/ceph, as text.
type CephClient struct {
	Name     string `json:"name"` // FSID.clientNUMBER
	MDSC     string `json:"mdsc,omitempty"`
	OSDC     string `json:"osdc,omitempty"`
	Sessions string `json:"sessions,omitempty"`
	// CephFS tells that it is a cephfs client and not one of rbd.
	CephFS bool `json:"cephfs,omitempty"`
	// Later is MDSC read again, LaterMS afterwards: what is in both is slow.
	Later   string `json:"later,omitempty"`
	LaterMS int64  `json:"later_ms,omitempty"`
}

// FuseDaemon is a process that has /dev/fuse open.
type FuseDaemon struct {
	PID    int    `json:"pid"`
	Comm   string `json:"comm,omitempty"`
	State  string `json:"state"`            // one letter
	Cgroup string `json:"cgroup,omitempty"` // text of /proc/PID/cgroup
	// Number is its connection; 0 unknown.
	Number uint32 `json:"number,omitempty"`
}

// The values of Probe.Outcome.
const (
	ProbeAnswered = "answered"
	ProbeFailed   = "failed"  // an answer, too: Errno
	ProbeSilent   = "silent"  // none within the deadline
	ProbeUnasked  = "unasked" // no child could be started, or one still hangs
)

// Probe is a question that only the server of a mount can answer.
type Probe struct {
	Device  string `json:"device"`
	Point   string `json:"point,omitempty"`
	Outcome string `json:"outcome"`
	Errno   string `json:"errno,omitempty"` // "ENOTCONN"
	Why     string `json:"why,omitempty"`
	TookMS  int64  `json:"took_ms"`
	// LeftPID is the child that still hangs in it; 0: none.
	LeftPID int `json:"left_pid,omitempty"`
}
