package bpf_test

import (
	"encoding/binary"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
)

// cField is one member of a C structure of walk.h.
type cField struct {
	name         string
	offset, size int
}

var (
	structText = regexp.MustCompile(`(?s)struct (walk_\w+) \{\n(.*?)\n\};`)
	comments   = regexp.MustCompile(`(?s)/\*.*?\*/`)
	member     = regexp.MustCompile(`^(u8|char|u32|s32|u64|s64|struct record_header|struct walk_path) (.*)$`)
	oneName    = regexp.MustCompile(`^(\w+)(?:\[(\w+)\])?$`)
	constant   = regexp.MustCompile(`(?m)^#define (\w+)\s+(\d+)`)
)

// walkStructs parses walk.h, which uses fixed-width types and no hidden
// padding, so that a member's offset is the sum of what stands before it.
func walkStructs(t *testing.T) map[string][]cField {
	t.Helper()
	text, err := os.ReadFile("walk.h")
	require.NoError(t, err)
	numbers := map[string]int{"COMM_LEN": 16, "WALK_STAT_MAX": 16}
	for _, m := range constant.FindAllStringSubmatch(string(text), -1) {
		numbers[m[1]], _ = strconv.Atoi(m[2])
	}
	width := map[string]int{"u8": 1, "char": 1, "u32": 4, "s32": 4, "u64": 8, "s64": 8,
		"struct record_header": 8, "struct walk_path": 8}
	structs := make(map[string][]cField)
	for _, s := range structText.FindAllStringSubmatch(string(text), -1) {
		at := 0
		for decl := range strings.SplitSeq(comments.ReplaceAllString(s[2], ""), ";") {
			m := member.FindStringSubmatch(strings.Join(strings.Fields(decl), " "))
			if m == nil {
				require.Empty(t, strings.TrimSpace(decl), s[1])
				continue
			}
			for name := range strings.SplitSeq(m[2], ", ") {
				n := oneName.FindStringSubmatch(name)
				require.NotNil(t, n, name)
				size := width[m[1]]
				if n[2] != "" {
					count, err := strconv.Atoi(n[2])
					if err != nil {
						count = numbers[n[2]]
					}
					require.NotZero(t, count, name)
					size *= count
				}
				require.Zero(t, at%min(width[m[1]], 8), "%s.%s is not aligned", s[1], n[1])
				structs[s[1]] = append(structs[s[1]], cField{n[1], at, size})
				at += size
			}
		}
	}
	return structs
}

// walkRecord makes a record from values by C member name. Every other byte is 0.
func walkRecord(t *testing.T, structs map[string][]cField, kind uint32, name string, values map[string]any, path ...string) []byte {
	t.Helper()
	fields := structs[name]
	require.NotEmpty(t, fields, name)
	last := fields[len(fields)-1]
	rec := make([]byte, last.offset+last.size)
	left := len(values)
	for _, f := range fields {
		v, ok := values[f.name]
		if !ok {
			continue
		}
		left--
		switch v := v.(type) {
		case int:
			b := make([]byte, 8)
			binary.LittleEndian.PutUint64(b, uint64(v))
			copy(rec[f.offset:f.offset+f.size], b)
		case string:
			copy(rec[f.offset:f.offset+f.size], v)
		case []byte:
			copy(rec[f.offset:f.offset+f.size], v)
		}
	}
	require.Zero(t, left, "%s has not all of %v", name, values)
	if len(path) > 0 {
		names := strings.Join(path, "\x00") + "\x00"
		binary.LittleEndian.PutUint32(rec[last.offset:], uint32(len(names)))
		rec = append(rec, names...)
		rec = append(rec, make([]byte, -len(names)&7)...)
	}
	binary.LittleEndian.PutUint32(rec, kind)
	binary.LittleEndian.PutUint32(rec[4:], uint32(len(rec)))
	return rec
}

// walkKinds reads enum walk_kind.
func walkKinds(t *testing.T) map[string]uint32 {
	t.Helper()
	text, err := os.ReadFile("walk.h")
	require.NoError(t, err)
	_, body, ok := strings.Cut(string(text), "enum walk_kind {")
	require.True(t, ok)
	body, _, _ = strings.Cut(comments.ReplaceAllString(body, ""), "};")
	kinds := make(map[string]uint32)
	next := uint32(0)
	for name := range strings.SplitSeq(body, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(name), "=")
		if ok {
			n, err := strconv.Atoi(strings.TrimSpace(value))
			require.NoError(t, err)
			next = uint32(n)
		}
		if name = strings.TrimRightFunc(name, unicode.IsSpace); name != "" {
			kinds[name] = next
			next++
		}
	}
	return kinds
}

