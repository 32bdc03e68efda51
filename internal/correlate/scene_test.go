package correlate

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/events/wiretest"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/mounts"
)

// The node of these tests: its boot time, its mount namespace, its pods.
const (
	nowNS    = 100_000_000_000
	hostNS   = 4026531841
	podNS    = 4026532100
	podA     = "11111111-aaaa-4aaa-8aaa-111111111111"
	podB     = "22222222-bbbb-4bbb-8bbb-222222222222"
	kroot    = "/var/lib/kubelet"
	cephVol  = kroot + "/pods/" + podA + "/volumes/kubernetes.io~cephfs/pvc-data"
	fuseVol  = kroot + "/pods/" + podA + "/volumes/kubernetes.io~csi/pv-1/mount"
	fuseSub  = kroot + "/pods/" + podA + "/volume-subpaths/pv-1/app/0"
	fuseVol2 = kroot + "/pods/" + podB + "/volumes/kubernetes.io~csi/pv-1/mount"
	rbdVol   = kroot + "/pods/" + podA + "/volumes/kubernetes.io~rbd/pvc-rbd"
)

var hostMounts = []string{
	"21 1 253:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw",
	"22 21 0:5 / /proc rw - proc proc rw",
	"33 21 0:28 / " + cephVol + " rw,relatime shared:13 - ceph 10.99.0.1:6789:/vol1 rw,name=admin,acl",
	"51 21 0:53 / " + fuseVol + " rw,nosuid - fuse.ceph-fuse ceph-fuse rw,user_id=0",
	"34 21 252:0 / " + rbdVol + " rw,relatime - ext4 /dev/rbd0 rw",
	"60 21 0:60 / /mnt/nfs rw - nfs4 server:/export rw",
}

// scene is a snapshot in the making.
type scene struct {
	snap   facts.Snapshot
	tasks  []events.Task
	files  []events.File
	flight []events.Call
	mounts map[uint32][]string
	addrs  map[string]uint64
	next   uint64 // address in user memory
	proc   bool   // the proc backend instead of BPF
	// movedSwitches are threads that ran between the passes.
	moved map[int]bool
}

func newScene() *scene {
	return &scene{
		snap: facts.Snapshot{
			TakenAt: time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC),
			Clock:   facts.Clock{MonoNS: nowNS, BootNS: nowNS, SchedCalibrated: true, HZ: 250, JiffiesRef: 25_000, JiffiesMonoNS: nowNS},
			Node:    facts.Node{Arch: "amd64", BootID: "boot", Hostname: "node"}, Backend: facts.BackendBPF, Symbols: make(map[uint64]string),
			Kube: &facts.Kube{RootDirs: []string{kroot}, PodSources: []string{"cri"}, Pods: []facts.Pod{{UID: podA, Name: "web-0", Namespace: "shop", State: "running", Source: "cri"}}},
			Blocks: []facts.BlockDevice{
				{Device: "253:1", Name: "vda1"},
				{Device: "252:0", Name: "rbd0", Driver: "rbd", Pool: "kube", Image: "img", InflightReads: 1},
			},
			Fuse: []facts.FuseConnection{{Number: 53, Device: "0:53", Waiting: 3}},
		},
		mounts: map[uint32][]string{hostNS: hostMounts}, addrs: make(map[string]uint64), next: 0xc000_0000, moved: make(map[int]bool),
	}
}

// System call numbers of amd64.
const (
	nrRead, nrWrite, nrOpen, nrStat, nrPoll, nrFutex, nrRename, nrUnlink, nrUmount, nrGetdents  = 0, 1, 2, 4, 7, 202, 82, 87, 166, 217
	nrEpoll, nrOpenat, nrFstatat, nrStatx, nrNanosleep, nrWait4, nrAccept, nrFsync, nrFutexWait = 232, 257, 262, 332, 35, 61, 43, 74, 202
	atFDCWD                                                                                     = 0xffffffffffffff9c
)

// thread adds a sleeping thread: in call nr with args, its kernel stack
// innermost first.
func (s *scene) thread(tid, nr int, args []uint64, stack string) *events.Task {
	t := events.Task{
		PID: 1000, TID: tid, Comm: "kubelet", ProcessComm: "kubelet", StartBootNS: 1_000_000_000 + uint64(tid)*10_000_000,
		State: events.StateInterruptible, VoluntarySwitches: 5, LastArrivalNS: nowNS - 30_000_000_000, SampledNS: nowNS, HasRegs: true, SyscallNR: nr,
		SP: uint64(tid) << 16, MountNS: hostNS,
	}
	copy(t.Args[:], args)
	for _, f := range strings.Fields(stack) {
		name, module, ok := strings.Cut(f, "[")
		if name += "+0x1"; ok {
			name += " [" + module
		}
		t.Stack = append(t.Stack, s.addr(name))
	}
	s.tasks = append(s.tasks, t)
	return &s.tasks[len(s.tasks)-1]
}

