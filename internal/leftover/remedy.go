package leftover

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"al.essio.dev/pkg/shellescape"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/mounts"
)

const warnLazy = "not umount -l: it frees nobody, hides the mount from df and takes umount -f away"

// placesMost is for how many mounts of one superblock commands are given.
const placesMost = 8

// What losing unwritten data means for each kind of user.
const (
	riskLoss   = "data not yet written to the server is lost; whoever still uses the volume gets errors"
	riskNone   = "none: whoever uses it has only errors already"
	riskUmount = "refused while it is in use; if the server is silent after all, this umount blocks and cannot be killed"
)

// add appends a remedy; the least risky come first.
func add(l *correlate.Leftover, command, frees, risk string) {
	l.Remedies = append(l.Remedies, correlate.Remedy{Command: command, Frees: frees, Risk: risk})
}

// inside runs a command in a process's mount namespace.
func (n *node) inside(ns uint32, pid int, command string) string {
	if pid == 0 || ns == 0 || ns == n.snap.OwnMountNS {
		return command
	}
	return fmt.Sprintf("nsenter -t %d -m -- %s", pid, command)
}

// place is a mount and how to run a command in its namespace.
type place struct {
	mount mounts.Mount
	in    func(command string) string
}

// places are the mounts of a list, the given one first: a superblock lives until
// all are gone, and after umount -f all of them serve errors only.
func (n *node) places(first mounts.Mount, list []mounts.Mount) []place {
	var out []place
	for _, m := range append([]mounts.Mount{first}, list...) {
		if len(out) > 0 && m.Namespace == first.Namespace && m.Point == first.Point {
			continue
		}
		ns, pid := m.Namespace, n.ns[m.Namespace].PID
		if ns == n.scan.HostNS {
			pid = n.scan.HostPID
		}
		if pid != 0 {
			out = append(out, place{m, func(c string) string { return n.inside(ns, pid, c) }})
		}
	}
	return out
}

// remedyMount is for an attached mount: a plain umount where it answers, else
// what ends its calls first.
func (n *node) remedyMount(l *correlate.Leftover, s *super, m mounts.Mount, health string) {
	list := []mounts.Mount{}
	if health == correlate.HealthHung { // else the others may be in good use
		list = s.host
	}
	n.remedyAt(l, s, n.places(m, list), health)
}

func (n *node) remedyAt(l *correlate.Leftover, s *super, at []place, health string) {
	if len(at) == 0 {
		return
	}
	if len(at) > placesMost {
		l.Warnings = append(l.Warnings, fmt.Sprintf("it is mounted at %d more places: the same command is needed for each", len(at)-placesMost))
		at = at[:placesMost]
	}
	point, in := shellescape.Quote(at[0].mount.Point), at[0].in
	if health != correlate.HealthHung {
		if health == correlate.HealthUnknown {
			add(l, "hangtrace scan --probe", "nothing by itself: it shows whether the server answers", "none: the question is asked by a child that can be given up")
		}
		add(l, in("umount "+point), "the mount", riskUmount)
		for _, o := range at[1:] {
			add(l, o.in("umount "+shellescape.Quote(o.mount.Point)), "another mount of the same file system", riskUmount)
		}
		return
	}
	l.Warnings = append(l.Warnings, warnLazy)
	switch s.kind {
	case mounts.KindCephFS:
		cephHealth(l)
		killStatfs(l, s)
		add(l, correlate.ForceUnmount(at[0].mount.Point, in), "every call blocked on it gets EIO at once; the first umount mostly says busy, the second then unmounts", riskLoss)
		for _, o := range at[1:] {
			add(l, o.in("umount -f "+shellescape.Quote(o.mount.Point)), "another mount of the same file system, which has only errors from then on", riskLoss)
		}
	case mounts.KindCephFuse, mounts.KindFuse:
		if s.kind == mounts.KindCephFuse {
			cephHealth(l)
		}
		if abort := abortCommand(s); abort != "" {
			add(l, abort+"; sleep 1; "+in("umount "+point), "every call blocked on it gets ECONNABORTED, ENOTCONN or EIO at once, and the mount goes", riskLoss)
			for _, o := range at[1:] {
				add(l, o.in("umount "+shellescape.Quote(o.mount.Point)), "another mount of the same file system, which has only errors from then on", riskLoss)
			}
		}
	case mounts.KindNFS:
		add(l, in("umount -f "+point), "calls blocked on it get EIO", riskLoss)
	case mounts.KindRBD:
		cephHealth(l)
	}
}

