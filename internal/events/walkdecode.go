package events

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// The record kinds of bpf/walk.h. A test in bpf/ holds both sides together.
const (
	kindWalkBegin = iota + 32
	kindWalkEnd
	kindWalkSuper
	kindWalkMount
	kindWalkCephFS
	kindWalkSession
	kindWalkMDSReq
	kindWalkCapWait
	kindWalkClient
	kindWalkOSD
	kindWalkOSDReq
	kindWalkMONReq
	kindWalkRBD
	kindWalkFuse
	kindWalkFuseReq
	kindWalkLock
	kindWalkPage
	kindWalkBit
	kindWalkLookup
	kindWalkWaiter
)

const (
	walkDetached = 1 << 0
	walkPathCut  = 1 << 1
	walkURing    = 1 << 2
	walkHunting  = 1 << 3

	// maxWalkNames bounds the components of a path, as PATH_DEPTH does.
	maxWalkNames = 64
)

// walkSizes are the fixed parts of the records.
var walkSizes = [...]int{
	kindWalkBegin: 24, kindWalkEnd: 16 + 8*len(walkStatNames), kindWalkSuper: 64, kindWalkMount: 48,
	kindWalkCephFS: 256, kindWalkSession: 112, kindWalkMDSReq: 240, kindWalkCapWait: 48,
	kindWalkClient: 104, kindWalkOSD: 72, kindWalkOSDReq: 296, kindWalkMONReq: 40,
	kindWalkRBD: 360, kindWalkFuse: 56, kindWalkFuseReq: 144, kindWalkLock: 88,
	kindWalkPage: 64, kindWalkBit: 64, kindWalkLookup: 56, kindWalkWaiter: 72,
}

// walkStatNames are the sites of enum walk_stat, in its order.
var walkStatNames = [...]string{"fault_super", "fault_mount", "fault_mds", "fault_osd", "fault_mon",
	"fault_rbd", "fault_fuse", "fault_table", "fault_inode", "fault_task", "fault_waiter",
	"foreign", "cycle", "bound", "dropped", "steps"}

// DecodeWalk decodes one walk. Duplicates are joined, waiters stand with what
// they wait for, and addresses are resolved. A malformed record ends the
// decoding: what came before it is returned with the error.
func DecodeWalk(p facts.Pass, clock facts.Clock) (Walk, error) {
	if p.Format != facts.FormatBPFWalk {
		return Walk{}, fmt.Errorf("walk: %w: unknown format %q", ErrMalformed, p.Format)
	}
	d := walkDecoder{clock: clock, seen: make(map[walkKey]bool), seenWaiters: make(map[ownedWaiter]bool),
		waiters: make(map[uint64][]Waiter), stopping: make(map[uint64]bool)}
	d.reserve(p.Data)
	err := d.decode(p.Data)
	d.join()
	return d.w, err
}

// walkKey identifies a record of which only one copy is wanted.
type walkKey struct {
	kind uint32
	addr uint64
}

type ownedWaiter struct {
	owner uint64
	waiterKey
}

type walkDecoder struct {
	w           Walk
	clock       facts.Clock
	jiffies     uint64
	seen        map[walkKey]bool
	seenWaiters map[ownedWaiter]bool
	// waiters are collected by owner: they may come long after it.
	waiters  map[uint64][]Waiter
	stopping map[uint64]bool // cephfs super blocks
	cephs    []CephFS
	cephDev  []uint64
	fuses    []FuseConn
	fuseSup  []uint64
}

// reserve makes room for what comes by the thousand, as far as the records are
// as long as they must be.
func (d *walkDecoder) reserve(data []byte) {
	var n [len(walkSizes)]int
	for at := 0; len(data)-at >= headerSize; {
		kind, size := binary.LittleEndian.Uint32(data[at:]), binary.LittleEndian.Uint32(data[at+4:])
		if kind < kindWalkBegin || kind >= uint32(len(n)) || size < headerSize || int64(size) < int64(walkSizes[kind]) {
			break
		}
		n[kind]++
		at += int(size)
	}
	d.w.FuseRequests = slices.Grow(d.w.FuseRequests, n[kindWalkFuseReq])
	d.w.MDSRequests = slices.Grow(d.w.MDSRequests, n[kindWalkMDSReq])
	d.w.Lookups = slices.Grow(d.w.Lookups, n[kindWalkLookup])
}

func (d *walkDecoder) decode(data []byte) error {
	for at := 0; at < len(data); {
		if len(data)-at < headerSize {
			return fmt.Errorf("walk: %w: %d bytes left", ErrMalformed, len(data)-at)
		}
		kind := binary.LittleEndian.Uint32(data[at:])
		if kind < kindWalkBegin || int(kind) >= len(walkSizes) {
			return fmt.Errorf("walk: %w: kind %d at byte %d", ErrMalformed, kind, at)
		}
		rec, err := nextRecord(data[at:], kind, walkSizes[kind])
		if err != nil {
			return fmt.Errorf("walk: byte %d: %w", at, err)
		}
		at += len(rec)
		d.record(kind, rec)
	}
	return nil
}

