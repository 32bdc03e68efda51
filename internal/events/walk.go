package events

import "fmt"

// Walk is what one walk over the kernel's structures found: who waits for
// whom, at one instant, without any lock held. Believe only what two walks
// agree on (AgreeWalks). Addresses are kernel addresses, good for joining the
// values of one boot with each other and for nothing else.
type Walk struct {
	// AtNS is CLOCK_MONOTONIC when it began; TookNS how long it lasted.
	AtNS, TookNS uint64

	Superblocks []Superblock
	Mounts      []Mount
	Clients     []CephClient
	RBDs        []RBDDevice
	Sessions    []MDSSession
	OSDs        []OSDSession

	MDSRequests  []MDSRequest
	OSDRequests  []OSDRequest
	MONRequests  []MONRequest
	FuseRequests []FuseRequest
	CapWaits     []CapWait
	Locks        []Lock
	Pages        []PageWait
	Bits         []BitWait
	Lookups      []Lookup
	Queues       []QueueWait

	// Stats are the walker's own counters by site; zero ones are left out.
	// "dropped" and "bound" mean that something was not seen.
	Stats map[string]uint64
}

// Dev is the kernel's number of a device: MAJOR<<20 | MINOR.
type Dev uint32

// Major and Minor are the halves of the device number.
func (d Dev) Major() uint32 { return uint32(d) >> 20 }

// Minor is the lower half.
func (d Dev) Minor() uint32 { return uint32(d) & 0xfffff }

// String is "MAJOR:MINOR", as in mountinfo.
func (d Dev) String() string { return fmt.Sprintf("%d:%d", d.Major(), d.Minor()) }

// Waiter is a thread that waits. TID and StartNS together identify it: check
// both against a Task before naming the thread.
type Waiter struct {
	TID, PID int
	Comm     string
	// StartNS is the thread's start, CLOCK_BOOTTIME (Task.StartBootNS).
	StartNS uint64
	State   uint32 // StateXxx bits
	How     WaitHow
	// Switches tells which of the thread's waits it is (Task.Switches); 0: not
	// known, in recordings of older versions.
	Switches uint64

	stack, entry uint64
}

// WaitHow says what of its owner a thread waits for.
type WaitHow uint32

// What threads wait for.
const (
	WaitReply   WaitHow = iota // the answer
	WaitSafe                   // an answered MDS request that is not yet on disk
	WaitLock                   // the lock
	WaitPage                   // the page
	WaitBit                    // the bit
	WaitLookup                 // that another thread ends its look-up
	WaitCaps                   // capabilities
	WaitUmount                 // a cephfs client's last requests and sessions
	WaitFlush                  // that caps are flushed (sync)
	WaitAuth                   // a first monitor (mount)
	WaitBlocked                // that a FUSE connection takes requests again
)

// Superblock is a super block of a watched type, mounted or not.
type Superblock struct {
	Addr   uint64
	Dev    Dev
	FSType string
	Magic  uint64
	// BlockDev is the device below; 0 for none.
	BlockDev Dev
	// Active is s_active; 0 while it is being shut down.
	Active int
	// Stopping tells that an unmount is under way: s_active is 0, or cephfs
	// says so.
	Stopping bool
	Ceph     *CephFS
	Fuse     *FuseConn
}

// CephFS is the cephfs half of a super block.
type CephFS struct {
	// FSID and ClientID name the client as debugfs does: "<fsid>.client<id>".
	FSID        string
	ClientID    uint64
	MDSMapEpoch uint32
	Blocklisted bool
	MountState  string
	// FSName is the file system's name ("" before Linux 6.9 or when unset).
	FSName     string
	ServerPath string
	// Laggy counts the MDSs that the monitors call laggy.
	Laggy int
	// SessionTimeoutS is after how many seconds of silence the MDS gives a
	// client up.
	SessionTimeoutS uint32

	mdsc, client uint64
}

