package capture

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
)

// fuseDaemons finds the processes that serve FUSE connections with requests
// waiting: their own state is the cause of a hang more often than the cluster.
// Every open file of the node is looked at, so it runs only when a FUSE request
// waits, by its connection or, where fusectl is not mounted, by a thread's stack.
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
	fds, err := s.fuseFiles(ctx)
	if err != nil {
		snap.Skipped = append(snap.Skipped, facts.Skipped{What: "FUSE daemons", Why: err.Error()})
		return
	}
	var found []facts.FuseDaemon
	for _, fd := range fds {
		if d, ok := s.serves(fd); ok && (len(found) == 0 || found[len(found)-1] != d) {
			found = append(found, d)
		}
	}
	s.cache.daemons = found
	snap.FuseDaemons = found
}

const fuseDevice = 10<<20 | 229 // /dev/fuse: misc, FUSE_MINOR

// openFile is one that a process has open.
type openFile struct{ pid, fd int }

// fuseFiles lists who has /dev/fuse open: by one pass of the kernel over its open
// files, else by the descriptors of every process until ctx ends.
func (s *Session) fuseFiles(ctx context.Context) ([]openFile, error) {
	var list []openFile
	if pass, err := s.backend.deviceFiles(fuseDevice); err == nil {
		files, err := events.DecodeFiles(pass)
		for _, f := range files {
			list = append(list, openFile{f.PID, f.FD})
		}
		return list, err
	}
	pids, err := s.opts.Proc.PIDs()
	if err != nil {
		return nil, err
	}
	for _, pid := range pids {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		fds, err := s.opts.Proc.FDs(pid)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			if to, err := s.opts.Proc.Readlink(pid, fmt.Sprintf("fd/%d", fd)); err == nil && to == "/dev/fuse" {
				list = append(list, openFile{pid, fd})
			}
		}
	}
	return list, nil
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

// serves tells which connection an open /dev/fuse belongs to. Linux names it in
// fdinfo since about 6.15; before, Number stays 0.
func (s *Session) serves(f openFile) (d facts.FuseDaemon, ok bool) {
	d.PID = f.pid
	var err error
	if d.Comm, err = s.opts.Proc.Comm(f.pid); err != nil {
		return d, false
	}
	if stat, err := s.opts.Proc.Stat(f.pid, 0); err == nil {
		d.State = stateLetter(stat)
	}
	d.Cgroup, _ = s.opts.Proc.Cgroup(f.pid)
	if info, err := s.opts.Proc.FDInfo(f.pid, f.fd); err == nil {
		d.Number = connectionNumber(info)
	}
	return d, true
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
