package leftover

import (
	"fmt"
	"strings"
	"time"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/mounts"
)

// health judges a superblock by what is seen without asking it, and by a probe
// where there was one.
func (n *node) health(s *super) (health string, evidence []string) {
	hung := false
	if len(s.hangs) > 0 {
		hung = true
		evidence = append(evidence, fmt.Sprintf("%s blocked on it, the longest for %s", threads(len(s.hangs)), span(oldest(s.hangs))))
	}
	add := func(is bool, text string) {
		if text != "" {
			evidence = append(evidence, text)
		}
		hung = hung || is
	}
	add(n.daemon(s))
	add(n.waiting(s))
	add(n.requests(s))
	add(n.cephRequests(s))
	health = correlate.HealthUnknown
	if p := s.probe; p != nil {
		switch {
		case p.Outcome == facts.ProbeSilent:
			add(true, "a probe of it got "+p.Why+left(p))
		case p.Outcome == facts.ProbeUnasked && p.LeftPID != 0:
			add(true, fmt.Sprintf("a probe by an earlier hangtrace still hangs in it: pid %d", p.LeftPID))
		case p.Outcome == facts.ProbeUnasked:
			add(false, "not probed: "+p.Why)
		case p.Outcome == facts.ProbeFailed:
			add(false, "a probe of it was answered with "+p.Errno)
		default:
			health = correlate.HealthResponding
			add(false, fmt.Sprintf("a probe of it was answered within %d ms", p.TookMS))
		}
	}
	if hung {
		health = correlate.HealthHung
	}
	return health, evidence
}

func left(p *facts.Probe) string {
	if p.LeftPID == 0 {
		return ""
	}
	return fmt.Sprintf("; its child %d cannot be killed and was left behind", p.LeftPID)
}

// daemon looks at the process behind a FUSE connection.
func (n *node) daemon(s *super) (hung bool, text string) {
	if s.fuse == nil {
		return false, ""
	}
	for _, d := range n.scan.Daemons {
		if d.Number != s.fuse.Number {
			continue
		}
		switch d.State {
		case "T", "t":
			return true, fmt.Sprintf("its daemon %s is stopped", n.process(d.PID))
		case "D":
			return false, fmt.Sprintf("its daemon %s is itself blocked (D)", n.process(d.PID))
		case "Z", "X":
			return false, fmt.Sprintf("its daemon %s is dead", n.process(d.PID))
		}
		return false, fmt.Sprintf("its daemon is %s", n.process(d.PID))
	}
	return false, ""
}

func (n *node) process(pid int) string {
	if p := n.procs[pid]; p != nil {
		return fmt.Sprintf("%s[%d]", p.Comm, pid)
	}
	return fmt.Sprintf("pid %d", pid)
}

// waiting compares the connection's counter at both ends of the scan. Requests
// that wait are no hang by themselves: a busy daemon has some, too.
func (n *node) waiting(s *super) (hung bool, text string) {
	if s.fuse == nil || s.fuse.Waiting <= 0 {
		return false, ""
	}
	text = fmt.Sprintf("FUSE connection %d has %s waiting", s.fuse.Number, requests(s.fuse.Waiting))
	for _, b := range n.scan.FuseBefore {
		if b.Number == s.fuse.Number && b.Waiting > 0 {
			return false, text + ", as it had when the scan began"
		}
	}
	return false, text
}

// requests takes the age of requests from the kernel's own lists.
func (n *node) requests(s *super) (hung bool, text string) {
	if n.walk == nil {
		return false, ""
	}
	var worst uint64
	for i := range n.walk.FuseRequests {
		if r := &n.walk.FuseRequests[i]; deviceOf(r.Dev) == s.device && r.AgeNS > worst {
			worst, text = r.AgeNS, fmt.Sprintf("FUSE request %s %q is open for %s", r.OpName, or(r.Path, correlate.Text(r.Name)), span(r.AgeNS/1e6))
		}
	}
	for i := range n.walk.MDSRequests {
		if r := &n.walk.MDSRequests[i]; deviceOf(r.Dev) == s.device && r.AgeNS > worst && !r.Aborted && !r.Unsafe {
			worst, text = r.AgeNS, fmt.Sprintf("MDS request %s %q to mds.%d is open for %s", r.OpName, r.Path, r.Rank, span(r.AgeNS/1e6))
		}
	}
	for i := range n.walk.OSDRequests {
		r := &n.walk.OSDRequests[i]
		if r.AgeNS > worst && !r.Linger && n.ownOSDRequest(s, r) {
			worst, text = r.AgeNS, fmt.Sprintf("OSD request for %s to osd.%d is open for %s", r.Object, r.OSD, span(r.AgeNS/1e6))
		}
	}
	return worst > 0 && int64(worst/1e6) >= n.opts.ThresholdMS, text
}

func (n *node) ownOSDRequest(s *super, r *events.OSDRequest) bool {
	if r.Dev != 0 {
		return deviceOf(r.Dev) == s.device
	}
	if s.kind != mounts.KindRBD {
		return false
	}
	disk, ok := n.blocks.Remote(s.device)
	return ok && disk.ImageID != "" && strings.HasPrefix(r.Object, "rbd_data."+disk.ImageID+".")
}

