package bpf_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
)

// The clock of these tests: one jiffy is 4 ms, and jiffies count from 0.
var clock = facts.Clock{HZ: 250}

const jiffyNS = 4_000_000

// TestLayout holds the decoder of package events against the types that the
// compiled objects themselves describe: each field of a record gets a value of
// its own at the offset BTF gives it, and must come out under its name.
func TestLayout(t *testing.T) {
	for _, arch := range []string{"x86", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			snapshot, trace := types(t, "snapshot_"+arch+"_bpfel.o"), types(t, "trace_"+arch+"_bpfel.o")
			t.Run("task", func(t *testing.T) { taskLayout(t, snapshot) })
			t.Run("rest", func(t *testing.T) { restLayout(t, snapshot) })
			t.Run("file", func(t *testing.T) { fileLayout(t, snapshot) })
			t.Run("slot", func(t *testing.T) { slotLayout(t, trace) })
			t.Run("call", func(t *testing.T) { callLayout(t, trace) })
			t.Run("block", func(t *testing.T) { blockLayout(t, trace) })
			t.Run("target", func(t *testing.T) { targetLayout(t, trace) })
		})
	}
}

func types(t *testing.T, object string) *btf.Spec {
	t.Helper()
	spec, err := ebpf.LoadCollectionSpec(object)
	if err != nil {
		t.Fatal(err)
	}
	return spec.Types
}

// leaf is a field of a record that is no struct or array.
type leaf struct {
	name     string
	at, size uint32
}

// image is a record whose fields each have a value of their own.
type image struct {
	t      *testing.T
	data   []byte
	leaves []leaf
	read   map[string]bool
}

func newImage(t *testing.T, spec *btf.Spec, name string) *image {
	t.Helper()
	im := &image{t: t, read: make(map[string]bool)}
	declared, size := headerLayout(t, name)
	im.leaves = declared
	var s *btf.Struct
	switch err := spec.TypeByName(name, &s); {
	case errors.Is(err, btf.ErrNotFound):
		// Records that are only ever reserved in the ring are no map's type,
		// and the compiler leaves them out of BTF: the header has to do.
	case err != nil:
		t.Fatal(err)
	default:
		im.leaves = nil
		im.collect("", s, 0)
		if !slices.Equal(im.leaves, declared) || s.Size != size {
			t.Fatalf("struct %s: the object has %d bytes %v, the header %d bytes %v: run make generate", name, s.Size, im.leaves, size, declared)
		}
	}
	im.data = make([]byte, size)
	for i, l := range im.leaves {
		switch l.size {
		case 8:
			im.put(l.name, 0x0100_0000_0000_0000+uint64(i)*0x0001_0001_0001)
		case 4:
			im.put(l.name, 0x0100_0000+uint64(i)*0x0101)
		}
	}
	return im
}

var (
	headerComment = regexp.MustCompile(`(?s)/\*.*?\*/`)
	headerMember  = regexp.MustCompile(`^(u32|s32|u64|s64|char|struct record_header) (.*)$`)
	headerName    = regexp.MustCompile(`^(\w+)(?:\[(\w+)\])?$`)
)

// headerLayout reads a struct of hangtrace.h, whose padding is explicit.
func headerLayout(t *testing.T, name string) (leaves []leaf, size uint32) {
	t.Helper()
	text, err := os.ReadFile("hangtrace.h")
	if err != nil {
		t.Fatal(err)
	}
	_, body, ok := strings.Cut(string(text), "struct "+name+" {\n")
	body, _, ended := strings.Cut(body, "\n};")
	if !ok || !ended {
		t.Fatalf("hangtrace.h has no struct %s", name)
	}
	add := func(name string, width uint32) {
		leaves = append(leaves, leaf{name, size, width})
		size += width
	}
	for decl := range strings.SplitSeq(headerComment.ReplaceAllString(body, ""), ";") {
		m := headerMember.FindStringSubmatch(strings.Join(strings.Fields(decl), " "))
		if m == nil {
			continue
		}
		for member := range strings.SplitSeq(m[2], ", ") {
			n := headerName.FindStringSubmatch(member)
			count := arrayLength(t, string(text), n[2])
			switch width := map[string]uint32{"u32": 4, "s32": 4, "u64": 8, "s64": 8}[m[1]]; {
			case m[1] == "char":
				add(n[1], count)
			case m[1] == "struct record_header":
				add(n[1]+".kind", 4)
				add(n[1]+".size", 4)
			case n[2] == "":
				add(n[1], width)
			default:
				for i := range count {
					add(fmt.Sprintf("%s[%d]", n[1], i), width)
				}
			}
		}
	}
	return leaves, size
}