// FuseConn is the FUSE half of a super block.
type FuseConn struct {
	// Number is the connection's name in /sys/fs/fuse/connections.
	Number      uint32
	Waiting     int // requests, those that the daemon has read included
	Connected   bool
	Initialized bool
	// Blocked: no new background request is taken.
	Blocked    bool
	Background int
	// IOUring: the daemon takes requests by io_uring; those are not seen.
	IOUring bool

	addr uint64
}

// Mount is one mount of a watched super block.
type Mount struct {
	Addr     uint64
	Super    uint64 // Superblock.Addr
	Dev      Dev
	ID       int
	ParentID int
	// NS is the inode number of the mount namespace; 0 when Detached.
	NS uint32
	// Detached: it is in no mount namespace any more (umount -l).
	Detached bool
	// Point is where it is mounted, from its namespace's root; "" for a
	// detached one. PointCut tells that components are missing in front.
	Point    string
	PointCut bool
}

// CephClient is a libceph client: of a cephfs super block or of rbd devices.
type CephClient struct {
	Addr     uint64
	FSID     string
	ID       uint64 // "client<ID>"
	MonRank  int    // -1: none
	MonAddr  string
	MonConn  ConnState
	Hunting  bool // looks for a monitor
	OSDEpoch uint32
	// Requests are open OSD requests, Homeless those without an OSD.
	Requests, Homeless int
}

// RBDDevice is a mapped image.
type RBDDevice struct {
	Addr      uint64
	Dev       Dev // of the whole disk
	ID        int // rbd<ID>
	Pool      string
	PoolID    uint64
	Namespace string
	Image     string
	ImageID   string // its objects are rbd_data.<ImageID>.<n>
	Client    uint64 // CephClient.Addr
}

// MDSSession is a client's session with one MDS.
type MDSSession struct {
	Addr  uint64
	Dev   Dev // of the super block
	Rank  int
	State string // "open", "opening", "hung", ...
	// MapState is what the monitors say of this rank: "active", ...
	MapState string
	Peer     string
	Conn     ConnState
	Laggy    bool
	Caps     int
	// RenewedAgoNS is since when a renewal of the session has been asked for;
	// TTLNS how long caps hold still, negative once they lapsed. 0: unknown.
	// An answer sets TTLNS to the session timeout less RenewedAgoNS.
	RenewedAgoNS, TTLNS int64

	mdsc uint64
}

// OSDSession is a client's connection with one OSD.
type OSDSession struct {
	Addr   uint64
	Client uint64
	OSD    int
	Peer   string
	Conn   ConnState
}

// ConnState is how far the connection with a server is: CEPH_CON_S_* of
// include/linux/ceph/messenger.h, the same since 5.11 (2f713615ddd9).
type ConnState uint32

// The ends of the range; between them it is being made.
const (
	ConnClosed  ConnState = 1
	ConnOpen    ConnState = 12
	ConnStandby ConnState = 13 // lost, and nothing to send
)

// Lost tells that there is no connection now: the server's host does not
// answer, or refuses.
func (c ConnState) Lost() bool { return c >= ConnClosed && c <= ConnStandby && c != ConnOpen }

// MDSRequest is an open request to an MDS.
type MDSRequest struct {
	Addr    uint64
	Dev     Dev // of the super block
	TID     uint64
	Op      uint32
	OpName  string // "getattr", "readdir", ...
	Path    string // from the file system's root as this client mounted it
	PathCut bool
	Ino     uint64
	// BaseIno and Path1 are a path that the kernel has no entry for.
	BaseIno uint64
	Path1   string
	AgeNS   uint64
	// SentAgoNS is since when the last try waits; 0 unknown.
	SentAgoNS uint64
	Rank      int // -1: none chosen yet
	Session   string
	Peer      string
	Attempts  int
	// Err is a negative errno; Done tells that it is being answered.
	Err  int
	Done bool
	// Aborted: its caller was killed. Unsafe: answered, not yet on disk.
	Aborted, Unsafe, Async bool
	Flags                  uint32
	Waiters                []Waiter

	dentry, mdsc uint64
}

