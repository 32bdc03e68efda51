package correlate

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/kube"
	"github.com/hangtrace/hangtrace/internal/mounts"
)

func itoa(n int) string { return strconv.Itoa(n) }

// waitingOn says whom a thread waits for, as far as its stack and mount show.
func (w *world) waitingOn(t *events.Task, v stackView, pl *place) *WaitingOn {
	on := &WaitingOn{Kind: waitingKind(v, pl), Source: whoStack}
	if v.frame != "" {
		on.Evidence = append(on.Evidence, "kernel stack: "+v.frame)
	}
	source := ""
	if pl.mount != nil {
		source = string(pl.mount.Source)
	}
	switch on.Kind {
	case "nfs-server":
		if host, _, ok := strings.Cut(source, ":/"); ok {
			on.Name = Text(host)
			on.Evidence = append(on.Evidence, "mount source: "+source)
		}
	case "block-device":
		w.blockDevice(on, pl)
	case "fuse-daemon":
		w.fuseDaemon(on, pl)
	}
	return on
}

// waitingKind is WaitingOn.Kind by stack and mount.
func waitingKind(v stackView, pl *place) string {
	switch {
	case v.kind == waitLock:
		return "lock"
	case v.server != "":
		return v.server
	case pl.kind == mounts.KindCephFuse, pl.kind == mounts.KindFuse:
		return "fuse-daemon"
	case pl.kind == mounts.KindNFS:
		return "nfs-server"
	case pl.kind == mounts.KindRBD, pl.kind == mounts.KindBlock:
		return "block-device"
	}
	return "unknown"
}

func (w *world) blockDevice(on *WaitingOn, pl *place) {
	if pl.mount == nil {
		return
	}
	for _, b := range w.snap.Blocks {
		if b.Device != string(pl.mount.Device) {
			continue
		}
		on.Name = Text(b.Name)
		if pl.mount.Image != "" {
			on.Evidence = append(on.Evidence, "rbd image: "+pl.mount.Image)
		}
		if b.InflightReads >= 0 {
			on.Evidence = append(on.Evidence, "requests in flight: "+itoa(b.InflightReads)+" reads, "+itoa(b.InflightWrites)+" writes")
		}
	}
}

func (w *world) fuseDaemon(on *WaitingOn, pl *place) {
	if pl.mount == nil {
		return
	}
	for _, c := range w.snap.Fuse {
		if c.Device == string(pl.mount.Device) {
			on.Name = fuseConnection(c.Number)
			w.daemon(on, c.Number)
			if c.Waiting >= 0 {
				on.Evidence = append(on.Evidence, "requests waiting: "+itoa(c.Waiting))
			}
		}
	}
	if len(w.snap.Fuse) > 0 {
		return
	}
	// Without the control file system the device still numbers the connection.
	if number, ok := mounts.DeviceNumber(string(pl.mount.Device)); ok {
		on.Name = fuseConnection(number)
		w.daemon(on, number)
	}
}

// daemon names the process that serves a FUSE connection, and what is wrong
// with it.
func (w *world) daemon(on *WaitingOn, number uint32) {
	known := w.daemons[number]
	if known == nil {
		known = w.findDaemon(number)
		w.daemons[number] = known
	}
	if known.PID != 0 {
		on.Name, on.PID = known.Name, known.PID
	}
	if known.State != "" {
		on.State = known.State
	}
	on.Evidence = append(on.Evidence, known.Evidence...)
}

// findDaemon gives the name, process, state and evidence of a daemon. A kernel
// that does not number connections names it only if there is one daemon at all.
func (w *world) findDaemon(number uint32) *WaitingOn {
	on := &WaitingOn{}
	var found *facts.FuseDaemon
	numbered := false
	for i := range w.snap.FuseDaemons {
		d := &w.snap.FuseDaemons[i]
		numbered = numbered || d.Number != 0
		if d.Number == number {
			found = d
			break
		}
	}
	if found == nil && !numbered && len(w.snap.FuseDaemons) == 1 {
		found = &w.snap.FuseDaemons[0]
		on.Evidence = append(on.Evidence, "the only process with /dev/fuse open")
	}
	if found == nil {
		if numbered {
			on.Evidence = append(on.Evidence, "no process serves this connection: the daemon is gone")
		}
		return on
	}
	on.Name, on.PID = Text(fmt.Sprintf("%s[%d]", found.Comm, found.PID)), found.PID
	on.Evidence = append(on.Evidence, fmt.Sprintf("serves fuse connection %d", number))
	if id, uid := w.parseCgroup(found.Cgroup); uid != "" {
		where := "in pod " + uid
		if pod, _, ok := kube.FindPod(w.kubeFacts(), uid); ok {
			where = "in pod " + pod.Namespace + "/" + pod.Name
		}
		on.Evidence = append(on.Evidence, where)
	} else if id != "" {
		on.Evidence = append(on.Evidence, "in container "+id)
	}
	switch found.State {
	case "T", "t":
		on.State = Text(fmt.Sprintf("daemon stopped (state %s)", found.State))
	case "Z", "X":
		on.State = Text(fmt.Sprintf("daemon dead (state %s), another of its threads may live", found.State))
	case "D":
		on.State = "daemon itself blocked (state D)"
	}
	return on
}

// kubeFacts is never nil.
func (w *world) kubeFacts() *facts.Kube {
	if w.kube == nil {
		return &facts.Kube{}
	}
	return w.kube
}
