package events

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// The record kinds and flags of bpf/hangtrace.h, re-declared so that reading a
// recording needs no BPF package. A test in bpf/ holds both sides together.
const (
	kindTask   = 1
	kindFile   = 2
	kindCall   = 3
	kindBlock  = 4
	kindTarget = 5
	kindRest   = 7

	flagHasRegs       = 1 << 0
	flagCompat        = 1 << 1
	flagSeeded        = 1 << 2
	flagPathFailed    = 1 << 3
	flagPathTruncated = 1 << 4
	flagFileDetached  = 1 << 5
	flagFileHasPath   = 1 << 6
	flagCwdDetached   = 1 << 7

	headerSize = 8
	taskSize   = 224
	restSize   = 40
	fileSize   = 72
	maxStack   = 64
	maxPath    = 4096
)

// ErrMalformed is in the chain of every decoding error.
var ErrMalformed = errors.New("malformed record")

// DecodeTasks decodes one pass of task samples of any backend. A malformed
// record ends the decoding: what came before it is returned with the error.
func DecodeTasks(p facts.Pass) ([]Task, error) {
	switch p.Format {
	case facts.FormatBPFTask:
		return decodeTaskStream(p.Data)
	case facts.FormatProcTask:
		return decodeProcStream(p.Data)
	}
	return nil, fmt.Errorf("task pass: %w: unknown format %q", ErrMalformed, p.Format)
}

func decodeTaskStream(data []byte) ([]Task, error) {
	tasks := make([]Task, 0, countRecords(data))
	var before []byte // the last record's stack
	for at := 0; at < len(data); {
		if len(data)-at >= restSize && binary.LittleEndian.Uint32(data[at:]) == kindRest {
			rec, err := nextRecord(data[at:], kindRest, restSize)
			if err != nil {
				return tasks, fmt.Errorf("task record at byte %d: %w", at, err)
			}
			at += len(rec)
			tasks, before = append(tasks, decodeRest(rec)), nil
			continue
		}
		rec, err := nextRecord(data[at:], kindTask, taskSize)
		if err != nil {
			return tasks, fmt.Errorf("task record at byte %d: %w", at, err)
		}
		at += len(rec)
		t, stack, err := decodeTask(rec)
		if err != nil {
			return tasks, fmt.Errorf("task record at byte %d: %w", at-len(rec), err)
		}
		// What hangs by the thousand hangs in the same place: neighbours share
		// their stack, which nobody changes.
		if n := len(tasks); n > 0 && len(stack) > 0 && bytes.Equal(stack, before) {
			t.Stack = tasks[n-1].Stack
		} else {
			t.Stack = decodeStack(stack)
		}
		before = stack
		tasks = append(tasks, t)
	}
	return tasks, nil
}

// countRecords counts what stands in a stream as far as its sizes make sense.
func countRecords(data []byte) (n int) {
	for len(data) >= headerSize {
		size := binary.LittleEndian.Uint32(data[4:])
		if size < headerSize || uint64(size) > uint64(len(data)) {
			break
		}
		data = data[size:]
		n++
	}
	return n
}

// decodeRest decodes a rest_record.
func decodeRest(rec []byte) Task {
	f := fields{b: rec, at: headerSize}
	return Task{
		StartBootNS: f.u64(), PID: int(f.u32()), TID: int(f.u32()), PPID: int(f.u32()), Flags: f.u32(), MountNS: f.u32(),
		SyscallNR: NoSyscall, Resting: true,
	}
}

// nextRecord cuts the first record off a stream of one kind.
func nextRecord(data []byte, kind uint32, least int) ([]byte, error) {
	if len(data) < headerSize {
		return nil, fmt.Errorf("%w: %d bytes left", ErrMalformed, len(data))
	}
	got, size := binary.LittleEndian.Uint32(data), binary.LittleEndian.Uint32(data[4:])
	if got != kind {
		return nil, fmt.Errorf("%w: kind %d", ErrMalformed, got)
	}
	if size < uint32(least) || uint64(size) > uint64(len(data)) {
		return nil, fmt.Errorf("%w: size %d of %d", ErrMalformed, size, len(data))
	}
	return data[:size], nil
}