func (s *scene) addr(frame string) uint64 {
	if s.addrs[frame] == 0 {
		s.addrs[frame] = 0xffffffff81000000 + uint64(len(s.addrs)+1)*16
		s.snap.Symbols[s.addrs[frame]] = frame
	}
	return s.addrs[frame]
}

// str puts a string into the memory of process 1000.
func (s *scene) str(value string) uint64 {
	s.next += 4096
	s.snap.Strings = append(s.snap.Strings, facts.UserString{PID: 1000, Addr: s.next, Value: value})
	return s.next
}

func (s *scene) file(f events.File) { f.PID = 1000; s.files = append(s.files, f) }

func (s *scene) cwd(to string) {
	s.snap.Links = append(s.snap.Links, facts.Link{PID: 1000, Name: "cwd", To: to})
}

func (s *scene) snapshot() *facts.Snapshot {
	snap := s.snap
	before := append([]events.Task(nil), s.tasks...)
	for i := range before {
		before[i].SampledNS -= 50_000_000
		if s.moved[before[i].TID] {
			before[i].VoluntarySwitches--
		}
	}
	snap.Passes = []facts.Pass{wiretest.Tasks(before...), wiretest.Tasks(s.tasks...)}
	if s.proc {
		snap.Backend = facts.BackendProc
		snap.Clock.SchedCalibrated = false
		snap.Passes = []facts.Pass{s.procPass(before), s.procPass(s.tasks)}
	}
	if s.files != nil {
		snap.Files = []facts.Pass{wiretest.Files(s.files...)}
	}
	if s.flight != nil {
		snap.InFlight = []facts.Pass{wiretest.Slots(snap.Clock, s.flight...)}
	}
	for ns, lines := range s.mounts {
		snap.Mounts = append(snap.Mounts, facts.MountTable{Namespace: ns, PID: 1, Text: strings.Join(lines, "\n") + "\n", AsOf: snap.TakenAt})
	}
	snap.Processes = append(snap.Processes, facts.Process{PID: 1000, Comm: "kubelet"})
	return &snap
}

// procPass writes the threads as /proc shows them.
func (s *scene) procPass(list []events.Task) facts.Pass {
	p := facts.Pass{Format: facts.FormatProcTask}
	for _, t := range list {
		var stack strings.Builder
		for _, a := range t.Stack {
			name, module, _ := strings.Cut(s.snap.Symbols[a], " ")
			fmt.Fprintf(&stack, "[<0>] %s/0x2", name)
			if module != "" {
				stack.WriteString(" " + module)
			}
			stack.WriteString(`\n`)
		}
		call := fmt.Sprintf("%d %#x %#x %#x %#x %#x %#x %#x %#x", t.SyscallNR, t.Args[0], t.Args[1], t.Args[2], t.Args[3], t.Args[4], t.Args[5], t.SP, t.PC)
		if t.SyscallNR < 0 {
			call = fmt.Sprintf("-1 %#x %#x", t.SP, t.PC)
		}
		p.Data = fmt.Appendf(p.Data, `{"pid":%d,"tid":%d,"at_ns":%d,"mount_ns":%d,"stat":"%d (%s) %s 1 1 1 0 -1 %d 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0",`+
			`"status":"voluntary_ctxt_switches:\t%d\nnonvoluntary_ctxt_switches:\t0\n","syscall":"%s","wchan":"","stack":"%s"}`+"\n",
			t.PID, t.TID, t.SampledNS, t.MountNS, t.TID, t.Comm, t.Letter(), t.Flags, t.StartBootNS/10_000_000, t.VoluntarySwitches, call, stack.String())
	}
	return p
}

func options(t *testing.T, kinds ...string) Options {
	t.Helper()
	set, err := mounts.ParseKinds(kinds)
	if err != nil {
		t.Fatal(err)
	}
	return Options{Threshold: time.Second, Kinds: set}
}

func (s *scene) judge(t *testing.T, opts Options) *Report {
	t.Helper()
	r, err := Judge(s.snapshot(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// line sums a hang up: reason, kind, path, its source, the mount's point.
func line(h *Hang) string {
	mount := "-"
	kind := "-"
	if h.Mount != nil {
		kind, mount = h.Mount.Kind.Or("?"), h.Mount.Point.Or("?")
		if h.Mount.Attached != nil && !*h.Mount.Attached {
			mount += "(detached)"
		}
	}
	return fmt.Sprintf("%s %s %s %s %s", h.Reason, kind, h.Path.Value.Or("-"), h.Path.Source, mount)
}

func mountsAll() (mounts.KindSet, error) { return mounts.ParseKinds([]string{"all"}) }
