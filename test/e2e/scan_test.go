package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/testkit"
)

// The pods of these tests: podUID runs, goneUID is deleted.
const goneUID = "c0ffee00-7a57-4f6e-9f0e-5c2d8a1b9d42"

// runtimeOf serves CRI with the pods that run.
type runtimeOf struct {
	runtime.UnimplementedRuntimeServiceServer
	uids []string
}

func (r *runtimeOf) ListPodSandbox(context.Context, *runtime.ListPodSandboxRequest) (*runtime.ListPodSandboxResponse, error) {
	out := &runtime.ListPodSandboxResponse{}
	for i, uid := range r.uids {
		out.Items = append(out.Items, &runtime.PodSandbox{
			Id: "sandbox-" + strconv.Itoa(i), State: runtime.PodSandboxState_SANDBOX_READY,
			Metadata: &runtime.PodSandboxMetadata{Name: fmt.Sprintf("catalog-%d", i), Namespace: "shop", Uid: uid},
		})
	}
	return out, nil
}

func (r *runtimeOf) ListContainers(context.Context, *runtime.ListContainersRequest) (*runtime.ListContainersResponse, error) {
	return &runtime.ListContainersResponse{}, nil
}

// scanned is a node with a kubelet and a container runtime, to be scanned.
type scanned struct {
	*stage
	kubelet *testkit.Victim
	socket  string
	// devices and pids are what findings of this test are known by: other
	// tests hang things on the same machine at the same time.
	devices []string
}

func newScanned(t testing.TB, running ...string) *scanned {
	t.Helper()
	s := newStage(t)
	socket := filepath.Join(s.Dir, "cri.sock")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	server := grpc.NewServer()
	runtime.RegisterRuntimeServiceServer(server, &runtimeOf{uids: append(running, podUID)})
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return &scanned{stage: s, kubelet: s.victim("idle", s.Dir), socket: socket}
}

// watch remembers whose findings are ours.
func (s *scanned) watch(fs *testkit.HangFS) *testkit.HangFS {
	s.devices = append(s.devices, fmt.Sprintf("%d:%d", fs.Major, fs.Minor))
	return fs
}

func (s *scanned) flags(args ...string) []string {
	return append([]string{
		"--kubelet-pid", strconv.Itoa(s.kubelet.PID), "--cri-socket", s.socket, s.kubeletRoot(), "--min-age=0s", threshold,
	}, args...)
}

// scan scans the node and gives the findings that are ours, and the run.
func (s *scanned) scan(args ...string) ([]*correlate.Leftover, *run, *correlate.Scan) {
	s.t.Helper()
	list, r, found, _ := s.measure(args...)
	return list, r, found
}

// measure is scan, and tells what the run used.
func (s *scanned) measure(args ...string) ([]*correlate.Leftover, *run, *correlate.Scan, testkit.Usage) {
	s.t.Helper()
	r, used := measured(s.t, s.Sandbox, append([]string{"scan", "-o", "json"}, s.flags(args...)...)...)
	require.Contains(s.t, []int{exitOK, exitHung}, used.Code, "stdout: %s\nstderr: %s", &r.stdout, &r.stderr)
	var found correlate.Scan
	require.NoError(s.t, json.Unmarshal([]byte(r.stdout.String()), &found), "%s", &r.stdout)
	require.Equal(s.t, len(found.Leftovers) > 0, used.Code == exitHung)
	return s.ours(found.Leftovers), r, &found, used
}

func (s *scanned) ours(list []*correlate.Leftover) []*correlate.Leftover {
	var out []*correlate.Leftover
	for _, l := range list {
		mine := strings.HasPrefix(string(l.Path), s.Dir)
		// A device number that was freed may be another test's by now.
		foreign := strings.Contains(string(l.Path), "/sandbox-")
		mine = mine || !foreign && l.Mount != nil && slices.Contains(s.devices, string(l.Mount.Device))
		if mine {
			out = append(out, l)
		}
	}
	return out
}