func arrayLength(t *testing.T, header, text string) uint32 {
	t.Helper()
	if m := regexp.MustCompile(`#define ` + text + `\s+(\d+)`).FindStringSubmatch(header); text != "" && m != nil {
		text = m[1]
	}
	n, err := strconv.ParseUint("0"+text, 10, 32)
	if err != nil {
		t.Fatalf("array of %q: %v", text, err)
	}
	return uint32(n)
}

func (im *image) collect(prefix string, typ btf.Type, at uint32) {
	switch typ := btf.UnderlyingType(typ).(type) {
	case *btf.Struct:
		for _, m := range typ.Members {
			name := m.Name
			if prefix != "" {
				name = prefix + "." + name
			}
			im.collect(name, m.Type, at+m.Offset.Bytes())
		}
	case *btf.Array:
		size, err := btf.Sizeof(typ.Type)
		if err != nil {
			im.t.Fatal(err)
		}
		if size == 1 { // text
			im.leaves = append(im.leaves, leaf{prefix, at, typ.Nelems})
			return
		}
		for i := range typ.Nelems {
			im.collect(fmt.Sprintf("%s[%d]", prefix, i), typ.Type, at+i*uint32(size))
		}
	default:
		size, err := btf.Sizeof(typ)
		if err != nil {
			im.t.Fatal(err)
		}
		im.leaves = append(im.leaves, leaf{prefix, at, uint32(size)})
	}
}

func (im *image) leaf(name string) leaf {
	im.t.Helper()
	for _, l := range im.leaves {
		if l.name == name {
			return l
		}
	}
	im.t.Fatalf("no field %s", name)
	return leaf{}
}

func (im *image) put(name string, v uint64) {
	im.t.Helper()
	switch l := im.leaf(name); l.size {
	case 8:
		binary.LittleEndian.PutUint64(im.data[l.at:], v)
	case 4:
		binary.LittleEndian.PutUint32(im.data[l.at:], uint32(v))
	default:
		im.t.Fatalf("%s has %d bytes", name, l.size)
	}
}

func (im *image) text(name, s string) {
	im.t.Helper()
	l := im.leaf(name)
	copy(im.data[l.at:l.at+l.size], s)
}

// value is what was put, marked as looked at.
func (im *image) value(name string) uint64 {
	im.t.Helper()
	im.read[name] = true
	switch l := im.leaf(name); l.size {
	case 8:
		return binary.LittleEndian.Uint64(im.data[l.at:])
	case 4:
		return uint64(binary.LittleEndian.Uint32(im.data[l.at:]))
	default:
		return 0
	}
}

// equal holds decoded values against the fields they must come from.
func (im *image) equal(want map[string]any) {
	im.t.Helper()
	for name, got := range want {
		if s, ok := got.(string); ok {
			l := im.leaf(name)
			im.read[name] = true
			if have := strings.TrimRight(string(im.data[l.at:l.at+l.size]), "\x00"); have != s {
				im.t.Errorf("%s: decoded %q, stands there %q", name, s, have)
			}
			continue
		}
		if v := im.value(name); fmt.Sprint(got) != fmt.Sprint(v) {
			im.t.Errorf("%s: decoded %v, stands there %d", name, got, v)
		}
	}
}

func (im *image) equalList(name string, list []uint64) {
	im.t.Helper()
	for i, v := range list {
		im.equal(map[string]any{fmt.Sprintf("%s[%d]", name, i): v})
	}
}

// complete fails for fields that nobody decodes.
func (im *image) complete(unread ...string) {
	im.t.Helper()
	for _, name := range unread {
		im.read[name] = true
	}
	for _, l := range im.leaves {
		base, _, _ := strings.Cut(l.name, "[")
		if !im.read[l.name] && !im.read[base] {
			im.t.Errorf("%s is not decoded: extend this test and package events", l.name)
		}
	}
}

// header makes the record whole: kind, size, what follows it.
func (im *image) header(kind uint64, tail []byte) []byte {
	im.put("h.kind", kind)
	im.put("h.size", uint64(len(im.data)+len(tail)))
	im.read["h.kind"], im.read["h.size"] = true, true
	return append(append([]byte(nil), im.data...), tail...)
}

// headerConstant finds the value of an enum constant in the header: BTF keeps types,
// and the programs use these enums for their values only.
func headerConstant(t *testing.T, name string) uint64 {
	t.Helper()
	text, err := os.ReadFile("hangtrace.h")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`\b` + name + ` = (\d+)(?: << (\d+))?,`).FindStringSubmatch(string(text))
	if m == nil {
		t.Fatalf("hangtrace.h has no %s", name)
	}
	value, _ := strconv.ParseUint(m[1], 10, 64)
	shift, _ := strconv.ParseUint("0"+m[2], 10, 64)
	return value << shift
}

