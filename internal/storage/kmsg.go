package storage

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/facts"
)

const (
	// kernelLogLines is how many lines are kept, the latest; kernelLogReads how
	// many records one Read goes through: the buffer of a large machine.
	kernelLogLines = 200
	kernelLogReads = 200_000
	kernelLogLine  = 8 << 10 // what the kernel writes at most
)

// KernelLog reads the kernel's log as far as storage clients and the hung task
// detector speak in it. It never waits.
type KernelLog struct {
	fd    int
	lines []facts.KernelLine
}

// OpenKernelLog opens the log, usually /dev/kmsg, at its oldest record.
func OpenKernelLog(path string) (*KernelLog, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return &KernelLog{fd: fd}, nil
}

// Close closes it.
func (l *KernelLog) Close() error { return unix.Close(l.fd) }

// Lines reads what was logged since the last call and gives the latest lines in
// question of all that was read. more is false when the end was reached.
func (l *KernelLog) Lines() (lines []facts.KernelLine, more bool, err error) {
	buf := make([]byte, kernelLogLine)
	for range kernelLogReads {
		n, err := unix.Read(l.fd, buf)
		switch {
		case err == unix.EINTR, err == unix.EPIPE: // EPIPE: records were overwritten meanwhile
			continue
		case err == unix.EAGAIN || err == nil && n == 0:
			return l.lines, false, nil
		case err == unix.EINVAL: // a record longer than the buffer
			continue
		case err != nil:
			return l.lines, false, fmt.Errorf("read the kernel log: %w", err)
		}
		if line, ok := ParseKernelRecord(string(buf[:n])); ok {
			l.lines = append(l.lines, line)
			if len(l.lines) > 2*kernelLogLines {
				l.lines = append(l.lines[:0], l.lines[len(l.lines)-kernelLogLines:]...)
			}
		}
	}
	return l.lines, true, nil
}

// ParseKernelRecord reads a record of /dev/kmsg (Documentation/ABI/testing/
// dev-kmsg): "PRIO,SEQ,MICROSECONDS,FLAGS[,...];TEXT\n KEY=VALUE...". ok is
// false where it is no record, or none of the kernel's on storage.
func ParseKernelRecord(record string) (facts.KernelLine, bool) {
	head, text, ok := strings.Cut(record, ";")
	f := strings.Split(head, ",")
	if !ok || len(f) < 4 {
		return facts.KernelLine{}, false
	}
	prio, err1 := strconv.ParseUint(f[0], 10, 32)
	usec, err2 := strconv.ParseInt(f[2], 10, 64)
	const facility = 3 // bits of the level; 0 above them is the kernel itself
	if errors.Join(err1, err2) != nil || prio>>facility != 0 || usec < 0 || usec > 1<<52 {
		return facts.KernelLine{}, false
	}
	text, _, _ = strings.Cut(text, "\n")
	if !storageLine(text) {
		return facts.KernelLine{}, false
	}
	return facts.KernelLine{AtNS: usec * 1000, Text: text}, true
}

// storageLine tells whether a line is one of ceph, libceph, rbd, NFS, FUSE, a
// block layer that gave up, or the hung task detector.
func storageLine(text string) bool {
	for _, prefix := range []string{"ceph: ", "libceph: ", "libceph (", "ceph (", "rbd: ", "rbd", "nbd", "block nbd", "nfs: ", "NFS: ", "NFS4: ", "NFS:", "nfs4", "rpc:", "RPC:", "lockd: ", "CIFS: "} {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	switch {
	case strings.HasPrefix(text, "INFO: task ") && strings.Contains(text, " blocked for more than "),
		strings.HasPrefix(text, "INFO: task ") && strings.Contains(text, " is blocked on "),
		strings.HasPrefix(text, "I/O error, dev "), strings.HasPrefix(text, "blk_update_request: "), strings.HasPrefix(text, "Buffer I/O error on dev "):
		return true
	}
	return false
}
