package proc

import (
	"bytes"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/hangtrace/hangtrace/internal/facts"
)

const (
	// tickNS is one clock tick of /proc in ns: USER_HZ is 100 on every
	// architecture this tool runs on.
	tickNS = 10_000_000
	// commLength is how many bytes of a name the kernel keeps.
	commLength = 15
	// flagKThread is PF_KTHREAD (include/linux/sched.h).
	flagKThread = 0x00200000
)

// stat is what this package needs of a stat file.
type stat struct {
	comm    string
	state   byte
	ppid    int
	flags   uint64
	threads int
	startNS uint64 // since boot
}

// parseStat reads a stat file. The name in field 2 may hold anything, ")" and
// blanks too, so the fields are counted from the last ")".
func parseStat(text []byte) (stat, error) {
	first, last := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if first < 0 || last < first {
		return stat{}, fmt.Errorf("stat %q: no name in brackets", clip(text))
	}
	fields := strings.Fields(string(text[last+1:])) // fields[0] is field 3
	if len(fields) < 20 {
		return stat{}, fmt.Errorf("stat %q: %d fields after the name, want 20 or more", clip(text), len(fields))
	}
	ppid, err1 := strconv.Atoi(fields[1])
	flags, err2 := strconv.ParseUint(fields[6], 10, 64)
	threads, err3 := strconv.Atoi(fields[17])
	ticks, err4 := strconv.ParseUint(fields[19], 10, 64)
	for _, err := range []error{err1, err2, err3, err4} {
		if err != nil {
			return stat{}, fmt.Errorf("stat %q: %w", clip(text), err)
		}
	}
	return stat{
		comm: string(text[first+1 : last]), state: fields[0][0], ppid: ppid,
		flags: flags, threads: threads, startNS: ticks * tickNS,
	}, nil
}

// parseUID reads the real user ID from a status file.
func parseUID(status []byte) (int, error) {
	for line := range bytes.Lines(status) {
		rest, ok := bytes.CutPrefix(line, []byte("Uid:"))
		if !ok {
			continue
		}
		if fields := bytes.Fields(rest); len(fields) > 0 {
			return strconv.Atoi(string(fields[0]))
		}
	}
	return 0, fmt.Errorf("status %q: no Uid", clip(status))
}

func clip(text []byte) []byte {
	return text[:min(len(text), 80)]
}

func (f *FS) stat(pid int) (stat, error) {
	text, err := f.Stat(pid, 0)
	if err != nil {
		return stat{}, err
	}
	s, err := parseStat(text)
	if err != nil {
		return stat{}, fmt.Errorf("read %s/stat: %w", f.dir(pid, 0), err)
	}
	return s, nil
}

// Process describes a process. Only a process that is gone, or whose stat
// cannot be read, is an error; what these rights do not show stays empty (a
// UID that is unknown is -1).
func (f *FS) Process(pid int) (facts.Process, error) {
	s, err := f.stat(pid)
	if err != nil {
		return facts.Process{}, err
	}
	return f.process(pid, s), nil
}

// Runs tells whether a process has a thread that can still do anything: one
// that waits for its parent to take note of its end (a zombie) has none.
func (f *FS) Runs(pid int) bool {
	s, err := f.stat(pid)
	return err == nil && s.lives()
}

// Alive tells the same of a process that started at startBootNS.
func (f *FS) Alive(pid int, startBootNS uint64) bool {
	s, err := f.stat(pid)
	return err == nil && s.startNS == startBootNS && s.lives()
}

// lives tells a process that has a thread which is not dead: one whose first thread
// is a zombie lives on while another of its threads hangs.
func (s stat) lives() bool { return s.threads > 1 || s.state != 'Z' && s.state != 'X' }

// Runnable tells whether a thread of a process runs or waits for a CPU.
func (f *FS) Runnable(pid int) bool {
	tids, _ := f.Threads(pid)
	for _, tid := range tids {
		text, err := f.Stat(pid, tid)
		if err != nil {
			continue // it ended meanwhile
		}
		if s, err := parseStat(text); err == nil && s.state == 'R' {
			return true
		}
	}
	return false
}

func (f *FS) process(pid int, s stat) facts.Process {
	p := facts.Process{
		PID: pid, PPID: s.ppid, Comm: s.comm, StartBootNS: s.startNS, Threads: s.threads, UID: -1,
	}
	clock, wall := f.Clock()
	p.StartedAt = wall.Add(time.Duration(int64(s.startNS) - clock.BootNS))
	if status, err := f.Status(pid, 0); err == nil {
		if uid, err := parseUID(status); err == nil {
			p.UID = uid
		}
	}
	p.Exe, _ = f.Readlink(pid, "exe")
	p.MountNS, _ = f.Namespace(pid, "mnt")
	p.PIDNS, _ = f.Namespace(pid, "pid")
	p.Cgroup, _ = f.Cgroup(pid)
	return p
}

// ByName returns the processes with the name, by ascending PID: their own name
// (of which the kernel keeps 15 bytes) or the last element of the path of
// their program is equal to it.
func (f *FS) ByName(name string) ([]facts.Process, error) {
	pids, err := f.PIDs()
	if err != nil {
		return nil, fmt.Errorf("look for process %q: %w", name, err)
	}
	var found []facts.Process
	for _, pid := range pids {
		s, err := f.stat(pid)
		if err != nil {
			continue // ended meanwhile
		}
		if f.hasName(pid, s, name) {
			found = append(found, f.process(pid, s))
		}
	}
	return found, nil
}

func (f *FS) hasName(pid int, s stat, name string) bool {
	if name == "" {
		return false
	}
	if s.comm == name[:min(len(name), commLength)] {
		return true
	}
	if s.flags&flagKThread != 0 {
		return false
	}
	exe, err := f.Readlink(pid, "exe")
	return err == nil && path.Base(strings.TrimSuffix(exe, " (deleted)")) == name
}
