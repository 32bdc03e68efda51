package capture

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/kube"
	"github.com/hangtrace/hangtrace/internal/mounts"
)

// kubeletFresh is how long it is believed that no kubelet runs.
const kubeletFresh = 30 * time.Second

// hostPID is a process that sees the node as the kubelet does: the kubelet
// itself, else the init process, which in a container needs hostPID.
func (s *Session) hostPID() int {
	if s.cache.kubeletPID != 0 {
		if _, err := s.opts.Proc.Comm(s.cache.kubeletPID); err == nil {
			return s.cache.kubeletPID
		}
		s.cache.kubeletPID = 0
	}
	if time.Since(s.cache.noKubelet) < kubeletFresh {
		return 1
	}
	s.findKubelet()
	pid := <-s.cache.seeking
	s.cache.seeking = nil
	if pid == 0 {
		s.cache.noKubelet = time.Now()
		return 1
	}
	s.cache.kubeletPID = pid
	return pid
}

// findKubelet begins to look for it: on a large node that takes as long as to
// load a program.
func (s *Session) findKubelet() {
	if s.cache.seeking != nil {
		return
	}
	s.cache.seeking = beside(func() int {
		if list, err := s.opts.Proc.ByName("kubelet"); err == nil && len(list) > 0 {
			return list[0].PID
		}
		return 0
	})
}

// kube reads the traces of Kubernetes that name pods and volumes.
func (s *Session) kube(ctx context.Context, snap *facts.Snapshot, pods func() podList, skip func(string, error)) {
	host := s.hostPID()
	s.process(snap, host)
	k := &facts.Kube{RootDirs: s.rootDirs(snap)}
	snap.Kube = k
	list := pods()
	k.Pods, k.PodSources = list.pods, list.sources
	snap.Skipped = append(snap.Skipped, list.skipped...)
	if paths, err := correlate.VolumeDataPaths(snap, s.opts.Judge); err == nil && len(paths) > 0 {
		s.volumeData(ctx, host, k, paths, skip)
	}
	if correlate.NamelessImage(snap, s.opts.Judge) {
		s.everyVolumeData(ctx, host, k, skip)
	}
}

// inventory reads what names the volumes that are mounted: a session that goes on
// must name a call that hangs and returns between two looks, too. It is read
// when a mount table is new or has changed.
func (s *Session) inventory(ctx context.Context, snap *facts.Snapshot, skip func(string, error)) {
	if !s.opts.Again || snap.Kube != nil || len(snap.Mounts) == 0 {
		return
	}
	pods := s.askPods(ctx)
	if len(snap.Blocks) == 0 {
		s.devices(snap, skip)
	}
	s.kube(ctx, snap, pods, skip)
	if paths, err := correlate.MountedVolumeData(snap, s.opts.Judge); err == nil && len(paths) > 0 {
		s.volumeData(ctx, s.hostPID(), snap.Kube, paths, skip)
	}
}

// everyVolumeData reads the vol_data.json of each CSI volume of each pod: one of
// them may name what is in an rbd image.
func (s *Session) everyVolumeData(ctx context.Context, host int, k *facts.Kube, skip func(string, error)) {
	const most = 1000
	var paths []string
	for _, root := range k.RootDirs {
		req := expendable.Request{Op: expendable.OpTree, Root: hostRoot(host), Path: expendable.Raw(path.Join(root, "pods")),
			Patterns: []string{"*/volumes/kubernetes.io~csi/*/vol_data.json"}, Max: 20 * most}
		answers, err := s.opts.Runner.Do(ctx, "vol-data:"+root, []expendable.Request{req}, childDeadline(ctx))
		if err != nil {
			skip("vol_data.json below "+root, err)
			continue
		}
		for _, e := range answers[0].Entries {
			name := path.Join(root, "pods", string(e.Name))
			known := slices.ContainsFunc(k.VolumeData, func(v facts.VolumeData) bool { return v.Path == name })
			if path.Base(name) == "vol_data.json" && !known && len(paths) < most {
				paths = append(paths, name)
			}
		}
	}
	if len(paths) > 0 {
		s.volumeData(ctx, host, k, paths, skip)
	}
}

func (s *Session) rootDirs(snap *facts.Snapshot) []string {
	var roots []string
	add := func(root string) {
		if strings.HasPrefix(root, "/") && !slices.Contains(roots, root) {
			roots = append(roots, root)
		}
	}
	add(s.opts.KubeletRoot)
	for _, p := range snap.Processes {
		if p.Kubelet != nil {
			add(p.Kubelet.RootDir)
		}
	}
	for _, text := range s.cache.mountinfo {
		if t, err := mounts.Parse(text, 0, mounts.Blocks{}); err == nil {
			points := make([]string, len(t.Mounts))
			for i, m := range t.Mounts {
				points[i] = m.Point
			}
			for _, root := range kube.RootsOf(points) {
				add(root)
			}
		}
	}
	add(kube.DefaultRoot)
	return roots
}

// kubeletArgs reads a kubelet's command line through a child: that of a jammed
// process cannot be read otherwise. nil: not to be had.
func kubeletArgs(opts Options, pid int) []string {
	ctx, cancel := context.WithTimeout(context.Background(), criMost)
	defer cancel()
	req := expendable.Request{Op: expendable.OpCmdline, PID: pid}
	answers, err := opts.Runner.Do(ctx, childKey(pid), []expendable.Request{req}, criMost/2)
	if err != nil || len(answers) == 0 || answers[0].Err != "" {
		return nil
	}
	var args []string
	for _, a := range answers[0].Args {
		args = append(args, string(a))
	}
	return args
}