// killStatfs names a hung df: umount -f does not end it, and it keeps the mount
// busy.
func killStatfs(l *correlate.Leftover, s *super) {
	for _, h := range s.hangs {
		if h.Syscall != nil && (h.Syscall.Name == "statfs" || h.Syscall.Name == "fstatfs") {
			add(l, fmt.Sprintf("kill -KILL %d", h.Task.PID), "the mount from "+h.Task.Comm+", which umount -f does not end", "ends "+h.Task.Comm)
		}
	}
}

func cephHealth(l *correlate.Leftover) {
	add(l, "ceph health detail", "nothing by itself: it shows which server to bring back, and then every waiter is freed", "none")
}

// abortCommand ends a FUSE connection by its number, without a path. Where the
// control file system is not mounted the device tells the number.
func abortCommand(s *super) string {
	number, ok := mounts.DeviceNumber(s.device)
	switch {
	case s.fuse != nil:
		number = s.fuse.Number
	case !ok || s.kind != mounts.KindFuse && s.kind != mounts.KindCephFuse:
		return ""
	}
	return correlate.AbortFUSE(number)
}

// remedyDead is for a FUSE file system without a daemon. Nobody can block on it
// any more, so that even a lazy unmount does no harm.
func (n *node) remedyDead(l *correlate.Leftover, s *super, at []mounts.Mount) {
	command := "umount "
	if slices.ContainsFunc(l.Holders, func(h correlate.Holder) bool { return h.How != "daemon" && h.How != "namespace" }) {
		command = "umount -l "
	}
	var commands []string
	for _, m := range at {
		pid := n.ns[m.Namespace].PID
		if m.Namespace == n.scan.HostNS {
			pid = n.scan.HostPID
		}
		commands = append(commands, n.inside(m.Namespace, pid, command+shellescape.Quote(m.Point)))
	}
	if len(commands) > 0 {
		add(l, strings.Join(commands, "; "), "the mount point: every call on it fails with ENOTCONN, now that its daemon is gone", riskNone+"; a running pod must be restarted to get its volume back")
	}
}

func (n *node) remedyForeign(l *correlate.Leftover, s *super, m mounts.Mount, health string) {
	if l.Class == correlate.ClassDeadFuse {
		n.remedyDead(l, s, s.foreign)
		return
	}
	at := n.places(m, s.foreign) // none where nobody is in there to enter by
	n.remedyAt(l, s, at, health)
	if len(at) > 0 && len(l.Remedies) > 0 {
		l.Warnings = append(l.Warnings, correlate.WarnNoUmount(n.ns[at[0].mount.Namespace].PID))
	}
}

// remedyDetached is for what has no path any more.
func (n *node) remedyDetached(l *correlate.Leftover, s *super, dead bool) {
	if s.kind == mounts.KindCephFS || s.kind == mounts.KindCephFuse || s.kind == mounts.KindRBD {
		cephHealth(l)
	}
	if abort := abortCommand(s); abort != "" && !dead {
		add(l, abort, "every call blocked on it gets ECONNABORTED, ENOTCONN or EIO; the file system goes when the last user has", riskLoss)
	}
	n.killHolders(l, s)
}

