package correlate

import (
	"fmt"
	"slices"

	"al.essio.dev/pkg/shellescape"

	"github.com/hangtrace/hangtrace/internal/mounts"
)

// The warnings. Each was seen to make things worse; docs/remedies.md tells how.
const (
	warnLazy    = "not umount -l: it frees nobody, hides the mount from df and takes umount -f away"
	warnRestart = "not a restart of the kubelet: it blocks again on the same directory"
)

// cureKey is what a hang's remedies depend on.
type cureKey struct {
	mount             *Mount
	volume            *Volume
	pid               int
	comm, processComm string
	killable          bool
}

type cure struct {
	remedies List[Remedy]
	warnings List[string]
}

// remedies lists what frees a root, the least risky first, chosen for the kind
// of mount and the situation. A victim is freed with its root. Where nothing is
// known to help, nothing is listed. What is the same for thousands of hangs is
// made once.
func (w *world) remedies(h *Hang, all []*Hang) {
	if h.Role != RoleRoot || h.Mount == nil {
		return
	}
	t := &h.Task
	key := cureKey{h.Mount, h.Volume, t.PID, t.Comm, string(t.ProcessComm), killable(t)}
	c, ok := w.cures[key]
	if !ok {
		w.cure(h, all)
		c = cure{slices.Clip(h.Remedies), slices.Clip(h.Warnings)}
		w.cures[key] = c
	}
	h.Remedies, h.Warnings = c.remedies, c.warnings
}

// killable tells that SIGKILL is known to end a thread.
func killable(t *Task) bool { return t.Killable != nil && *t.Killable && !t.KernelThread }

func (w *world) cure(h *Hang, all []*Hang) {
	attached := h.Mount.Attached == nil || *h.Mount.Attached
	kind := mounts.Kind(h.Mount.Kind)
	switch kind {
	case mounts.KindCephFS:
		w.cephHealth(h)
		if attached {
			w.forceUnmount(h, all)
		} else {
			w.killWaiter(h, all)
		}
	case mounts.KindCephFuse, mounts.KindFuse:
		if kind == mounts.KindCephFuse {
			w.cephHealth(h)
		}
		w.abortFuse(h, attached)
	case mounts.KindRBD:
		w.cephHealth(h)
	}
	if attached && h.Mount.Point != "" && w.foreign(h) {
		h.Warnings = append(h.Warnings, WarnNoUmount(h.Task.PID))
	}
	if attached && (kind == mounts.KindCephFS || kind == mounts.KindCephFuse || kind == mounts.KindFuse || kind == mounts.KindRBD) {
		h.Warnings = append(h.Warnings, warnLazy)
	}
	if p := w.procs[h.Task.PID]; p != nil && p.Kubelet != nil {
		h.Warnings = append(h.Warnings, warnRestart)
	}
}

func (w *world) cephHealth(h *Hang) {
	h.Remedies = append(h.Remedies, Remedy{
		Command: "ceph health detail",
		Frees:   "nothing by itself: it shows which server to bring back, and then every waiter is freed",
		Risk:    "none",
	})
}

// inStatfs are the hangs in statfs, looked for once.
func (w *world) inStatfs(all []*Hang) []*Hang {
	if w.statfs == nil {
		w.statfs = []*Hang{}
		for _, o := range all {
			if o.Mount != nil && o.Syscall != nil && (o.Syscall.Name == "statfs" || o.Syscall.Name == "fstatfs") {
				w.statfs = append(w.statfs, o)
			}
		}
	}
	return w.statfs
}

// forceUnmount is the cure for kernel cephfs. The first umount -f says EBUSY
// but ends the blocked calls; the second one unmounts. A hung statfs is not
// ended by it and keeps the mount busy.
func (w *world) forceUnmount(h *Hang, all []*Hang) {
	if h.Mount.Point == "" {
		return
	}
	for _, o := range w.inStatfs(all) {
		if o.Mount.Device == h.Mount.Device {
			h.Remedies = append(h.Remedies, Remedy{
				Command: fmt.Sprintf("kill -KILL %d", o.Task.PID),
				Frees:   fmt.Sprintf("the mount from %s, which umount -f does not end", o.Task.Comm),
				Risk:    "ends " + o.Task.Comm,
			})
		}
	}
	h.Remedies = append(h.Remedies, Remedy{
		Command: ForceUnmount(string(h.Mount.Point), func(command string) string { return w.inNamespace(h, command) }),
		Frees:   "every call blocked on this mount gets EIO at once; the first umount mostly says busy, the second then unmounts",
		Risk:    w.lossRisk(h),
	})
}

// ForceUnmount is the command that takes a kernel cephfs mount down, in the
// namespace that in leads to. It enters that once: the process by which it does
// so may be one of those that the first umount ends.
func ForceUnmount(point string, in func(command string) string) string {
	once := "umount -f " + shellescape.Quote(point)
	twice := once + " || (sleep 1; " + once + ")"
	if in(once) == once {
		return twice
	}
	return in("sh -c " + shellescape.Quote(twice))
}