// one scans and wants exactly one finding of ours.
func (s *scanned) one(class correlate.Class, args ...string) *correlate.Leftover {
	s.t.Helper()
	list, r, _ := s.scan(args...)
	require.Len(s.t, list, 1, "%s", &r.stdout)
	require.Equal(s.t, class, list[0].Class, "%s", &r.stdout)
	s.t.Cleanup(func() { // what was skipped says why something is missing
		if s.t.Failed() {
			s.t.Logf("scan: %s", &r.stdout)
		}
	})
	return list[0]
}

func (s *scanned) clean(args ...string) {
	s.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		list, r, _ := s.scan(args...)
		if len(list) == 0 {
			return
		}
		require.False(s.t, time.Now().After(deadline), "still found: %s", &r.stdout)
	}
}

// follow runs the printed remedy that has a word in it, as an operator would.
func (s *scanned) follow(l *correlate.Leftover, word string) {
	s.t.Helper()
	for _, r := range l.Remedies {
		if strings.Contains(r.Command, word) {
			out, err := exec.Command("sh", "-c", r.Command).CombinedOutput()
			require.NoError(s.t, err, "%s: %s", r.Command, out)
			return
		}
	}
	require.Fail(s.t, "no such remedy", "%q in %+v", word, l.Remedies)
}

// held wants a holder among those of a finding.
func wantHolder(t testing.TB, l *correlate.Leftover, pid int, how string) {
	t.Helper()
	require.True(t, slices.ContainsFunc(l.Holders, func(h correlate.Holder) bool {
		return h.PID == pid && strings.HasPrefix(h.How, how) && h.Comm != ""
	}), "no holder %d by %s: %+v", pid, how, l.Holders)
}

func wantVolume(t testing.TB, l *correlate.Leftover, uid, pv string) {
	t.Helper()
	require.NotNil(t, l.Volume, "%+v", l)
	require.Equal(t, pv, string(l.Volume.PV))
	require.Equal(t, handleOf(pv), string(l.Volume.Handle))
	require.NotNil(t, l.Volume.Pod)
	require.Equal(t, uid, string(l.Volume.Pod.UID))
}

// eachBackend runs a test with BPF and with /proc alone.
func eachBackend(t *testing.T, test func(t *testing.T, backend string)) {
	for _, b := range backends {
		t.Run(b, func(t *testing.T) { test(t, "--backend="+b) })
	}
}

// TestScanDetached unmounts lazily under a blocked call.
func TestScanDetached(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		s := newScanned(t)
		fs := s.watch(s.csi(podUID, pvName))
		v := s.victim("ops", fs.MountPoint, "stat")
		s.hang(v, fs, 1)
		require.NoError(t, fs.Detach())
		pastThreshold()
		l := s.one(correlate.ClassDetached, backend)
		require.Equal(t, correlate.HealthHung, string(l.Health))
		wantHolder(t, l, v.PID, "blocked")
		wantVolume(t, l, podUID, pvName)
		s.follow(l, "/abort")
		s.clean(backend)
	})
}

// TestScanDetachedIdle keeps a lazily unmounted volume open, with nobody
// blocked on it.
func TestScanDetachedIdle(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		s := newScanned(t)
		fs := s.watch(s.csi(podUID, pvName))
		cmd := exec.Command("sleep", "600")
		f, err := os.Open(file(fs))
		require.NoError(t, err)
		cmd.ExtraFiles = []*os.File{f}
		cmd.Dir = fs.MountPoint
		p, err := s.Start(cmd)
		require.NoError(t, err)
		f.Close()
		require.NoError(t, fs.Detach())
		l := s.one(correlate.ClassDetached, backend)
		wantHolder(t, l, p.PID, "fd 3")
		wantHolder(t, l, p.PID, "cwd")
		s.follow(l, "kill -KILL "+strconv.Itoa(p.PID))
		s.clean(backend)
	})
}

