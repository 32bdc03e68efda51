package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/kube"
	"github.com/hangtrace/hangtrace/internal/loader"
	"github.com/hangtrace/hangtrace/internal/mounts"
	"github.com/hangtrace/hangtrace/internal/proc"
)

const membersMost = 8

// processes lists every process of user space.
func (sc *scan) processes() {
	p := sc.Session.opts.Proc
	pids, err := p.PIDs()
	if err != nil {
		sc.skip("processes", err)
		return
	}
	pods := make(map[string]bool)
	for _, pid := range pids {
		one, err := p.Process(pid)
		if err != nil || one.MountNS == 0 || one.PID != 1 && one.PPID == 2 || one.PID == os.Getpid() {
			continue // it ended, or is a kernel thread
		}
		sc.procs = append(sc.procs, one)
		if _, uid := kube.ParseCgroup(one.Cgroup); uid != "" {
			pods[uid] = true
		}
	}
	sc.out.Processes = len(sc.procs)
	sc.out.LivePods = slices.Sorted(maps.Keys(pods))
	if all, err := p.InitialPIDNamespace(); err == nil && !all {
		sc.degrade("hangtrace does not run in the host's PID namespace: processes outside of its own, and mount namespaces that only they are in, are not seen")
	}
}

// namespaces reads one mount table of every mount namespace. The host's is kept
// whole; of the others the lines that may be volumes.
func (sc *scan) namespaces() {
	host := sc.hostPID()
	sc.process(sc.snap, host)
	sc.out.HostPID = host
	sc.out.HostNS, _ = sc.Session.opts.Proc.Namespace(host, "mnt")
	members := make(map[uint32][]int)
	for _, p := range sc.procs {
		members[p.MountNS] = append(members[p.MountNS], p.PID)
	}
	whole := make(map[uint32]bool) // the tables that the suspects brought
	for _, m := range sc.snap.Mounts {
		whole[m.Namespace] = true
	}
	devices := make(map[string]bool)
	for _, ns := range slices.Sorted(maps.Keys(members)) {
		reader := sc.reader(members[ns])
		if ns == sc.out.HostNS {
			reader = host
		}
		text, err := sc.Session.opts.Proc.Mountinfo(reader)
		if errors.Is(err, proc.ErrGone) {
			continue
		}
		if err != nil {
			sc.skip(fmt.Sprintf("mounts of pid %d", reader), err)
			continue
		}
		kept := sc.indexMounts(text, devices)
		if ns == sc.out.HostNS {
			kept = text
			sc.cache.mountinfo[ns] = text
		}
		if !whole[ns] && len(kept) > 0 {
			sc.snap.Mounts = append(sc.snap.Mounts, facts.MountTable{Namespace: ns, PID: reader, Text: string(mounts.Redact(kept)), AsOf: sc.snap.TakenAt})
		}
		n := facts.MountNamespace{ID: ns, PID: reader, Processes: len(members[ns])}
		n.Members = slices.Clone(members[ns][:min(len(members[ns]), membersMost)])
		sc.out.Namespaces = append(sc.out.Namespaces, n)
		if len(kept) > 0 {
			for _, pid := range append(n.Members, reader) {
				sc.keep[pid] = true
			}
		}
	}
	sc.out.MountDevices = slices.Sorted(maps.Keys(devices))
}

// reader picks the process whose table shows the whole namespace: one that is
// not in a chroot.
func (sc *scan) reader(pids []int) int {
	const tries = 4
	for _, pid := range pids[:min(len(pids), tries)] {
		if root, err := sc.Session.opts.Proc.Readlink(pid, "root"); err == nil && root == "/" {
			return pid
		}
	}
	return pids[0]
}

// remoteDevices are the block devices that are, or stand on, a remote one.
func remoteDevices(devices []facts.BlockDevice) map[string]bool {
	blocks := mounts.NewBlocks(devices)
	remote := make(map[string]bool)
	for _, d := range devices {
		if _, ok := blocks.Remote(d.Device); ok {
			remote[d.Device] = true
		}
	}
	return remote
}

