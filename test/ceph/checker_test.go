package ceph

import (
	"fmt"
	"strings"
	"testing"
)

// asHang writes a hang as the tool should, for the tests of the checker.
func asHang(o hungOp, tid int) string {
	v := volumes[o.Mount]
	call := "null"
	if len(o.Syscalls) > 0 {
		call = fmt.Sprintf(`{"name":%q}`, o.Syscalls[0])
	}
	ns, name, _ := strings.Cut(v.PodName, "/")
	return fmt.Sprintf(`{"id":"id-%d","reason":%q,"task":{"pid":%d,"tid":%d,"comm":"hangop"},"syscall":%s,
		"blocked":{"for_ms":2500},"path":{"value":%q},"mount":{"kind":%q},"waiting_on":{"kind":%q},
		"volume":{"pod":{"uid":%q,"name":%q,"namespace":%q},"plugin":%q,"name":%q,"pv":%q,"driver":%q}}`,
		tid, o.Reason, tid, tid, call, o.fullPath(), v.Kind, o.WaitsOn[0], v.PodUID, name, ns, v.Plugin, v.Name, v.PV, v.Driver)
}

func TestCheckerAcceptsWhatTheTableSays(t *testing.T) {
	for _, p := range phases {
		for _, o := range p.all() {
			r, err := parseReport([]byte(`{"schema":"hangtrace.report/v1","hangs":[` + asHang(o, 7) + `]}`))
			if err != nil {
				t.Fatal(err)
			}
			if bad := complaints(o, r.Hangs[0], 1000, 3000); len(bad) > 0 {
				t.Errorf("%s: %v", o.Name, bad)
			}
			if bad := strangers(r.Hangs, []int{7}); len(bad) > 0 {
				t.Errorf("%s: %v", o.Name, bad)
			}
		}
	}
}

// TestCheckerSeesFaults plants one fault after the other.
func TestCheckerSeesFaults(t *testing.T) {
	o := phases[0].Ops[2] // creat below a CSI volume: has everything
	good := asHang(o, 7)
	for _, c := range []struct{ old, new, complaint string }{
		{`"reason":"in_syscall"`, `"reason":"page_fault"`, "reason"},
		{`"name":"openat"`, `"name":"stat"`, "syscall"},
		{o.fullPath(), o.Mount, "path"},
		{`"for_ms":2500`, `"for_ms":0`, "blocked"},
		{`"for_ms":2500`, `"for_ms":99999999`, "blocked"},
		{`"kind":"cephfs"`, `"kind":"fuse"`, "mount.kind"},
		{`"uid":"` + csiUID, `"uid":"` + rbdUID, "volume.pod.uid"},
		{`"name":"db-0"`, `"name":""`, "pod is"},
		{`"name":"` + csiPV, `"name":"` + rbdPV, "volume.name"},
		{`"pv":"` + csiPV, `"pv":"`, "volume.pv"},
		{`"driver":"cephfs.csi.ceph.com"`, `"driver":""`, "volume.driver"},
		{`"volume":{`, `"volume_":{`, "volume is null"},
		{`"mount":{`, `"mount_":{`, "mount is null"},
		{`"path":{`, `"path_":{`, "path"},
		{`"kind":"mds"`, `"kind":"unknown"`, "waiting_on.kind"},
		{`"waiting_on":{`, `"waiting_on_":{`, "waiting_on"},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		if text == good {
			t.Fatalf("fault %q was not planted", c.old)
		}
		r, err := parseReport([]byte(`{"schema":"hangtrace.report/v1","hangs":[` + text + `]}`))
		if err != nil {
			t.Fatal(err)
		}
		if bad := strings.Join(complaints(o, r.Hangs[0], 1000, 3000), "; "); !strings.Contains(bad, c.complaint) {
			t.Errorf("%s instead of %s: complaints %q, want one about %q", c.new, c.old, bad, c.complaint)
		}
	}
}

func TestCheckerSeesStrangers(t *testing.T) {
	r, err := parseReport([]byte(`{"schema":"hangtrace.report/v1","hangs":[` + asHang(phases[0].Ops[0], 8) + `,
		{"id":"k","task":{"tid":9,"kernel_thread":true}}, {"id":"n"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if bad := strangers(r.Hangs, []int{7}); len(bad) != 2 {
		t.Errorf("strangers are %q, want tid 8 and the hang without a task", bad)
	}
}

func TestParseRefusesForeignText(t *testing.T) {
	if _, err := parseReport([]byte(`{"schema":"other/v1"}`)); err == nil {
		t.Error("a report of another schema was taken")
	}
	if _, err := parseReport([]byte(`hangtrace: error`)); err == nil {
		t.Error("text was taken as a report")
	}
	if _, err := parseEvents([]byte("{\"schema\":\"hangtrace.event/v1\",\"event\":\"summary\"}\nx\n")); err == nil {
		t.Error("text was taken as events")
	}
}
