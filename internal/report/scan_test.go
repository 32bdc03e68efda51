package report

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"

	"github.com/hangtrace/hangtrace/internal/correlate"
)

const scanSchema = "hangtrace.scan.v1.json"

func sampleScan() *correlate.Scan {
	yes := true
	return &correlate.Scan{
		Schema: correlate.ScanSchema, TakenAt: time.Unix(1_700_000_000, 0).UTC(), TookMS: 12, Node: correlate.Node{Hostname: "n"},
		Leftovers: []*correlate.Leftover{{
			ID: "abc", Class: correlate.ClassHungMount, Path: "/var/lib/kubelet/a b\x1b[2J", Health: correlate.HealthHung,
			Mount:    &correlate.Mount{Device: "0:50", Kind: "cephfs", Attached: &yes, From: "mountinfo"},
			Volume:   &correlate.Volume{PV: "pvc-0a5c1f2e-6f0f-4a4e-9d0e-9a7d8c6b5a40", Pod: &correlate.Pod{UID: "u", Name: "catalog-0", Namespace: "shop", State: "running", Source: "cri"}},
			Evidence: []string{"2 threads are blocked on it"}, Holders: []correlate.Holder{{PID: 7, TID: 8, Comm: "kubelet", How: "blocked", ForMS: 60000}},
			Remedies: []correlate.Remedy{{Command: "umount -f x", Frees: "f", Risk: "r"}}, Warnings: []string{"not -l"},
		}, {ID: "def", Class: correlate.ClassOrphanDir}},
		Summary: correlate.ScanSummary{Findings: 2, ByClass: map[correlate.Class]int{correlate.ClassHungMount: 1, correlate.ClassOrphanDir: 1}, Verdict: "2 leftovers."},
	}
}

func TestScanForms(t *testing.T) {
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	for _, name := range []string{reportSchema, scanSchema} {
		if err := c.AddResource(schemaBase+name, schemaText(t, name)); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := c.Compile(schemaBase + scanSchema)
	if err != nil {
		t.Fatal(err)
	}
	empty := &correlate.Scan{Schema: correlate.ScanSchema, Summary: correlate.ScanSummary{ByClass: map[correlate.Class]int{}}}
	for _, s := range []*correlate.Scan{sampleScan(), empty} {
		for _, form := range ScanForms() {
			var b bytes.Buffer
			if err := WriteScan(&b, form, s, Options{}); err != nil {
				t.Fatalf("%s: %v", form, err)
			}
			text := b.Bytes()
			switch form {
			case FormYAML:
				if text, err = yaml.YAMLToJSON(text); err != nil {
					t.Fatal(err)
				}
				validate(t, schema, string(form), text)
			case FormJSON:
				validate(t, schema, string(form), text)
			default:
				if bytes.ContainsRune(text, '\x1b') {
					t.Errorf("%s lets an escape sequence through: %q", form, text)
				}
			}
		}
	}
	var b bytes.Buffer
	if err := WriteScan(&b, FormPprof, empty, Options{}); err == nil {
		t.Error("pprof is no form of a scan")
	}
}

func TestCheckLines(t *testing.T) {
	r := &correlate.Report{}
	for i := range 37 {
		h := &correlate.Hang{
			Role: "victim", Task: correlate.Task{PID: i, TID: i, Comm: "cat"}, Syscall: &correlate.Syscall{Name: "read"},
			Mount: &correlate.Mount{Kind: "cephfs"}, Blocked: correlate.Blocked{ForMS: 1000},
		}
		if i == 20 {
			h.Role, h.Task.ProcessComm, h.Syscall.Name, h.Blocked.ForMS = "root", "kubelet", "newfstatat", 41*60*1000
			h.WaitingOn = &correlate.WaitingOn{Kind: "mds", Name: "mds.0"}
			h.Volume = &correlate.Volume{PV: "pvc-ab12", Pod: &correlate.Pod{Name: "pod", Namespace: "ns"}}
		}
		r.Hangs = append(r.Hangs, h)
	}
	want := "cephfs mds.0 silent 41m: kubelet stat pvc-ab12 (ns/pod) +36 waiters"
	if got := CheckHangs(r); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	long := strings.Repeat("pvc-ü", 60)
	r.Hangs[20].Volume.PV = correlate.Text(long)
	s := sampleScan()
	s.Leftovers[0].Volume.PV = correlate.Text(long + "\n")
	for _, line := range []string{CheckHangs(r), CheckLeftovers(s.Leftovers), Clip(long)} {
		if n := len(line); n > CheckWidth || !utf8.ValidString(line) || strings.ContainsAny(line, "\n\x1b") {
			t.Errorf("%d bytes: %q", n, line)
		}
	}
	if CheckHangs(&correlate.Report{}) != "" || CheckLeftovers(nil) != "" {
		t.Error("a line for nothing")
	}
}

// TestScanSchemaNamesEveryClass keeps the schema's list whole.
func TestScanSchemaNamesEveryClass(t *testing.T) {
	text, err := os.ReadFile("../../docs/schema/" + scanSchema)
	if err != nil {
		t.Fatal(err)
	}
	for _, class := range correlate.Classes() {
		name, _ := json.Marshal(class)
		if !bytes.Contains(text, name) {
			t.Errorf("class %s is not in the schema", class)
		}
	}
}
