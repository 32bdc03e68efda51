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
	request := "null"
	if len(o.Request) > 0 {
		request = fmt.Sprintf(`{"id":"4","op":%q,"target":"x%s","for_ms":2000}`, o.Request[0], o.Target)
	}
	return fmt.Sprintf(`{"id":"id-%d","reason":%q,"task":{"pid":%d,"tid":%d,"comm":"hangop"},"syscall":%s,
		"blocked":{"for_ms":2500},"path":{"value":%q},"mount":{"kind":%q,"image":%q,"attached":%v},
		"waiting_on":{"kind":%q,"name":%q,"address":"v1:10.99.0.1:6801","state":%q,"request":%s,"open_requests":{"total":1},"evidence":[%q]},
		"volume":{"pod":{"uid":%q,"name":%q,"namespace":%q},"plugin":%q,"name":%q,"pv":%q,"driver":%q},"role":"root","group":"g"}`,
		tid, o.Reason, tid, tid, call, o.fullPath(), v.Kind, v.Image, !v.Detached, o.WaitsOn[0], o.Server, o.State, request, o.Evidence,
		v.PodUID, name, ns, v.Plugin, v.Name, v.PV, v.Driver)
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
	o.Target, o.Evidence, o.State = "/d2/new", "seen twice", "open"
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
		{`"name":"mds.0"`, `"name":"mds.1"`, "waiting_on.name"},
		{`"address":"v1:10.99.0.1:6801"`, `"address":null`, "waiting_on.address"},
		{`"state":"open"`, `"state":"closed"`, "waiting_on.state"},
		{`"op":"create"`, `"op":"unlink"`, "request.op"},
		{`"target":"x/d2/new"`, `"target":"/d3"`, "request.target"},
		{`"for_ms":2000`, `"for_ms":90000`, "request.for_ms"},
		{`"for_ms":2000`, `"for_ms":null`, "request.for_ms"},
		{`"request":{`, `"request_":{`, "request is null"},
		{`"open_requests":{`, `"open_requests_":{`, "open_requests"},
		{`"evidence":["seen twice"]`, `"evidence":[]`, "evidence"},
		{`"attached":true`, `"attached":false`, "mount.attached"},
		{`"image":""`, `"image":"rbd/vol"`, "mount.image"},
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

func TestCheckerSeesTheUnexplained(t *testing.T) {
	creat, read := asHang(phases[0].Ops[2], 7), ""
	for _, o := range phases[len(phases)-1].Ops {
		if o.Mount == rbdMount {
			read = asHang(o, 8)
		}
	}
	for _, c := range []struct {
		name        string
		hangs       []string
		loose, torn int
	}{
		{"as it should be", []string{creat, read}, 0, 0},
		{"unknown", []string{strings.Replace(creat, `"kind":"mds"`, `"kind":"unknown"`, 1)}, 1, 0},
		{"no request", []string{strings.Replace(creat, `"request":{`, `"request_":{`, 1)}, 1, 0},
		{"a lock of nobody known", []string{strings.Replace(strings.Replace(creat, `"request":{`, `"request_":{`, 1), `"role":"root"`, `"role":"victim"`, 1)}, 1, 0},
		{"two groups", []string{read, strings.Replace(read, `"group":"g"`, `"group":"h"`, 1)}, 0, 1},
	} {
		r, err := parseReport([]byte(`{"schema":"hangtrace.report/v1","hangs":[` + strings.Join(c.hangs, ",") + `]}`))
		if err != nil {
			t.Fatal(err)
		}
		if loose, torn := unexplained(r.Hangs), scattered(r.Hangs); len(loose) != c.loose || len(torn) != c.torn {
			t.Errorf("%s: unexplained %q, scattered %q", c.name, loose, torn)
		}
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
