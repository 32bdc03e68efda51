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

func (n *node) onHost(command string) string {
	return n.inside(n.scan.HostNS, n.scan.HostPID, command)
}

// remedyMount is for an attached mount: a plain umount where it answers, else
// what ends its calls first.
func (n *node) remedyMount(l *correlate.Leftover, s *super, m mounts.Mount, health string) {
	n.remedyAt(l, s, m, health, n.onHost)
}

func (n *node) remedyAt(l *correlate.Leftover, s *super, m mounts.Mount, health string, in func(string) string) {
	point := shellescape.Quote(m.Point)
	if health != correlate.HealthHung {
		if health == correlate.HealthUnknown {
			add(l, "hangtrace scan --probe", "nothing by itself: it shows whether the server answers", "none: the question is asked by a child that can be given up")
		}
		add(l, in("umount "+point), "the mount", riskUmount)
		return
	}
	l.Warnings = append(l.Warnings, warnLazy)
	switch s.kind {
	case mounts.KindCephFS:
		cephHealth(l)
		killStatfs(l, s)
		force := in("umount -f " + point)
		add(l, force+"; "+force, "every call blocked on it gets EIO at once; the first umount says busy, the second unmounts", riskLoss)
	case mounts.KindCephFuse, mounts.KindFuse:
		if s.kind == mounts.KindCephFuse {
			cephHealth(l)
		}
		if abort := abortCommand(s); abort != "" {
			add(l, abort+"; sleep 1; "+in("umount "+point), "every call blocked on it gets ECONNABORTED at once, and the mount goes", riskLoss)
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

// abortCommand ends a FUSE connection by its number, without a path.
func abortCommand(s *super) string {
	if s.fuse == nil {
		return ""
	}
	return fmt.Sprintf("mountpoint -q /sys/fs/fuse/connections || mount -t fusectl none /sys/fs/fuse/connections; echo 1 > /sys/fs/fuse/connections/%d/abort", s.fuse.Number)
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

func (n *node) remedyForeign(l *correlate.Leftover, s *super, m mounts.Mount, pid int, health string) {
	if pid == 0 {
		return // nobody is in there to enter by
	}
	if l.Class == correlate.ClassDeadFuse {
		n.remedyDead(l, s, s.foreign)
		return
	}
	n.remedyAt(l, s, m, health, func(c string) string { return n.inside(m.Namespace, pid, c) })
	if len(s.foreign) > 1 {
		l.Warnings = append(l.Warnings, fmt.Sprintf("it is mounted %d times; the same command is needed for each place", len(s.foreign)))
	}
}

// remedyDetached is for what has no path any more.
func (n *node) remedyDetached(l *correlate.Leftover, s *super, dead bool) {
	if s.kind == mounts.KindCephFS || s.kind == mounts.KindCephFuse || s.kind == mounts.KindRBD {
		cephHealth(l)
	}
	if abort := abortCommand(s); abort != "" && !dead {
		add(l, abort, "every call blocked on it gets ECONNABORTED; the file system goes when the last user has", riskLoss)
	}
	var seen []int
	for _, h := range l.Holders {
		if h.How == "daemon" || slices.Contains(seen, h.PID) {
			continue
		}
		seen = append(seen, h.PID)
		risk := "ends " + shellescape.StripUnsafe(h.Comm)
		if h.How == "blocked" {
			risk += "; a thread in an unkillable wait stays until the server is back"
		}
		add(l, fmt.Sprintf("kill -KILL %d", h.PID), fmt.Sprintf("what %s holds of it (%s)", shellescape.StripUnsafe(h.Comm), h.How), risk)
	}
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
	add(l, "rbd device unmap "+node, "the image for other nodes", "refused while the device is open; look first whether something outside Kubernetes uses the image")
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