func words(values ...uint64) []byte {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

func taskLayout(t *testing.T, spec *btf.Spec) {
	im := newImage(t, spec, "task_record")
	im.text("comm", "thread")
	im.text("leader_comm", "leader")
	im.put("stack_len", 2)
	im.put("cwd_dev", 0x123<<20|0x45678)
	flag := func(name string) uint64 { return headerConstant(t, name) }
	im.put("flags", flag("TASK_HAS_REGS")|flag("CWD_DETACHED"))
	data := im.header(headerConstant(t, "RECORD_TASK"), words(0xffffffff81000001, 0xffffffff81000002))

	list, err := events.DecodeTasks(facts.Pass{Format: facts.FormatBPFTask, Data: append(data, data...)})
	if err != nil || len(list) != 2 {
		t.Fatalf("%d tasks, %v", len(list), err)
	}
	k := list[1]
	im.equal(map[string]any{
		"sampled_ns": k.SampledNS, "start_ns": k.StartBootNS, "last_arrival_ns": k.LastArrivalNS, "nvcsw": k.VoluntarySwitches,
		"nivcsw": k.InvoluntarySwitches, "pc": k.PC, "sp": k.SP, "bp": k.BP, "lr": k.LR, "ret": uint64(k.Return), "nr": uint64(k.SyscallNR),
		"pid": k.PID, "tid": k.TID, "ppid": k.PPID, "state": k.State, "task_flags": k.Flags, "mount_ns": k.MountNS, "pid_ns": k.PIDNS,
		"blocker_tid": k.BlockerTID, "cwd_mount_id": k.CwdMountID, "stack_len": len(k.Stack), "comm": k.Comm, "leader_comm": k.ProcessComm,
		"cwd_dev": k.CwdDevMajor<<20 | k.CwdDevMinor,
	})
	im.equalList("args", k.Args[:])
	if !k.HasRegs || !k.CwdDetached || k.Compat {
		t.Errorf("flags: %+v", k)
	}
	if k.Stack[0] != 0xffffffff81000001 || k.Stack[1] != 0xffffffff81000002 {
		t.Errorf("stack: %#x", k.Stack)
	}
	im.complete("flags")
	im.put("flags", flag("TASK_COMPAT"))
	list, err = events.DecodeTasks(facts.Pass{Format: facts.FormatBPFTask, Data: im.header(1, words(1, 2))})
	if err != nil || !list[0].Compat || list[0].HasRegs {
		t.Errorf("TASK_COMPAT: %v, %+v", err, list)
	}
}

func restLayout(t *testing.T, spec *btf.Spec) {
	im := newImage(t, spec, "rest_record")
	data := im.header(headerConstant(t, "RECORD_REST"), nil)
	list, err := events.DecodeTasks(facts.Pass{Format: facts.FormatBPFTask, Data: append(data, data...)})
	if err != nil || len(list) != 2 {
		t.Fatalf("%d tasks, %v", len(list), err)
	}
	k := list[1]
	if !k.Resting {
		t.Errorf("rests: %+v", k)
	}
	im.equal(map[string]any{
		"start_ns": k.StartBootNS, "pid": k.PID, "tid": k.TID, "ppid": k.PPID, "task_flags": k.Flags, "mount_ns": k.MountNS,
	})
	im.complete("pad")
}

func fileLayout(t *testing.T, spec *btf.Spec) {
	im := newImage(t, spec, "file_record")
	im.text("fstype", "fuse")
	im.put("path_len", 5)
	im.put("dev", 0x123<<20|0x45678)
	im.put("flags", headerConstant(t, "FILE_DETACHED")|headerConstant(t, "FILE_HAS_PATH"))
	data := im.header(headerConstant(t, "RECORD_FILE"), []byte("/path\x00\x00\x00"))
	list, err := events.DecodeFiles(facts.Pass{Format: facts.FormatBPFFile, Data: append(data, data...)})
	if err != nil || len(list) != 2 {
		t.Fatalf("%d files, %v", len(list), err)
	}
	f := list[1]
	im.equal(map[string]any{
		"inode": f.Inode, "magic": f.Magic, "pid": f.PID, "fd": f.FD, "dev": f.DevMajor<<20 | f.DevMinor, "mode": f.Mode,
		"mount_id": f.MountID, "mount_ns": f.MountNS, "fstype": f.FSType, "path_len": len(f.Path),
	})
	if !f.Detached || f.Path != "/path" {
		t.Errorf("%+v", f)
	}
	im.complete("flags")
}

func slotLayout(t *testing.T, spec *btf.Spec) {
	im := newImage(t, spec, "slot")
	im.put("entered_jiffies", 1000)
	im.put("path_len", 6)
	im.put("nr", 258) // one more than the call's number
	im.put("flags", headerConstant(t, "PATH_TRUNCATED"))
	const headerSize = 8 // struct record_header, put before it by the loader
	var data []byte
	data = binary.LittleEndian.AppendUint32(data, uint32(headerConstant(t, "RECORD_SLOT")))
	data = binary.LittleEndian.AppendUint32(data, uint32(headerSize+len(im.data)+8))
	data = append(append(data, im.data...), "/path\x00\x00\x00"...)
	list, err := events.DecodeSlots(facts.Pass{Format: facts.FormatBPFSlots, Data: append(data, data...)}, clock)
	if err != nil || len(list) != 2 {
		t.Fatalf("%d slots, %v", len(list), err)
	}
	c := list[1]
	im.equal(map[string]any{"tid": c.TID, "tgid": c.PID, "nr": c.SyscallNR + 1, "entered_jiffies": c.EnteredNS / jiffyNS})
	im.equalList("args", c.Args[:])
	if c.Path != "/path" || !c.PathTruncated || !c.PathKnown || c.Phase != events.PhaseInFlight {
		t.Errorf("%+v", c)
	}
	im.complete("flags", "path_len", "generation", "pad")
}

func callLayout(t *testing.T, spec *btf.Spec) {
	im := newImage(t, spec, "call_record")
	im.text("comm", "thread")
	im.put("entered_jiffies", 1000)
	im.put("path_len", 6)
	im.put("flags", headerConstant(t, "PATH_FAILED"))
	data := im.header(headerConstant(t, "RECORD_CALL"), []byte("/path\x00\x00\x00"))
	c := ring(t, data).Calls[1]
	im.equal(map[string]any{
		"entered_jiffies": c.EnteredNS / jiffyNS, "returned_ns": c.ReturnedNS, "ret": uint64(c.Return), "nr": c.SyscallNR,
		"pid": c.PID, "tid": c.TID, "comm": c.Comm,
	})
	im.equalList("args", c.Args[:])
	if c.Path != "/path" || c.PathKnown || c.Phase != events.PhaseReturned {
		t.Errorf("%+v", c)
	}
	im.complete("flags", "path_len", "pad", "returned_jiffies")
	im.put("path_len", 0)
	im.put("flags", headerConstant(t, "CALL_SEEDED"))
	if c := ring(t, im.header(3, nil)).Calls[1]; c.EnteredNS != 0 {
		t.Errorf("CALL_SEEDED: entered at %d", c.EnteredNS)
	}
}

func blockLayout(t *testing.T, spec *btf.Spec) {
	im := newImage(t, spec, "block_record")
	im.text("comm", "thread")
	im.put("stack_len", 64)
	im.put("flags", headerConstant(t, "TASK_HAS_REGS"))
	b := ring(t, im.header(headerConstant(t, "RECORD_BLOCK"), nil)).Blocks[1]
	im.equal(map[string]any{
		"start_ns": b.StartNS, "end_ns": b.EndNS, "nr": uint64(b.SyscallNR), "pid": b.PID, "tid": b.TID, "state": b.State,
		"task_flags": b.Flags, "stack_len": len(b.Stack), "comm": b.Comm,
	})
	im.equalList("args", b.Args[:])
	im.equalList("stack", b.Stack)
	if !b.HasRegs || b.Compat {
		t.Errorf("%+v", b)
	}
	im.complete("flags")
}

func targetLayout(t *testing.T, spec *btf.Spec) {
	im := newImage(t, spec, "target_record")
	im.text("comm", "child")
	im.put("born", 2)
	c := ring(t, im.header(headerConstant(t, "RECORD_TARGET"), nil)).Changes[1]
	im.equal(map[string]any{"at_ns": c.AtNS, "pid": c.PID, "parent": c.Parent, "born": uint32(c.What), "comm": c.Comm})
	if c.What != events.TargetExecuted {
		t.Errorf("born 2: %v", c.What)
	}
	im.complete("pad")
}

// ring decodes the record twice in a row: that the second is found shows that
// the first had the right size.
func ring(t *testing.T, data []byte) events.Records {
	t.Helper()
	r, err := events.DecodeRing(facts.Pass{Format: facts.FormatBPFRing, Data: append(append([]byte(nil), data...), data...)}, clock)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
