package capture

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/mounts"
)

// podPatterns are the names that a scan wants of <root>/pods. What a pod's
// volume contains is never looked at; a CSI volume's own directory is not the
// mount point and holds vol_data.json.
func podPatterns() []string {
	return []string{
		"*/volumes/*/*", "*/volumes/kubernetes.io~csi/*/*", "*/volumeDevices/*/*", "*/volume-subpaths/*/*/*",
	}
}

// children asks what may block, each in a child of its own and all at once.
func (sc *scan) children(ctx context.Context) {
	host := sc.out.HostPID
	if sc.snap.Kube == nil {
		sc.snap.Kube = &facts.Kube{}
	}
	roots := sc.rootDirs(sc.snap)
	sc.snap.Kube.RootDirs = roots
	var wg sync.WaitGroup
	if len(sc.snap.Kube.PodSources) == 0 {
		wg.Go(func() {
			k := sc.pods(ctx, host)
			sc.mu.Lock()
			defer sc.mu.Unlock()
			sc.snap.Kube.Pods, sc.snap.Kube.PodSources = k.pods, k.sources
			sc.snap.Skipped = append(sc.snap.Skipped, k.skipped...)
		})
	}
	sc.out.DirsRead = true
	for _, root := range roots {
		wg.Go(func() { sc.kubeletTree(ctx, host, root) })
	}
	if slices.ContainsFunc(sc.out.BDIs, cephBDI) || slices.ContainsFunc(sc.snap.Blocks, isRBD) {
		wg.Go(func() { sc.ceph(ctx) })
	}
	wg.Go(func() { sc.directories(ctx) })
	wg.Wait()
}

func cephBDI(name string) bool { return strings.HasPrefix(name, "ceph-") }

func isRBD(b facts.BlockDevice) bool { return b.Driver == "rbd" }

// kubeletTree lists the pods' directories below one kubelet root. A root that
// is a symbolic link, as operators make them to move it to a larger disk, is
// followed first.
func (sc *scan) kubeletTree(ctx context.Context, host int, root string) {
	list := func(dir string) (expendable.Answer, error) {
		req := expendable.Request{
			Op: expendable.OpTree, Root: hostRoot(host), Path: expendable.Raw(path.Join(dir, "pods")), Patterns: podPatterns(), Max: 200_000,
		}
		answers, err := sc.Session.opts.Runner.Do(ctx, "kubelet:"+dir, []expendable.Request{req}, childDeadline(ctx))
		if err == nil && answers[0].Err != "" {
			err = errors.New(answers[0].Err)
		}
		return answers[0], err
	}
	a, err := list(root)
	if err != nil && strings.Contains(err.Error(), unix.ELOOP.Error()) {
		if real := sc.followed(ctx, host, root); real != "" {
			root = real
			a, err = list(root)
		}
	}
	sc.mu.Lock()
	defer sc.mu.Unlock()
	for _, e := range a.Entries {
		sc.out.Dirs = append(sc.out.Dirs, facts.KubeDir{
			Path: path.Join(root, "pods", string(e.Name)), MTimeNS: e.MTimeNS, File: e.Type != unix.DT_DIR,
		})
	}
	if !slices.Contains(sc.snap.Kube.RootDirs, root) {
		sc.snap.Kube.RootDirs = append(sc.snap.Kube.RootDirs, root)
	}
	if err != nil && !strings.Contains(err.Error(), unix.ENOENT.Error()) {
		sc.out.DirsRead = false
		sc.snap.Skipped = append(sc.snap.Skipped, facts.Skipped{What: "pod directories below " + root, Why: err.Error()})
	}
}

func (sc *scan) followed(ctx context.Context, host int, root string) string {
	req := expendable.Request{Op: expendable.OpResolve, PID: host, Path: expendable.Raw(root)}
	if t, err := mounts.Parse(sc.cache.mountinfo[sc.out.HostNS], sc.out.HostNS, mounts.NewBlocks(sc.snap.Blocks)); err == nil {
		req.SafeMounts = safeMounts(t)
	}
	answers, err := sc.Session.opts.Runner.Do(ctx, "root:"+root, []expendable.Request{req}, childDeadline(ctx))
	if err != nil || answers[0].Err != "" || answers[0].Resolved == nil || !answers[0].Resolved.Complete {
		return ""
	}
	return string(answers[0].Resolved.Path)
}

// directories finds the processes whose working or root directory lies on a
// mount in question, or on one in no table at all.
func (sc *scan) directories(ctx context.Context) {
	interesting := sc.devicesInQuestion()
	req := expendable.Request{Op: expendable.OpPins}
	for _, p := range sc.procs {
		req.PIDs = append(req.PIDs, p.PID)
	}
	answers, err := sc.Session.opts.Runner.Do(ctx, "directories", []expendable.Request{req}, childDeadline(ctx))
	if err != nil {
		sc.skip("working directories", err)
	}
	var unknown []int
	var pins []expendable.Pin
	for _, a := range answers {
		for _, pin := range a.Pins {
			device, attached := sc.mountIDs[pin.MountID]
			if attached && !interesting[device] {
				continue
			}
			pin.Device = device
			if !attached && !slices.Contains(unknown, pin.PID) {
				unknown = append(unknown, pin.PID)
			}
			pins = append(pins, pin)
		}
	}
	if len(unknown) > 0 { // only these are asked for more, which may block
		req := expendable.Request{Op: expendable.OpPins, PIDs: unknown, Devices: true}
		answers, err := sc.Session.opts.Runner.Do(ctx, "directories-detached", []expendable.Request{req}, childDeadline(ctx))
		if err != nil {
			sc.skip("devices of detached working directories", err)
		}
		for _, a := range answers {
			for _, found := range a.Pins {
				i := slices.IndexFunc(pins, func(p expendable.Pin) bool { return p.PID == found.PID && p.Name == found.Name })
				if i >= 0 && pins[i].Device == "" {
					pins[i].Device = found.Device
				}
			}
		}
	}
	sc.detachedFiles(ctx)
	sc.mu.Lock()
	defer sc.mu.Unlock()
	for _, pin := range pins {
		_, attached := sc.mountIDs[pin.MountID]
		sc.keep[pin.PID] = true
		sc.out.Files = append(sc.out.Files, facts.HeldFile{
			PID: pin.PID, How: pin.Name, Path: string(pin.Path), Device: pin.Device, Detached: !attached,
		})
	}
}

// detachedFiles finds the devices of descriptors of which only the link said
// that their mount is in no table.
func (sc *scan) detachedFiles(ctx context.Context) {
	var reqs []expendable.Request
	var of []int
	for i, f := range sc.out.Files {
		number, fd := strings.CutPrefix(f.How, "fd ")
		if fd && f.Detached && f.Device == "" {
			reqs = append(reqs, expendable.Request{Op: expendable.OpPins, PIDs: []int{f.PID}, Names: []string{"fd/" + number}, Devices: true})
			of = append(of, i)
		}
	}
	answers, err := sc.Session.opts.Runner.Do(ctx, "files-detached", reqs, childDeadline(ctx))
	if err != nil {
		sc.skip("devices of files on detached mounts", err)
	}
	sc.mu.Lock()
	defer sc.mu.Unlock()
	for i, a := range answers {
		if len(a.Pins) == 1 {
			sc.out.Files[of[i]].Device = a.Pins[0].Device
		}
	}
}

func deviceKey(device string) string { return fmt.Sprintf("dev:%s", device) }