// TestWalkLayout builds one record of each kind by the C names and expects the
// decoder to find every value where the C compiler puts it.
func TestWalkLayout(t *testing.T) {
	s, k := walkStructs(t), walkKinds(t)
	v4 := append([]byte{1, 0, 0, 0, 9, 0, 0, 0, 2, 0, 0x1a, 0x85}, 10, 99, 0, 1)
	v6 := append([]byte{2, 0, 0, 0, 9, 0, 0, 0, 10, 0, 0x0c, 0xe4, 0, 0, 0, 0}, []byte("\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07")...)
	var data []byte
	add := func(kind, name string, values map[string]any, path ...string) {
		data = append(data, walkRecord(t, s, k[kind], name, values, path...)...)
	}
	waiter := func(owner, tid, how int) {
		add("WALK_WAITER", "walk_waiter", map[string]any{"owner": owner, "entry": 0x40000 + tid<<14, "stack": 0x40000 + tid<<14,
			"start_ns": 1000 + tid, "tid": tid, "pid": 7, "state": 2, "how": how, "comm": "kubelet", "switches": 9 + tid})
	}
	add("WALK_BEGIN", "walk_begin", map[string]any{"now_ns": int(100e9), "jiffies": 50000})
	add("WALK_SUPER", "walk_super", map[string]any{"addr": 1, "magic": 0xc36400, "dev": 28, "active": 1, "fstype": "ceph"})
	add("WALK_SUPER", "walk_super", map[string]any{"addr": 2, "dev": 53, "active": 0, "fstype": "fuse", "bdev": 0xfd00000})
	add("WALK_MOUNT", "walk_mount", map[string]any{"addr": 3, "super": 1, "id": 33, "parent": 1, "ns": 99}, "data", "var")
	add("WALK_CEPHFS", "walk_cephfs", map[string]any{"super": 1, "mdsc": 4, "client": 5, "mount_state": 1, "blocklisted": 1,
		"stopping": 1, "epoch": 12, "laggy": 1, "timeout": 60, "fs_name": "labfs", "server_path": "/vol1"})
	add("WALK_SESSION", "walk_session", map[string]any{"addr": 6, "mdsc": 4, "cap_ttl": 50250, "renew_requested": 49750,
		"rank": 0, "state": 3, "map_state": 13, "laggy": 1, "caps": 5, "peer": v4})
	add("WALK_MDSREQ", "walk_mdsreq", map[string]any{"addr": 10, "mdsc": 4, "tid": 4711, "start_ns": int(90e9), "sent": 47500, "ino": 77,
		"base_ino": 78, "dentry": 79, "op": 0x305, "rank": 0, "session_state": 3, "attempts": 2, "flags": 4, "err": -512, "done": 1,
		"resend_rank": -1, "path1": "p1"}, "d2")
	waiter(10, 196, 0)
	add("WALK_CAPWAIT", "walk_capwait", map[string]any{"addr": 11, "mdsc": 4, "ino": 80, "tgid": 81, "need": 82, "want": 83})
	waiter(11, 197, 6)
	add("WALK_CLIENT", "walk_client", map[string]any{"addr": 5, "global_id": 4123, "fsid": []byte("\x6e\x5a\x00\x00\x1a\xb0\x40\x00\x80\x00\x00\x00\x00\x00\xce\xff"),
		"mon": v6, "mon_rank": 1, "flags": 8, "osd_epoch": 30, "requests": 2, "homeless": 1})
	add("WALK_OSD", "walk_osd", map[string]any{"addr": 12, "client": 5, "osd": 3, "peer": v6})
	add("WALK_OSDREQ", "walk_osdreq", map[string]any{"addr": 13, "client": 5, "tid": 8, "start_ns": int(99e9), "sent": 49750, "ino": 84, "pool": 2,
		"dev": 28, "osd": 3, "attempts": 1, "flags": 0x20, "paused": 1, "linger": 1, "pool_name": "data", "object": "100.0"}, "big")
	add("WALK_MONREQ", "walk_monreq", map[string]any{"addr": 14, "client": 5, "tid": 9, "type": 13})
	waiter(14, 198, 0)
	add("WALK_RBD", "walk_rbd", map[string]any{"addr": 15, "client": 5, "pool_id": 3, "dev": 253 << 20, "id": 0, "pool": "rbd", "pool_ns": "ns",
		"image": "vol", "image_id": "10ab"})
	add("WALK_FUSE", "walk_fuse", map[string]any{"addr": 16, "super": 2, "number": 53, "waiting": 4, "connected": 1, "initialized": 1,
		"blocked": 1, "background": 12, "flags": 4})
	add("WALK_FUSEREQ", "walk_fusereq", map[string]any{"addr": 17, "conn": 16, "unique": 18, "node": 19, "created": 49500, "flags": 5,
		"name_addr": 20, "opcode": 1, "pid": 21, "uid": 22, "list": 4, "name": "file"})
	waiter(17, 200, 0)
	add("WALK_LOCK", "walk_lock", map[string]any{"addr": 23, "owner_start_ns": 1196, "ino": 24, "node": 25, "dev": 28, "type": 1, "owner_flags": 1,
		"owner_tid": 196, "owner_pid": 7, "owner_comm": "hangop"}, "d4")
	waiter(23, 201, 2)
	add("WALK_PAGE", "walk_page", map[string]any{"addr": 26, "index": 27, "ino": 28, "node": 29, "dev": 28, "bit": 1, "type": 2}, "big")
	waiter(26, 202, 3)
	add("WALK_BIT", "walk_bit", map[string]any{"addr": 30, "block": 31, "size": 4096, "dev": 253 << 20, "bit": 2, "type": 4})
	waiter(30, 203, 4)
	add("WALK_LOOKUP", "walk_lookup", map[string]any{"addr": 32, "queue": 0x40000 + 200<<14 + 100, "name_addr": 20, "dir_ino": 33, "dev": 53}, "file", "dir")
	waiter(32, 204, 5)
	waiter(1, 205, 7)
	add("WALK_END", "walk_end", map[string]any{"took_ns": 40000, "stats": []byte{5}})

	w, err := events.DecodeWalk(facts.Pass{Format: facts.FormatBPFWalk, Data: data}, facts.Clock{HZ: 250})
	require.NoError(t, err)
	one := func(tid int) []events.Waiter {
		return []events.Waiter{{TID: tid, PID: 7, Comm: "kubelet", StartNS: uint64(1000 + tid), State: 2, Switches: uint64(9 + tid)}}
	}
	same := func(got []events.Waiter, tid int, how events.WaitHow) {
		t.Helper()
		want := one(tid)
		want[0].How = how
		require.Len(t, got, 1)
		require.Equal(t, want[0].TID, got[0].TID)
		require.Equal(t, want[0].Switches, got[0].Switches)
		require.Equal(t, want[0].StartNS, got[0].StartNS)
		require.Equal(t, want[0].State, got[0].State)
		require.Equal(t, want[0].Comm, got[0].Comm)
		require.Equal(t, want[0].How, got[0].How)
	}
	require.Equal(t, uint64(100e9), w.AtNS)
	require.Equal(t, uint64(40000), w.TookNS)
	require.Equal(t, map[string]uint64{"fault_super": 5}, w.Stats)

	c := w.Superblocks[0].Ceph
	require.Equal(t, "6e5a0000-1ab0-4000-8000-00000000ceff", c.FSID)
	require.Equal(t, uint64(4123), c.ClientID)
	require.Equal(t, "mounted", c.MountState)
	require.Equal(t, "labfs /vol1", c.FSName+" "+c.ServerPath)
	require.True(t, c.Blocklisted && w.Superblocks[0].Stopping && w.Superblocks[1].Stopping)
	require.Equal(t, []int{12, 1, 60}, []int{int(c.MDSMapEpoch), c.Laggy, int(c.SessionTimeoutS)})
	f := w.Superblocks[1].Fuse
	require.Equal(t, []int{53, 4, 12}, []int{int(f.Number), f.Waiting, f.Background})
	require.True(t, f.Connected && f.Initialized && f.Blocked && f.IOUring)
	require.Equal(t, events.Dev(0xfd00000), w.Superblocks[1].BlockDev)
	m := w.Mounts[0]
	require.Equal(t, []int{33, 1, 99, 28}, []int{m.ID, m.ParentID, int(m.NS), int(m.Dev)})
	require.Equal(t, "/var/data", m.Point)
	sess := w.Sessions[0]
	require.Equal(t, "open active v1:10.99.0.1:6789", sess.State+" "+sess.MapState+" "+sess.Peer)
	require.Equal(t, []int64{1e9, 1e9}, []int64{sess.RenewedAgoNS, sess.TTLNS})
	require.True(t, sess.Laggy && sess.Caps == 5 && sess.Dev == 28)

	r := w.MDSRequests[0]
	require.Equal(t, "readdir /d2 p1 open v1:10.99.0.1:6789", r.OpName+" "+r.Path+" "+r.Path1+" "+r.Session+" "+r.Peer)
	require.Equal(t, []uint64{4711, 10e9, 10e9, 77, 78}, []uint64{r.TID, r.AgeNS, r.SentAgoNS, r.Ino, r.BaseIno})
	require.Equal(t, []int{0, 2, -512}, []int{r.Rank, r.Attempts, r.Err})
	require.True(t, r.Aborted && r.Done && !r.Unsafe)
	same(r.Waiters, 196, events.WaitReply)
	cw := w.CapWaits[0]
	require.Equal(t, []uint64{80, 81, 82, 83, 28}, []uint64{cw.Ino, uint64(cw.TGID), uint64(cw.Need), uint64(cw.Want), uint64(cw.Dev)})
	same(cw.Waiters, 197, events.WaitCaps)
	cl := w.Clients[0]
	require.Equal(t, "v2:[2001:db8::7]:3300", cl.MonAddr)
	require.Equal(t, []int{1, 30, 2, 1}, []int{cl.MonRank, int(cl.OSDEpoch), cl.Requests, cl.Homeless})
	require.True(t, cl.Hunting)
	o := w.OSDRequests[0]
	require.Equal(t, "100.0 data /big v2:[2001:db8::7]:3300", o.Object+" "+o.PoolName+" "+o.Path+" "+o.Peer)
	require.Equal(t, []uint64{8, 1e9, 1e9, 84, 2, 28, 3, 1}, []uint64{o.TID, o.AgeNS, o.SentAgoNS, o.Ino, uint64(o.Pool), uint64(o.Dev), uint64(o.OSD), uint64(o.Attempts)})
	require.True(t, o.Write && o.Paused && o.Linger)
	require.Equal(t, "statfs", w.MONRequests[0].OpName)
	same(w.MONRequests[0].Waiters, 198, events.WaitReply)
	b := w.RBDs[0]
	require.Equal(t, "rbd ns vol 10ab", b.Pool+" "+b.Namespace+" "+b.Image+" "+b.ImageID)
	require.Equal(t, []int{253 << 20, 3}, []int{int(b.Dev), int(b.PoolID)})

	fr := w.FuseRequests[0]
	require.Equal(t, "LOOKUP file /dir/file", fr.OpName+" "+fr.Name+" "+fr.Path)
	require.Equal(t, []uint64{18, 19, 21, 22, 53, 53, 2e9, 4, 5}, []uint64{fr.Unique, fr.NodeID, uint64(fr.PID), uint64(fr.UID), uint64(fr.Dev), uint64(fr.Conn), fr.AgeNS, uint64(fr.List), fr.Flags})
	same(fr.Waiters, 200, events.WaitReply)
	l := w.Locks[0]
	require.Equal(t, "i_rwsem /d4 hangop", l.Kind+" "+l.Path+" "+l.OwnerComm)
	require.Equal(t, []uint64{24, 25, 28, 196, 7, 1196}, []uint64{l.Ino, l.NodeID, uint64(l.Dev), uint64(l.OwnerTID), uint64(l.OwnerPID), l.OwnerStartNS})
	require.True(t, l.ReadOwned)
	same(l.Waiters, 201, events.WaitLock)
	p := w.Pages[0]
	require.Equal(t, "writeback /big", p.Bit+" "+p.Path)
	require.Equal(t, []uint64{27, 28, 29, 28}, []uint64{p.Index, p.Ino, p.NodeID, uint64(p.Dev)})
	same(p.Waiters, 202, events.WaitPage)
	bw := w.Bits[0]
	require.Equal(t, "buffer", bw.Kind)
	require.Equal(t, []uint64{31, 4096, 253 << 20, 2}, []uint64{bw.Block, bw.Size, uint64(bw.Dev), uint64(bw.Bit)})
	same(bw.Waiters, 203, events.WaitBit)
	lk := w.Lookups[0]
	require.Equal(t, []uint64{33, 53, 200, 7, 1200}, []uint64{lk.DirIno, uint64(lk.Dev), uint64(lk.OwnerTID), uint64(lk.OwnerPID), lk.OwnerStartNS})
	same(lk.Waiters, 204, events.WaitLookup)
	require.Equal(t, events.WaitUmount, w.Queues[0].How)
	same(w.Queues[0].Waiters, 205, events.WaitUmount)
}