// cephRequests compares the request list of the superblock's client in debugfs
// with the one read a while later.
func (n *node) cephRequests(s *super) (hung bool, text string) {
	c := n.cephClient(s)
	if c == nil || c.LaterMS == 0 {
		return false, ""
	}
	stuck := stuckRequests(c.MDSC, c.Later)
	if len(stuck) == 0 {
		return false, ""
	}
	text = fmt.Sprintf("%s of ceph client %s did not move for %s: %s", requests(len(stuck)), clientOf(c.Name), span(uint64(c.LaterMS)), stuck[0])
	return c.LaterMS >= n.opts.ThresholdMS, text
}

// stuckRequests gives the lines of an mdsc file that are in a later one, too.
// A line is "TID\tmdsN\tOP\tWHAT": the TID is never used twice.
func stuckRequests(before, after string) []string {
	later := make(map[string]bool)
	for line := range strings.Lines(after) {
		if f := strings.Fields(line); len(f) > 2 {
			later[f[0]] = true
		}
	}
	var out []string
	for line := range strings.Lines(before) {
		if f := strings.Fields(line); len(f) > 2 && later[f[0]] {
			out = append(out, strings.Join(f[1:], " "))
		}
	}
	return out
}

// cephClient is the debugfs directory of a superblock: known by the walker, or
// because there is only one of each.
func (n *node) cephClient(s *super) *facts.CephClient {
	if s.kind != mounts.KindCephFS {
		return nil
	}
	if s.kernel != nil && s.kernel.Ceph != nil {
		name := fmt.Sprintf("%s.client%d", s.kernel.Ceph.FSID, s.kernel.Ceph.ClientID)
		for i := range n.scan.Ceph {
			if n.scan.Ceph[i].Name == name {
				return &n.scan.Ceph[i]
			}
		}
		return nil
	}
	var only *facts.CephClient
	clients, supers := 0, 0
	for i := range n.scan.Ceph {
		if n.scan.Ceph[i].CephFS {
			only = &n.scan.Ceph[i]
			clients++
		}
	}
	for _, o := range n.supers {
		if o.kind == mounts.KindCephFS {
			supers++
		}
	}
	if clients != 1 || supers != 1 {
		return nil
	}
	return only
}

// clientOf is the client's own name in a debugfs directory's name.
func clientOf(name string) string {
	if i := strings.LastIndex(name, ".client"); i >= 0 {
		return name[i+1:]
	}
	return name
}

// dead tells whether the daemon of a FUSE file system is gone for good: every
// call on it then fails with ENOTCONN.
func (n *node) dead(s *super) (bool, string) {
	number, known := n.connection(s)
	if !known && s.kernel == nil && s.probe == nil {
		return false, ""
	}
	if s.kernel != nil && s.kernel.Fuse != nil {
		if s.kernel.Fuse.Initialized && !s.kernel.Fuse.Connected {
			return true, "the kernel says that the connection is closed"
		}
		return false, ""
	}
	if s.probe != nil && known && (s.probe.Errno == "ENOTCONN" || s.probe.Errno == "ECONNABORTED") {
		return true, "a probe was answered with " + s.probe.Errno + " by the kernel itself"
	}
	if !known || !n.scan.DaemonsNumbered || s.fstype == "virtiofs" {
		return false, ""
	}
	for _, d := range n.scan.Daemons {
		if d.Number == number {
			return false, ""
		}
	}
	return true, "no process has /dev/fuse open for this connection"
}

// connection is the number of a superblock's FUSE connection, if it was there
// before the daemons were looked for: a later one has a daemon that was missed.
// Where the control file system shows no connection at all, a mount tells: the
// tables are read before the daemons, and the number is the device's.
func (n *node) connection(s *super) (number uint32, known bool) {
	if s.fuse != nil {
		return s.fuse.Number, n.before(s.fuse.Number)
	}
	mounted := len(s.host)+len(s.foreign) > 0
	if len(n.snap.Fuse) > 0 || !mounted || s.kind != mounts.KindFuse && s.kind != mounts.KindCephFuse {
		return 0, false
	}
	return mounts.DeviceNumber(s.device)
}

// before tells whether a connection was there when the scan began: one that was
// not may be in the middle of its mount.
func (n *node) before(number uint32) bool {
	for _, b := range n.scan.FuseBefore {
		if b.Number == number {
			return true
		}
	}
	return false
}

func oldest(hangs []*correlate.Hang) uint64 {
	var ms int64
	for _, h := range hangs {
		ms = max(ms, h.Blocked.ForMS)
	}
	return uint64(ms)
}

// span says milliseconds as people do.
func span(ms uint64) string {
	d := time.Duration(ms) * time.Millisecond
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", ms)
	case d < 10*time.Minute:
		return d.Truncate(time.Second).String()
	case d < 48*time.Hour:
		return strings.TrimSuffix(d.Truncate(time.Minute).String(), "0s")
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func threads(n int) string {
	if n == 1 {
		return "1 thread is"
	}
	return fmt.Sprintf("%d threads are", n)
}

func requests(n int) string { return plural(n, "request") }