// lossRisk says what ending the calls costs.
func (w *world) lossRisk(h *Hang) string {
	risk := "data not yet written to the server is lost"
	if v := h.Volume; v != nil && v.Pod != nil && v.Pod.State == "running" {
		return risk + fmt.Sprintf("; pod %s/%s still runs and gets EIO until it is restarted", v.Pod.Namespace, v.Pod.Name)
	}
	if v := h.Volume; v != nil && v.Pod != nil && v.Pod.State == "deleted" {
		return risk + "; the pod is deleted already"
	}
	return risk + "; whoever still uses the volume gets errors"
}

// WarnKillOSD is about a detached cephfs of which a page is on its way from or to
// a silent OSD: Linux 6.1.192 stopped at a BUG in generic_shutdown_super.
const WarnKillOSD = "not kill -KILL: with an OSD silent, the end of the last process on a detached cephfs can crash the kernel (seen on 6.1: BUG, busy inodes after unmount)"

// WarnNoUmount is about the program that nsenter runs: it is the container's, and
// many containers have none.
func WarnNoUmount(pid int) string {
	return fmt.Sprintf("nsenter -m runs the sh and umount of that container's own image; if it has none, first cp a static busybox to /proc/%d/root/dev/, and run /dev/busybox umount there", pid)
}

// WaitsForOSD tells whether a hang waits for the data of a file.
func (h *Hang) WaitsForOSD() bool { return h.WaitingOn != nil && h.WaitingOn.Kind == "osd" }

// sameDevice tells whether two mounts are known to be of one superblock.
func (m *Mount) sameDevice(o *Mount) bool { return m.device() != "" && m.device() == o.device() }

// foreign tells whether a mount is in another namespace than the operator.
func (w *world) foreign(h *Hang) bool {
	own := w.snap.OwnMountNS
	return own != 0 && h.Mount.Namespace != 0 && uint32(h.Mount.Namespace) != own
}

// inNamespace runs a command where the mount is.
func (w *world) inNamespace(h *Hang, cmd string) string {
	if !w.foreign(h) {
		return cmd
	}
	return fmt.Sprintf("nsenter -t %d -m -- %s", h.Task.PID, cmd)
}

// killWaiter is what is left once the mount is detached: umount -f then says
// EINVAL. It ends the call; the last process to hold the mount then takes the
// file system down, which waits for the silent server and cannot be killed. That
// one of its threads waits for an MDS helps none of those that wait for an OSD.
func (w *world) killWaiter(h *Hang, all []*Hang) {
	if !killable(&h.Task) {
		return
	}
	if slices.ContainsFunc(all, func(o *Hang) bool { return o.WaitsForOSD() && (o == h || o.Mount.sameDevice(h.Mount)) }) {
		h.Warnings = append(h.Warnings, WarnKillOSD)
		return
	}
	h.Remedies = append(h.Remedies, Remedy{
		Command: fmt.Sprintf("kill -KILL %d", h.Task.PID),
		Frees:   "this call, and with it the whole process, as long as another process holds the mount, too",
		Risk: fmt.Sprintf("ends %s; if nobody else holds the detached mount, it stays behind in the unmount, which no signal ends, until the server is back",
			h.Task.ProcessComm.Or(h.Task.Comm)),
	})
}

// abortFuse ends a FUSE connection by its number, which works without a path.
func (w *world) abortFuse(h *Hang, attached bool) {
	number, ok := mounts.DeviceNumber(string(h.Mount.Device))
	if ok {
		w.continueDaemon(h, number)
		h.Remedies = append(h.Remedies, Remedy{
			Command: AbortFUSE(number),
			Frees:   "every call blocked on this file system gets ECONNABORTED, ENOTCONN or EIO at once; later ones get ENOTCONN until it is mounted anew",
			Risk:    w.lossRisk(h),
		})
	}
	if attached && h.Mount.Point != "" {
		h.Remedies = append(h.Remedies, Remedy{
			Command: w.inNamespace(h, "umount "+shellescape.Quote(string(h.Mount.Point))),
			Frees:   "the mount point, once the connection is aborted: the directory can be cleaned up",
			Risk:    "none after the abort",
		})
	}
}

// AbortFUSE is the command that ends a FUSE connection by its number.
func AbortFUSE(number uint32) string {
	return fmt.Sprintf("mountpoint -q /sys/fs/fuse/connections || mount -t fusectl none /sys/fs/fuse/connections; echo 1 > /sys/fs/fuse/connections/%d/abort", number)
}

// continueDaemon is the cure for a daemon that somebody stopped.
func (w *world) continueDaemon(h *Hang, number uint32) {
	for _, d := range w.snap.FuseDaemons {
		if d.Number == number && (d.State == "T" || d.State == "t") {
			h.Remedies = append(h.Remedies, Remedy{
				Command: fmt.Sprintf("kill -CONT %d", d.PID),
				Frees:   "every waiter, if nothing but the stopped daemon is wrong",
				Risk:    "none, but whoever stopped it may have had a reason",
			})
		}
	}
}
