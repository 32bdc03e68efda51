// Package facts holds what was read of a node, as plain data.
//
// In: what the gatherers (proc, mounts, kube, storage, symbol, loader) read.
// Out: values that correlate judges and that a recording stores, so that
// replay needs nothing else. It must never read anything itself, and never
// hold a judgement: raw text stays raw where parsing is somebody else's work.
package facts

import "time"

// The formats of a Pass.
const (
	FormatBPFTask  = "bpf-iter/task/v1"      // struct task_record of bpf/hangtrace.h
	FormatBPFFile  = "bpf-iter/task_file/v1" // struct file_record of bpf/hangtrace.h
	FormatBPFSlots = "bpf-slots/v1"          // struct slot with its path: calls in flight
	FormatBPFRing  = "bpf-ring/v1"           // call, block and target records
	FormatProcTask = "proc/task/v1"          // one JSON ProcThread a line
	FormatBPFWalk  = "bpf-walk/v1"           // the records of bpf/walk.h
)

// The capture backends.
const (
	BackendBPF  = "bpf-iter"
	BackendProc = "proc"
)

// Snapshot is everything one look at the node brought: the raw task samples of
// two passes and the facts that name what they point at.
type Snapshot struct {
	TakenAt time.Time `json:"taken_at"`
	TookMS  int64     `json:"took_ms"`
	Clock   Clock     `json:"clock"`
	Node    Node      `json:"node"`
	Backend string    `json:"backend"`

	// OwnMountNS is the mount namespace hangtrace itself was started in: where
	// the operator's commands run.
	OwnMountNS uint32 `json:"own_mount_ns,omitempty"`
	// HostMountNS is the mount namespace of the kubelet, else of init: what is
	// mounted for the node. 0: unknown.
	HostMountNS uint32 `json:"host_mount_ns,omitempty"`

	// Targets are the thread group IDs that were asked for, with how each was
	// named; empty with AllProcesses.
	Targets      []Target `json:"targets,omitempty"`
	AllProcesses bool     `json:"all_processes,omitempty"`
	// KernelThreads tells whether kernel threads were looked at too.
	KernelThreads bool `json:"kernel_threads,omitempty"`

	// Passes are the task samples, oldest first.
	Passes []Pass `json:"passes"`
	// Files are raw file iterator records of processes with a blocked thread.
	Files []Pass `json:"files,omitempty"`
	// InFlight are the raw slots of traced calls that have not returned; only
	// the live tracer has them.
	InFlight []Pass `json:"in_flight,omitempty"`
	// Walks are walks over the kernel's structures, oldest first: only what the
	// last two agree on is to be believed.
	Walks []Pass `json:"walks,omitempty"`

	Processes []Process    `json:"processes,omitempty"`
	Links     []Link       `json:"links,omitempty"`
	Strings   []UserString `json:"strings,omitempty"`
	// Maps are the mappings of processes with a page fault in question.
	Maps []ProcMaps `json:"maps,omitempty"`
	// UserStacks are the user sides of the threads in question.
	UserStacks []UserStack `json:"user_stacks,omitempty"`
	// Symbols gives kernel addresses as "name+0x1a [module]"; "" = unknown.
	Symbols  map[uint64]string `json:"symbols,omitempty"`
	Mounts   []MountTable      `json:"mounts,omitempty"`
	Resolved []ResolvedPath    `json:"resolved,omitempty"`
	Blocks   []BlockDevice     `json:"blocks,omitempty"`
	// Fuse are the FUSE connections, those of detached mounts too.
	Fuse []FuseConnection `json:"fuse,omitempty"`
	// FuseDaemons are the processes that serve FUSE connections.
	FuseDaemons []FuseDaemon `json:"fuse_daemons,omitempty"`
	// Ceph is read where the walks do not tell whom a hung thread waits for.
	Ceph []CephState `json:"ceph,omitempty"`
	NFS  []NFSMount  `json:"nfs,omitempty"`
	// KernelLog are lines of storage clients and of the hung task detector.
	KernelLog []KernelLine `json:"kernel_log,omitempty"`
	// Reach is set with --probe-network.
	Reach []Reach `json:"reach,omitempty"`
	Kube  *Kube   `json:"kube,omitempty"`
	// Scan is set by hangtrace scan and check.
	Scan *Scan `json:"scan,omitempty"`

	// Skipped names what was not read, Degraded what this node or these rights
	// do not give.
	Skipped  []Skipped `json:"skipped,omitempty"`
	Degraded []string  `json:"degraded,omitempty"`
}

