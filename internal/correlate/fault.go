package correlate

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/mounts"
)

// faultPlaces names the file of a page fault. The registers do not hold the
// address, so of the process's file mappings only those count that fit the
// stack; and only if they are all of one file is that file named, or if the walk
// tells which. The walk alone knows the file, but not through which of several
// mounts the process sees it: the mapping's path does.
func (w *world) faultPlaces(t *events.Task, v stackView, walked []place) []place {
	var found []place
	for _, m := range w.snap.Maps {
		if m.PID != t.PID {
			continue
		}
		for line := range strings.Lines(m.Text) {
			pl, ok := w.mapping(t, line)
			if !ok || !compatible(pl.kind, v.fs) || v.fs == "" && local(pl.kind) {
				continue
			}
			if len(found) > 0 && found[0].path.Value == pl.path.Value {
				continue
			}
			found = append(found, pl)
		}
	}
	for _, pl := range walked {
		if same := sameFile(found, pl); len(same) == 1 {
			return append(same, walked...)
		}
	}
	switch {
	case len(walked) > 0 && walked[0].path.Value != "":
		return append(walked, found...)
	case len(found) == 1:
		return found
	case len(found) > 1: // several files of that kind: the mount may still be one
		pl := found[0]
		for _, f := range found[1:] {
			if f.mount.Device != pl.mount.Device {
				return nil
			}
		}
		pl.path = Path{Source: pathNone}
		return []place{pl}
	}
	return nil
}

// sameFile picks the mappings that can be the file of a walked place.
func sameFile(mapped []place, walked place) []place {
	var same []place
	for _, m := range mapped {
		if m.mount != nil && walked.mount != nil && m.mount.Device == walked.mount.Device &&
			path.Base(string(m.path.Value)) == path.Base(string(walked.path.Value)) {
			same = append(same, m)
		}
	}
	return same
}

func local(k mounts.Kind) bool { return k == mounts.KindBlock || k == mounts.KindOther }

// mapping reads a line of proc_pid_maps(5): range, permissions, offset,
// device, inode, path.
func (w *world) mapping(t *events.Task, line string) (place, bool) {
	f := strings.Fields(line)
	if len(f) < 6 || !strings.HasPrefix(f[5], "/") {
		return place{}, false
	}
	major, minor, ok := strings.Cut(f[3], ":")
	ma, err1 := strconv.ParseUint(major, 16, 32)
	mi, err2 := strconv.ParseUint(minor, 16, 32)
	if !ok || err1 != nil || err2 != nil {
		return place{}, false
	}
	// The path is the rest of the line; it may hold spaces.
	at := strings.Index(line, f[5])
	name := strings.TrimSuffix(strings.TrimRight(line[at:], "\n"), " (deleted)")
	pl := place{path: Path{Value: Text(name), Source: pathKernel}}
	pl.anchor = &anchor{device: fmt.Sprintf("%d:%d", ma, mi), ns: t.MountNS}
	w.locate(t, &pl)
	pl.restorePrefix()
	// A mapping that locate had to explain by the stack lies elsewhere: the
	// program itself, on the local disk.
	return pl, pl.mount != nil && pl.mount.From != fromStack
}

// journalKind tells from a kernel thread's name which device it serves:
// "jbd2/rbd0-8", "xfsaild/nbd1".
func journalKind(comm string) mounts.Kind {
	_, dev, ok := strings.Cut(comm, "/")
	if ok && (strings.HasPrefix(dev, "rbd") || strings.HasPrefix(dev, "nbd")) {
		return mounts.KindRBD
	}
	return ""
}

// journalPlace is the file system of the device that a kernel thread serves,
// where its name has the device's whole: it is cut to 15 letters.
func (w *world) journalPlace(t *events.Task) (place, bool) {
	_, name, ok := strings.Cut(t.Comm, "/")
	if !ok || !t.KernelThread() || cutComm(t.Comm+"x") == t.Comm {
		return place{}, false
	}
	if at := strings.LastIndexByte(name, '-'); at > 0 { // jbd2's inode of the journal
		name = name[:at]
	}
	for _, b := range w.snap.Blocks {
		if b.Name == name {
			pl := place{anchor: &anchor{device: b.Device}}
			w.byAnchor(t, &pl)
			return pl, pl.kind != ""
		}
	}
	return place{}, false
}

// lastCgroup is the path in the last line of /proc/PID/cgroup that has one:
// the v2 hierarchy's, or the last v1 controller's.
func lastCgroup(text string) string {
	var found string
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) == 3 && (f[2] != "/" || found == "") {
			found = f[2]
		}
	}
	return found
}
