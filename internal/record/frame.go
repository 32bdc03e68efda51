// Package record keeps what was captured so that it can be judged again.
//
// In: snapshots (package facts), raw records and notices, as they come. Out: a
// recording, a stream of frames from which replay gets the same values back on
// another machine without any rights. It must never open a file, judge, or
// buffer: what was written before a SIGKILL is in the stream.
//
// A recording is one JSON object a line, the whole optionally compressed with
// gzip (flushed after each frame, so that a file that was cut off still gives
// every frame before the cut). Raw records follow the line of their frame as they
// are, as strace mode has hundreds of megabytes of them a second: as many bytes as
// the line says, and a newline. The first frame is the header, the last one the
// end; a recording without an end was cut off.
package record

import (
	"errors"
	"strings"
	"time"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// Schema names the format. A reader takes any minor addition (unknown fields
// and kinds of frames) and refuses a higher version. Version 1 had raw records in
// their line, as base64.
const Schema = "hangtrace.recording/v2"

const (
	schemaPrefix  = "hangtrace.recording/v"
	schemaVersion = 2
)

// MaxFrame is the size of the largest frame, in bytes of JSON or of raw records,
// that is written or read. It bounds what a hostile or damaged file can make a reader allocate.
const MaxFrame = 256 << 20

// maxHeader bounds the first line: a foreign file may have no line end at all.
const maxHeader = 1 << 20

var (
	// ErrNotRecording is returned for a file of another kind.
	ErrNotRecording = errors.New("not a hangtrace recording")
	// ErrNewer is returned for a recording of a later schema.
	ErrNewer = errors.New("recording made by a newer hangtrace")
	// ErrTruncated is returned in place of io.EOF by Reader.Next when the
	// recording has no end frame; the frames before it are good.
	ErrTruncated = errors.New("recording cut off")
	// ErrDamaged is returned when a frame cannot be read and more follows.
	ErrDamaged = errors.New("recording damaged")
	// ErrTooLarge is returned for a frame above MaxFrame.
	ErrTooLarge = errors.New("frame too large")
	// ErrClosed is returned by a Writer after Close.
	ErrClosed = errors.New("recording closed")
)

// Header is the first frame: what made the recording, and what replay must
// know to judge it as it was judged then.
type Header struct {
	Schema      string    `json:"schema"`
	Created     time.Time `json:"created"`
	ToolVersion string    `json:"tool_version"`
	Command     string    `json:"command"` // "report", "live", "scan", "strace"
	Options     Options   `json:"options"`
}

// Options are the command's options that change a judgement.
type Options struct {
	ThresholdMS   int64    `json:"threshold_ms"`
	Filesystems   []string `json:"filesystems,omitempty"` // as given to --fs
	Targets       []string `json:"targets,omitempty"`     // as given to --pid
	KernelThreads bool     `json:"kernel_threads,omitempty"`
	KubeletRoot   string   `json:"kubelet_root,omitempty"`
	Backend       string   `json:"backend,omitempty"` // as given to --backend
	// Arguments is the command line of strace, which has letters of its own.
	Arguments []string `json:"arguments,omitempty"`
}

// Kind names what a frame holds.
type Kind string

// The kinds of frames after the header. A reader skips kinds it does not know.
const (
	KindSnapshot Kind = "snapshot"
	KindRaw      Kind = "raw"
	KindNotice   Kind = "notice"
	KindSymbols  Kind = "symbols"
	KindLost     Kind = "lost"
	KindEnd      Kind = "end"

	kindHeader Kind = "header"
)

// Frame is one frame after the header.
type Frame struct {
	Kind Kind `json:"frame"`
	// AtNS is CLOCK_MONOTONIC of the recorded machine for raw records, and the
	// time of day in ns since 1970 for a notice and for lost records; 0 for a
	// snapshot, which has its own clock, and for the rest.
	AtNS int64 `json:"at_ns,omitempty"`

	// Snapshot is set for KindSnapshot.
	Snapshot *facts.Snapshot `json:"snapshot,omitempty"`
	// Format and Data are set for KindRaw: records as the kernel wrote them.
	Format string `json:"format,omitempty"`
	Data   []byte `json:"data,omitempty"`
	// Bytes is, in a recording alone, how much of Data follows the line.
	Bytes int `json:"bytes,omitempty"`
	// Notice is set for KindNotice.
	Notice string `json:"notice,omitempty"`
	// Symbols is set for KindSymbols: names of the kernel addresses in the raw
	// records that follow.
	Symbols map[uint64]string `json:"symbols,omitempty"`
	// Lost is set for KindLost: records lost so far, by place.
	Lost map[string]uint64 `json:"lost,omitempty"`
	// Frames is set for KindEnd: how many frames stand between header and end.
	Frames int `json:"frames,omitempty"`
}

// headerFrame is the header as it stands in its line. "frame" and "schema"
// come first so that the first bytes tell what the file is.
type headerFrame struct {
	Kind Kind `json:"frame"`
	Header
}

// Compressed tells whether a recording of that name is to be compressed.
func Compressed(name string) bool { return strings.HasSuffix(name, ".gz") }