// Clock relates the clocks of one snapshot to each other.
type Clock struct {
	// MonoNS and BootNS are CLOCK_MONOTONIC and CLOCK_BOOTTIME at TakenAt.
	MonoNS int64 `json:"mono_ns"`
	BootNS int64 `json:"boot_ns"`
	// SchedToMonoNS is to be added to a scheduler time stamp (last_arrival)
	// to get CLOCK_MONOTONIC. Valid only if SchedCalibrated.
	SchedToMonoNS   int64 `json:"sched_to_mono_ns"`
	SchedCalibrated bool  `json:"sched_calibrated"`
	// SchedErrorNS is how far the calibration may be off.
	SchedErrorNS int64 `json:"sched_error_ns"`
	// HZ is the kernel's tick rate, and JiffiesRef the value of jiffies_64 at
	// JiffiesMonoNS of CLOCK_MONOTONIC. HZ 0: unknown.
	HZ            int64  `json:"hz,omitempty"`
	JiffiesRef    uint64 `json:"jiffies_ref,omitempty"`
	JiffiesMonoNS int64  `json:"jiffies_mono_ns,omitempty"`
}

// Node describes the machine.
type Node struct {
	Hostname string `json:"hostname"`
	Kernel   string `json:"kernel"` // utsname release
	Arch     string `json:"arch"`   // GOARCH: amd64 or arm64
	BootID   string `json:"boot_id"`
	UptimeS  int64  `json:"uptime_s"`
	// PageSize in bytes.
	PageSize int `json:"page_size"`
}

// Target is one process that was asked for.
type Target struct {
	PID int `json:"pid"`
	// Query is what the user typed ("kubelet", "1234", "pod:UID").
	Query string `json:"query"`
	// Matched says how Query found the process when that is not obvious:
	// "k3s runs the kubelet".
	Matched string `json:"matched,omitempty"`
}

// Pass is the raw output of one run of an iterator, or of one walk over /proc.
type Pass struct {
	Format string `json:"format"`
	AtNS   int64  `json:"at_ns"` // CLOCK_MONOTONIC when it ended
	Data   []byte `json:"data"`
}

// ProcThread is what the proc backend read of one thread, as text.
type ProcThread struct {
	PID     int    `json:"pid"`
	TID     int    `json:"tid"`
	AtNS    int64  `json:"at_ns"`             // CLOCK_MONOTONIC when it was read
	Stat    string `json:"stat"`              // /proc/PID/task/TID/stat
	Status  string `json:"status"`            // /proc/PID/task/TID/status
	Wchan   string `json:"wchan,omitempty"`   // /proc/PID/task/TID/wchan
	Syscall string `json:"syscall,omitempty"` // /proc/PID/task/TID/syscall
	Stack   string `json:"stack,omitempty"`   // /proc/PID/task/TID/stack
	MountNS uint32 `json:"mount_ns,omitempty"`
}

// Process is what is known of one process.
type Process struct {
	PID  int    `json:"pid"`
	PPID int    `json:"ppid,omitempty"`
	Comm string `json:"comm"`
	// Exe is where /proc/PID/exe points, never opened.
	Exe         string    `json:"exe,omitempty"`
	StartedAt   time.Time `json:"started_at"`
	StartBootNS uint64    `json:"start_boot_ns"`
	Threads     int       `json:"threads"`
	MountNS     uint32    `json:"mount_ns,omitempty"`
	PIDNS       uint32    `json:"pid_ns,omitempty"`
	// Cgroup is the text of /proc/PID/cgroup.
	Cgroup string `json:"cgroup,omitempty"`
	UID    int    `json:"uid"`
	// Kubelet is set for the kubelet and for programs that contain one.
	Kubelet *KubeletProcess `json:"kubelet,omitempty"`
}

// KubeletProcess is what is known of a running kubelet.
type KubeletProcess struct {
	RootDir string `json:"root_dir"`
	// RootDirSource says where RootDir comes from: "--root-dir", "flag",
	// "default".
	RootDirSource string `json:"root_dir_source"`
	// Healthz is what it answered about itself; nil: it was not asked.
	Healthz *KubeletHealth `json:"healthz,omitempty"`
}

// KubeletHealth is what a kubelet says at its own healthz address.
type KubeletHealth struct {
	SyncLoop string `json:"syncloop"` // "ok", "failed", "unknown"
	URL      string `json:"url,omitempty"`
	// Detail is what it said of a failure, or why the state is unknown.
	Detail string `json:"detail,omitempty"`
}

