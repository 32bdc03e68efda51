package strace

import (
	"io"
	"time"

	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// Clock is strace's choice of time stamps.
type Clock uint8

// The time stamps: none, -t, -tt, -ttt.
const (
	NoClock Clock = iota
	Seconds
	Microseconds
	Epoch
)

// Options are strace's choices. All fields but Arch and Output are optional.
type Options struct {
	// Arch is the table of 64-bit calls.
	Arch syscalls.Arch
	// Output takes the lines. With Files each thread has its own instead
	// (-ff).
	Output io.Writer
	Files  func(tid int) (io.Writer, error)
	// Notices takes what the tracer itself has to say of new processes. This
	// field is optional: it stands between the lines.
	Notices io.Writer
	// Prefix puts the thread in front of every line without brackets, as
	// strace does in files that hold several processes (-f -o).
	Prefix bool

	StringLimit int  // -s, 32
	Column      int  // -a, 40
	Verbose     bool // -v
	FDPaths     bool // -y
	FDDetails   bool // -yy
	// FDPath gives the path of a descriptor; syscalls.ATFDCWD asks for the
	// working directory.
	FDPath func(pid, fd int) string
	// CacheFDs tells that every call that changes descriptors is traced, CacheDir
	// of the working directory.
	CacheFDs, CacheDir bool

	Clock    Clock
	Relative bool // -r
	Duration bool // -T
	// WallOffset is to be added to CLOCK_MONOTONIC to get the time of day, ns.
	WallOffset int64
	Location   *time.Location

	Status  Status   // -e status, -z, -Z; 0 stands for AnyStatus
	Paths   []string // -P
	Signals func(sig int) bool
	Quiet   int // -q: 1 attach, 2 exits, 3 everything

	// Summary counts calls; Only prints nothing else (-c), without it both
	// (-C).
	Summary, Only bool
	SortBy        string
	Columns       []string

	// Stack gives the lines of where a call was made and where it slept (-k);
	// what it is given is not good any more when it returns.
	Stack func(*CallStack) []string
	// Forget is told of a process that ended or executes another program.
	Forget func(pid int)

	// Ring keeps the last calls of each thread and prints them when one takes
	// longer than Threshold.
	Ring      int
	Threshold time.Duration
}

// ring is the largest number of calls kept.
const maxRing = 100_000

func (o *Options) status() Status {
	if o.Status == 0 {
		return AnyStatus
	}
	return o.Status
}

func (o *Options) setDefaults() {
	if o.Column == 0 {
		o.Column = 40
	}
	if o.Location == nil {
		o.Location = time.Local
	}
	o.Ring = min(o.Ring, maxRing)
}

// Selects tells whether calls that were traced may not be shown.
func (o *Options) Selects() bool {
	return o.status() != AnyStatus || len(o.Paths) > 0 || o.Ring > 0
}
