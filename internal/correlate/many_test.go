package correlate

import (
	"fmt"
	"testing"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// BenchmarkManyBehindOneServer judges ten thousand threads that wait for one
// FUSE daemon, and as many that wait for an MDS in debugfs: what is done for
// each must not grow with their number.
func BenchmarkManyBehindOneServer(b *testing.B) {
	const many = 10_000
	s := newScene()
	s.snap.FuseDaemons = []facts.FuseDaemon{{PID: 77, Comm: "ceph-fuse", State: "S", Number: 53}}
	c := facts.CephState{Source: facts.SourceDebugfs, CephFS: true, ID: 1, MDS: []facts.CephMDS{{Rank: 0, Address: "v1:10.0.0.1:1", Session: "open"}}}
	for i := range many {
		s.thread(2*i+1, nrStat, []uint64{s.str(fuseVol + "/x")}, inFuse)
		s.thread(2*i+2, nrStat, []uint64{s.str(fmt.Sprintf("%s/d%d", cephVol, i))}, inMds)
		c.MDSRequests = append(c.MDSRequests, facts.CephMDSRequest{TID: uint64(i), Op: "getattr", Ino: 1, Name: fmt.Sprintf("d%d", i), Path: fmt.Sprintf("d%d", i)})
	}
	s.snap.Ceph = []facts.CephState{c}
	for i := range 200 {
		s.snap.KernelLog = append(s.snap.KernelLog, facts.KernelLine{AtNS: nowNS - int64(i), Text: "libceph: mds0 something happened"})
	}
	set, _ := mountsAll()
	snap := s.snapshot()
	for b.Loop() {
		if _, err := Judge(snap, Options{Threshold: 1e9, Kinds: set}); err != nil {
			b.Fatal(err)
		}
	}
}