// Link is where a magic link of a process points: fd/N, cwd or root.
type Link struct {
	PID  int    `json:"pid"`
	TID  int    `json:"tid,omitempty"` // 0: the process
	Name string `json:"name"`          // "cwd", "root", "fd/7"
	To   string `json:"to"`
	// FDInfo is the text of fdinfo/N for file descriptors.
	FDInfo string `json:"fdinfo,omitempty"`
}

// UserString is a string read from a process's memory.
type UserString struct {
	PID       int    `json:"pid"`
	Addr      uint64 `json:"addr"`
	Value     string `json:"value"`
	Truncated bool   `json:"truncated,omitempty"`
	Err       string `json:"err,omitempty"`
}

// ProcMaps is the text of /proc/PID/maps.
type ProcMaps struct {
	PID  int    `json:"pid"`
	Text string `json:"text"`
}

// UserStack is the user side of one thread, or of a goroutine on no thread.
type UserStack struct {
	PID    int         `json:"pid"`
	TID    int         `json:"tid,omitempty"`
	Frames []UserFrame `json:"frames,omitempty"` // innermost first
	// End is why the chain ends early; "" if it is whole.
	End string `json:"end,omitempty"`
	// Elided frames are left out behind Frames[ElidedAt-1].
	Elided   int `json:"elided,omitempty"`
	ElidedAt int `json:"elided_at,omitempty"`
	// Goroutine is what runs on the thread, where that is known for sure.
	Goroutine *Goroutine `json:"goroutine,omitempty"`
}

// UserFrame is one call of a chain.
type UserFrame struct {
	Function string `json:"function,omitempty"` // "" unknown
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	Inlined  bool   `json:"inlined,omitempty"`
	// Via says how the chain got here when not by a return address.
	Via string `json:"via,omitempty"`
	// Module and Offset tell where code that is not Go is, BuildID of which build
	// the module is if the code has no name; Into is how far into Function it is.
	Module  string `json:"module,omitempty"`
	Offset  uint64 `json:"offset,omitempty"`
	BuildID string `json:"build_id,omitempty"`
	Into    uint64 `json:"into,omitempty"`
}

// Goroutine is what the Go runtime's structures tell of a goroutine.
type Goroutine struct {
	ID     uint64 `json:"id"`
	Status string `json:"status,omitempty"`
	// WaitSinceNS is when a garbage collection first found it blocked,
	// CLOCK_MONOTONIC; 0 when none has.
	WaitSinceNS uint64 `json:"wait_since_ns,omitempty"`
	CreatedBy   string `json:"created_by,omitempty"`
	ParentID    uint64 `json:"parent_id,omitempty"`
	Start       string `json:"start,omitempty"`
}

// MountTable is the mountinfo of one mount namespace.
type MountTable struct {
	Namespace uint32 `json:"namespace"`
	// PID is the process it was read from; its root is what paths are
	// relative to.
	PID  int    `json:"pid"`
	Text string `json:"text"`
	// Earlier marks a table that is no longer current: the live tracer keeps
	// those so that a volume unmounted under a blocked call keeps its name.
	Earlier bool      `json:"earlier,omitempty"`
	AsOf    time.Time `json:"as_of"`
}

// ResolvedPath is a path with its symbolic links followed as far as that is
// possible without touching the far side of a suspicious mount.
type ResolvedPath struct {
	PID      int    `json:"pid"`
	Path     string `json:"path"`
	Resolved string `json:"resolved"`
	Err      string `json:"err,omitempty"`
}

// BlockDevice is a block device as sysfs shows it.
type BlockDevice struct {
	Device string `json:"device"` // "253:0"
	Name   string `json:"name"`   // "rbd0", "nbd1", "dm-2", "sda1"
	// Driver is "rbd", "nbd", "dm", "loop", "md" or "" for a local disk.
	Driver string `json:"driver,omitempty"`
	// Below are the devices it stands on (dm and md slaves, a partition's
	// disk), by Device.
	Below []string `json:"below,omitempty"`
	// Pool, Image and ClusterFSID are set for rbd.
	Pool        string `json:"pool,omitempty"`
	PoolNS      string `json:"pool_ns,omitempty"`
	Image       string `json:"image,omitempty"`
	ClusterFSID string `json:"cluster_fsid,omitempty"`
	// ImageID and ClientID join an rbd device with the requests of its client:
	// objects are named rbd_data.<ImageID>.<n>, the client "client4123".
	ImageID  string `json:"image_id,omitempty"`
	ClientID string `json:"client_id,omitempty"`
	// InflightReads and InflightWrites as in /sys/block/X/inflight; -1 unknown.
	InflightReads  int `json:"inflight_reads"`
	InflightWrites int `json:"inflight_writes"`
	// NBDPid is the process that serves an nbd device; 0 unknown.
	NBDPid int `json:"nbd_pid,omitempty"`
}

