package correlate

import "time"

// The schemas of what is emitted; docs/output.md describes them.
const (
	ReportSchema = "hangtrace.report/v1"
	EventSchema  = "hangtrace.event/v1"
)

// Reason says how a thread is known to hang.
type Reason string

// The reasons.
const (
	ReasonSlowSyscall  Reason = "slow_syscall"  // entry was seen by the live tracer
	ReasonInSyscall    Reason = "in_syscall"    // found inside a call that began before us
	ReasonPageFault    Reason = "page_fault"    // outside any call, in a fault
	ReasonAfterSyscall Reason = "after_syscall" // the call has returned; blocked in task work or exit
	ReasonIOWorker     Reason = "io_worker"     // an io_uring worker
	ReasonKernelThread Reason = "kernel_thread" // a kernel thread in file-system code
)

// Report is the answer to "what is hung now".
type Report struct {
	Schema  string       `json:"schema"`
	TakenAt time.Time    `json:"taken_at"`
	TookMS  int64        `json:"took_ms"`
	Node    Node         `json:"node"`
	Capture Capture      `json:"capture"`
	Targets List[Target] `json:"targets"`
	Hangs   List[*Hang]  `json:"hangs"`
	// Leftovers are what the hangs show to be left over; a scan sees more.
	Leftovers List[*Leftover] `json:"leftovers"`
	Summary   Summary         `json:"summary"`
}

// Node names the machine.
type Node struct {
	Hostname Text  `json:"hostname"`
	Kernel   Text  `json:"kernel"`
	BootID   Text  `json:"boot_id"`
	UptimeS  int64 `json:"uptime_s"`
}

// Capture says how the report was made and what is missing from it.
type Capture struct {
	Backend string `json:"backend"`
	Passes  int    `json:"passes"`
	// Processes and Threads are how many were looked at, kernel threads not
	// counted unless they were asked for.
	Processes int `json:"processes"`
	Threads   int `json:"threads"`
	// ThresholdMS and Filesystems are what was asked for.
	ThresholdMS int64         `json:"threshold_ms"`
	Filesystems List[string]  `json:"filesystems"`
	Skipped     List[Skipped] `json:"skipped"`
	Degraded    List[string]  `json:"degraded"`
}

// Skipped is something that was not read, and why.
type Skipped struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// Target is a process that was looked at.
type Target struct {
	PID       int        `json:"pid"`
	Comm      string     `json:"comm"`
	Exe       Text       `json:"exe"`
	StartedAt *time.Time `json:"started_at"` // nil: unknown
	Threads   int        `json:"threads"`
	// Matched says how the target was found when its name differs from what
	// was asked for.
	Matched string   `json:"matched,omitempty"`
	Kubelet *Kubelet `json:"kubelet,omitempty"`
}

// Kubelet is what is known of a kubelet among the targets.
type Kubelet struct {
	RootDir Text     `json:"root_dir"`
	Healthz *Healthz `json:"healthz"` // nil: it was not asked
}

// Healthz is what a kubelet says of itself.
type Healthz struct {
	// SyncLoop is "ok", "failed" or "unknown".
	SyncLoop string `json:"syncloop"`
	// Detail is what it said of a failure, or why the state is unknown.
	Detail Text `json:"detail"`
}

// Hang is one thread that hangs.
type Hang struct {
	// ID is stable for the same thread in the same call, across reports and
	// between report and live.
	ID      string   `json:"id"`
	Reason  Reason   `json:"reason"`
	Task    Task     `json:"task"`
	Syscall *Syscall `json:"syscall"`
	Blocked Blocked  `json:"blocked"`
	Path    Path     `json:"path"`
	Mount   *Mount   `json:"mount"`
	Volume  *Volume  `json:"volume"`
	// KernelStack is symbolised, innermost frame first.
	KernelStack []string `json:"kernel_stack"`
	// UserStack is the chain of calls that led into the kernel, innermost
	// first; nil: not readable. UserStackEnd is why it ends early.
	UserStack    []Frame    `json:"user_stack"`
	UserStackEnd Text       `json:"user_stack_end"`
	Goroutine    *Goroutine `json:"goroutine"`
	WaitingOn    *WaitingOn `json:"waiting_on"`
	// Role is "root" or "victim": a victim waits behind another thread's lock.
	Role string `json:"role"`
	// WaitsBehind is the ID of the root; null for a root, and for a victim whose
	// root is not known.
	WaitsBehind Text `json:"waits_behind"`
	// Behind counts the other hung threads that wait behind this one, or for
	// the same request, page or lock; nil: none.
	Behind *Behind `json:"behind"`
	// Group is the ID of the oldest root among the threads that wait for the
	// same server on the same volume, by way of others or not: its own where it
	// is alone.
	Group Text `json:"group"`
	// Effect is what does not work while this thread hangs, as far as its
	// calls show it.
	Effect Text `json:"effect"`
	// Healthz compares the effect with what the kubelet says of itself, in a
	// sentence; "" where there is nothing to compare. What it said stands in
	// Target.Kubelet.
	Healthz string `json:"-"`
	// Remedies free the thread, the least risky first. Printed, never run.
	Remedies List[Remedy] `json:"remedies"`
	// Warnings are the remedies that suggest themselves and make it worse.
	Warnings List[string] `json:"warnings"`
}

