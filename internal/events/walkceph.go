package events

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

func (d *walkDecoder) ceph(kind uint32, f *fields) {
	switch kind {
	case kindWalkCephFS:
		d.cephFS(f)
	case kindWalkSession:
		d.session(f)
	case kindWalkMDSReq:
		d.mdsRequest(f)
	case kindWalkCapWait:
		c := CapWait{Addr: f.u64(), mdsc: f.u64(), Ino: f.u64(), TGID: int(f.u32()), Need: f.u32(), Want: f.u32()}
		d.w.CapWaits = append(d.w.CapWaits, c)
	case kindWalkClient:
		d.client(f)
	case kindWalkOSD:
		o := OSDSession{Addr: f.u64(), Client: f.u64(), OSD: int(int32(f.u32()))}
		o.Conn = ConnState(f.u32())
		o.Peer = f.peer()
		d.w.OSDs = append(d.w.OSDs, o)
	case kindWalkOSDReq:
		d.osdRequest(f)
	case kindWalkMONReq:
		r := MONRequest{Addr: f.u64(), Client: f.u64(), TID: f.u64(), Type: f.u32()}
		r.OpName = monOpName(r.Type)
		d.w.MONRequests = append(d.w.MONRequests, r)
	case kindWalkRBD:
		r := RBDDevice{Addr: f.u64(), Client: f.u64(), PoolID: f.u64(), Dev: Dev(f.u32()), ID: int(int32(f.u32()))}
		r.Pool, r.Namespace, r.Image, r.ImageID = f.text(64), f.text(64), f.text(128), f.text(64)
		d.w.RBDs = append(d.w.RBDs, r)
	}
}

// mountStates are CEPH_MOUNT_* of include/linux/ceph/libceph.h.
var mountStates = [...]string{"mounting", "mounted", "unmounting", "unmounted", "shutdown", "recover", "fence_io"}

func (d *walkDecoder) cephFS(f *fields) {
	super := f.u64()
	c := CephFS{mdsc: f.u64(), client: f.u64()}
	f.u32() // the super block's device
	c.MountState = nameOf(mountStates[:], f.u32())
	c.Blocklisted = f.u32() != 0
	stopping := f.u32() != 0
	c.MDSMapEpoch, c.Laggy, c.SessionTimeoutS = f.u32(), int(f.u32()), f.u32()
	f.u32()
	c.FSName, c.ServerPath = f.text(64), f.text(128)
	d.cephs, d.cephDev = append(d.cephs, c), append(d.cephDev, super)
	d.stopping[super] = stopping
}

// sessionStates are CEPH_MDS_SESSION_* of fs/ceph/mds_client.h.
var sessionStates = [...]string{1: "new", 2: "opening", 3: "open", 4: "hung", 5: "restarting",
	6: "reconnecting", 7: "closing", 8: "closed", 9: "rejected"}

// mdsStates are CEPH_MDS_STATE_* of include/linux/ceph/ceph_fs.h.
var mdsStates = map[int32]string{-1: "stopped", -4: "boot", -5: "standby", -6: "creating", -7: "starting",
	-8: "standby-replay", -9: "replay-once", 0: "down", 8: "replay", 9: "resolve", 10: "reconnect", 11: "rejoin",
	12: "clientreplay", 13: "active", 14: "stopping"}

func (d *walkDecoder) session(f *fields) {
	s := MDSSession{Addr: f.u64(), mdsc: f.u64()}
	f.u64() // s_ttl: when the MDS would close it
	renew, capTTL := f.u64(), f.u64()
	s.Rank, s.State = int(int32(f.u32())), nameOf(sessionStates[:], f.u32())
	s.Conn = ConnState(f.u32())
	state := int32(f.u32())
	var ok bool
	if s.MapState, ok = mdsStates[state]; !ok {
		s.MapState = fmt.Sprintf("%d", state)
	}
	s.Laggy, s.Caps = f.u32() != 0, int(f.u32())
	s.Peer = f.peer()
	s.RenewedAgoNS = int64(d.jiffiesAgo(renew))
	if d.clock.HZ > 0 && capTTL != 0 {
		// Far off either way is no time: 0 stays.
		if ticks := int64(capTTL - d.jiffies); ticks > -1<<40 && ticks < 1<<40 {
			s.TTLNS = ticks * (1e9 / d.clock.HZ)
		}
	}
	d.w.Sessions = append(d.w.Sessions, s)
}