// OSDRequest is an open request to an OSD.
type OSDRequest struct {
	Addr      uint64
	Client    uint64 // CephClient.Addr
	TID       uint64
	Object    string
	OSD       int // -1: none is up for it
	Peer      string
	AgeNS     uint64
	SentAgoNS uint64
	Attempts  int
	Flags     uint32
	Write     bool
	// Paused: the OSD map forbids it (full, pause).
	Paused   bool
	Linger   bool // a watch: open by nature
	Pool     int64
	PoolName string
	Dev      Dev // of the inode's super block; 0 for rbd
	Ino      uint64
	Path     string
	PathCut  bool
	Waiters  []Waiter
}

// MONRequest is an open request to a monitor.
type MONRequest struct {
	Addr    uint64
	Client  uint64
	TID     uint64
	Type    uint32
	OpName  string // "statfs", "version", "command"
	Waiters []Waiter
}

// CapWait is a thread that waits for capabilities on an inode; without a TGID
// those that wait on the inode for another reason, such as a flush.
type CapWait struct {
	Addr       uint64
	Dev        Dev
	Ino        uint64
	TGID       int
	Need, Want uint32
	Waiters    []Waiter

	mdsc uint64
}

// FuseList says how far a FUSE request came.
type FuseList uint32

// The lists of a FUSE connection.
const (
	FusePending    FuseList = iota + 1 // the daemon has not read it
	FuseBackground                     // waits for its turn
	FuseIO                             // is being copied
	FuseProcessing                     // the daemon has it and does not answer
)

// FuseRequest is an open request to a FUSE daemon.
type FuseRequest struct {
	Addr   uint64
	Dev    Dev // of the super block
	Conn   uint32
	Unique uint64
	Opcode uint32
	OpName string
	NodeID uint64
	// Name is the name below NodeID that the request is about; Path the whole
	// path where the kernel is looking it up.
	Name, Path string
	PID        int // in the daemon's PID namespace
	UID        int
	List       FuseList
	Flags      uint64
	// AgeNS is 0 before Linux 6.14, which keeps no time, and while unknown.
	AgeNS   uint64
	Waiters []Waiter

	nameAddr, conn uint64
}

// Lock is a lock that threads wait for.
type Lock struct {
	Addr    uint64
	Kind    string // "i_rwsem", "s_umount", ...
	Dev     Dev
	Ino     uint64
	NodeID  uint64 // FUSE
	Path    string
	PathCut bool
	// OwnerTID is the thread that holds it, 0 for unknown. With ReadOwned it is
	// one of those that did, and may be stale.
	OwnerTID, OwnerPID int
	OwnerComm          string
	OwnerStartNS       uint64
	ReadOwned          bool
	Waiters            []Waiter
}

// PageWait is a page that threads wait for.
type PageWait struct {
	Addr uint64
	// Dev is that of the super block, or of the block device whose own page it
	// is.
	Dev     Dev
	Ino     uint64
	NodeID  uint64 // FUSE
	Path    string
	PathCut bool
	Index   uint64 // in pages
	// Bit is "locked" (being read in), "writeback", "private_2" or "".
	Bit     string
	Waiters []Waiter
}

// BitWait is a buffer, an inode's state or a variable that threads wait for.
type BitWait struct {
	Addr uint64
	// Kind is "buffer", "inode", "variable" or "bit".
	Kind string
	Bit  int
	Dev  Dev // the buffer's block device, or the inode's super block
	Ino  uint64
	Path string
	// Block and Size are a buffer's.
	Block, Size uint64
	Waiters     []Waiter
}

// Lookup is a name that one thread looks up while others wait for its result.
type Lookup struct {
	Addr    uint64
	Dev     Dev
	DirIno  uint64
	Path    string
	PathCut bool
	// OwnerTID is the thread that looks it up; 0 for unknown.
	OwnerTID, OwnerPID int
	OwnerComm          string
	OwnerStartNS       uint64
	Waiters            []Waiter

	queue, nameAddr uint64
}

// QueueWait are threads that wait for a whole client, super block or
// connection: unmount, sync, mount, or a FUSE connection that takes no more.
type QueueWait struct {
	Addr    uint64 // Superblock.Addr, CephClient.Addr
	Dev     Dev
	How     WaitHow
	Waiters []Waiter
}