// Frame is one call of a user stack.
type Frame struct {
	// Function is MODULE+0xOFFSET where no symbol is known; BuildID then says
	// which build of the module that is.
	Function Text   `json:"function"`
	File     Text   `json:"file"`
	Line     Number `json:"line"`
	BuildID  string `json:"build_id,omitempty"`
	// Elided is how many calls are left out between this one and the next: the
	// middle of a stack that is too deep.
	Elided int `json:"elided,omitempty"`
}

// Goroutine is the goroutine that runs on a thread.
type Goroutine struct {
	ID uint64 `json:"id"`
	// WaitMin is for how many minutes the runtime itself knows it blocked; nil
	// when it never looked.
	WaitMin *int64 `json:"wait_min"`
}

// Remedy is a command that frees a hang.
type Remedy struct {
	Command string `json:"command"`
	Frees   string `json:"frees"`
	Risk    string `json:"risk"`
}

// Task is the hung thread.
type Task struct {
	PID         int    `json:"pid"`
	TID         int    `json:"tid"`
	Comm        string `json:"comm"`         // of the thread
	ProcessComm Text   `json:"process_comm"` // of the process
	State       Text   `json:"state"`        // as ps shows it: S, D, ...
	// Killable tells whether the state lets SIGKILL wake it; nil where the
	// source does not show it (/proc has no such bit).
	Killable     *bool      `json:"killable"`
	KernelThread bool       `json:"kernel_thread"`
	Cgroup       Text       `json:"cgroup"`
	Container    *Container `json:"container"`
}

// Container is the container a task runs in.
type Container struct {
	ID     Text `json:"id"`
	PodUID Text `json:"pod_uid"`
}

// Syscall is the call a thread is in, or was in last.
type Syscall struct {
	NR   int      `json:"nr"`
	Name Text     `json:"name"`
	Args []string `json:"args"` // hexadecimal; nil: registers not readable
	Text Text     `json:"text"` // as strace would print it
}

// Blocked says since when.
type Blocked struct {
	ForMS int64 `json:"for_ms"`
	// AtLeast marks ForMS as a lower bound.
	AtLeast bool      `json:"at_least"`
	Since   time.Time `json:"since"`
	// Source of the time: "entry", "last_arrival", "switch_counts",
	// "sched_switch".
	Source string `json:"source"`
}

// Path is the path the thread is blocked on.
type Path struct {
	Value     Text   `json:"value"`
	Source    string `json:"source"` // argument, fd, cwd, kernel, none
	Truncated bool   `json:"truncated"`
}

// Mount is the mount the path lies on.
type Mount struct {
	ID        Number `json:"id"`
	Device    Text   `json:"device"` // "0:28"
	Point     Text   `json:"point"`
	FSType    Text   `json:"fstype"`
	Source    Text   `json:"source"`
	Kind      Text   `json:"kind"`
	Namespace Number `json:"namespace"`
	// Attached is false when the mount is in no mount table any more; nil
	// where only the file system is known (From is "stack").
	Attached *bool `json:"attached"`
	// From says how the mount was found: "mountinfo", "device",
	// "remembered", "stack".
	From string `json:"from"`
	// Image is POOL/IMAGE for rbd.
	Image string `json:"image,omitempty"`
}

// Volume is the Kubernetes volume behind a mount.
type Volume struct {
	Pod *Pod `json:"pod"`
	// Plugin is as in the path, with ~ turned back: "kubernetes.io/csi".
	Plugin  Text `json:"plugin"`
	Name    Text `json:"name"`
	PV      Text `json:"pv"`
	PVC     Text `json:"pvc"`
	Driver  Text `json:"driver"`
	Handle  Text `json:"handle"`
	SubPath Text `json:"subpath"`
}

// Pod is the pod a volume belongs to.
type Pod struct {
	UID       Text   `json:"uid"`
	Name      Text   `json:"name"`
	Namespace Text   `json:"namespace"`
	State     string `json:"state"`  // running, deleted, unknown
	Source    string `json:"source"` // cri, kubelet, pod-logs, path
}

// WaitingOn is whom the thread waits for, with the evidence.
type WaitingOn struct {
	Kind string `json:"kind"` // mds, osd, mon, fuse-daemon, nfs-server, block-device, lock, unknown
	Name Text   `json:"name"`
	// Address is the server's, State what the kernel says of the session with
	// it ("open, laggy").
	Address Text `json:"address"`
	State   Text `json:"state"`
	// PID is the FUSE daemon's; 0 and absent: not known.
	PID     int      `json:"pid,omitempty"`
	Request *Request `json:"request"`
	// OpenRequests are all that this client has open at the server; nil: none
	// was seen.
	OpenRequests *OpenRequests `json:"open_requests"`
	// DaemonWaitsOn is whom a FUSE daemon waits for itself; absent: not known.
	DaemonWaitsOn *DaemonWait `json:"daemon_waits_on,omitempty"`
	// Source says how it is known: "walk", "debugfs", "admin_socket",
	// "mountstats" or "stack", which stands for the mount and sysfs, too.
	Source string `json:"source"`
	// Reach is what became of a connection with Address; absent unless it was
	// asked for.
	Reach    string       `json:"reach,omitempty"`
	Evidence List[string] `json:"evidence"`
}

