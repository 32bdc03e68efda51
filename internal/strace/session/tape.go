package session

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/record"
	"github.com/hangtrace/hangtrace/internal/strace"
)

// The formats of a recording's raw frames. Records of the tracer are as they
// came; the others, in JSON, tell what the session did of itself.
const (
	formatStart   = "strace-start/v1"
	formatAttach  = "strace-attach/v1" // a snapshot follows
	formatLinks   = "strace-links/v1"  // what /proc said while the next records were shown
	formatRecords = "bpf-strace/v1"
	formatIdle    = "strace-idle/v1"
	formatTick    = "strace-tick/v1"
	formatRest    = "strace-rest/v1"
	formatEnd     = "strace-end/v1"
)

type startFrame struct {
	Arch       string `json:"arch"`
	WallOffset int64  `json:"wall_offset_ns"`
	CacheFDs   bool   `json:"cache_fds"`
}

type attachFrame struct {
	Seen []int `json:"seen,omitempty"`
}

// restFrame is what the programs held of a thread at the end.
type restFrame struct {
	PID, TID int
	Seq      uint32
	Dead     bool
	Code     int
}

// tape writes a session down; without a Writer it does nothing.
type tape struct {
	w *record.Writer
	// links are the answers of /proc since the last batch.
	links []facts.Link
}

func (t *tape) json(format string, at uint64, v any) error {
	if t.w == nil {
		return nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return t.w.Raw(format, int64(at), text)
}

func (t *tape) start(lines *strace.Options, now uint64) error {
	return t.json(formatStart, now, startFrame{Arch: string(lines.Arch), WallOffset: lines.WallOffset, CacheFDs: lines.CacheFDs})
}

func (t *tape) attach(snap *facts.Snapshot, seen map[int]bool, now uint64) error {
	if t.w == nil {
		return nil
	}
	if err := t.answers(now); err != nil {
		return err
	}
	if err := t.json(formatAttach, now, attachFrame{Seen: slices.Sorted(maps.Keys(seen))}); err != nil {
		return err
	}
	return t.w.Snapshot(snap)
}

// lookup keeps an answer of /proc.
func (t *tape) lookup(pid int, name, to string) {
	if t.w != nil {
		t.links = append(t.links, facts.Link{PID: pid, Name: name, To: to})
	}
}

// batch writes records, behind what /proc said of them.
func (t *tape) batch(format string, data []byte, now uint64) error {
	if t.w == nil {
		return nil
	}
	if err := t.answers(now); err != nil {
		return err
	}
	return t.w.Raw(format, int64(now), data)
}

// answers writes what /proc said since the last batch.
func (t *tape) answers(now uint64) error {
	if t.w == nil || len(t.links) == 0 {
		return nil
	}
	list := t.links
	t.links = nil
	return t.json(formatLinks, now, list)
}

// links gives the answers of a recording in the order in which they came.
type links map[string][]string

func linkKey(pid int, name string) string { return fmt.Sprintf("%d %s", pid, name) }

func (l links) add(list []facts.Link) {
	clear(l)
	for _, a := range list {
		k := linkKey(a.PID, a.Name)
		l[k] = append(l[k], a.To)
	}
}

func (l links) next(pid int, name string) string {
	k := linkKey(pid, name)
	list := l[k]
	if len(list) == 0 {
		return ""
	}
	l[k] = list[1:]
	return list[0]
}
