package loader

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/events"
)

// TestWalkDump prints what two walks of this machine agree on, for looking at a
// lab by eye. It runs only when HANGTRACE_WALK_DUMP is set.
func TestWalkDump(t *testing.T) {
	if os.Getenv("HANGTRACE_WALK_DUMP") == "" {
		t.Skip("HANGTRACE_WALK_DUMP is not set")
	}
	began := time.Now()
	w, err := NewWalker(nil)
	require.NoError(t, err)
	defer w.Close()
	fmt.Printf("loaded in %v\n", time.Since(began).Round(time.Millisecond))
	walk := agreed(t, w, WalkOptions{Inodes: true})
	fmt.Printf("walked in %v, stats %v, degraded %q\n", time.Duration(walk.TookNS), walk.Stats, w.Degraded())
	dumpPlaces(walk)
	dumpRequests(walk)
	dumpWaits(walk)
}

func dumpPlaces(w events.Walk) {
	for _, s := range w.Superblocks {
		fmt.Printf("SUPER %v %s active %d stopping %v below %v", s.Dev, s.FSType, s.Active, s.Stopping, s.BlockDev)
		if s.Ceph != nil {
			fmt.Printf(" ceph %+v", *s.Ceph)
		}
		if s.Fuse != nil {
			fmt.Printf(" fuse %+v", *s.Fuse)
		}
		fmt.Println()
	}
	for _, m := range w.Mounts {
		fmt.Printf("MOUNT %d of %v at %s ns %d detached %v\n", m.ID, m.Dev, m.Point, m.NS, m.Detached)
	}
	for _, c := range w.Clients {
		fmt.Printf("CLIENT %s.client%d mon%d %s hunting %v requests %d homeless %d\n", c.FSID, c.ID, c.MonRank, c.MonAddr, c.Hunting, c.Requests, c.Homeless)
	}
	for _, s := range w.Sessions {
		fmt.Printf("SESSION %v mds%d %s %s %s laggy %v caps %d renewed %v ago ttl %v\n", s.Dev, s.Rank, s.State, s.MapState, s.Peer, s.Laggy, s.Caps, time.Duration(s.RenewedAgoNS), time.Duration(s.TTLNS))
	}
	for _, r := range w.RBDs {
		fmt.Printf("RBD rbd%d %v %s/%s id %s\n", r.ID, r.Dev, r.Pool, r.Image, r.ImageID)
	}
	for _, o := range w.OSDs {
		fmt.Printf("OSD osd.%d %s\n", o.OSD, o.Peer)
	}
}

func dumpRequests(w events.Walk) {
	for _, r := range w.MDSRequests {
		fmt.Printf("MDS %v tid %d %s %q p1 %q ino %#x age %v sent %v ago mds%d %s %s attempts %d err %d aborted %v unsafe %v", r.Dev, r.TID, r.OpName, r.Path, r.Path1, r.Ino, time.Duration(r.AgeNS), time.Duration(r.SentAgoNS), r.Rank, r.Session, r.Peer, r.Attempts, r.Err, r.Aborted, r.Unsafe)
		dumpWaiters(r.Waiters)
	}
	for _, r := range w.OSDRequests {
		fmt.Printf("OSDREQ tid %d %s pool %d %s osd%d %s age %v sent %v ago write %v linger %v path %q ino %#x attempts %d", r.TID, r.Object, r.Pool, r.PoolName, r.OSD, r.Peer, time.Duration(r.AgeNS), time.Duration(r.SentAgoNS), r.Write, r.Linger, r.Path, r.Ino, r.Attempts)
		dumpWaiters(r.Waiters)
	}
	for _, r := range w.MONRequests {
		fmt.Printf("MON tid %d %s", r.TID, r.OpName)
		dumpWaiters(r.Waiters)
	}
	for _, r := range w.FuseRequests {
		fmt.Printf("FUSE %v unique %d %s node %d %q %q list %d age %v", r.Dev, r.Unique, r.OpName, r.NodeID, r.Name, r.Path, r.List, time.Duration(r.AgeNS))
		dumpWaiters(r.Waiters)
	}
}

func dumpWaits(w events.Walk) {
	for _, c := range w.CapWaits {
		fmt.Printf("CAPS %v ino %#x tgid %d need %#x want %#x", c.Dev, c.Ino, c.TGID, c.Need, c.Want)
		dumpWaiters(c.Waiters)
	}
	for _, l := range w.Locks {
		fmt.Printf("LOCK %s %v %q owner %d %s read %v", l.Kind, l.Dev, l.Path, l.OwnerTID, l.OwnerComm, l.ReadOwned)
		dumpWaiters(l.Waiters)
	}
	for _, p := range w.Pages {
		fmt.Printf("PAGE %v %q ino %#x node %d index %d %s", p.Dev, p.Path, p.Ino, p.NodeID, p.Index, p.Bit)
		dumpWaiters(p.Waiters)
	}
	for _, b := range w.Bits {
		fmt.Printf("BIT %s %v block %d size %d bit %d %q", b.Kind, b.Dev, b.Block, b.Size, b.Bit, b.Path)
		dumpWaiters(b.Waiters)
	}
	for _, l := range w.Lookups {
		fmt.Printf("LOOKUP %v %q owner %d %s", l.Dev, l.Path, l.OwnerTID, l.OwnerComm)
		dumpWaiters(l.Waiters)
	}
	for _, q := range w.Queues {
		fmt.Printf("QUEUE %v how %d", q.Dev, q.How)
		dumpWaiters(q.Waiters)
	}
}

func dumpWaiters(waiters []events.Waiter) {
	for _, x := range waiters {
		fmt.Printf(" <- %d/%d %s state %#x", x.PID, x.TID, x.Comm, x.State)
		if x.How != events.WaitReply {
			fmt.Printf(" how %d", x.How)
		}
	}
	fmt.Println()
}