// DaemonWait is whom a FUSE daemon waits for, with the fields of WaitingOn.
type DaemonWait struct {
	Kind         string        `json:"kind"`
	Name         Text          `json:"name"`
	Address      Text          `json:"address"`
	State        Text          `json:"state"`
	Request      *Request      `json:"request"`
	OpenRequests *OpenRequests `json:"open_requests"`
	Source       string        `json:"source"`
	Reach        string        `json:"reach,omitempty"`
	Evidence     List[string]  `json:"evidence"`
}

func daemonWait(on *WaitingOn) *DaemonWait {
	return &DaemonWait{
		Kind: on.Kind, Name: on.Name, Address: on.Address, State: on.State, Request: on.Request, OpenRequests: on.OpenRequests,
		Source: on.Source, Reach: on.Reach, Evidence: on.Evidence,
	}
}

// WaitingOn gives the same as whom a thread itself waits for.
func (d *DaemonWait) WaitingOn() *WaitingOn {
	return &WaitingOn{
		Kind: d.Kind, Name: d.Name, Address: d.Address, State: d.State, Request: d.Request, OpenRequests: d.OpenRequests,
		Source: d.Source, Reach: d.Reach, Evidence: d.Evidence,
	}
}

// server is whom a thread waits for in the end, through a FUSE daemon too.
func (on *WaitingOn) server() *WaitingOn {
	if on != nil && on.DaemonWaitsOn != nil {
		return on.DaemonWaitsOn.WaitingOn()
	}
	return on
}

// Request is the request that a thread waits for an answer to.
type Request struct {
	ID     string `json:"id"`
	Op     Text   `json:"op"`
	Target Text   `json:"target"` // path, object or node
	ForMS  *int64 `json:"for_ms"` // nil: the kernel keeps no time
	// AtLeast marks ForMS as a lower bound.
	AtLeast  bool `json:"at_least,omitempty"`
	Attempts *int `json:"attempts"`
}

// Summary adds a report up.
type Summary struct {
	HungThreads int   `json:"hung_threads"`
	Roots       int   `json:"roots"`
	Victims     int   `json:"victims"`
	OldestMS    int64 `json:"oldest_ms"`
	// Elsewhere counts threads blocked on kinds that --fs leaves out.
	Elsewhere map[string]int `json:"elsewhere,omitempty"`
	// ByServer groups the hung threads by whom they wait for.
	ByServer List[ServerCount] `json:"by_server"`
	Verdict  string            `json:"verdict"`
}

// EventKind names one line of the live stream.
type EventKind string

// The kinds of live events.
const (
	EventHangSeen   EventKind = "hang_seen"
	EventHangUpdate EventKind = "hang_update"
	EventHangEnded  EventKind = "hang_ended"
	EventSlowCall   EventKind = "slow_call" // seen only at its return
	EventLost       EventKind = "lost"
	EventNotice     EventKind = "notice" // a target went, came, was followed
	EventSummary    EventKind = "summary"
)

// Event is one line of the live stream.
type Event struct {
	Schema string    `json:"schema"`
	Kind   EventKind `json:"event"`
	Time   time.Time `json:"time"`
	// Hang is set for hang_seen, hang_update, hang_ended and slow_call.
	*Hang `json:",omitempty"`
	// DurationNS, ResolutionNS and Ret are set once the call or block ended.
	DurationNS   *uint64 `json:"duration_ns,omitempty"`
	ResolutionNS *uint64 `json:"resolution_ns,omitempty"`
	Ret          *int64  `json:"ret,omitempty"`
	// RetText is Ret as strace prints it: "-1 EIO (Input/output error)".
	RetText string `json:"ret_text,omitempty"`
	// Lost counts records lost so far, by place ("ring", "slots").
	Lost Counts `json:"lost,omitempty"`
	// Notice is a sentence.
	Notice string `json:"notice,omitempty"`
	// Summary is set for summary.
	Summary *LiveSummary `json:"summary,omitempty"`
	// Located tells of a hang_update that it says more than the event before of
	// where the hang is: what it says is in Hang.
	Located bool `json:"-"`
}

// LiveSummary adds a live session up.
type LiveSummary struct {
	DurationMS int64          `json:"duration_ms"`
	Seen       int            `json:"hangs_seen"`
	Ended      int            `json:"hangs_ended"`
	StillHung  int            `json:"still_hung"`
	SlowCalls  int            `json:"slow_calls"`
	OldestMS   int64          `json:"oldest_ms"`
	Lost       Counts         `json:"lost"`
	Elsewhere  map[string]int `json:"elsewhere,omitempty"`
	// ByServer groups what still hangs by whom it waits for.
	ByServer List[ServerCount] `json:"by_server"`
	Verdict  string            `json:"verdict"`
}
