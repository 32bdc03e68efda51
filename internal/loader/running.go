package loader

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/bpf"
)

// Running is what the kernel tells of one unit of our programs: those that are
// loaded together.
type Running struct {
	Unit     string // of RunningUnits
	Programs []RunningProgram
	Maps     []RunningMap
	// Counters are nil where the programs keep none that this version knows.
	Counters []Counter
}

// RunningProgram describes a loaded program. Nil is not known.
type RunningProgram struct {
	ID         uint32
	Name, Type string
	LoadedAt   *time.Duration // since boot
	// Runs and RunTime are counted only while kernel.bpf_stats_enabled is 1.
	Runs    *uint64
	RunTime *time.Duration
	// Missed counts the runs left out because the CPU was in a program (5.12).
	Missed *uint64
	// Verified is how many instructions the verifier looked at (5.16).
	Verified *uint32
	JITed    *uint32 // bytes
	Memory   *uint64 // bytes
}

// RunningMap describes a map.
type RunningMap struct {
	ID         uint32
	Name, Type string
	MaxEntries uint32
	Memory     *uint64 // bytes
}

// Counter is what one site counted.
type Counter struct {
	Site
	Count uint64
}

// unit is one of our BPF objects, as its programs are recognised.
type unit struct {
	name string
	load func() (*ebpf.CollectionSpec, error)
	// mark is a map that one of its programs at least has: names of programs
	// alone may be another tool's.
	mark string
	// counts is the map of its counters, sites what they are.
	counts string
	sites  []Site
}

// RunningUnits names the units in the order in which they are told of.
func RunningUnits() []string {
	var names []string
	for _, u := range units {
		names = append(names, u.name)
	}
	return names
}

var units = []unit{
	{"trace", bpf.LoadTrace, "slots", statsMap, statSites},
	{"strace", bpf.LoadStrace, "claims", "counts", straceSites},
	{"snapshot", bpf.LoadSnapshot, "file_targets", statsMap, statSites},
	{"walk", bpf.LoadWalk, "out", statsMap, walkSites},
}

const (
	statsMap = ".data.stats" // STATS in bpf/hangtrace.h
	nameMost = 15            // BPF_OBJ_NAME_LEN less its NUL
)

// Held is a file descriptor of another process.
type Held struct {
	FD      int
	Program bool // else a map
}

// RunningIn tells of our programs that a process holds. It borrows the
// descriptors (pidfd_getfd), for which CAP_SYS_PTRACE is enough, where asking the
// kernel by number would need CAP_SYS_ADMIN.
func RunningIn(pid int, held []Held) ([]Running, error) {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	defer unix.Close(process)
	var b borrowed
	defer b.close()
	for _, h := range held {
		fd, err := unix.PidfdGetfd(process, h.FD, 0)
		if errors.Is(err, unix.EBADF) {
			continue // closed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("borrow descriptor %d of process %d: %w", h.FD, pid, err)
		}
		if h.Program {
			err = b.addProgram(ebpf.NewProgramFromFD(fd))
		} else {
			err = b.addMap(ebpf.NewMapFromFD(fd))
		}
		if err != nil {
			return nil, fmt.Errorf("descriptor %d of process %d: %w", h.FD, pid, err)
		}
	}
	return b.running()
}

// RunningElsewhere tells of our programs that are loaded and not among the known
// ones: those of processes that this PID namespace does not show, or of none. It
// needs CAP_SYS_ADMIN.
func RunningElsewhere(known func(id uint32) bool) ([]Running, error) {
	ours, err := programNames()
	if err != nil {
		return nil, err
	}
	var b borrowed
	defer b.close()
	maps := make(map[ebpf.MapID]bool)
	for id := ebpf.ProgramID(0); ; {
		id, err = ebpf.ProgramGetNextID(id)
		if errors.Is(err, unix.ENOENT) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("list of programs: %w", err)
		}
		if known(uint32(id)) {
			continue
		}
		p, err := ebpf.NewProgramFromID(id)
		if errors.Is(err, unix.ENOENT) {
			continue // unloaded meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("program %d: %w", id, err)
		}
		info, err := p.Info()
		if err != nil || ours[short(info.Name)].unit == "" {
			p.Close()
			continue
		}
		b.programs = append(b.programs, p)
		ids, _ := info.MapIDs()
		for _, m := range ids {
			maps[m] = true
		}
	}
	for id := range maps {
		if m, err := ebpf.NewMapFromID(id); err == nil {
			b.maps = append(b.maps, m)
		}
	}
	return b.running()
}

// programName is what a program's name, as the kernel keeps it, stands for.
type programName struct{ unit, name string }

// short cuts a name as the kernel does; the library gives it whole where it may
// read the program's types.
func short(name string) string { return name[:min(len(name), nameMost)] }

func programNames() (map[string]programName, error) {
	names := make(map[string]programName)
	for _, u := range units {
		spec, err := u.load()
		if err != nil {
			return nil, fmt.Errorf("embedded object: %w", err)
		}
		for name := range spec.Programs {
			names[short(name)] = programName{u.name, name}
		}
	}
	return names, nil
}
