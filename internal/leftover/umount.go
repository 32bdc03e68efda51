package leftover

import (
	"fmt"
	"strings"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/mounts"
)

// takingDown are kernel functions in which a superblock's last user waits: in
// umount(2) itself, in the work that a task does after the call returned, or
// when it dies.
var takingDown = []string{
	"cleanup_mnt", "delayed_mntput", "deactivate_super", "deactivate_locked_super", "generic_shutdown_super",
	"kill_anon_super", "kill_block_super", "fuse_kill_sb", "fuse_sb_destroy", "fuse_send_destroy",
	"ceph_kill_sb", "ceph_mdsc_pre_umount", "ceph_mdsc_close_sessions",
}

// takesDown tells whether a thread is blocked while a file system is taken
// down.
func takesDown(h *correlate.Hang) bool {
	for _, frame := range h.KernelStack {
		for _, f := range takingDown {
			if strings.HasPrefix(frame, f) {
				return true
			}
		}
	}
	return h.Reason == correlate.ReasonAfterSyscall && h.Syscall != nil && strings.HasPrefix(string(h.Syscall.Name), "umount")
}

// stuckUmounts makes one finding of each file system whose unmount does not
// end, and names the superblocks that are thereby explained.
func (n *node) stuckUmounts() (out []*correlate.Leftover, taken map[string]bool) {
	taken = make(map[string]bool)
	groups := make(map[string][]*correlate.Hang)
	var order []string
	for _, h := range n.report.Hangs {
		if !takesDown(h) {
			continue
		}
		key := fmt.Sprintf("thread %d", h.Task.TID)
		if s := n.underUmount(h); s != nil {
			key = s.device
		}
		if groups[key] == nil {
			order = append(order, key)
		}
		groups[key] = append(groups[key], h)
	}
	for _, s := range n.list() {
		if s.kernel != nil && s.kernel.Stopping && s.kernel.Active == 0 && groups[s.device] == nil && len(s.hangs) > 0 {
			order = append(order, s.device)
			groups[s.device] = s.hangs
		}
	}
	for _, key := range order {
		s := n.supers[key]
		if s == nil {
			s = n.unknownSuper(groups[key][0])
		} else {
			taken[key] = true
		}
		if !n.wanted(s) {
			continue
		}
		out = append(out, n.stuckUmount(s, groups[key]))
	}
	return out, taken
}

// underUmount is the superblock that a thread takes down. Its mount is in no
// table any more: the kernel's queue of those who wait for a client's end
// knows, its list of superblocks, or it is the only one that fits.
func (n *node) underUmount(h *correlate.Hang) *super {
	if s := n.queuedFor(h); s != nil {
		return s
	}
	if s := n.superOfHang(h); s != nil && len(s.host)+len(s.foreign) == 0 {
		return s
	}
	var only *super
	for _, s := range n.supers {
		if len(s.host)+len(s.foreign) > 0 || n.mounted[s.device] || !fits(s, h) {
			continue
		}
		if s.kernel != nil && !s.kernel.Stopping {
			continue
		}
		if only != nil {
			return nil
		}
		only = s
	}
	return only
}

// queuedFor is the cephfs superblock whose last requests and sessions a thread
// waits for, by the kernel's own queue.
func (n *node) queuedFor(h *correlate.Hang) *super {
	if n.walk == nil {
		return nil
	}
	for _, q := range n.walk.Queues {
		if q.How != events.WaitUmount {
			continue
		}
		for _, w := range q.Waiters {
			if w.TID == h.Task.TID && w.PID == h.Task.PID {
				return n.supers[deviceOf(q.Dev)]
			}
		}
	}
	return nil
}

// fits tells whether a thread's stack can be about a superblock.
func fits(s *super, h *correlate.Hang) bool {
	fuse, ceph := stackHas(h, "fuse_"), stackHas(h, "ceph_")
	switch s.kind {
	case mounts.KindFuse, mounts.KindCephFuse:
		// Only a connection that must be told of its end (fuseblk, with a block
		// device's number) waits for the daemon at an unmount.
		return fuse && s.fuse != nil && s.fuse.Waiting > 0
	case mounts.KindCephFS:
		return ceph
	}
	return !fuse && !ceph
}

func stackHas(h *correlate.Hang, prefix string) bool {
	for _, frame := range h.KernelStack {
		if strings.HasPrefix(frame, prefix) {
			return true
		}
	}
	return false
}

// unknownSuper stands for a superblock of which only the thread is known.
func (n *node) unknownSuper(h *correlate.Hang) *super {
	s := &super{}
	if h.Mount != nil {
		s.device, s.kind, s.fstype, s.source = string(h.Mount.Device), mounts.Kind(h.Mount.Kind), string(h.Mount.FSType), string(h.Mount.Source)
	}
	switch {
	case s.kind != "" && s.kind != mounts.KindBlock && s.kind != mounts.KindOther:
	case stackHas(h, "fuse_"):
		s.kind = mounts.KindFuse
	case stackHas(h, "ceph_"):
		s.kind = mounts.KindCephFS
	}
	return s
}

func (n *node) stuckUmount(s *super, hangs []*correlate.Hang) *correlate.Leftover {
	own := *s
	own.hangs = hangs
	l := n.leftover(correlate.ClassUmountStuck, &own, mounts.Mount{})
	for _, h := range hangs {
		if h.Path.Value != "" {
			l.Path = h.Path.Value
			break
		}
	}
	if ref, ok := n.volumeRef(string(l.Path)); ok && ref.Name != "" && l.Volume == nil {
		l.Volume = n.volume(ref)
	}
	l.ID = n.id(correlate.ClassUmountStuck, s.device, string(l.Path), fmt.Sprint(hangs[0].Task.TID))
	l.Health = correlate.HealthHung
	first := hangs[0]
	l.Evidence = append(l.Evidence, fmt.Sprintf("%s[%d] takes the file system down for %s and cannot be killed",
		first.Task.ProcessComm.Or(first.Task.Comm), first.Task.PID, span(oldest(hangs))))
	if len(first.KernelStack) > 0 {
		l.Evidence = append(l.Evidence, "kernel stack: "+strings.Join(first.KernelStack[:min(len(first.KernelStack), 6)], " < "))
	}
	if s.kernel != nil && s.kernel.Stopping {
		l.Evidence = append(l.Evidence, "the kernel says that its superblock is being shut down")
	}
	if _, text := n.waiting(s); text != "" {
		l.Evidence = append(l.Evidence, text)
	}
	if s.fuse != nil && s.device == "" {
		l.Evidence = append(l.Evidence, "which file system it is, is not known")
	}
	l.NextPass = "the kubelet sees no mount any more and removes the directory; a new mount of the same volume may wait behind this one"
	n.remedyUmount(l, &own)
	return l
}
