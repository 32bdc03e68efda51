package report

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/hangtrace/hangtrace/internal/facts"
)

const stacksSchema = "hangtrace.stacks.v1.json"

// stackDump has a hung thread, threads and goroutines with one stack, a stack
// too deep, a program that is not Go, and what could not be had.
func stackDump() *facts.StackDump {
	read := []facts.UserFrame{
		{Function: "syscall.Syscall6", File: "/usr/local/go/src/syscall/syscall_linux.go", Line: 95},
		{Function: "os.Stat", File: "/usr/local/go/src/os/stat.go", Line: 13, Inlined: true},
		{Function: "k8s.io/kubernetes/pkg/kubelet.(*Kubelet).syncLoop", File: "/src/kubelet.go", Line: 2400, Via: "systemstack"},
	}
	wait := []facts.UserFrame{
		{Function: "runtime.gopark", File: "/usr/local/go/src/runtime/proc.go", Line: 461},
		{Function: "main.deep", File: "/src/main.go", Line: 7},
		{Function: "main.main", File: "/src/main.go", Line: 3},
	}
	parked := func(id uint64) facts.UserStack {
		return facts.UserStack{PID: 2161, Frames: wait, Elided: 3000, ElidedAt: 2, Goroutine: &facts.Goroutine{ID: id, Status: "waiting"}}
	}
	return &facts.StackDump{
		Schema: facts.StackDumpSchema, TakenAt: sampleTime, TookMS: 12, Backend: facts.BackendBPF,
		Node: facts.Node{Hostname: "worker-3", Kernel: "6.18.0-amd64", Arch: "amd64", BootID: "6b1b5d3e", UptimeS: 1, PageSize: 4096},
		Processes: []facts.ProcessStacks{
			{
				PID: 2161, Comm: "kubelet", Exe: "/usr/bin/kubelet", Runtime: "go1.26.8",
				Threads: []facts.ThreadStacks{
					{TID: 2210, Comm: "kubelet", State: "D", Kernel: fuseStack, User: &facts.UserStack{PID: 2161, TID: 2210, Frames: read, Goroutine: &facts.Goroutine{ID: 212, Status: "syscall", WaitSinceNS: 5}}},
					{TID: 2211, Comm: "kubelet", State: "S", Kernel: []string{"futex_wait_queue+0x1"}, User: &facts.UserStack{PID: 2161, TID: 2211, End: "it ran while its stack was read"}},
					{TID: 2212, Comm: "kubelet", State: "R"},
				},
				Parked: []facts.UserStack{parked(1), parked(17)},
			},
			{
				PID: 9, Comm: "df\x1b[2J", ParkedErr: "",
				Threads: []facts.ThreadStacks{{TID: 9, Comm: "df", State: "S", Kernel: []string{"wait_generic_request+0x1 [libceph]"}, User: &facts.UserStack{
					PID: 9, TID: 9, End: "libc.so.6 has no call frame information",
					Frames: []facts.UserFrame{{Module: "/usr/lib/libc.so.6", Offset: 0x1234, BuildID: "93ac61ec"}},
				}}},
			},
		},
		Skipped: []facts.Skipped{{What: "user stacks of pid 7", Why: "program /mnt/x lies on a mount that may hang (device 0:53)"}},
	}
}

func TestStacksText(t *testing.T) {
	var b bytes.Buffer
	if err := Stacks(&b, FormText, stackDump(), Options{}); err != nil {
		t.Fatal(err)
	}
	golden(t, "stacks.text", b.Bytes())
	b.Reset()
	if err := Stacks(&b, FormFolded, stackDump(), Options{}); err != nil {
		t.Fatal(err)
	}
	golden(t, "stacks.folded", b.Bytes())
}

// TestStacksSchema holds the schema against a dump, an empty one, and one whose
// every field is set.
func TestStacksSchema(t *testing.T) {
	schema := compiled(t, stacksSchema)
	var all facts.StackDump
	fill(reflect.ValueOf(&all).Elem(), "", "")
	all.Schema = facts.StackDumpSchema
	for name, d := range map[string]*facts.StackDump{
		"sample": stackDump(), "empty": {Schema: facts.StackDumpSchema, TakenAt: sampleTime, Backend: "proc"}, "all": &all,
	} {
		var b bytes.Buffer
		if err := Stacks(&b, FormJSON, d, Options{}); err != nil {
			t.Fatal(err)
		}
		validate(t, schema, name, b.Bytes())
		var back facts.StackDump
		if err := json.Unmarshal(b.Bytes(), &back); err != nil || len(back.Processes) != len(d.Processes) {
			t.Errorf("%s: %v", name, err)
		}
	}
	bad := stackDump()
	bad.Processes[0].Threads[0].TID = 0
	var b bytes.Buffer
	if err := Stacks(&b, FormJSON, bad, Options{}); err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := json.Unmarshal(b.Bytes(), &doc); err != nil || schema.Validate(doc) == nil {
		t.Error("the schema takes a thread without a number")
	}
}

// goToolPprof shows a profile with the tool that it is for.
func goToolPprof(t *testing.T, profile []byte, args ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "profile.pb.gz")
	if err := os.WriteFile(file, profile, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", append(append([]string{"tool", "pprof"}, args...), file)...)
	cmd.Env = append(os.Environ(), "PPROF_TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go tool pprof %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func wantAll(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%q is missing in\n%s", w, text)
		}
	}
}

// TestProfilesOpen opens what report and stacks write with go tool pprof.
func TestProfilesOpen(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip(err)
	}
	var b bytes.Buffer
	if err := Write(&b, FormPprof, kubeletFUSE(), Options{}); err != nil {
		t.Fatal(err)
	}
	// pprof shows 41m12s of blocked time in the unit that fits.
	wantAll(t, goToolPprof(t, b.Bytes(), "-top"), "Type: blocked", "request_wait_answer", "_[k]", "os.Stat", "(*Kubelet).HandlePodCleanups", "2472s")
	wantAll(t, goToolPprof(t, b.Bytes(), "-tags"), "pod:", "volume:", "pvc-3f6a1c9e-77d2-4c0b-8a55-0d1e2f3a4b5c", "path:", "server:", "role:", "root")
	wantAll(t, goToolPprof(t, b.Bytes(), "-top", "-tagfocus=role=victim"), "Showing nodes accounting for 0, 0% of 2472s total")

	b.Reset()
	if err := Stacks(&b, FormPprof, stackDump(), Options{}); err != nil {
		t.Fatal(err)
	}
	wantAll(t, goToolPprof(t, b.Bytes(), "-top"), "Type: threads", "request_wait_answer [fuse]_[k]", "runtime.gopark", "main.deep", "(3000 frames left out)", "libc.so.6+0x1234")
	wantAll(t, goToolPprof(t, b.Bytes(), "-traces"), "main.main", "comm:  kubelet", `df\x1b[2J`)
}
