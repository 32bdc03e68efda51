package victim

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// kubelet walks pod directories with the calls of the real one, in functions
// of the same names: a reader of its stack sees the chain that hangs there.
type kubelet struct {
	*session
	rootDir    string
	generation string
	interval   time.Duration
	pods       []string // UIDs the API server knows
	round      atomic.Int64
}

// The generations of the kubelet whose walk is known from real hangs.
const (
	Generation117 = "1.17" // os.Stat of every volume directory
	Generation134 = "1.34" // os.Stat of CSI mounts only
)

type uidList []string

func (l *uidList) String() string     { return strings.Join(*l, ",") }
func (l *uidList) Set(v string) error { *l = append(*l, v); return nil }

// runKubelet starts the housekeeping loop over the directories of pods nobody
// knows any more, one loop per known pod that measures its volumes, and the
// threads that idle in a real kubelet. It needs no "go".
//
// Arguments: --root-dir DIR, --generation 1.17 or 1.34, --interval, and --pod
// UID for each pod that is known. With --read-only-port it answers there; a
// --config is for others to read.
func runKubelet(s *session) error {
	k := &kubelet{session: s}
	flags := flag.NewFlagSet("kubelet", flag.ContinueOnError)
	flags.StringVar(&k.rootDir, "root-dir", "/var/lib/kubelet", "")
	flags.StringVar(&k.generation, "generation", Generation134, "")
	flags.DurationVar(&k.interval, "interval", 500*time.Millisecond, "")
	flags.Var((*uidList)(&k.pods), "pod", "")
	flags.String("config", "", "") // for whoever reads the command line
	port := flags.String("read-only-port", "", "")
	if err := flags.Parse(s.args); err != nil {
		return err
	}
	if k.generation != Generation117 && k.generation != Generation134 {
		return fmt.Errorf("unknown generation %q", k.generation)
	}
	idle, err := os.MkdirTemp(filepath.Dir(k.rootDir), "idle-")
	if err != nil {
		return err
	}
	quiet := &session{printer: s.printer, words: s.words}
	if err := quiet.startIdle(idle); err != nil {
		return err
	}
	if *port != "" {
		if err := k.serveHealthz(*port); err != nil {
			return err
		}
	}
	go k.syncLoop()
	for _, uid := range k.pods {
		go (&volumeStatCalculator{k, uid}).calcAndStoreStats()
	}
	s.print(Line{Event: EventPrepared})
	s.await("quit")
	return nil
}

//go:noinline
func (k *kubelet) syncLoop() {
	runtime.LockOSThread()
	for k.syncLoopIteration() {
		k.round.Store(time.Now().UnixNano())
		time.Sleep(k.interval)
	}
}

//go:noinline
func (k *kubelet) syncLoopIteration() bool {
	if err := k.HandlePodCleanups(); err != nil {
		k.print(Line{Event: "log", Text: err.Error()})
	}
	return true
}

//go:noinline
func (k *kubelet) HandlePodCleanups() error {
	return k.cleanupOrphanedPodDirs()
}

//go:noinline
func (k *kubelet) cleanupOrphanedPodDirs() error {
	pods, err := os.ReadDir(filepath.Join(k.rootDir, "pods"))
	if err != nil {
		return err
	}
	var errs []error
	for _, pod := range pods {
		if slices.Contains(k.pods, pod.Name()) {
			continue
		}
		if k.podVolumesExist(pod.Name()) {
			errs = append(errs, fmt.Errorf("orphaned pod %q found, but volumes are still mounted", pod.Name()))
		}
	}
	return errors.Join(errs...)
}

//go:noinline
func (k *kubelet) podVolumesExist(uid string) bool {
	paths, err := k.getMountedVolumePathListFromDisk(uid)
	return err != nil || len(paths) > 0
}

//go:noinline
func (k *kubelet) getMountedVolumePathListFromDisk(uid string) ([]string, error) {
	paths, err := k.getPodVolumePathListFromDisk(uid)
	if err != nil {
		return nil, err
	}
	var mounted []string
	for _, path := range paths {
		likely, err := k.IsLikelyNotMountPoint(path)
		if err != nil {
			return nil, err
		}
		if !likely {
			mounted = append(mounted, path)
		}
	}
	return mounted, nil
}

//go:noinline
func (k *kubelet) getPodVolumePathListFromDisk(uid string) ([]string, error) {
	volumes := filepath.Join(k.rootDir, "pods", uid, "volumes")
	plugins, err := os.ReadDir(volumes)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var paths []string
	for _, plugin := range plugins {
		entries, err := os.ReadDir(filepath.Join(volumes, plugin.Name()))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			path := filepath.Join(volumes, plugin.Name(), e.Name())
			if plugin.Name() == "kubernetes.io~csi" && k.generation == Generation134 {
				path = filepath.Join(path, "mount")
				if ok, err := PathExists(path); !ok || err != nil {
					continue
				}
			}
			paths = append(paths, path)
		}
	}
	return paths, nil
}

// PathExists is that of k8s.io/mount-utils.
//
//go:noinline
func PathExists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// IsLikelyNotMountPoint is that of k8s.io/mount-utils: the old one compares
// device numbers by stat, the new one asks statx not to sync.
//
//go:noinline
func (k *kubelet) IsLikelyNotMountPoint(path string) (bool, error) {
	if k.generation == Generation134 {
		var st unix.Statx_t
		err := unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_DONT_SYNC, 0, &st)
		return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0, err
	}
	st, err := os.Stat(path)
	if err != nil {
		return true, err
	}
	parent, err := os.Lstat(filepath.Dir(path))
	if err != nil {
		return true, err
	}
	return device(st) == device(parent), nil
}

// volumeStatCalculator measures the volumes of one pod.
type volumeStatCalculator struct {
	*kubelet
	uid string
}

//go:noinline
func (v *volumeStatCalculator) calcAndStoreStats() {
	runtime.LockOSThread()
	for {
		mounts, _ := filepath.Glob(filepath.Join(v.rootDir, "pods", v.uid, "volumes/kubernetes.io~csi/*"))
		for _, m := range mounts {
			_ = GetMetrics(filepath.Join(m, "mount"))
		}
		time.Sleep(v.interval)
	}
}

// GetMetrics is that of k8s.io/kubernetes/pkg/volume.
//
//go:noinline
func GetMetrics(path string) error {
	var st unix.Statfs_t
	for {
		// Go's own wrapper would do the same: the runtime's signals interrupt it.
		if err := unix.Statfs(path, &st); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