// TestScanForeignNamespace leaves a volume mounted in a container only.
func TestScanForeignNamespace(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		s := newScanned(t)
		fs := s.watch(s.csi(podUID, pvName))
		inside := filepath.Join(s.Dir, "in", "data")
		h := s.hiddenIn("app", unix.CLONE_NEWNS, wordContainer, fs.MountPoint, inside, "data/file")
		s.clean(backend) // the container's own view of a volume of the node
		require.NoError(t, unix.Unmount(fs.MountPoint, 0))
		l := s.one(correlate.ClassForeignNamespace, backend, "--probe")
		require.Equal(t, inside, string(l.Path))
		require.Equal(t, correlate.HealthResponding, string(l.Health))
		wantHolder(t, l, h.PID, "namespace")
		s.follow(l, "umount")
		s.clean(backend)
	})
}

// fuseFD is a mounted /dev/fuse of this process, which serves nothing.
func fuseFD(t testing.TB, s *scanned) int {
	t.Helper()
	point := filepath.Join(s.Dir, "unserved")
	require.NoError(t, os.MkdirAll(point, 0o755))
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	require.NoError(t, unix.Mount("x", point, "fuse.x", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)))
	require.NoError(t, unix.Unmount(point, unix.MNT_DETACH))
	return fd
}

// TestScanDeadDaemon kills the daemon under its mount.
func TestScanDeadDaemon(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		s := newScanned(t)
		fs := s.watch(s.csi(podUID, pvName))
		s.clean(backend)
		require.NoError(t, fs.Kill())
		require.Eventually(t, func() bool { return unix.Access(file(fs), unix.F_OK) == unix.ENOTCONN }, patience, 10*time.Millisecond)
		if numbered, _ := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fuseFD(t, s))); !strings.Contains(string(numbered), "fuse_connection:") && backend != "--backend=bpf" {
			backend = "--probe" // this kernel does not tell whose daemon is whose
		}
		l := s.one(correlate.ClassDeadFuse, backend)
		require.Equal(t, fs.MountPoint, string(l.Path))
		wantVolume(t, l, podUID, pvName)
		s.follow(l, "umount")
		s.clean(backend)
	})
}

// TestScanOrphanDirs leaves directories of a pod that is gone.
func TestScanOrphanDirs(t *testing.T) {
	s := newScanned(t)
	_, err := s.tree.Pod(goneUID, "", "")
	require.NoError(t, err)
	flat, err := s.tree.FlatVolume(goneUID, "kubernetes.io/cephfs", "da ta'; touch x")
	require.NoError(t, err)
	csi, err := s.tree.CSIMount(goneUID, testkit.CSIVolume{PV: pvName, Driver: driver, Handle: handleOf(pvName), Node: "node"})
	require.NoError(t, err)
	subpath, err := s.tree.SubPath(goneUID, pvName, "app", 0)
	require.NoError(t, err)
	s.csiPoint(podUID, pvName) // of a pod that runs
	list, r, _ := s.scan()
	require.Len(t, list, 3, "%s", &r.stdout)
	byPath := make(map[string]*correlate.Leftover)
	for _, l := range list {
		require.Equal(t, correlate.ClassOrphanDir, l.Class)
		byPath[string(l.Path)] = l
	}
	require.Contains(t, byPath, flat)
	wantVolume(t, byPath[filepath.Dir(csi)], goneUID, pvName)
	require.Contains(t, byPath, filepath.Dir(filepath.Dir(subpath)))
	s.clean("--min-age=1h") // as long as the pod may be starting
	tool(t, s.Sandbox, exitOK, append([]string{"scan", "--fs=rbd", "--fail-on=stale_rbd_device"}, s.flags()...)...)
	for _, l := range list {
		s.follow(l, "rmdir")
	}
	s.clean()
}

