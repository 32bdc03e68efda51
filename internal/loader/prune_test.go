package loader

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/bpf"
	"github.com/hangtrace/hangtrace/internal/testkit"
)

var objects = map[string]func() (*ebpf.CollectionSpec, error){
	"snapshot": bpf.LoadSnapshot, "trace": bpf.LoadTrace, "strace": bpf.LoadStrace, "walk": bpf.LoadWalk,
}

var allModules = []string{"ceph", "libceph", "rbd", "fuse"}

// TestPruneRelocatesTheSame relocates every program by our description of the
// types, and by all that the kernel and its modules have: no instruction may
// differ, nor the number that a program attaches to.
func TestPruneRelocatesTheSame(t *testing.T) {
	testkit.NeedBPF(t)
	cache := btf.NewCache()
	kernel, err := cache.Kernel()
	require.NoError(t, err)
	targets := []*btf.Spec{kernel}
	for _, name := range allModules {
		if m, err := cache.Module(name); err == nil {
			targets = append(targets, m)
		}
	}
	programs, attached := 0, 0
	for unit, load := range objects {
		spec, err := load()
		require.NoError(t, err)
		known, err := newTypes().of(spec, allModules...)
		require.NoError(t, err)
		for name, p := range spec.Programs {
			ours, err := relocated(p, known.types)
			require.NoError(t, err, "%s: %s", unit, name)
			theirs, err := relocated(p, targets...)
			require.NoError(t, err, "%s: %s", unit, name)
			require.Equal(t, theirs, ours, "%s: %s", unit, name)
			programs++
			if !numbered(p) {
				continue
			}
			id, ok := known.ids[attachName(p)]
			want, err := idOf(kernel, attachName(p))
			require.NoError(t, err, "%s: %s", unit, name)
			require.True(t, ok, "%s: %s has no number", unit, attachName(p))
			require.Equal(t, want, id, attachName(p))
			attached++
		}
	}
	require.Greater(t, programs, 20)
	require.Greater(t, attached, 15)
}

func idOf(kernel *btf.Spec, name string) (btf.TypeID, error) {
	var f *btf.Func
	if err := kernel.TypeByName(name, &f); err == nil {
		return kernel.TypeID(f)
	}
	var d *btf.Typedef
	if err := kernel.TypeByName(name, &d); err != nil {
		return 0, err
	}
	return kernel.TypeID(d)
}

// relocated is a program's code once it fits the given types.
func relocated(p *ebpf.ProgramSpec, targets ...*btf.Spec) ([]string, error) {
	insns := p.Copy().Instructions
	if err := relocate(insns, targets, p.ByteOrder, new(btf.Builder)); err != nil {
		return nil, err
	}
	text := make([]string, len(insns))
	for i, ins := range insns {
		ins.Metadata = asm.Metadata{}
		text[i] = fmt.Sprint(ins)
	}
	return text, nil
}

// TestPrunedDoes: the library is there for what our description does not do, so
// that nobody would notice if it never did.
func TestPrunedDoes(t *testing.T) {
	testkit.NeedBPF(t)
	if os.Getenv("HANGTRACE_KERNEL") == "5.10" {
		t.Skip("not all programs load on 5.10")
	}
	for unit, load := range objects {
		if unit == "walk" {
			continue // loads by nothing else
		}
		t.Run(unit, func(t *testing.T) {
			spec, err := load()
			require.NoError(t, err)
			for _, name := range []string{"trace_enter_plain", "trace_switch_old", "snapshot_files_nopath"} {
				delete(spec.Programs, name) // for older kernels
			}
			known, err := newTypes().of(spec)
			require.NoError(t, err)
			coll, err := known.load(spec)
			require.NoError(t, err)
			defer coll.Close()
			require.Len(t, coll.Programs, len(spec.Programs))
			for _, p := range coll.Programs {
				info, err := p.Info()
				require.NoError(t, err)
				id, known := info.BTFID()
				require.True(t, known && id != 0, "%s: no types of its own", info.Name)
			}
		})
	}
}