// record decodes one record whose length was checked. The first field after
// the header is the address, except where there is none.
func (d *walkDecoder) record(kind uint32, rec []byte) {
	f := &fields{b: rec, at: headerSize}
	key := walkKey{kind, binary.LittleEndian.Uint64(rec[headerSize:])}
	switch kind {
	case kindWalkBegin:
		d.w.AtNS, d.jiffies = f.u64(), f.u64()
		return
	case kindWalkEnd:
		d.end(f)
		return
	case kindWalkWaiter:
		d.waiter(f)
		return
	}
	if d.seen[key] {
		return
	}
	d.seen[key] = true
	switch kind {
	case kindWalkSuper:
		d.super(f)
	case kindWalkMount:
		d.mount(f)
	case kindWalkLock:
		d.lock(f)
	case kindWalkPage:
		d.page(f)
	case kindWalkBit:
		d.bit(f)
	case kindWalkLookup:
		d.lookup(f)
	case kindWalkFuse:
		d.fuse(f)
	case kindWalkFuseReq:
		d.fuseRequest(f)
	default:
		d.ceph(kind, f)
	}
}

func (d *walkDecoder) end(f *fields) {
	d.w.TookNS = f.u64()
	for _, name := range walkStatNames {
		if n := f.u64(); n > 0 {
			if d.w.Stats == nil {
				d.w.Stats = make(map[string]uint64)
			}
			d.w.Stats[name] = n
		}
	}
}

func (d *walkDecoder) waiter(f *fields) {
	owner := f.u64()
	w := Waiter{entry: f.u64(), stack: f.u64(), StartNS: f.u64(), TID: int(f.u32()), PID: int(f.u32()),
		State: f.u32(), How: WaitHow(f.u32()), Comm: f.text(16)}
	if len(f.b)-f.at >= 8 {
		w.Switches = f.u64()
	}
	key := ownedWaiter{owner, waiterKey{w.TID, w.StartNS, w.How}}
	if d.seenWaiters[key] {
		return
	}
	d.seenWaiters[key] = true
	d.waiters[owner] = append(d.waiters[owner], w)
}

func (d *walkDecoder) super(f *fields) {
	s := Superblock{Addr: f.u64(), Magic: f.u64()}
	f.u64() // SB_* flags
	s.Dev, s.BlockDev, s.Active = Dev(f.u32()), Dev(f.u32()), int(int32(f.u32()))
	f.u32()
	s.FSType = f.text(16)
	s.Stopping = s.Active == 0
	d.w.Superblocks = append(d.w.Superblocks, s)
}

func (d *walkDecoder) mount(f *fields) {
	m := Mount{Addr: f.u64(), Super: f.u64(), ID: int(f.u32()), ParentID: int(f.u32()), NS: f.u32()}
	m.Detached = f.u32()&walkDetached != 0
	m.Point, m.PointCut = f.names()
	if m.Detached {
		m.Point = "" // what is left of it is the root of a tree that hangs nowhere
	}
	d.w.Mounts = append(d.w.Mounts, m)
}

// lockKinds are those of enum walk_lock_type.
var lockKinds = [...]string{1: "i_rwsem", 2: "s_umount", 3: "s_vfs_rename_mutex", 4: "invalidate_lock",
	5: "fuse_inode mutex", 6: "mds session mutex", 7: "mds client mutex", 8: "snap_rwsem", 9: "pool_perm_rwsem"}

func (d *walkDecoder) lock(f *fields) {
	l := Lock{Addr: f.u64(), OwnerStartNS: f.u64(), Ino: f.u64(), NodeID: f.u64(), Dev: Dev(f.u32())}
	kind, flags := f.u32(), f.u32()
	l.Kind = nameOf(lockKinds[:], kind)
	l.OwnerTID, l.OwnerPID = int(f.u32()), int(f.u32())
	f.u32()
	l.OwnerComm = f.text(16)
	l.Path, l.PathCut = f.names()
	// RWSEM_READER_OWNED of kernel/locking/rwsem.c; mutexes use the bit
	// otherwise (MUTEX_FLAG_WAITERS).
	l.ReadOwned = flags&1 != 0 && (kind == 1 || kind == 2 || kind == 4 || kind >= 8)
	d.w.Locks = append(d.w.Locks, l)
}

// pageBits are those of enum walk_bit_type.
var pageBits = [...]string{1: "locked", 2: "writeback", 3: "private_2"}

