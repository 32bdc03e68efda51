package session

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/hangtrace/hangtrace/internal/events"
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
	formatStacks  = "strace-stacks/v1" // what stood below the lines of the next records
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
	CacheDir   bool   `json:"cache_dir"`
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
	// links are the answers of /proc since the last batch, stacks those of the
	// children.
	links  []facts.Link
	stacks []stackFrame
}

// stackFrame is what stood below a line.
type stackFrame struct {
	TID   int      `json:"tid"`
	Lines []string `json:"lines"`
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
	return t.json(formatStart, now, startFrame{Arch: string(lines.Arch), WallOffset: lines.WallOffset, CacheFDs: lines.CacheFDs, CacheDir: lines.CacheDir})
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
	if format == formatRecords {
		data = t.withoutStacks(data)
	}
	return t.w.Raw(format, int64(now), data)
}

// withoutStacks leaves out the copies of stacks, which are large and were made
// use of: what came of them is in a frame of its own.
func (t *tape) withoutStacks(data []byte) []byte {
	var out []byte
	var r events.Strace
	for rest := data; len(rest) > 0; {
		next, err := events.NextStrace(rest, &r)
		if err != nil {
			return data
		}
		switch record := rest[:len(rest)-len(next)]; {
		case r.Kind == events.StraceStack && len(r.Memory) > 0:
			if out == nil {
				out = append(make([]byte, 0, len(data)), data[:len(data)-len(rest)]...)
			}
			short := len(record) - len(r.Memory)
			out = append(out, record[:short]...)
			binary.LittleEndian.PutUint32(out[len(out)-short+4:], uint32(short))
		case out != nil:
			out = append(out, record...)
		}
		rest = next
	}
	if out == nil {
		return data
	}
	return out
}

// stack keeps what stood below a line.
func (t *tape) stack(c *strace.CallStack, lines []string) {
	if t.w != nil {
		t.stacks = append(t.stacks, stackFrame{c.TID, lines})
	}
}

// answers writes what /proc and the children said since the last batch.
func (t *tape) answers(now uint64) error {
	if t.w == nil {
		return nil
	}
	if list := t.stacks; len(list) > 0 {
		t.stacks = nil
		if err := t.json(formatStacks, now, list); err != nil {
			return err
		}
	}
	if len(t.links) == 0 {
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
