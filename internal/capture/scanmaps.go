package capture

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/facts"
)

const (
	mapsPerChild = 16
	mapsAtOnce   = 4
)

// mappings finds who has files mapped of file systems that are in no mount
// table and that nothing seen so far holds. Only then: the maps of a process
// whose mmap_lock is taken block, and all of a node's are many megabytes.
func (sc *scan) mappings(ctx context.Context) {
	wanted := sc.unheld()
	if len(wanted) == 0 || ctx.Err() != nil {
		return
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, mapsAtOnce)
	for some := range slices.Chunk(sc.procs, mapsPerChild) {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			sc.mappingsOf(ctx, some, wanted)
		})
	}
	wg.Wait()
}

func (sc *scan) mappingsOf(ctx context.Context, some []facts.Process, wanted map[string]bool) {
	var reqs []expendable.Request
	for _, p := range some {
		reqs = append(reqs, expendable.Request{Op: expendable.OpProcFile, PID: p.PID, Path: "maps"})
	}
	answers, err := sc.Session.opts.Runner.Do(ctx, fmt.Sprintf("maps:%d", some[0].PID), reqs, childDeadline(ctx))
	if err != nil {
		sc.skip("mappings of some processes", err)
	}
	for i, a := range answers {
		for device, path := range mappedOn(string(a.Data), wanted) {
			sc.mu.Lock()
			sc.keep[some[i].PID] = true
			sc.out.Files = append(sc.out.Files, facts.HeldFile{PID: some[i].PID, How: "mapping", Path: path, Device: device, Detached: true})
			sc.mu.Unlock()
		}
	}
}

// unheld are the devices of superblocks with a mount in no namespace, or of FUSE
// connections in no table, of which no file or directory is known to be open.
func (sc *scan) unheld() map[string]bool {
	devices := make(map[string]bool)
	if len(sc.snap.Walks) > 0 {
		w, err := events.DecodeWalk(sc.snap.Walks[len(sc.snap.Walks)-1], sc.snap.Clock)
		for _, m := range w.Mounts {
			if err == nil && m.Detached {
				devices[m.Dev.String()] = true
			}
		}
	}
	for _, c := range sc.snap.Fuse {
		devices[c.Device] = true
	}
	for _, d := range sc.out.MountDevices {
		delete(devices, d)
	}
	for _, f := range sc.out.Files {
		delete(devices, f.Device)
	}
	return devices
}

// mappedOn gives one path for each of the wanted devices in a maps file. Its
// lines are "ADDRESSES PERMS OFFSET MAJOR:MINOR INODE PATH", the device in
// hexadecimal.
func mappedOn(text string, wanted map[string]bool) map[string]string {
	found := make(map[string]string)
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 6 {
			continue
		}
		var major, minor uint32
		if _, err := fmt.Sscanf(f[3], "%x:%x", &major, &minor); err != nil {
			continue
		}
		device := fmt.Sprintf("%d:%d", major, minor)
		if _, known := found[device]; wanted[device] && !known {
			found[device] = strings.TrimSuffix(strings.Join(f[5:], " "), " (deleted)")
		}
	}
	return found
}