// TestPruneIsSmall holds that little is left, and that pointers lead nowhere.
func TestPruneIsSmall(t *testing.T) {
	testkit.NeedBPF(t)
	spec, err := bpf.LoadSnapshot()
	require.NoError(t, err)
	known, err := newTypes().of(spec)
	require.NoError(t, err)
	var task *btf.Struct
	require.NoError(t, known.types.TypeByName("task_struct", &task))
	require.NotEmpty(t, task.Members)
	n := 0
	for typ, err := range known.types.All() {
		require.NoError(t, err)
		if p, ok := typ.(*btf.Pointer); ok {
			require.IsType(t, (*btf.Void)(nil), p.Target)
		}
		n++
	}
	require.Less(t, n, 3000)
	t.Logf("%d types", n)
}

// TestBadBTF reads descriptions that are none.
func TestBadBTF(t *testing.T) {
	good := (&pruner{names: map[string]bool{}, strings: []byte{0}}).bytes()
	_, err := parseBTF(good, nil)
	require.NoError(t, err)
	with := func(at int, word uint32) []byte {
		b := bytes.Clone(good)
		binary.NativeEndian.PutUint32(b[at:], word)
		return b
	}
	types := func(words ...uint32) []byte {
		p := &pruner{names: map[string]bool{}, strings: []byte{0}}
		for _, w := range words {
			p.types = binary.NativeEndian.AppendUint32(p.types, w)
		}
		return p.bytes()
	}
	for name, raw := range map[string][]byte{
		"empty": nil, "short": good[:20], "magic": with(0, 0x1234),
		"types behind the end": with(12, 1<<31), "strings behind the end": with(20, 1<<31),
		"half a type": types(0, btfInt<<24), "kind 0": types(0, 0, 0), "kind 31": types(0, 31<<24, 0),
		"members behind the end": types(0, btfStruct<<24|0xffff, 0),
	} {
		_, err := parseBTF(raw, nil)
		require.True(t, errors.Is(err, errBTF), "%s: %v", name, err)
	}
}

// TestPruneLoops: a struct that holds itself ends in an error.
func TestPruneLoops(t *testing.T) {
	p := &pruner{names: map[string]bool{}, strings: []byte("\x00loop\x00")}
	for _, w := range []uint32{1, btfStruct<<24 | 1, 8, 0, 1, 0} {
		p.types = binary.NativeEndian.AppendUint32(p.types, w)
	}
	b, err := parseBTF(p.bytes(), nil)
	require.NoError(t, err)
	_, err = prune(b, nil, map[string]bool{"loop": true}, nil)
	require.ErrorIs(t, err, errBTF)
}

// FuzzPrune feeds it what no kernel shows: an error or a description, never a
// panic, and never much more than was there.
func FuzzPrune(f *testing.F) {
	p := &pruner{names: map[string]bool{}, strings: []byte("\x00task_struct\x00pid\x00int\x00")}
	for _, w := range []uint32{17, btfInt << 24, 4, 32, 1, btfStruct<<24 | 1, 8, 13, 1, 32} {
		p.types = binary.NativeEndian.AppendUint32(p.types, w)
	}
	f.Add(p.bytes())
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := parseBTF(raw, nil)
		if err != nil {
			return
		}
		known, err := prune(b, nil, map[string]bool{"task_struct": true}, map[string]bool{"int": true})
		if err != nil {
			return
		}
		for typ, err := range known.types.All() {
			if err == nil && strings.Count(typ.TypeName(), "")-1 > len(raw) {
				t.Fatal("a name that was not there")
			}
		}
	})
}

// BenchmarkTypes is what types cost before the first program: ours for one unit,
// and the library's for all.
func BenchmarkTypes(b *testing.B) {
	testkit.NeedBPF(b)
	spec, err := bpf.LoadSnapshot()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := newTypes().of(spec); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("library", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			kernel, err := btf.LoadKernelSpec()
			if err != nil {
				b.Fatal(err)
			}
			if _, err := idOf(kernel, "bpf_iter_task"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
