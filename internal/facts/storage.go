package facts

// The values of CephState.Source.
const (
	SourceDebugfs     = "debugfs"      // /sys/kernel/debug/ceph
	SourceAdminSocket = "admin_socket" // of a ceph-fuse daemon
)

// CephState is what one client of a Ceph cluster says of its servers and of
// its requests to them: one of the kernel's, or a ceph-fuse daemon.
type CephState struct {
	Source string `json:"source"`
	// AtNS is CLOCK_MONOTONIC when it was read.
	AtNS int64  `json:"at_ns"`
	FSID string `json:"fsid,omitempty"` // "" unknown
	ID   uint64 `json:"id,omitempty"`   // as in "client.4142"; 0 unknown
	// CephFS tells that it is a client of a file system, not one of rbd.
	CephFS bool `json:"cephfs,omitempty"`
	// Blocklisted: the cluster takes nothing of it any more.
	Blocklisted bool `json:"blocklisted,omitempty"`
	// PID and Point are set for a daemon: its process and its mount point.
	PID   int    `json:"pid,omitempty"`
	Point string `json:"point,omitempty"`

	MDS   []CephMDS  `json:"mds,omitempty"`
	OSDs  []CephOSD  `json:"osds,omitempty"`
	MONs  []CephMON  `json:"mons,omitempty"`
	Pools []CephPool `json:"pools,omitempty"`

	MDSRequests []CephMDSRequest `json:"mds_requests,omitempty"`
	OSDRequests []CephOSDRequest `json:"osd_requests,omitempty"`
	MONRequests []CephMONRequest `json:"mon_requests,omitempty"`
	CapWaiters  []CephCapWaiter  `json:"cap_waiters,omitempty"`
	// CapsRead tells that CapWaiters was read: it is asked for only where a
	// thread may wait for capabilities.
	CapsRead bool `json:"caps_read,omitempty"`
}

// CephMDS is a rank of the MDS map and the client's session with it.
type CephMDS struct {
	Rank    int    `json:"rank"`
	Address string `json:"address,omitempty"` // "v1:10.0.0.1:6811"
	State   string `json:"state,omitempty"`   // of the map: "up:active"
	Session string `json:"session,omitempty"` // "open"; "" none
}

// CephOSD is an OSD of the map.
type CephOSD struct {
	ID      int    `json:"id"`
	Address string `json:"address,omitempty"`
	State   string `json:"state,omitempty"` // "exists, up"
}

// CephMON is a monitor of the map.
type CephMON struct {
	Rank    int    `json:"rank"`
	Address string `json:"address,omitempty"`
}

// CephPool is a pool of the OSD map.
type CephPool struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

// CephMDSRequest is an open request to an MDS.
type CephMDSRequest struct {
	TID  uint64 `json:"tid"`
	Rank int    `json:"rank"` // -1: sent to none yet
	Op   string `json:"op"`
	// Ino is the inode it is about, or the directory of Name; Path the path
	// from the root of the client's mount, "" unknown.
	Ino  uint64 `json:"ino,omitempty"`
	Name string `json:"name,omitempty"`
	Path string `json:"path,omitempty"`
	// Ino2, Name2 and Path2 are the other end of a rename or link.
	Ino2  uint64 `json:"ino2,omitempty"`
	Name2 string `json:"name2,omitempty"`
	Path2 string `json:"path2,omitempty"`
	// Unsafe: answered, and not yet on the MDS's disk. Nobody need wait for it.
	Unsafe  bool `json:"unsafe,omitempty"`
	Aborted bool `json:"aborted,omitempty"` // its caller is gone; only a daemon says so
	// AgeMS and Attempts are known of a daemon's requests only; 0 unknown.
	AgeMS    int64 `json:"age_ms,omitempty"`
	Attempts int   `json:"attempts,omitempty"`
}

// CephOSDRequest is an open request to an OSD.
type CephOSDRequest struct {
	TID    uint64 `json:"tid"`
	OSD    int    `json:"osd"`            // -1: none is up for it
	Pool   int64  `json:"pool,omitempty"` // its number
	PG     string `json:"pg,omitempty"`
	Object string `json:"object"`
	Op     string `json:"op,omitempty"`
	// Attempts is how often it was sent; -1 unknown.
	Attempts int `json:"attempts"`
	// AgeMS is known of a daemon's requests only; 0 unknown.
	AgeMS int64 `json:"age_ms,omitempty"`
	// Paused: the OSD map forbids it.
	Paused bool `json:"paused,omitempty"`
	// Linger marks a watch: open by nature.
	Linger bool `json:"linger,omitempty"`
}

// CephMONRequest is an open request to a monitor.
type CephMONRequest struct {
	TID uint64 `json:"tid"`
	Op  string `json:"op"`
}

// CephCapWaiter is a process one of whose threads waits for capabilities.
type CephCapWaiter struct {
	TGID int    `json:"tgid"`
	Ino  uint64 `json:"ino"`
	Need string `json:"need"` // "Fr", "Fw"
	Want string `json:"want"`
}

// NFSMount is an NFS mount as /proc/PID/mountstats shows it.
type NFSMount struct {
	Namespace uint32 `json:"namespace,omitempty"`
	Point     string `json:"point"`
	Source    string `json:"source"` // "server:/export"
	// Address is the server's, of the option addr, with the port.
	Address string `json:"address,omitempty"`
	AgeS    int64  `json:"age_s"`
	// Transports are the connections with the server.
	Transports []NFSTransport `json:"transports,omitempty"`
	// Ops are the operations that wait, or were sent more than once.
	Ops []NFSOp `json:"ops,omitempty"`
}

// NFSTransport is an xprt line.
type NFSTransport struct {
	Proto string `json:"proto"` // tcp, udp, rdma, local
	// Connects is how often it was connected; IdleS for how many seconds
	// nothing went over it; -1 where the protocol has none.
	Connects int64 `json:"connects"`
	IdleS    int64 `json:"idle_s"`
	Sends    int64 `json:"sends"`
	Receives int64 `json:"receives"`
}

// NFSOp is a per-op line.
type NFSOp struct {
	Name          string `json:"name"`
	Requests      int64  `json:"requests"`
	Transmissions int64  `json:"transmissions"`
	MajorTimeouts int64  `json:"major_timeouts"`
}

// KernelLine is a line of the kernel's log.
type KernelLine struct {
	// AtNS is the log's own clock, CLOCK_MONOTONIC but for a little drift.
	AtNS int64  `json:"at_ns"`
	Text string `json:"text"`
}

// The values of Reach.Outcome.
const (
	ReachReachable = "reachable"
	ReachRefused   = "refused"
	ReachNoAnswer  = "no answer"
	ReachUnknown   = "unknown"
)

// Reach is what became of a TCP connection to a server, made because the user
// asked for it.
type Reach struct {
	Address string `json:"address"` // "10.0.0.1:6811"
	Outcome string `json:"outcome"`
	Why     string `json:"why,omitempty"`
	TookMS  int64  `json:"took_ms"`
	// HostNet tells that it was made from the network namespace of the host.
	HostNet bool `json:"host_net"`
}
