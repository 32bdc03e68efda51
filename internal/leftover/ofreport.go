package leftover

import (
	"math"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/facts"
)

// OfReport says what a report's own hangs show to be left over: mounts that
// hang, unmounts that do not end, file systems in use that nothing has mounted
// any more. A scan sees more: a report looks at no process's files, no pod
// directories, and only at the mount namespaces of its targets. So nothing is
// called an orphan here; the pod's state stands in the volume.
func OfReport(snap *facts.Snapshot, report *correlate.Report, opts Options) ([]*correlate.Leftover, error) {
	if len(report.Hangs) == 0 {
		return nil, nil
	}
	own := *snap
	own.Scan = &facts.Scan{HostNS: snap.HostMountNS, MinAgeS: math.MaxInt32, FuseBefore: snap.Fuse}
	n, err := newNode(&own, report, opts)
	if err != nil {
		return nil, err
	}
	var out []*correlate.Leftover
	for _, s := range n.supers {
		n.attribute(s)
		s.hidden = nil // which namespaces have a process is not known
		if snap.HostMountNS == 0 {
			s.host, s.foreign = append(s.host, s.foreign...), nil
		}
	}
	stuck, taken := n.stuckUmounts()
	out = append(out, stuck...)
	for _, s := range n.list() {
		if len(s.hangs) > 0 && !taken[s.device] && n.wanted(s) {
			out = append(out, n.ofSuper(s)...)
		}
	}
	return inOrder(out), nil
}