func (d *walkDecoder) page(f *fields) {
	p := PageWait{Addr: f.u64(), Index: f.u64(), Ino: f.u64(), NodeID: f.u64(), Dev: Dev(f.u32())}
	if rdev := f.u32(); rdev != 0 {
		p.Dev = Dev(rdev)
	}
	f.u32()
	if kind := f.u32(); int(kind) < len(pageBits) {
		p.Bit = pageBits[kind]
	}
	p.Path, p.PathCut = f.names()
	d.w.Pages = append(d.w.Pages, p)
}

func (d *walkDecoder) bit(f *fields) {
	b := BitWait{Addr: f.u64(), Block: f.u64(), Size: f.u64(), Ino: f.u64(), Dev: Dev(f.u32()), Bit: int(int32(f.u32()))}
	switch f.u32() {
	case 4:
		b.Kind = "buffer"
	case 5:
		b.Kind = "inode"
	case 6:
		b.Kind = "variable"
	default:
		b.Kind = "bit"
	}
	f.u32()
	b.Path, _ = f.names()
	d.w.Bits = append(d.w.Bits, b)
}

func (d *walkDecoder) lookup(f *fields) {
	l := Lookup{Addr: f.u64(), queue: f.u64(), nameAddr: f.u64(), DirIno: f.u64(), Dev: Dev(f.u32())}
	f.u32()
	l.Path, l.PathCut = f.names()
	d.w.Lookups = append(d.w.Lookups, l)
}

func (d *walkDecoder) fuse(f *fields) {
	c := FuseConn{addr: f.u64()}
	super := f.u64()
	f.u32() // the super block's device
	c.Number, c.Waiting = f.u32(), int(f.u32())
	c.Connected, c.Initialized, c.Blocked = f.u32() != 0, f.u32() != 0, f.u32() != 0
	c.Background = int(f.u32())
	c.IOUring = f.u32()&walkURing != 0
	d.fuses, d.fuseSup = append(d.fuses, c), append(d.fuseSup, super)
}

func (d *walkDecoder) fuseRequest(f *fields) {
	r := FuseRequest{Addr: f.u64(), conn: f.u64(), Unique: f.u64(), NodeID: f.u64()}
	created := f.u64()
	r.Flags, r.nameAddr = f.u64(), f.u64()
	r.Opcode, r.PID, r.UID, r.List = f.u32(), int(int32(f.u32())), int(f.u32()), FuseList(f.u32())
	r.Name = f.text(64)
	r.OpName = fuseOpName(r.Opcode)
	if created != 0 {
		r.AgeNS = d.jiffiesAgo(created)
	}
	d.w.FuseRequests = append(d.w.FuseRequests, r)
}

// jiffiesAgo is the time from a moment to the walk; 0 if the tick rate is
// unknown or the moment lies ahead.
func (d *walkDecoder) jiffiesAgo(then uint64) uint64 {
	ticks := int64(d.jiffies - then)
	if d.clock.HZ <= 0 || then == 0 || ticks < 0 || uint64(ticks) > 1<<42 {
		return 0
	}
	return uint64(ticks) * uint64(1e9/d.clock.HZ)
}

// monoAgo is the age of something that began then.
func (d *walkDecoder) monoAgo(then uint64) uint64 {
	if then == 0 || then > d.w.AtNS {
		return 0
	}
	return d.w.AtNS - then
}

// names reads a struct walk_path and the names behind it, leaf first, and
// returns the path from the root: "" when it is not known.
func (f *fields) names() (path string, cut bool) {
	n, flags := int(f.u32()), f.u32()
	cut = flags&walkPathCut != 0
	if n == 0 && !cut {
		return "/", false // the root itself
	}
	if n <= 0 || n > len(f.b)-f.at {
		return "", cut && n != 0
	}
	names := bytes.TrimRight(f.b[f.at:f.at+n], "\x00")
	end, count := 0, 0 // of the names that are kept
	for ; end < len(names) && count < maxWalkNames; count++ {
		next := bytes.IndexByte(names[end:], 0)
		if next < 0 {
			next = len(names) - end
		}
		end += next + 1
	}
	cut = cut || end < len(names)
	var b strings.Builder
	b.Grow(end + 1)
	for rest := names[:min(max(end-1, 0), len(names))]; ; {
		at := bytes.LastIndexByte(rest, 0)
		if b.Len() > 0 || !cut {
			b.WriteByte('/')
		}
		b.Write(rest[at+1:])
		if at < 0 {
			return b.String(), cut
		}
		rest = rest[:at]
	}
}

func nameOf(names []string, i uint32) string {
	if int64(i) < int64(len(names)) && names[i] != "" {
		return names[i]
	}
	return fmt.Sprintf("%d", i)
}

// fsidOf prints a UUID.
func fsidOf(b []byte) string {
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