// TestScanOrphanMount leaves a volume of a deleted pod mounted: one that
// answers and one that hangs.
func TestScanOrphanMount(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		s := newScanned(t)
		fs := s.watch(s.csi(goneUID, pvName))
		require.Equal(t, correlate.HealthUnknown, string(s.one(correlate.ClassOrphanMount, backend).Health))
		l := s.one(correlate.ClassOrphanMount, backend, "--probe", "--kubelet-version=1.34")
		require.Equal(t, correlate.HealthResponding, string(l.Health))
		require.Equal(t, fs.MountPoint, string(l.Path))
		wantVolume(t, l, goneUID, pvName)

		v := s.victim("ops", fs.MountPoint, "stat")
		s.hang(v, fs, 1)
		pastThreshold()
		l = s.one(correlate.ClassOrphanMount, backend, "--kubelet-version=1.34")
		require.Equal(t, correlate.HealthHung, string(l.Health))
		require.Contains(t, string(l.NextPass), "hangs: no pod")
		wantHolder(t, l, v.PID, "blocked")
		s.follow(l, "/abort")
		list, r, _ := s.scan(backend) // its directory is what is left now
		require.Len(t, list, 1, "%s", &r.stdout)
		require.Equal(t, correlate.ClassOrphanDir, list[0].Class)
		s.follow(list[0], "rmdir")
		s.clean(backend)
	})
}

// TestScanHungMount freezes a running pod's volume: first with somebody
// blocked on it, then with nobody.
func TestScanHungMount(t *testing.T) {
	s := newScanned(t)
	fs := s.watch(s.csi(podUID, pvName))
	s.clean("--probe")
	v := s.victim("ops", fs.MountPoint, "stat", "open")
	s.hang(v, fs, 2)
	pastThreshold()
	l := s.one(correlate.ClassHungMount)
	wantHolder(t, l, v.PID, "blocked")
	wantVolume(t, l, podUID, pvName)
	require.NoError(t, fs.Thaw())
	require.NoError(t, v.Say("quit"))
	s.clean()

	require.NoError(t, fs.Freeze())
	s.clean() // nobody noticed
	l = s.one(correlate.ClassHungMount, "--probe")
	require.Equal(t, correlate.HealthHung, string(l.Health))
	require.Contains(t, fmt.Sprint(l.Evidence), "no answer within")
	require.Contains(t, fmt.Sprint(l.Evidence), "cannot be killed")
	// The child of the first probe still hangs: there is no second one.
	held, err := fs.Held()
	require.NoError(t, err)
	l = s.one(correlate.ClassHungMount, "--probe")
	again, err := fs.Held()
	require.NoError(t, err)
	require.Equal(t, held, again, "a second probe was started")
	s.follow(l, "/abort")
	s.clean("--probe")
}

// TestScanStuckUmount unmounts a fuseblk volume whose daemon is stopped.
func TestScanStuckUmount(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		s := newScanned(t)
		point, err := s.tree.FlatVolume(podUID, "kubernetes.io/fuseblk", "data")
		require.NoError(t, err)
		loop, err := s.LoopDevice(1 << 20)
		require.NoError(t, err)
		fs, err := s.MountHangFS(testkit.HangFSOptions{MountPoint: point, FSType: "fuseblk", Source: loop})
		require.NoError(t, err)
		s.watch(fs)
		v := s.victim("umount", point)
		require.NoError(t, fs.Stop())
		_, err = v.Hang(1)
		require.NoError(t, err)
		pastThreshold()
		l := s.one(correlate.ClassUmountStuck, backend)
		wantHolder(t, l, v.PID, "blocked")
		require.Equal(t, point, string(l.Path))
		require.Equal(t, "data", string(l.Volume.Name))
		s.follow(l, "/abort")
		s.clean(backend)
	})
}