// The bits of r_req_flags, fs/ceph/mds_client.h.
const (
	mdsReqAborted   = 1 << 2
	mdsReqGotUnsafe = 1 << 3
	mdsReqAsync     = 1 << 8
)

func (d *walkDecoder) mdsRequest(f *fields) {
	r := MDSRequest{Addr: f.u64(), mdsc: f.u64(), TID: f.u64()}
	r.AgeNS = d.monoAgo(f.u64())
	r.SentAgoNS = d.jiffiesAgo(f.u64())
	r.Ino, r.BaseIno, r.dentry, r.Op = f.u64(), f.u64(), f.u64(), f.u32()
	r.Rank = int(int32(f.u32()))
	state := f.u32()
	r.Attempts, r.Flags, r.Err, r.Done = int(f.u32()), f.u32(), int(int32(f.u32())), f.u32() != 0
	f.u32() // the rank it is to be sent to
	r.Path1 = f.text(128)
	r.Path, r.PathCut = f.names()
	r.OpName = mdsOpName(r.Op)
	if r.Rank >= 0 {
		r.Session = nameOf(sessionStates[:], state)
	}
	r.Aborted = r.Flags&mdsReqAborted != 0
	r.Unsafe = r.Flags&mdsReqGotUnsafe != 0
	r.Async = r.Flags&mdsReqAsync != 0
	d.w.MDSRequests = append(d.w.MDSRequests, r)
}

func (d *walkDecoder) client(f *fields) {
	c := CephClient{Addr: f.u64(), ID: f.u64()}
	c.FSID = fsidOf(f.b[f.at : f.at+16])
	f.at += 16
	c.MonAddr = f.peer()
	c.MonRank = int(int32(f.u32()))
	c.MonConn = ConnState(f.u32())
	c.Hunting = f.u32()&walkHunting != 0
	c.OSDEpoch, c.Requests, c.Homeless = f.u32(), int(f.u32()), int(f.u32())
	d.w.Clients = append(d.w.Clients, c)
}

const osdFlagWrite = 0x20 // CEPH_OSD_FLAG_WRITE, include/linux/ceph/rados.h

func (d *walkDecoder) osdRequest(f *fields) {
	r := OSDRequest{Addr: f.u64(), Client: f.u64(), TID: f.u64()}
	r.AgeNS = d.monoAgo(f.u64())
	started := f.u64()
	r.SentAgoNS = d.jiffiesAgo(f.u64())
	if r.AgeNS == 0 {
		r.AgeNS = d.jiffiesAgo(started)
	}
	r.Ino, r.Pool, r.Dev, r.OSD = f.u64(), int64(f.u64()), Dev(f.u32()), int(int32(f.u32()))
	r.Attempts, r.Flags = int(f.u32()), f.u32()
	r.Paused, r.Linger = f.u32() != 0, f.u32() != 0
	r.PoolName, r.Object = f.text(64), f.text(128)
	r.Path, r.PathCut = f.names()
	r.Write = r.Flags&osdFlagWrite != 0
	d.w.OSDRequests = append(d.w.OSDRequests, r)
}

// peer decodes a struct ceph_entity_addr as Ceph prints it: "v1:10.0.0.1:6789",
// "v2:[2001:db8::1]:3300". An empty address gives "".
func (f *fields) peer() string {
	const size = 40 // ADDR_LEN
	b := f.b[f.at : f.at+size]
	f.at += size
	// The sockaddr's family is in host order, its port in network order.
	family, port := binary.LittleEndian.Uint16(b[8:]), binary.BigEndian.Uint16(b[10:])
	var ip netip.Addr
	switch family {
	case 2: // AF_INET
		ip = netip.AddrFrom4([4]byte(b[12:16]))
	case 10: // AF_INET6
		ip = netip.AddrFrom16([16]byte(b[16:32]))
	default:
		return ""
	}
	if ip.IsUnspecified() {
		return ""
	}
	kind := map[uint32]string{1: "v1:", 2: "v2:", 3: "any:"}[binary.LittleEndian.Uint32(b)]
	return kind + netip.AddrPortFrom(ip, port).String()
}
