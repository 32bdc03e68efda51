package doctor

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/loader"
	"github.com/hangtrace/hangtrace/internal/proc"
	"github.com/hangtrace/hangtrace/internal/testkit"
)

func countHere(t *testing.T) Stats {
	p := proc.New("/proc")
	return Count(t.Context(), Options{Proc: p, Runner: expendable.NewRunner(expendable.Options{Proc: p}), Deadline: 30 * time.Second})
}

// TestCountSeesThisProcess loads programs, finds them as a session of this
// process, with what the loader says itself, and no more once they are gone.
func TestCountSeesThisProcess(t *testing.T) {
	testkit.NeedBPF(t)
	mine := func() *Session {
		s := countHere(t)
		for i := range s.Sessions {
			if p := s.Sessions[i].PID; p != nil && *p == os.Getpid() {
				return &s.Sessions[i]
			}
		}
		return nil
	}
	if s := mine(); s != nil {
		t.Fatalf("a session before anything is loaded: %+v", s)
	}
	snap, err := loader.NewSnapshotter(loader.SnapshotOptions{All: true})
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	s := mine()
	if s == nil || len(s.Units) != 1 || s.Units[0].Name != "snapshot" || s.Units[0].Counters == nil {
		t.Fatalf("%+v", s)
	}
	if s.Error != nil || len(s.Command) == 0 || filepath.Base(s.Command[0]) != filepath.Base(os.Args[0]) {
		t.Errorf("error %v, command %q", s.Error, s.Command)
	}
	for _, c := range s.Units[0].Counters {
		if c.Count != snap.Stats()[c.Site] {
			t.Errorf("%s: %d, the loader says %d", c.Site, c.Count, snap.Stats()[c.Site])
		}
	}
	snap.Close()
	if s := mine(); s != nil {
		t.Errorf("a session after all is closed: %+v", s)
	}
}

func sampleStats() Stats {
	pid, n, mem, off, at := 42, uint32(500), uint64(4096), false, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	runs, ns, missed := uint64(7), int64(7000), uint64(0)
	return Stats{Schema: StatsSchema, RunsCounted: &off, NotSeen: []string{"sessions in other PID namespaces"}, Sessions: []Session{
		{PID: &pid, StartedAt: &at, Command: []string{"hangtrace", "strace", "-p", "\x1b[2J\u202e"}, Units: []Unit{{
			Name: "strace", What: unitWords["strace"],
			Counters: []Counter{{"calls", loader.SiteUse, 10, "calls traced"}, {"lost_entries", loader.SiteLost, 3, "calls without a line"}, {"cut", loader.SiteDetail, 0, "strings"}},
			Programs: []Program{{ID: 1, Name: "strace_enter", Type: "Tracing", Runs: &runs, RunNS: &ns, Missed: &missed, VerifiedInstructions: &n, JITedBytes: &n, MemoryBytes: &mem}},
			Maps:     []Map{{ID: 1, Name: "ring", Type: "RingBuf", MaxEntries: 4096, MemoryBytes: &mem}, {ID: 2, Name: "rows", Type: "Array", MaxEntries: 1}},
		}}},
		{Error: text("refused"), Units: []Unit{{Name: "walk", What: unitWords["walk"], Programs: []Program{{ID: 2, Name: "walk_supers", Type: "Syscall"}}}}},
	}}
}

func TestWriteStats(t *testing.T) {
	s := sampleStats()
	s.Verdict = s.verdict()
	var b bytes.Buffer
	if err := WriteStats(&b, "text", s); err != nil {
		t.Fatal(err)
	}
	said := b.String()
	flat := strings.Join(strings.Fields(said), " ")
	for _, want := range []string{
		"2 sessions of hangtrace: 1 lost something, 1 not wholly known", "PID 42, since ", ": hangtrace strace -p ?[2J?",
		"lost 3 in lost_entries: calls without a line", "10 in calls: calls traced", "0 in cut",
		"strace_enter Tracing 7 7µs 0 500 500 4096", "2 maps, at least 4096 bytes",
		"Held by processes that are not seen from here:", "not known: refused", "counters not known: another version of hangtrace",
		"walk_supers Syscall unknown unknown unknown unknown unknown unknown", "Not seen: sessions in other PID namespaces",
		"sysctl kernel.bpf_stats_enabled=1",
	} {
		if !strings.Contains(flat, want) {
			t.Errorf("no %q in:\n%s", want, said)
		}
	}
	if strings.ContainsAny(said, "\x1b\u202e") {
		t.Errorf("escapes: %q", said)
	}
	for _, form := range []string{"json", "yaml"} {
		b.Reset()
		if err := WriteStats(&b, form, s); err != nil {
			t.Fatal(err)
		}
		if form == "json" {
			var back Stats
			if err := json.Unmarshal(b.Bytes(), &back); err != nil || len(back.Sessions) != 2 || back.Sessions[1].PID != nil || back.Sessions[1].Units[0].Programs[0].Runs != nil {
				t.Errorf("json: %v, %+v", err, back)
			}
		}
		if !strings.Contains(b.String(), "hangtrace.stats/v1") {
			t.Errorf("%s: %s", form, b.String())
		}
	}
	if err := WriteStats(&b, "html", s); err == nil {
		t.Error("html: no error")
	}
}

func TestStatsVerdict(t *testing.T) {
	lost, one := sampleStats().Sessions[0], uint64(1)
	fine := Session{Units: []Unit{{Counters: []Counter{{"calls", loader.SiteUse, 10, ""}}}}}
	unread := Session{Units: []Unit{{Counters: []Counter{{"cut", loader.SiteDetail, 1, ""}}}}}
	missed := Session{Units: []Unit{{Counters: []Counter{{}}, Programs: []Program{{Missed: &one}}}}}
	for _, c := range []struct {
		s        Stats
		says     string
		complete bool
	}{
		{Stats{}, "no session of hangtrace with BPF programs runs on this node", true},
		{Stats{NotSeen: []string{"x"}}, "whether sessions of hangtrace run on this node is not known", false},
		{Stats{Sessions: []Session{fine}}, "1 session of hangtrace: nothing lost, nothing unread", true},
		{Stats{Sessions: []Session{fine, unread}}, "2 sessions of hangtrace: 1 could not read something", true},
		{Stats{Sessions: []Session{lost, unread, missed}}, "3 sessions of hangtrace: 2 lost something, 1 could not read something", true},
		{Stats{Sessions: []Session{{Error: text("x")}}}, "1 session of hangtrace: 1 not wholly known", false},
	} {
		if got := c.s.verdict(); got != c.says || c.s.Complete() != c.complete {
			t.Errorf("%q, complete %t; want %q, %t", got, c.s.Complete(), c.says, c.complete)
		}
	}
}
