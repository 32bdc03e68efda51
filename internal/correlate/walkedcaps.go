package correlate

import (
	"fmt"
	"strings"
	"time"

	"github.com/hangtrace/hangtrace/internal/events"
)

// liveness says whether an MDS is silent as such, or answers this client's
// other messages meanwhile. A client asks for the renewal of its session every
// quarter of the session timeout, and an MDS answers that at once, whatever
// its requests wait for.
func (w *world) liveness(dev events.Dev, rank int, ageNS uint64) []string {
	s, fs := w.session(dev, rank), w.cephFS(dev)
	if s == nil || fs == nil || s.RenewedAgoNS <= 0 || s.TTLNS == 0 || fs.SessionTimeoutS == 0 {
		return nil
	}
	timeout := int64(fs.SessionTimeoutS) * int64(time.Second)
	answered := time.Duration(s.TTLNS+s.RenewedAgoNS-timeout).Abs() < time.Second
	ago := time.Duration(s.RenewedAgoNS).Round(time.Second)
	switch {
	case !answered && ago >= 2*time.Second:
		return []string{fmt.Sprintf("mds.%d has not answered the renewal of the session asked for %s ago: it is silent itself", rank, ago)}
	case answered && uint64(s.RenewedAgoNS) < ageNS:
		return []string{fmt.Sprintf("mds.%d has answered the renewal of the session asked for %s ago, after this request: it lives", rank, ago),
			othersMayWithhold}
	}
	return nil
}

const othersMayWithhold = "another client may withhold capabilities: try: ceph tell mds.0 session ls; ceph tell mds.0 ops"

// capWait explains a wait for capabilities: the MDS has to grant them, and may
// itself be waiting for another client to give them back.
func (x *walkIndex) capWait(c *events.CapWait) {
	x.explain(c.Waiters, &explained{
		kind: "mds", dev: x.device(c.Dev), key: waitKey{what: "caps", a: uint64(c.Dev), b: c.Ino},
		say: func(w *world) *WaitingOn { return w.onCaps(c) },
	})
}

func (w *world) onCaps(c *events.CapWait) *WaitingOn {
	rank := w.onlyRank(c.Dev)
	on := w.mds(c.Dev, rank)
	if rank < 0 {
		on.State, on.OpenRequests = "", nil
	}
	if c.TGID != 0 {
		on.Evidence = append(on.Evidence, fmt.Sprintf("waits for capabilities on inode %#x: needs %s, wants %s", c.Ino, capNames(c.Need), capNames(c.Want)))
	} else {
		on.Evidence = append(on.Evidence, fmt.Sprintf("waits for a change of the capabilities on inode %#x", c.Ino))
	}
	// How long it waits is not kept: what was answered 2 s ago may be older.
	live := w.liveness(c.Dev, rank, 0)
	on.Evidence = append(on.Evidence, live...)
	if len(live) == 0 {
		on.Evidence = append(on.Evidence, othersMayWithhold)
	}
	return on
}

// capNames spells capability bits as Ceph does ("pAsLsXsFrwcb"), after
// gcap_string of the kernel (fs/ceph/caps.c).
func capNames(caps uint32) string {
	const pin, generic = 1, "sxcrwbal" // shared, excl, cache, rd, wr, buffer, wrextend, lazyio
	var b strings.Builder
	if caps&pin != 0 {
		b.WriteByte('p')
	}
	for _, group := range []struct {
		name        byte
		shift, mask uint32
	}{{'A', 2, 3}, {'L', 4, 3}, {'X', 6, 3}, {'F', 8, 0xff}} {
		bits := caps >> group.shift & group.mask
		if bits == 0 {
			continue
		}
		b.WriteByte(group.name)
		for i := range len(generic) {
			if bits&(1<<i) != 0 {
				b.WriteByte(generic[i])
			}
		}
	}
	if b.Len() == 0 {
		return "none"
	}
	return b.String()
}
