package correlate

import (
	"fmt"
	"path"
	"strings"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/mounts"
	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// The values of Path.Source.
const (
	pathArgument = "argument"
	pathFD       = "fd"
	pathCwd      = "cwd"
	pathKernel   = "kernel"
	pathNone     = "none"
)

// place is where a thread is blocked: a path and the mount it lies on.
type place struct {
	path  Path
	mount *Mount
	kind  mounts.Kind // "" unknown
	// pseudo tells that the file is a pipe, socket, terminal or the like.
	pseudo bool
	// anchor is a mount that holds for certain (an open file's, the working
	// directory's), whatever mountinfo says of the path today.
	anchor *anchor
}

// anchor is a mount known by what an open file or a working directory holds.
type anchor struct {
	device   string
	mountID  int
	ns       uint32
	detached bool
	fstype   string
}

// places lists where the call of a thread may be blocked, in the order of its
// arguments.
func (w *world) places(t *events.Task, c syscalls.Call) []place {
	var list []place
	for _, p := range c.PathArgs(t.Args) {
		if pl, ok := w.pathPlace(t, c, p); ok {
			list = append(list, pl)
		}
	}
	for _, i := range c.FDArgs(t.Args) {
		if pl, ok := w.fdPlace(t, int(int32(t.Args[i]))); ok {
			list = append(list, pl)
		}
	}
	return list
}

// text reads the string a path argument points to: the tracer's copy made at
// entry, else what was read later.
func (w *world) text(t *events.Task, addr uint64) (s string, truncated, ok bool) {
	c := w.callInFlight(t)
	if c != nil && c.PathKnown && addr == firstPathAddress(w, t) {
		return c.Path, c.PathTruncated, true
	}
	if u := w.strings[stringKey{t.PID, addr}]; u != nil && u.Err == "" {
		return u.Value, u.Truncated, true
	}
	return "", false, false
}

// callInFlight gives the tracer's record of the call a thread is in. A record
// that does not fit the thread's registers is another call's: not used.
func (w *world) callInFlight(t *events.Task) *events.Call {
	c := w.inFlight[t.TID]
	if c == nil || c.PID != t.PID || c.SyscallNR != t.SyscallNR || c.Args != t.Args {
		return nil
	}
	return c
}

func firstPathAddress(w *world, t *events.Task) uint64 {
	c, ok := w.call(t)
	if !ok {
		return 0
	}
	if args := c.PathArgs(t.Args); len(args) > 0 {
		return t.Args[args[0].Arg]
	}
	return 0
}

func (w *world) pathPlace(t *events.Task, c syscalls.Call, p syscalls.PathArg) (place, bool) {
	addr := t.Args[p.Arg]
	s, truncated, known := w.text(t, addr)
	relativeTo := syscalls.ATFDCWD
	if p.Dir >= 0 {
		relativeTo = int(int32(t.Args[p.Dir]))
	}
	if p.IsDir(t.Args, s, addr == 0) && (known || addr == 0) && relativeTo != syscalls.ATFDCWD {
		return w.fdPlace(t, relativeTo)
	}
	switch {
	case known && strings.HasPrefix(s, "/"):
		pl := place{path: Path{Value: Text(s), Source: pathArgument, Truncated: truncated}}
		w.locate(t, &pl)
		return pl, true
	case relativeTo == syscalls.ATFDCWD:
		return w.cwdPlace(t, s, truncated, known)
	default:
		pl, ok := w.fdPlace(t, relativeTo)
		if !ok || !known {
			return pl, ok && known
		}
		return w.below(t, pl, s, truncated), true
	}
}

// below extends a directory's place by a relative path. Only where that leads
// onto another mount does mountinfo have a say.
func (w *world) below(t *events.Task, dir place, rel string, truncated bool) place {
	pl := place{path: Path{Value: Text(join(string(dir.path.Value), rel)), Source: dir.path.Source, Truncated: truncated}, anchor: dir.anchor}
	w.locate(t, &pl)
	pl.restorePrefix()
	return pl
}

func join(dir, rel string) string {
	if rel == "" || rel == "." {
		return dir
	}
	return path.Join(dir, rel)
}

func (w *world) cwdPlace(t *events.Task, rel string, truncated, known bool) (place, bool) {
	if !known {
		return place{}, false
	}
	pl := place{path: Path{Source: pathCwd, Truncated: truncated}}
	if t.CwdDevMajor|t.CwdDevMinor != 0 {
		pl.anchor = &anchor{device: device(t.CwdDevMajor, t.CwdDevMinor), mountID: t.CwdMountID, ns: t.MountNS, detached: t.CwdDetached}
	}
	l := w.links[linkKey{t.PID, t.TID, "cwd"}]
	if l == nil {
		l = w.links[linkKey{t.PID, 0, "cwd"}]
	}
	switch {
	case l != nil:
		pl.path.Value = Text(join(l.To, rel))
	case pl.anchor == nil:
		return pl, false
	}
	w.locate(t, &pl)
	pl.restorePrefix()
	return pl, true
}

// restorePrefix puts the mount point back before a path that the kernel gave
// relative to the root of a mount that is gone from every table.
func (pl *place) restorePrefix() {
	m := pl.mount
	if m == nil || m.From != fromRemembered || pl.anchor == nil || !pl.anchor.detached || pl.path.Value == "" {
		return
	}
	if p := string(pl.path.Value); !strings.HasPrefix(p, string(m.Point)) {
		pl.path.Value = Text(path.Join(string(m.Point), p))
	}
}

func device(major, minor uint32) string { return fmt.Sprintf("%d:%d", major, minor) }

func (w *world) fdPlace(t *events.Task, fd int) (place, bool) {
	f := w.files[fdKey{t.PID, fd}]
	if f == nil {
		return w.fdLinkPlace(t, fd)
	}
	pl := place{path: Path{Value: Text(f.Path), Source: pathFD}}
	if pl.path.Value == "" {
		if l := w.links[linkKey{t.PID, 0, fmt.Sprintf("fd/%d", fd)}]; l != nil {
			pl.path.Value = Text(l.To)
		}
	}
	pl.pseudo = pseudoMode(f.Mode) || pseudoFS(f.FSType)
	pl.anchor = &anchor{device: device(f.DevMajor, f.DevMinor), mountID: f.MountID, ns: f.MountNS, detached: f.Detached, fstype: f.FSType}
	if f.MountNS == 0 {
		pl.anchor.ns = t.MountNS
	}
	w.locate(t, &pl)
	pl.restorePrefix()
	return pl, true
}

// fdLinkPlace is fdPlace by /proc alone.
func (w *world) fdLinkPlace(t *events.Task, fd int) (place, bool) {
	l := w.links[linkKey{t.PID, 0, fmt.Sprintf("fd/%d", fd)}]
	if l == nil {
		return place{}, false
	}
	pl := place{path: Path{Value: Text(l.To), Source: pathFD}}
	// "pipe:[123]", "socket:[5]", "anon_inode:inotify": no file at all.
	if !strings.HasPrefix(l.To, "/") {
		pl.pseudo = true
		return pl, true
	}
	pl.pseudo = strings.HasPrefix(l.To, "/dev/") && !strings.HasPrefix(l.To, "/dev/shm/")
	if id := fdinfoMount(l.FDInfo); id != 0 {
		_, attached, ok := w.history.ByID(t.MountNS, id)
		pl.anchor = &anchor{mountID: id, ns: t.MountNS, detached: !ok || !attached}
	}
	w.locate(t, &pl)
	pl.restorePrefix()
	return pl, true
}

// fdinfoMount finds the line "mnt_id:\t123" of proc_pid_fdinfo(5).
func fdinfoMount(text string) int {
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			var id int
			if _, err := fmt.Sscan(v, &id); err == nil {
				return id
			}
		}
	}
	return 0
}

// File types of st_mode (include/uapi/linux/stat.h).
const (
	modeType   = 0o170000
	modeFIFO   = 0o010000
	modeChar   = 0o020000
	modeSocket = 0o140000
)

func pseudoMode(mode uint32) bool {
	switch mode & modeType {
	case modeFIFO, modeChar, modeSocket:
		return true
	}
	return false
}

// pseudoFS tells file systems whose files are not storage: waiting for them is
// waiting for another process or the kernel.
func pseudoFS(fstype string) bool {
	switch fstype {
	case "anon_inodefs", "pipefs", "sockfs", "devpts", "proc", "sysfs", "cgroup", "cgroup2", "tracefs",
		"debugfs", "bpf", "mqueue", "nsfs", "pidfs", "securityfs", "dmabuf", "secretmem", "devtmpfs",
		"configfs", "pstore", "efivarfs", "fusectl", "binfmt_misc", "selinuxfs", "rpc_pipefs":
		return true
	}
	return false
}
