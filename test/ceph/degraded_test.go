package ceph

import (
	"strings"
	"time"
)

// handicaps take something away from the tool on the hung guest. The report
// must say so, and lose nothing else. The last one cannot be undone.
var handicaps = []struct {
	name, impose, lift string
	// Said is in the report's degraded or skipped list; "" where nothing is
	// lost.
	said string
	// Blind tells that servers are then known by stacks at best.
	blind bool
	// Doctor tells that hangtrace doctor must say it, too.
	doctor bool
}{
	{name: "no debugfs", impose: "umount /sys/kernel/debug/tracing 2>/dev/null; umount /sys/kernel/debug; ! grep -q ' debugfs ' /proc/mounts",
		lift: "mount -t debugfs none /sys/kernel/debug"},
	{name: "no module BTF", impose: "mkdir -p /run/btf; cp /sys/kernel/btf/vmlinux /run/btf/ && mount -o bind /run/btf /sys/kernel/btf",
		lift: "umount /sys/kernel/btf", said: "no type information (BTF) of module", blind: true},
	{name: "kptr_restrict", impose: "echo 2 >/proc/sys/kernel/kptr_restrict", lift: "echo 0 >/proc/sys/kernel/kptr_restrict",
		said: "kernel symbols are hidden (kptr_restrict"},
	{name: "lockdown", impose: "mount -t securityfs none /sys/kernel/security; echo confidentiality >/sys/kernel/security/lockdown",
		said: "kernel lockdown (confidentiality)", blind: true, doctor: true},
}

// degraded asks for the same hangs under each handicap.
func (l *lab) degraded(ops []started, since time.Time) {
	for _, h := range handicaps {
		l.in(h.name, func(l *lab) {
			needTool(l)
			if o := l.guest(20*time.Second, h.impose); o.code != 0 {
				l.t.Fatalf("status %d: %s%s", o.code, o.stdout, o.stderr)
			}
			if h.lift != "" {
				defer l.mustGuest(20*time.Second, h.lift)
			}
			o := l.guest(150*time.Second, toolPath+" report --pid all --fs all "+within(120*time.Second)+" -o json")
			took := time.Since(since).Milliseconds() + 2000
			if o.code != 3 {
				l.t.Errorf("exit status %d, want 3\n%s", o.code, o.stderr)
			}
			r, err := parseReport([]byte(o.stdout))
			if err != nil {
				l.t.Fatalf("%v: %s%s", err, o.stdout, o.stderr)
			}
			said := strings.Join(r.Capture.Degraded, "; ")
			for _, s := range r.Capture.Skipped {
				said += "; " + s.What + ": " + s.Why
			}
			if !strings.Contains(said, h.said) {
				l.t.Errorf("said is %q, want %q in it", said, h.said)
			}
			l.t.Logf("said: %s", said)
			if h.doctor {
				if o := l.guest(60*time.Second, toolPath+" doctor "+within(25*time.Second)); o.code != 0 || !strings.Contains(strings.Join(strings.Fields(o.stdout), " "), h.said) {
					l.t.Errorf("doctor: status %d, want %q in %s%s", o.code, h.said, o.stdout, o.stderr)
				}
			}
			found := byTID(r.Hangs)
			for _, op := range ops {
				hangs := found[op.pid]
				if len(hangs) != 1 {
					l.t.Errorf("%s is reported %d times, want once", op.Name, len(hangs))
					continue
				}
				for _, bad := range l.weaker(op.hungOp, hangs[0], took, h.blind) {
					l.t.Errorf("%s: %s", op.Name, bad)
				}
			}
		})
	}
}

// weaker is what is wrong with a hang beyond what a handicap excuses: whom it
// waits for may be known less well, and never wrongly.
func (l *lab) weaker(want hungOp, h hang, maxMS int64, blind bool) []string {
	if !blind {
		return complaints(want, h, 1000, maxMS)
	}
	want.Server, want.Request, want.Evidence, want.State = "", nil, "", ""
	want.WaitsOn = append([]string{"unknown", "block-device", "lock"}, want.WaitsOn...)
	return complaints(want, h, 1000, maxMS)
}