// indexMounts notes every mount's ID and device, and gives the lines of file
// systems that a server or daemon answers for. It does not parse more than
// that: a node has tens of thousands of lines that are of no interest.
func (sc *scan) indexMounts(text []byte, devices map[string]bool) []byte {
	var kept []byte
	for line := range bytes.Lines(text) {
		sc.out.Mounts++
		id, rest, _ := bytes.Cut(line, []byte(" "))
		_, rest, _ = bytes.Cut(rest, []byte(" "))
		device, _, _ := bytes.Cut(rest, []byte(" "))
		_, tail, ok := bytes.Cut(rest, []byte(" - "))
		number, err := strconv.Atoi(string(id))
		if err != nil || !ok {
			continue
		}
		dev := string(device)
		if known, ok := sc.mountIDs[number]; !ok || known != dev {
			sc.mountIDs[number] = dev
		}
		devices[dev] = true
		fstype, _, _ := bytes.Cut(tail, []byte(" "))
		if sc.remote[dev] || mayHang(string(fstype)) {
			kept = append(kept, line...)
		}
	}
	return kept
}

// mayHang tells whether somebody else answers for a file system of this type.
func mayHang(fstype string) bool {
	switch mounts.KindOf(fstype, "", "0:0", mounts.Blocks{}) {
	case mounts.KindCephFS, mounts.KindCephFuse, mounts.KindFuse, mounts.KindNFS, mounts.KindCIFS:
		return true
	}
	return false
}

// files finds what holds file systems of that sort: descriptors by the kernel's
// iterator, else by their links.
func (sc *scan) files(ctx context.Context) {
	pids := make([]int, len(sc.procs))
	for i, p := range sc.procs {
		pids[i] = p.PID
	}
	err := sc.filesByIterator(pids)
	if errors.Is(err, loader.ErrNotSupported) {
		sc.filesByLinks(ctx, pids)
	} else if err != nil {
		sc.skip("open files", err)
	}
	sc.missedDaemons(ctx, pids)
	sc.daemonsNumbered()
}

// missedDaemons looks once more for the daemons of connections of which none
// was found: a daemon that opened its file behind the first look must not be
// taken for dead.
func (sc *scan) missedDaemons(ctx context.Context, pids []int) {
	missing := slices.ContainsFunc(sc.snap.Fuse, func(c facts.FuseConnection) bool {
		return !slices.ContainsFunc(sc.out.Daemons, func(d facts.FuseDaemon) bool { return d.Number == c.Number })
	})
	if !missing {
		return
	}
	for _, pid := range pids {
		if ctx.Err() != nil {
			sc.lookShort = true
			return
		}
		fds, err := sc.Session.opts.Proc.FDs(pid)
		if err != nil {
			sc.lookShort = sc.lookShort || !errors.Is(err, proc.ErrGone)
			continue
		}
		for _, fd := range fds {
			if to, err := sc.Session.opts.Proc.Readlink(pid, fmt.Sprintf("fd/%d", fd)); err == nil && strings.HasSuffix(to, "/fuse") {
				sc.daemon(pid, fd)
			}
		}
	}
}

func (sc *scan) filesByIterator(pids []int) error {
	const batch = 2048
	for some := range slices.Chunk(pids, batch) {
		pass, err := sc.backend.files(some)
		if err != nil {
			return err
		}
		files, err := events.DecodeFiles(pass)
		if err != nil {
			return err
		}
		for i := range files {
			sc.file(&files[i])
		}
	}
	return nil
}

func (sc *scan) file(f *events.File) {
	const charDevice, blockDevice, typeMask = 0o020000, 0o060000, 0o170000
	if f.Mode&typeMask == charDevice && strings.HasSuffix(f.Path, "/fuse") {
		sc.daemon(f.PID, f.FD)
		return
	}
	device := fmt.Sprintf("%d:%d", f.DevMajor, f.DevMinor)
	rbdNode := f.Mode&typeMask == blockDevice && strings.HasPrefix(path.Base(f.Path), "rbd")
	if !rbdNode && !mayHang(f.FSType) && !sc.remote[device] {
		return
	}
	sc.keep[f.PID] = true
	sc.out.Files = append(sc.out.Files, facts.HeldFile{
		PID: f.PID, How: fmt.Sprintf("fd %d", f.FD), Path: f.Path, Device: device, FSType: f.FSType, Detached: f.Detached,
	})
}