// TestScanHealthyNode scans 500 pods with 3,000 mounts.
func TestScanHealthyNode(t *testing.T) {
	const pods, perPod = 500, 6
	var uids []string
	for i := range pods {
		uids = append(uids, fmt.Sprintf("%08x-7a57-4f6e-9f0e-5c2d8a1b9d42", i))
	}
	s := newScanned(t, uids...)
	source := filepath.Join(s.Dir, "source")
	require.NoError(t, os.Mkdir(source, 0o755))
	require.NoError(t, unix.Mount("volumes", source, "tmpfs", 0, ""))
	for _, uid := range uids {
		_, err := s.tree.Pod(uid, "shop", "catalog")
		require.NoError(t, err)
		for i := range perPod {
			v := testkit.CSIVolume{PV: fmt.Sprintf("pv-%d", i), Driver: driver, Handle: "h", Node: "node"}
			point, err := s.tree.CSIMount(uid, v)
			require.NoError(t, err)
			require.NoError(t, unix.Mount(source, point, "", unix.MS_BIND, ""))
		}
	}
	t.Cleanup(func() { unmountBelow(t, s.Dir) })
	for _, b := range backends {
		list, r, found, used := s.measure("--backend="+b, "--probe")
		require.Empty(t, list)
		require.GreaterOrEqual(t, found.Checked.Mounts, pods*perPod)
		require.Equal(t, pods, found.Checked.PodDirs)
		require.Less(t, used.MaxRSS, int64(64<<20))
		t.Logf("backend %s: %d mounts, %d pods: %v, scan itself %d ms, %d MiB", b, found.Checked.Mounts, found.Checked.PodDirs,
			r.took.Round(time.Millisecond), found.TookMS, used.MaxRSS>>20)
	}
}

// unmountBelow takes the test's many mounts away, deepest first.
func unmountBelow(t testing.TB, dir string) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, line := range slices.Backward(lines) {
		if f := strings.Fields(line); strings.HasPrefix(f[4], dir+"/") {
			_ = unix.Unmount(f[4], unix.MNT_DETACH)
		}
	}
}

// TestScan200HungMounts mounts what nobody serves, and ends in time, with
// nobody blocked and with one thread on each.
func TestScan200HungMounts(t *testing.T) {
	const n = 200
	s := newScanned(t)
	points := make([]string, n)
	for i := range points {
		points[i] = filepath.Join(s.Dir, "hung", strconv.Itoa(i))
		require.NoError(t, os.MkdirAll(points[i], 0o755))
		fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
		require.NoError(t, err)
		t.Cleanup(func() { unix.Close(fd) }) // aborts the connection
		// A daemon that never answers, not even the first request.
		require.NoError(t, unix.Mount("ceph-fuse", points[i], "fuse.ceph-fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)))
	}
	t.Cleanup(func() { unmountBelow(t, s.Dir) })
	for _, args := range [][]string{{"--probe"}, {"--probe", "--backend=proc"}} {
		list, r, found, used := s.measure(append(args, "--deadline=10s")...)
		t.Logf("%v: %d of %d found in %v, %d probes, %d MiB", args, len(list), n, r.took.Round(time.Millisecond), found.Checked.Probed, used.MaxRSS>>20)
		require.Len(t, list, n, "%v %+v", found.Summary, found.Checked)
		require.Less(t, r.took, 20*time.Second)
	}
}

// TestScanReplay renders a recording of a scan again.
func TestScanReplay(t *testing.T) {
	s := newScanned(t)
	fs := s.watch(s.csi(goneUID, pvName))
	v := s.victim("ops", fs.MountPoint, "stat")
	s.hang(v, fs, 1)
	pastThreshold()
	rec := filepath.Join(s.Dir, "scan.rec")
	r := tool(t, s.Sandbox, exitHung, append([]string{"scan", "-o", "yaml", "--record", rec}, s.flags()...)...)
	again := tool(t, s.Sandbox, exitHung, "replay", "-o", "yaml", rec)
	require.Equal(t, r.stdout.String(), again.stdout.String())
	for _, form := range []string{"text", "wide", "name", "json"} {
		out := tool(t, s.Sandbox, exitHung, "replay", "-o", form, rec).stdout.String()
		require.Contains(t, strings.ReplaceAll(out, " ", "_"), string(correlate.ClassOrphanMount), form)
	}
}
