package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/loader"
)

// counter collects what Count finds.
type counter struct {
	opts  Options
	stats Stats
	boot  time.Time
	known map[uint32]bool // programs, by ID
	// denied counts the processes whose descriptors are not readable.
	denied int
}

// Count looks for sessions and reads their counters. It ends within the
// deadline, changes nothing, and loads nothing.
func Count(ctx context.Context, opts Options) Stats {
	if opts.Deadline <= 0 {
		opts.Deadline = 5 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, opts.Deadline)
	defer cancel()
	begin := time.Now()
	n := opts.Proc.Node()
	clock, wall := opts.Proc.Clock()
	c := &counter{opts: opts, boot: wall.Add(-time.Duration(clock.BootNS)), known: make(map[uint32]bool)}
	c.stats = Stats{Schema: StatsSchema, TakenAt: begin, Node: Node{n.Hostname, n.Kernel, n.Arch}, Sessions: []Session{}, NotSeen: []string{}}
	if v, err := opts.Proc.Sysctl("kernel/bpf_stats_enabled"); err == nil {
		on := v != "0"
		c.stats.RunsCounted = &on
	}
	c.processes(ctx)
	if listed := c.elsewhere(); c.denied > 0 && !listed {
		c.notSeen("the descriptors of %d processes are not readable; try: as root", c.denied)
	}
	c.stats.Verdict = c.stats.verdict()
	c.stats.TookMS = time.Since(begin).Milliseconds()
	return c.stats
}

func (c *counter) notSeen(format string, args ...any) {
	c.stats.NotSeen = append(c.stats.NotSeen, fmt.Sprintf(format, args...))
}

// processes looks for programs among what every process has open.
func (c *counter) processes(ctx context.Context) {
	pids, err := c.opts.Proc.PIDs()
	if err != nil {
		c.notSeen("sessions: %v", err)
		return
	}
	for i, pid := range pids {
		if ctx.Err() != nil {
			c.notSeen("%d of %d processes were not looked at in time; try: a longer --deadline", len(pids)-i, len(pids))
			return
		}
		held, err := c.held(pid)
		switch {
		case errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM):
			c.denied++
			if c.isHangtrace(pid) {
				c.session(ctx, pid, nil, errors.New("its descriptors are not readable; try: as root"))
			}
		case err == nil && len(held) > 0:
			units, err := loader.RunningIn(pid, held)
			if len(units) > 0 || err != nil && c.isHangtrace(pid) {
				c.session(ctx, pid, units, inTheWay(err))
			}
		}
	}
}

// held lists the programs and maps that a process has open.
func (c *counter) held(pid int) ([]loader.Held, error) {
	fds, err := c.opts.Proc.FDs(pid)
	if err != nil {
		return nil, err
	}
	var held []loader.Held
	for _, fd := range fds {
		link, err := c.opts.Proc.Readlink(pid, fmt.Sprintf("fd/%d", fd))
		if err != nil {
			continue // closed meanwhile
		}
		switch strings.Trim(strings.TrimPrefix(link, "anon_inode:"), "[]") {
		case "bpf-prog":
			held = append(held, loader.Held{FD: fd, Program: true})
		case "bpf-map":
			held = append(held, loader.Held{FD: fd})
		}
	}
	return held, nil
}

// isHangtrace tells whether a process whose programs are not readable is a
// session, by its name.
func (c *counter) isHangtrace(pid int) bool {
	p, err := c.opts.Proc.Process(pid)
	return err == nil && pid != os.Getpid() && (p.Comm == "hangtrace" || filepath.Base(p.Exe) == "hangtrace")
}

// inTheWay adds to an error of reading a session what would help.
func inTheWay(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("its programs are not readable: %w; try: as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE", err)
	}
	return err
}

// session adds a process.
func (c *counter) session(ctx context.Context, pid int, units []loader.Running, err error) {
	s := Session{PID: &pid, Units: []Unit{}}
	if err != nil {
		s.Error = text(err.Error())
	}
	if p, err := c.opts.Proc.Process(pid); err == nil {
		s.StartedAt = &p.StartedAt
	}
	// The command line lies in the process's memory.
	answers, _ := c.opts.Runner.Do(ctx, fmt.Sprintf("pid:%d", pid), []expendable.Request{{Op: expendable.OpCmdline, PID: pid}}, childDeadline)
	for _, a := range answers {
		for _, arg := range a.Args {
			s.Command = append(s.Command, string(arg))
		}
	}
	c.units(&s, units)
	c.stats.Sessions = append(c.stats.Sessions, s)
}

// elsewhere asks the kernel for programs that no process seen holds, and tells
// whether it answered.
func (c *counter) elsewhere() bool {
	units, err := loader.RunningElsewhere(func(id uint32) bool { return c.known[id] })
	if errors.Is(err, unix.EPERM) {
		if first, err := c.opts.Proc.InitialPIDNamespace(); err != nil || !first {
			c.notSeen("sessions in other PID namespaces: the kernel lists all programs for CAP_SYS_ADMIN alone")
		}
		return false
	}
	if err != nil {
		c.notSeen("sessions whose process is not seen: %v", err)
		return false
	}
	if len(units) > 0 {
		s := Session{Units: []Unit{}}
		c.units(&s, units)
		c.stats.Sessions = append(c.stats.Sessions, s)
	}
	return true
}

func (c *counter) units(s *Session, units []loader.Running) {
	for _, r := range units {
		u := Unit{Name: r.Unit, What: unitWords[r.Unit], Programs: []Program{}, Maps: []Map{}}
		for _, n := range r.Counters {
			u.Counters = append(u.Counters, Counter{n.Name, n.Kind, n.Count, n.Words})
		}
		for _, p := range r.Programs {
			c.known[p.ID] = true
			u.Programs = append(u.Programs, c.program(p))
		}
		for _, m := range r.Maps {
			u.Maps = append(u.Maps, Map{m.ID, m.Name, m.Type, m.MaxEntries, m.Memory})
		}
		s.Units = append(s.Units, u)
	}
}

func (c *counter) program(r loader.RunningProgram) Program {
	p := Program{ID: r.ID, Name: r.Name, Type: r.Type, Runs: r.Runs, Missed: r.Missed, VerifiedInstructions: r.Verified, JITedBytes: r.JITed, MemoryBytes: r.Memory}
	if r.LoadedAt != nil {
		at := c.boot.Add(*r.LoadedAt)
		p.LoadedAt = &at
	}
	if r.RunTime != nil {
		ns := r.RunTime.Nanoseconds()
		p.RunNS = &ns
	}
	return p
}
