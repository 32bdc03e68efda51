package correlate

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestUnknownIsNull(t *testing.T) {
	h := Hang{
		ID: "1", Role: "victim",
		Mount:  &Mount{Kind: "fuse"},
		Volume: &Volume{Pod: &Pod{UID: "u", State: "unknown", Source: "path"}},
	}
	text, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), `:""`) && !strings.Contains(string(text), `"source":""`) {
		t.Errorf("an empty string stands for unknown: %s", text)
	}
	for _, want := range []string{
		`"syscall":null`, `"name":null,"namespace":null`, `"id":null,"device":null`,
		`"attached":null`, `"killable":null`, `"waits_behind":null`, `"kernel_stack":null`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("missing %s in %s", want, text)
		}
	}
}

func TestEmptyIsNotUnknown(t *testing.T) {
	text, err := json.Marshal(Report{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"hangs":[]`, `"targets":[]`, `"skipped":[]`, `"degraded":[]`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("missing %s in %s", want, text)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	at := time.Date(2026, 3, 4, 3, 0, 0, 5, time.UTC)
	hang := &Hang{
		ID: "1", Reason: ReasonPageFault, Role: "root",
		Task:    Task{PID: 1, TID: 2, Comm: "a", Killable: new(false)},
		Blocked: Blocked{ForMS: 1, Since: at, Source: "entry"},
		Path:    Path{Value: "/a/\xff\xfe/ü\n", Source: "argument"},
		Mount:   &Mount{ID: 33, Kind: "cephfs", Attached: new(true)},
	}
	values := []any{
		&Report{TakenAt: at, Hangs: []*Hang{hang}, Targets: []Target{{PID: 1, StartedAt: &at}}},
		&Report{TakenAt: at},
		&Event{Kind: EventHangEnded, Time: at, Hang: hang, Ret: new(int64(-5)), DurationNS: new(uint64(1))},
		&Event{Kind: EventLost, Time: at, Lost: Counts{"ring": 3}},
		&Event{Kind: EventSummary, Time: at, Summary: &LiveSummary{Seen: 1}},
	}
	for _, want := range values {
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got := reflect.New(reflect.TypeOf(want).Elem()).Interface()
		if err := json.Unmarshal(text, got); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("came back different: %s", text)
		}
	}
}

func TestEventIsFlat(t *testing.T) {
	text, err := json.Marshal(Event{Schema: EventSchema, Kind: EventHangSeen, Hang: &Hang{ID: "7"}})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(text), `{"schema":"hangtrace.event/v1","event":"hang_seen",`) || !strings.Contains(string(text), `"id":"7"`) {
		t.Errorf("not flat: %s", text)
	}
	text, err = json.Marshal(Event{Schema: EventSchema, Kind: EventNotice, Notice: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), `"task"`) {
		t.Errorf("fields of a hang without a hang: %s", text)
	}
}