// filesByLinks does without the iterator. A link whose mount is in no table is
// all that then shows a detached file system.
func (sc *scan) filesByLinks(ctx context.Context, pids []int) {
	interesting := sc.devicesInQuestion()
	for i, pid := range pids {
		if ctx.Err() != nil {
			sc.skip(fmt.Sprintf("open files of %d processes", len(pids)-i), ctx.Err())
			return
		}
		fds, err := sc.Session.opts.Proc.FDs(pid)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			to, err := sc.Session.opts.Proc.Readlink(pid, fmt.Sprintf("fd/%d", fd))
			switch {
			case err == nil && strings.HasPrefix(to, "/dev/rbd"):
				sc.keep[pid] = true
				sc.out.Files = append(sc.out.Files, facts.HeldFile{PID: pid, How: fmt.Sprintf("fd %d", fd), Path: to})
			case err != nil || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "/memfd:") || strings.HasPrefix(to, "/SYSV"):
			case to == "/dev/fuse":
				sc.daemon(pid, fd)
			case !strings.HasPrefix(to, "/dev/"):
				sc.link(pid, fmt.Sprintf("fd %d", fd), fd, to, interesting)
			}
		}
	}
}

func (sc *scan) link(pid int, how string, fd int, to string, interesting map[string]bool) {
	info, err := sc.Session.opts.Proc.FDInfo(pid, fd)
	if err != nil {
		return
	}
	id, ok := mountID(info)
	if !ok {
		return
	}
	device, attached := sc.mountIDs[id]
	if attached && !interesting[device] {
		return
	}
	sc.keep[pid] = true
	sc.out.Files = append(sc.out.Files, facts.HeldFile{PID: pid, How: how, Path: to, Device: device, Detached: !attached})
}

// devicesInQuestion are those of mounts that somebody else answers for.
func (sc *scan) devicesInQuestion() map[string]bool {
	devices := maps.Clone(sc.remote)
	for _, t := range sc.snap.Mounts {
		for line := range strings.Lines(t.Text) {
			f := strings.SplitN(line, " ", 4)
			_, tail, ok := strings.Cut(line, " - ")
			fstype, _, _ := strings.Cut(tail, " ")
			if ok && len(f) == 4 && mayHang(fstype) {
				devices[f[2]] = true
			}
		}
	}
	return devices
}

func mountID(fdinfo string) (int, bool) { return fdinfoNumber(fdinfo, "mnt_id:") }

func fdinfoNumber(fdinfo, key string) (int, bool) {
	for line := range strings.Lines(fdinfo) {
		if value, ok := strings.CutPrefix(line, key); ok {
			n, err := strconv.Atoi(strings.TrimSpace(value))
			return n, err == nil
		}
	}
	return 0, false
}

// daemon notes a process that has /dev/fuse open. Since Linux 6.15 or so its
// fdinfo names the connection.
func (sc *scan) daemon(pid, fd int) {
	d := facts.FuseDaemon{PID: pid}
	if stat, err := sc.Session.opts.Proc.Stat(pid, 0); err == nil {
		if at := bytes.LastIndexByte(stat, ')'); at >= 0 && at+2 < len(stat) {
			d.State = string(stat[at+2])
		}
	}
	if info, err := sc.Session.opts.Proc.FDInfo(pid, fd); err == nil {
		if n, ok := fdinfoNumber(info, "fuse_connection:"); ok {
			d.Number = uint32(n)
		}
	}
	sc.keep[pid] = true
	if !slices.Contains(sc.out.Daemons, d) {
		sc.out.Daemons = append(sc.out.Daemons, d)
	}
}

// daemonsNumbered tells whether a connection that no daemon names has none. A
// descriptor without a number beside ones that have one is not mounted yet.
func (sc *scan) daemonsNumbered() {
	all, err := sc.Session.opts.Proc.InitialPIDNamespace()
	numbered := slices.ContainsFunc(sc.out.Daemons, func(d facts.FuseDaemon) bool { return d.Number != 0 })
	sc.out.DaemonsNumbered = err == nil && all && !sc.lookShort && (numbered || len(sc.out.Daemons) == 0)
}
