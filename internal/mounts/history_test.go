package mounts

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hangtrace/hangtrace/internal/facts"
)

const (
	rootLine = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
	volLine  = "2 1 0:28 / /vol rw - ceph m:/v rw\n"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func isCeph(m Mount) bool { return m.Kind == KindCephFS }

func parseNS(t testing.TB, ns uint32, text string) *Table {
	t.Helper()
	table, err := Parse([]byte(text), ns, Blocks{})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestHistoryLookup(t *testing.T) {
	h := NewHistory()
	h.Remember(parseNS(t, 7, rootLine+volLine), t0)
	check := func(when, path string, wantID int, wantAttached bool) {
		t.Helper()
		m, attached, ok := h.Lookup(7, path, isCeph)
		if !ok || m.ID != wantID || attached != wantAttached {
			t.Errorf("%s: Lookup(%q) = %d, attached %t, %t; want %d, %t", when, path, m.ID, attached, ok, wantID, wantAttached)
		}
	}
	check("mounted", "/vol/f", 2, true)

	h.Remember(parseNS(t, 7, rootLine), t0.Add(time.Second))
	check("after umount -l", "/vol/f", 2, false)
	check("after umount -l", "/vol/", 2, false)
	check("after umount -l", "/volume", 1, true)
	if m, attached, _ := h.Lookup(7, "/vol/f", func(m Mount) bool { return m.Kind == KindNFS }); m.ID != 1 || !attached {
		t.Errorf("a kind that is not wanted: mount %d, %t", m.ID, attached)
	}
	if m, attached, ok := h.ByID(7, 2); !ok || attached || m.Point != "/vol" {
		t.Errorf("ByID: %+v, %t, %t", m, attached, ok)
	}
	if ms, attached := h.LookupDevice(7, "0:28"); len(ms) != 1 || attached {
		t.Errorf("LookupDevice: %+v, %t", ms, attached)
	}

	h.Remember(parseNS(t, 7, rootLine+"9 1 0:28 / /vol rw - nfs4 s:/ rw\n"), t0.Add(2*time.Second))
	check("another mount in its place", "/vol/f", 9, true)
	if ms, attached := h.LookupDevice(7, "0:28"); len(ms) != 1 || ms[0].ID != 9 || !attached {
		t.Errorf("a device number used again: %+v, %t", ms, attached)
	}

	h.Remember(parseNS(t, 7, rootLine+volLine), t0.Add(3*time.Second))
	check("back again", "/vol/f", 2, true)
	h.Gone(7)
	check("namespace gone", "/vol/f", 2, false)
	if m, attached, ok := h.Lookup(7, "/etc", nil); !ok || attached || m.ID != 1 {
		t.Errorf("root of a gone namespace: %+v, %t, %t", m, attached, ok)
	}
	if _, _, ok := h.Lookup(8, "/vol", nil); ok {
		t.Error("found in a namespace nobody knows")
	}
	if _, _, ok := h.Lookup(7, "vol", nil); ok {
		t.Error("a relative path is found")
	}
}

func TestHistoryLookupDeviceElsewhere(t *testing.T) {
	h := NewHistory()
	h.Remember(parseNS(t, 7, rootLine), t0)
	h.Remember(parseNS(t, 8, rootLine+volLine), t0)
	if ms, attached := h.LookupDevice(7, "0:28"); len(ms) != 1 || ms[0].Namespace != 8 || !attached {
		t.Errorf("%+v, %t", ms, attached)
	}
}

func TestHistoryNewestOfOnePlace(t *testing.T) {
	h := NewHistory()
	for i := range 3 {
		line := fmt.Sprintf("%d 1 0:%d / /vol rw - ceph m:/v%d rw\n", 10+i, 30+i, i)
		h.Remember(parseNS(t, 7, rootLine+line), t0.Add(time.Duration(i)*time.Second))
	}
	h.Remember(parseNS(t, 7, rootLine), t0.Add(time.Minute))
	if m, _, _ := h.Lookup(7, "/vol/x", isCeph); m.ID != 12 {
		t.Errorf("mount %d, want the one seen last", m.ID)
	}
	// A table that arrives late must not take the place of a newer one.
	h.Remember(parseNS(t, 7, rootLine+"20 1 0:50 / /late rw - ceph m:/l rw\n"), t0.Add(-time.Minute))
	if m, attached, _ := h.Lookup(7, "/late/x", isCeph); m.ID != 20 || attached {
		t.Errorf("late table: mount %d, attached %t", m.ID, attached)
	}
	if v := h.Vanished(); v[0].ID != 20 {
		t.Errorf("oldest is mount %d", v[0].ID)
	}
}

func TestHistoryBounded(t *testing.T) {
	h := NewHistory()
	h.Remember(parseNS(t, 7, rootLine+volLine), t0)
	for i := range 12 {
		var b strings.Builder
		b.WriteString(rootLine)
		for j := range 500 {
			fmt.Fprintf(&b, "%d 1 8:1 / /c%d/%d rw - ext4 /dev/sda1 rw\n", 1000*(i+1)+j, i, j)
			fmt.Fprintf(&b, "%d 1 0:9 / /o%d/%d rw - overlay o rw\n", 1000*(i+1)+500+j, i, j)
		}
		h.Remember(parseNS(t, 7, b.String()), t0.Add(time.Duration(i+1)*time.Second))
	}
	gone := h.Vanished()
	if len(gone) != maxVanished {
		t.Errorf("%d vanished mounts kept", len(gone))
	}
	for _, m := range gone {
		if m.Kind == KindOther {
			t.Fatalf("kept %+v", m)
		}
	}
	if m, attached, _ := h.Lookup(7, "/vol/f", isCeph); m.ID != 2 || attached {
		t.Errorf("the ceph mount was pushed out by local ones: %+v", m)
	}
}

func TestHistoryOf(t *testing.T) {
	h, err := HistoryOf([]facts.MountTable{
		{Namespace: 7, Text: rootLine, AsOf: t0},
		{Namespace: 7, Text: "1 0 8:1 /jail / rw - ext4 /dev/sda1 rw\n", AsOf: t0.Add(time.Second)},
		{Namespace: 7, Text: rootLine + volLine, Earlier: true, AsOf: t0.Add(time.Hour)},
		{Namespace: 8, Text: rootLine + volLine, Earlier: true, AsOf: t0},
		{Namespace: 9, Text: "rubbish", AsOf: t0},
	}, Blocks{})
	if err == nil || !strings.Contains(err.Error(), "namespace 9") {
		t.Errorf("error: %v", err)
	}
	for _, ns := range []uint32{7, 8} {
		if m, attached, ok := h.Lookup(ns, "/vol/f", isCeph); !ok || attached || m.ID != 2 {
			t.Errorf("namespace %d: %+v, %t, %t", ns, m, attached, ok)
		}
	}
	if m, attached, _ := h.Lookup(7, "/etc", nil); !attached || m.Root != "/" {
		t.Errorf("current table: %+v, %t", m, attached)
	}
	if ns := h.Namespaces(); len(ns) != 1 || ns[0] != 7 {
		t.Errorf("namespaces with a current table: %v", ns)
	}
}