// killHolders is for what only the end of its users ends. Where the server is
// silent the last of them gains nothing by it: it stays behind in the unmount,
// where no signal reaches it.
func (n *node) killHolders(l *correlate.Leftover, s *super) {
	var ends []correlate.Holder
	for _, h := range l.Holders {
		known := slices.ContainsFunc(ends, func(o correlate.Holder) bool { return o.PID == h.PID })
		// An abort ends the calls of FUSE; the process need not go.
		freed := h.How == "blocked" && s.fuse != nil
		if h.How != "daemon" && !known && !freed && !unkillable(s, h.PID) {
			ends = append(ends, h)
		}
	}
	if s.kind == mounts.KindCephFS && slices.ContainsFunc(s.hangs, (*correlate.Hang).WaitsForOSD) {
		l.Warnings = append(l.Warnings, correlate.WarnKillOSD)
		return
	}
	kernelClient := s.kind == mounts.KindCephFS || s.kind == mounts.KindRBD
	if kernelClient && l.Health == correlate.HealthHung {
		l.Warnings = append(l.Warnings, "not kill -KILL of the last process that holds it: it stays behind in the unmount, which no signal ends, until the server is back")
		if len(ends)+l.HoldersMore < 2 {
			return
		}
	}
	for _, h := range ends {
		comm := shellescape.StripUnsafe(h.Comm)
		risk := "ends " + comm
		if kernelClient && l.Health == correlate.HealthUnknown {
			risk += "; if the server is silent after all, the last process to go stays behind, unkillable, in the unmount"
		}
		add(l, fmt.Sprintf("kill -KILL %d", h.PID), fmt.Sprintf("what %s holds of it (%s)", comm, h.How), risk)
	}
}

// unkillable tells whether a process has a thread on it that no signal ends.
func unkillable(s *super, pid int) bool {
	return slices.ContainsFunc(s.hangs, func(h *correlate.Hang) bool {
		return h.Task.PID == pid && h.Task.Killable != nil && !*h.Task.Killable && s.fuse == nil
	})
}

// remedyUmount is for an unmount that does not end: no signal reaches it.
func (n *node) remedyUmount(l *correlate.Leftover, s *super) {
	l.Warnings = append(l.Warnings, "not kill: a task that takes a file system down cannot be killed")
	if abort := abortCommand(s); abort != "" {
		add(l, abort, "the unmount, which then ends at once", riskLoss)
		return
	}
	if s.kind == mounts.KindCephFS || s.kind == mounts.KindRBD {
		cephHealth(l)
	}
}

func remedyRBD(l *correlate.Leftover, b *facts.BlockDevice) {
	node := shellescape.Quote("/dev/" + b.Name)
	if b.InflightReads+b.InflightWrites > 0 {
		cephHealth(l)
		return
	}
	// Without noudev it waits for udev, for ever where none runs.
	add(l, "rbd device unmap -o noudev "+node, "the image for other nodes", fmt.Sprintf(
		"refused while the device is open; waits where the OSD is silent; look first whether something outside Kubernetes uses the image (without an rbd command: echo %s > /sys/bus/rbd/remove_single_major)",
		strings.TrimPrefix(b.Name, "rbd")))
}

// remedyDir removes empty directories and vol_data.json, and nothing else: rmdir
// refuses what is not empty.
func remedyDir(l *correlate.Leftover, dir string, below []facts.KubeDir) {
	var files, dirs []string
	for _, d := range below {
		switch {
		case !d.File:
			dirs = append(dirs, d.Path)
		case path.Base(d.Path) == volData:
			files = append(files, shellescape.Quote(d.Path))
		default:
			add(l, "ls -la "+shellescape.Quote(path.Dir(d.Path)), "nothing by itself: there are files of an unknown sort", "none: nothing is mounted there")
			return
		}
	}
	slices.SortFunc(dirs, func(a, b string) int { return strings.Count(b, "/") - strings.Count(a, "/") })
	var quoted []string
	for _, d := range append(dirs, dir) {
		quoted = append(quoted, shellescape.Quote(d))
	}
	command := "rmdir " + strings.Join(quoted, " ")
	if len(files) > 0 {
		command = "rm " + strings.Join(files, " ") + " && " + command
	}
	add(l, command, "the kubelet's clean-up of the pod", "none: rmdir refuses a directory with anything in it")
}