// FuseConnection is a connection of the kernel's FUSE with a daemon.
type FuseConnection struct {
	// Number is the name of its directory in /sys/fs/fuse/connections.
	Number uint32 `json:"number"`
	// Device is Number as field 3 of mountinfo shows it: "0:53".
	Device string `json:"device"`
	// Waiting is how many requests wait for the daemon, those that it already
	// read included; -1 unknown.
	Waiting int `json:"waiting"`
	// CongestionThreshold and MaxBackground are limits on background requests;
	// -1 unknown.
	CongestionThreshold int `json:"congestion_threshold"`
	MaxBackground       int `json:"max_background"`
}

// Kube is what was read of Kubernetes' traces on the node.
type Kube struct {
	// RootDirs are the kubelet root directories in force.
	RootDirs []string `json:"root_dirs"`
	Pods     []Pod    `json:"pods,omitempty"`
	// PodSources are the sources of Pods that answered: "cri", "pod-logs",
	// "kubelet". "deleted" may be said of a pod only when CRI answered.
	PodSources []string `json:"pod_sources,omitempty"`
	// VolumeData are the vol_data.json files next to the volumes in question.
	VolumeData []VolumeData `json:"volume_data,omitempty"`
	// PodDirs are the names in <root>/pods.
	PodDirs []string `json:"pod_dirs,omitempty"`
}

// Pod is one pod as some source knows it.
type Pod struct {
	UID       string `json:"uid"`
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	// State is "running" (a ready sandbox), "notready" (a sandbox that
	// stopped) or "" where the source cannot tell.
	State  string `json:"state,omitempty"`
	Source string `json:"source"` // "cri", "pod-logs", "kubelet"
	// Containers maps container IDs to names.
	Containers map[string]string `json:"containers,omitempty"`
}

// VolumeData is one vol_data.json.
type VolumeData struct {
	// Path is the file's path in the kubelet's mount namespace.
	Path                string `json:"path"`
	DriverName          string `json:"driverName,omitempty"`
	SpecVolID           string `json:"specVolID,omitempty"` // the PV name
	VolumeHandle        string `json:"volumeHandle,omitempty"`
	AttachmentID        string `json:"attachmentID,omitempty"`
	NodeName            string `json:"nodeName,omitempty"`
	VolumeLifecycleMode string `json:"volumeLifecycleMode,omitempty"`
	Err                 string `json:"err,omitempty"`
}

// Skipped is something that was not read, and why.
type Skipped struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// StackDump is the stacks of every thread of some processes.
type StackDump struct {
	Schema    string          `json:"schema"`
	TakenAt   time.Time       `json:"taken_at"`
	TookMS    int64           `json:"took_ms"`
	Node      Node            `json:"node"`
	Backend   string          `json:"backend"`
	Processes []ProcessStacks `json:"processes"`
	Skipped   []Skipped       `json:"skipped"`
	Degraded  []string        `json:"degraded"`
}

// StackDumpSchema names the form of a StackDump.
const StackDumpSchema = "hangtrace.stacks/v1"

// ProcessStacks is the stacks of one process.
type ProcessStacks struct {
	PID     int    `json:"pid"`
	Comm    string `json:"comm"`
	Exe     string `json:"exe,omitempty"`
	Runtime string `json:"runtime,omitempty"` // "go1.26.8"; "" for other programs
	// Threads are all of them, Parked the goroutines on no thread.
	Threads []ThreadStacks `json:"threads"`
	Parked  []UserStack    `json:"parked,omitempty"`
	// ParkedErr is why goroutines on no thread are missing.
	ParkedErr string `json:"parked_err,omitempty"`
}

// ThreadStacks is both sides of one thread.
type ThreadStacks struct {
	TID   int    `json:"tid"`
	Comm  string `json:"comm"`
	State string `json:"state"` // as ps shows it
	// Kernel is symbolised, innermost first; empty for a thread that runs.
	Kernel []string   `json:"kernel,omitempty"`
	User   *UserStack `json:"user,omitempty"`
}
