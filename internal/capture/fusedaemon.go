package capture

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/facts"
)

// fuseDaemons finds the processes that serve FUSE connections with requests
// waiting: their own state is the cause of a hang more often than the cluster.
// It looks through every process's descriptors, so it runs only when a FUSE
// request waits, by its connection or, where fusectl is not mounted, by a
// thread's stack; and ends with ctx.
func (s *Session) fuseDaemons(ctx context.Context, snap *facts.Snapshot, suspects []correlate.Suspect) {
	waiting := 0
	for _, c := range snap.Fuse {
		if c.Waiting != 0 { // -1: unknown
			waiting++
		}
	}
	if waiting > 0 || len(snap.Fuse) == 0 && correlate.WaitInFuse(snap, suspects, s.opts.Judge.Decoded) {
		s.findDaemons(ctx, snap)
	}
}

// findDaemons is fuseDaemons where it is known that somebody waits.
func (s *Session) findDaemons(ctx context.Context, snap *facts.Snapshot) {
	if known, ok := s.knownDaemons(); ok {
		snap.FuseDaemons = known
		return
	}
	pids, err := s.opts.Proc.PIDs()
	if err != nil {
		return
	}
	var found []facts.FuseDaemon
	for _, pid := range pids {
		if ctx.Err() != nil {
			snap.Skipped = append(snap.Skipped, facts.Skipped{What: "FUSE daemons", Why: ctx.Err().Error()})
			return
		}
		found = append(found, s.serves(pid)...)
	}
	s.cache.daemons = found
	snap.FuseDaemons = found
}

// knownDaemons are those found on an earlier tick, with their state now, as
// long as each still is what it was.
func (s *Session) knownDaemons() ([]facts.FuseDaemon, bool) {
	if len(s.cache.daemons) == 0 {
		return nil, false
	}
	var now []facts.FuseDaemon
	for _, d := range s.cache.daemons {
		stat, err := s.opts.Proc.Stat(d.PID, 0)
		if err != nil {
			return nil, false
		}
		d.State = stateLetter(stat)
		now = append(now, d)
	}
	return now, true
}

// serves lists the connections of one process. Linux names them in fdinfo since
// about 6.15; before, Number stays 0.
func (s *Session) serves(pid int) []facts.FuseDaemon {
	fds, err := s.opts.Proc.FDs(pid)
	if err != nil {
		return nil
	}
	var list []facts.FuseDaemon
	for _, fd := range fds {
		to, err := s.opts.Proc.Readlink(pid, fmt.Sprintf("fd/%d", fd))
		if err != nil || to != "/dev/fuse" {
			continue
		}
		d := facts.FuseDaemon{PID: pid}
		if d.Comm, err = s.opts.Proc.Comm(pid); err != nil {
			continue
		}
		if stat, err := s.opts.Proc.Stat(pid, 0); err == nil {
			d.State = stateLetter(stat)
		}
		d.Cgroup, _ = s.opts.Proc.Cgroup(pid)
		if info, err := s.opts.Proc.FDInfo(pid, fd); err == nil {
			d.Number = connectionNumber(info)
		}
		if len(list) == 0 || list[len(list)-1] != d {
			list = append(list, d)
		}
	}
	return list
}

// stateLetter is field 3 of /proc/PID/stat; "" unknown.
func stateLetter(stat []byte) string {
	if at := bytes.LastIndexByte(stat, ')'); at >= 0 && at+2 < len(stat) {
		return string(stat[at+2])
	}
	return ""
}

func connectionNumber(fdinfo string) uint32 {
	for line := range strings.Lines(fdinfo) {
		if v, ok := strings.CutPrefix(line, "fuse_connection:"); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(v), 10, 32)
			return uint32(n)
		}
	}
	return 0
}
