package smoke

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		// From 5.11 on memory is charged to the cgroup and this may be refused.
		_ = rlimit.RemoveMemlock()
		return
	}
	if os.Getenv("HANGTRACE_REQUIRE_BPF") == "1" {
		t.Fatal("not root")
	}
	t.Skip("left out: needs root")
}

func TestKernel(t *testing.T) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	release := unix.ByteSliceToString(u.Release[:])
	t.Logf("%s %s", release, runtime.GOARCH)
	if want := os.Getenv("HANGTRACE_KERNEL"); !strings.HasPrefix(release, want) {
		t.Errorf("kernel %s, want %s", release, want)
	}
}

// TestRawTracepoint counts system calls with a program attached to sys_enter.
func TestRawTracepoint(t *testing.T) {
	needRoot(t)
	counts, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatalf("create map: %v", err)
	}
	defer counts.Close()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:    ebpf.RawTracepoint,
		License: "GPL",
		Instructions: asm.Instructions{
			asm.StoreImm(asm.RFP, -4, 0, asm.Word),
			asm.LoadMapPtr(asm.R1, counts.FD()),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -4),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "end"),
			asm.Mov.Imm(asm.R1, 1),
			asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("end"),
			asm.Return(),
		},
	})
	if err != nil {
		t.Fatalf("load: %+v", err)
	}
	defer p.Close()
	l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: "sys_enter", Program: p})
	if err != nil {
		t.Fatalf("attach: %v", err)
	}
	defer l.Close()
	for range 100 {
		unix.Getppid()
	}
	var n uint64
	if err := counts.Lookup(uint32(0), &n); err != nil {
		t.Fatal(err)
	}
	if n < 100 {
		t.Errorf("%d system calls counted, want 100 at least", n)
	}
}

// TestSyscallProgram runs a program with BPF_PROG_RUN: the walker needs it (5.14).
func TestSyscallProgram(t *testing.T) {
	needRoot(t)
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         ebpf.Syscall,
		Flags:        unix.BPF_F_SLEEPABLE,
		License:      "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 42), asm.Return()},
	})
	if err != nil && strings.HasPrefix(os.Getenv("HANGTRACE_KERNEL"), "5.10") {
		t.Logf("as expected on 5.10: %v", err)
		return
	}
	if err != nil {
		t.Fatalf("load: %+v", err)
	}
	defer p.Close()
	ret, err := p.Run(&ebpf.RunOptions{})
	if err != nil || ret != 42 {
		t.Errorf("run: %d, %v, want 42", ret, err)
	}
}

// TestTaskIterator runs an empty iterator over all tasks.
func TestTaskIterator(t *testing.T) {
	needRoot(t)
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         ebpf.Tracing,
		AttachType:   ebpf.AttachTraceIter,
		AttachTo:     "task",
		License:      "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		t.Fatalf("load: %+v", err)
	}
	defer p.Close()
	it, err := link.AttachIter(link.IterOptions{Program: p})
	if err != nil {
		t.Fatalf("attach: %v", err)
	}
	defer it.Close()
	r, err := it.Open()
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer r.Close()
	if _, err := r.Read(make([]byte, 64)); err == nil {
		t.Error("an empty iterator gave data")
	}
}

func TestBTF(t *testing.T) {
	needRoot(t)
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	var task *btf.Struct
	if err := kernel.TypeByName("task_struct", &task); err != nil {
		t.Error(err)
	}
}

type root struct{ fs.Inode }

// TestFUSE mounts, reads and unmounts without any helper program.
func TestFUSE(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	second := time.Second
	r := &root{}
	server, err := fs.Mount(dir, r, &fs.Options{
		EntryTimeout: &second,
		MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "ceph-fuse", Name: "ceph-fuse"},
	})
	if err != nil {
		t.Fatalf("mount: %v", err)
	}
	defer func() {
		if err := server.Unmount(); err != nil {
			t.Errorf("unmount: %v", err)
		}
	}()
	if _, err := os.Stat(filepath.Join(dir, "nothing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("stat in an empty file system: %v", err)
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || !strings.Contains(string(table), " - fuse.ceph-fuse ceph-fuse ") {
		t.Errorf("no fuse.ceph-fuse in mountinfo (%v): %s", err, table)
	}
}
