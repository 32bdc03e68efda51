package correlate

import (
	"strconv"
	"strings"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/mounts"
)

func itoa(n int) string { return strconv.Itoa(n) }

// waitingOn says whom a thread waits for, as far as its stack and mount show.
func (w *world) waitingOn(t *events.Task, v stackView, pl *place) *WaitingOn {
	on := &WaitingOn{Kind: "unknown"}
	if v.frame != "" {
		on.Evidence = append(on.Evidence, "kernel stack: "+v.frame)
	}
	source := ""
	if pl.mount != nil {
		source = string(pl.mount.Source)
	}
	switch {
	case v.kind == waitLock:
		on.Kind = "lock"
	case v.server != "":
		on.Kind = v.server
	case pl.kind == mounts.KindCephFuse, pl.kind == mounts.KindFuse:
		on.Kind = "fuse-daemon"
	case pl.kind == mounts.KindNFS:
		on.Kind = "nfs-server"
	case pl.kind == mounts.KindRBD, pl.kind == mounts.KindBlock:
		on.Kind = "block-device"
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
			on.Name = Text("fuse connection " + strconv.FormatUint(uint64(c.Number), 10))
			if c.Waiting >= 0 {
				on.Evidence = append(on.Evidence, "requests waiting: "+itoa(c.Waiting))
			}
		}
	}
}
