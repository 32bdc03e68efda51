package capture

import (
	"bytes"
	"math"
	"slices"
	"time"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/kube"
	"github.com/hangtrace/hangtrace/internal/proc"
)

// memo remembers values from one tick to the next: what a tick does not ask for
// is forgotten with it.
type memo[K comparable, V any] struct {
	before, now map[K]V
}

func (m *memo[K, V]) get(k K) (V, bool) {
	v, ok := m.now[k]
	if !ok {
		if v, ok = m.before[k]; ok {
			m.put(k, v)
		}
	}
	return v, ok
}

func (m *memo[K, V]) put(k K, v V) {
	if m.now == nil {
		m.now = make(map[K]V)
	}
	m.now[k] = v
}

func (m *memo[K, V]) turn() { m.before, m.now = m.now, nil }

// cache keeps what need not be read again on every tick of a live session.
type cache struct {
	theNode   *facts.Node
	clock     facts.Clock // when it was calibrated last
	symbols   map[uint64]string
	mountinfo map[uint32][]byte
	// readers are processes that see the mount namespaces of the last look.
	readers  map[uint32]int
	strings  memo[memoryKey, facts.UserString]
	maps     memo[memoryKey, facts.ProcMaps]
	resolved memo[string, facts.ResolvedPath]
	stacks   memo[memoryKey, knownStack]
	kubelets map[kubeletKey]*kubeletState
	// jammed are processes that a child hung on while it was asked about others.
	jammed     map[int]bool
	kubeletPID int
	seeking    <-chan int // the same, while it is looked for
	noKubelet  time.Time  // when none was found: looking reads all of /proc
	pods       *podList
	podsRead   time.Time
	daemons    []facts.FuseDaemon
	volumeData map[string]*facts.VolumeData // by path; nil: there is none
	ceph       *cephCache
	reach      *reachCache
}

// memoryKey is a thread in one wait, and an address in its memory (0: its
// mappings).
type memoryKey struct {
	tid             int
	start, switches uint64
	addr            uint64
}

func keyOf(s correlate.Suspect, addr uint64) memoryKey {
	return memoryKey{s.TID, s.StartBootNS, s.Switches, addr}
}

// knownStack is the user side of a thread in one wait, and how often it was
// asked for in vain.
type knownStack struct {
	facts.UserStack
	vain int
}

type kubeletKey struct {
	pid   int
	start uint64
}

func newCache() cache {
	return cache{
		symbols: make(map[uint64]string), mountinfo: make(map[uint32][]byte), kubelets: make(map[kubeletKey]*kubeletState),
		jammed: make(map[int]bool),
	}
}

func (c *cache) node(p *proc.FS) facts.Node {
	if c.theNode == nil {
		n := p.Node()
		c.theNode = &n
	}
	return *c.theNode
}

// unchanged tells whether a namespace's mount table is the one read before.
func (c *cache) unchanged(ns uint32, text []byte) bool {
	same := bytes.Equal(c.mountinfo[ns], text)
	c.mountinfo[ns] = text
	return same
}

func (c *cache) turn() {
	c.strings.turn()
	c.maps.turn()
	c.resolved.turn()
	c.stacks.turn()
}

// memoryRequests lists what must be read of the suspects of one process, and
// gives the snapshot what is known from earlier ticks.
func (c *cache) memoryRequests(snap *facts.Snapshot, suspects []correlate.Suspect, pid int) []expendable.Request {
	var addrs []uint64
	asked := make(map[uint64]bool)
	var mappings, fault bool
	for _, s := range suspects {
		if s.PID != pid {
			continue
		}
		if known, ok := c.maps.get(keyOf(s, 0)); s.Fault && ok && !mappings {
			snap.Maps, mappings = append(snap.Maps, known), true
		}
		fault = fault || s.Fault
		for _, addr := range s.Strings {
			if known, ok := c.strings.get(keyOf(s, addr)); ok {
				snap.Strings = append(snap.Strings, known)
			} else if !asked[addr] {
				asked[addr] = true
				addrs = append(addrs, addr)
			}
		}
	}
	var reqs []expendable.Request
	const batch = 1024
	for some := range slices.Chunk(addrs, batch) {
		reqs = append(reqs, expendable.Request{Op: expendable.OpStrings, PID: pid, Addrs: some, Max: maxPath})
	}
	if fault && !mappings {
		reqs = append(reqs, expendable.Request{Op: expendable.OpProcFile, PID: pid, Path: "maps"})
	}
	return reqs
}

const maxPath = 4096 // PATH_MAX

// keepMemory stores the answers of a child about one process.
func (c *cache) keepMemory(snap *facts.Snapshot, suspects []correlate.Suspect, pid int, answers []expendable.Answer) {
	got := make(map[uint64]facts.UserString)
	var mappings *facts.ProcMaps
	for _, a := range answers {
		for _, s := range a.UserStrings(pid) {
			got[s.Addr] = s
			snap.Strings = append(snap.Strings, s)
		}
		if len(a.Data) > 0 {
			mappings = &facts.ProcMaps{PID: pid, Text: string(a.Data)}
			snap.Maps = append(snap.Maps, *mappings)
		}
	}
	for _, s := range suspects {
		if s.PID != pid {
			continue
		}
		for _, addr := range s.Strings {
			if str, ok := got[addr]; ok && str.Err == "" {
				c.strings.put(keyOf(s, addr), str)
			}
		}
		if s.Fault && mappings != nil {
			c.maps.put(keyOf(s, 0), *mappings)
		}
	}
}

// kubeletsMost is how many kubelets are remembered: a node runs one, a machine
// with nodes in containers some more, and those before them have ended.
const kubeletsMost = 64

// forgetKubelets drops the oldest above that, but not the one given.
func (c *cache) forgetKubelets(but kubeletKey) {
	for len(c.kubelets) > kubeletsMost {
		oldest := kubeletKey{start: math.MaxUint64}
		for key := range c.kubelets {
			if key.start < oldest.start && key != but {
				oldest = key
			}
		}
		delete(c.kubelets, oldest)
	}
}

// kubelet marks a process that runs a kubelet.
func (c *cache) kubelet(opts Options, p *facts.Process) {
	if _, ok := kube.IsKubelet(p.Comm, p.Exe); !ok {
		return
	}
	c.kubeletPID = p.PID
	key := kubeletKey{p.PID, p.StartBootNS}
	if c.kubelets[key] == nil {
		k := &kubeletState{facts: facts.KubeletProcess{RootDir: opts.KubeletRoot, RootDirSource: "flag"}, args: kubeletArgs(opts, p.PID)}
		if k.facts.RootDir == "" {
			k.facts.RootDir, k.facts.RootDirSource = kube.KubeletRoot(k.args)
		}
		c.kubelets[key] = k
		c.forgetKubelets(key)
	}
	known := c.kubelets[key].facts
	known.Healthz = c.kubelets[key].health
	p.Kubelet = &known
}