// fields reads little-endian integers one after the other. The caller has
// checked the length.
type fields struct {
	b  []byte
	at int
}

func (f *fields) u64() uint64 {
	v := binary.LittleEndian.Uint64(f.b[f.at:])
	f.at += 8
	return v
}

func (f *fields) u32() uint32 {
	v := binary.LittleEndian.Uint32(f.b[f.at:])
	f.at += 4
	return v
}

func (f *fields) text(n int) string {
	s := f.b[f.at : f.at+n]
	f.at += n
	if i := bytes.IndexByte(s, 0); i >= 0 {
		s = s[:i]
	}
	return string(s)
}

// decodeTask decodes a record but for its stack, which it cuts out.
func decodeTask(rec []byte) (t Task, stack []byte, err error) {
	f := fields{b: rec, at: headerSize}
	t = Task{
		SampledNS:           f.u64(),
		StartBootNS:         f.u64(),
		LastArrivalNS:       f.u64(),
		VoluntarySwitches:   f.u64(),
		InvoluntarySwitches: f.u64(),
	}
	for i := range t.Args {
		t.Args[i] = f.u64()
	}
	t.PC, t.SP, t.BP, t.LR = f.u64(), f.u64(), f.u64(), f.u64()
	t.Return = int64(f.u64())
	t.SyscallNR = int(int64(f.u64()))
	t.PID, t.TID, t.PPID = int(f.u32()), int(f.u32()), int(f.u32())
	t.State, t.Flags = f.u32(), f.u32()
	flags := f.u32()
	t.HasRegs = flags&flagHasRegs != 0
	t.Compat = flags&flagCompat != 0
	t.CwdDetached = flags&flagCwdDetached != 0
	t.MountNS, t.PIDNS = f.u32(), f.u32()
	t.BlockerTID = int(f.u32())
	dev := f.u32()
	t.CwdDevMajor, t.CwdDevMinor = dev>>20, dev&0xfffff
	t.CwdMountID = int(f.u32())
	n := int(f.u32())
	t.Comm, t.ProcessComm = f.text(16), f.text(16)
	if n > maxStack || f.at+8*n > len(rec) {
		return t, nil, fmt.Errorf("%w: stack of %d frames in %d bytes", ErrMalformed, n, len(rec))
	}
	return t, rec[f.at : f.at+8*n], nil
}

func decodeStack(raw []byte) []uint64 {
	if len(raw) == 0 {
		return nil
	}
	stack := make([]uint64, len(raw)/8)
	for i := range stack {
		stack[i] = binary.LittleEndian.Uint64(raw[8*i:])
	}
	return stack
}

// DecodeFiles decodes one pass of the file iterator.
func DecodeFiles(p facts.Pass) ([]File, error) {
	if p.Format != facts.FormatBPFFile {
		return nil, fmt.Errorf("file pass: %w: unknown format %q", ErrMalformed, p.Format)
	}
	var files []File
	for at := 0; at < len(p.Data); {
		rec, err := nextRecord(p.Data[at:], kindFile, fileSize)
		if err != nil {
			return files, fmt.Errorf("file record at byte %d: %w", at, err)
		}
		file, err := decodeFile(rec)
		if err != nil {
			return files, fmt.Errorf("file record at byte %d: %w", at, err)
		}
		at += len(rec)
		files = append(files, file)
	}
	return files, nil
}

func decodeFile(rec []byte) (File, error) {
	f := fields{b: rec, at: headerSize}
	file := File{Inode: f.u64(), Magic: f.u64(), PID: int(f.u32()), FD: int(f.u32())}
	dev := f.u32()
	file.DevMajor, file.DevMinor = dev>>20, dev&0xfffff
	file.Mode = f.u32()
	file.MountID = int(f.u32())
	flags := f.u32()
	file.Detached = flags&flagFileDetached != 0
	n := int(f.u32())
	file.MountNS = f.u32()
	file.FSType = f.text(16)
	if n > maxPath || f.at+n > len(rec) {
		return file, fmt.Errorf("%w: path of %d bytes in %d", ErrMalformed, n, len(rec))
	}
	if flags&flagFileHasPath != 0 {
		file.Path = string(rec[f.at : f.at+n])
	}
	return file, nil
}