func hostRoot(pid int) expendable.Raw { return expendable.Raw(fmt.Sprintf("/proc/%d/root", pid)) }

// volumeData reads the vol_data.json files beside the volumes in question.
func (s *Session) volumeData(ctx context.Context, host int, k *facts.Kube, paths []string, skip func(string, error)) {
	const most = 64 << 10
	var ask []string
	for _, p := range paths {
		v, known := s.cache.volumeData[p]
		switch {
		case !known:
			ask = append(ask, p)
		case v != nil:
			k.VolumeData = append(k.VolumeData, *v)
		}
	}
	if len(ask) == 0 {
		return
	}
	for _, pid := range s.viewers(host) {
		if len(ask) == 0 {
			return
		}
		reqs := make([]expendable.Request, len(ask))
		for i, p := range ask {
			reqs[i] = expendable.Request{Op: expendable.OpReadfile, Root: hostRoot(pid), Path: expendable.Raw(p), Max: most}
		}
		answers, err := s.opts.Runner.Do(ctx, "vol-data", reqs, childDeadline(ctx))
		if err != nil {
			skip("vol_data.json of the volumes", err)
		}
		ask = s.keepVolumeData(k, ask, answers, err == nil)
	}
}

// viewers are the processes whose view of the file system is asked for what
// lies beside the volumes: the kubelet's, then that of one process in each other
// mount namespace in question, as a node may run several kubelets.
func (s *Session) viewers(host int) []int {
	list := []int{host}
	own, _ := s.opts.Proc.Namespace(host, "mnt")
	for _, ns := range slices.Sorted(maps.Keys(s.cache.readers)) {
		const most = 4
		if pid := s.cache.readers[ns]; ns != own && pid != host && len(list) < most {
			list = append(list, pid)
		}
	}
	return list
}

// keepVolumeData stores what was read and returns what was not. complete tells
// that a missing answer means that there is no such file.
func (s *Session) keepVolumeData(k *facts.Kube, asked []string, answers []expendable.Answer, complete bool) (left []string) {
	for i, name := range asked {
		if i >= len(answers) || answers[i].Err != "" || len(answers[i].Data) == 0 {
			if complete {
				s.cache.volumeData[name] = nil // not every plugin writes one
			}
			left = append(left, name)
			continue
		}
		v, err := kube.ParseVolData(answers[i].Data)
		if err != nil {
			v.Err = err.Error()
		}
		v.Path = name
		s.cache.volumeData[name] = &v
		k.VolumeData = append(k.VolumeData, v)
	}
	return left
}

// resolve follows the links of path arguments that seem to lie on a local file
// system: what looks local may be a link into a volume.
func (s *Session) resolve(ctx context.Context, snap *facts.Snapshot, suspects []correlate.Suspect) {
	blocks := mounts.NewBlocks(snap.Blocks)
	tables := make(map[uint32]*mounts.Table)
	ns := make(map[int]uint32)
	for _, p := range suspects {
		ns[p.PID] = p.MountNS
	}
	work := make(map[int][]expendable.Request)
	for _, str := range snap.Strings {
		if str.Err != "" || str.Truncated || !strings.HasPrefix(str.Value, "/") {
			continue
		}
		n := ns[str.PID]
		if tables[n] == nil {
			t, err := mounts.Parse(s.cache.mountinfo[n], n, blocks)
			if err != nil {
				continue
			}
			tables[n] = t
		}
		if m, ok := tables[n].Lookup(str.Value); !ok || m.Kind != mounts.KindBlock && m.Kind != mounts.KindOther {
			continue
		}
		if known, ok := s.cache.resolved.get(resolvedKey(str.PID, str.Value)); ok {
			snap.Resolved = append(snap.Resolved, known)
			continue
		}
		work[str.PID] = append(work[str.PID], expendable.Request{
			Op: expendable.OpResolve, PID: str.PID, Path: expendable.Raw(str.Value), SafeMounts: safeMounts(tables[n]),
		})
	}
	replies := s.ask(ctx, work)
	for _, pid := range slices.Sorted(maps.Keys(replies)) {
		r := replies[pid]
		if r.err != nil {
			snap.Skipped = append(snap.Skipped, facts.Skipped{What: fmt.Sprintf("symbolic links in paths of pid %d", pid), Why: r.err.Error()})
		}
		for i, a := range r.answers {
			if a.Resolved == nil {
				continue
			}
			found := facts.ResolvedPath{PID: pid, Path: string(work[pid][i].Path), Resolved: string(a.Resolved.Path)}
			s.cache.resolved.put(resolvedKey(pid, found.Path), found)
			snap.Resolved = append(snap.Resolved, found)
		}
	}
}

func resolvedKey(pid int, path string) string { return fmt.Sprintf("%d:%s", pid, path) }

// safeMounts are the mount points a child may step onto: local file systems.
func safeMounts(t *mounts.Table) []expendable.Raw {
	var list []expendable.Raw
	for _, m := range t.Mounts {
		if m.Kind == mounts.KindBlock || m.Kind == mounts.KindOther {
			list = append(list, expendable.Raw(m.Point))
		}
	}
	return list
}
