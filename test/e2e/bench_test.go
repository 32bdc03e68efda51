package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/testkit"
	"github.com/hangtrace/hangtrace/internal/testkit/victim"
)

// many is how many threads hang at once.
const many = 10_000

// crowd blocks many threads of one process on a volume whose daemon stopped,
// for longer than the default threshold.
func (s *stage) crowd(n int) *testkit.Victim {
	s.t.Helper()
	v, err := s.Crowd(s.csi(podUID, pvName), n)
	require.NoError(s.t, err)
	time.Sleep(1500 * time.Millisecond)
	return v
}

// TestReportOfTenThousandThreads wants them all, on either backend.
func TestReportOfTenThousandThreads(t *testing.T) {
	s := newStage(t)
	p := s.crowd(many)
	for _, backend := range backends {
		rep := report(t, s.Sandbox, exitHung, pid(p.PID), threshold, "--backend="+backend, "--deadline=30s", s.kubeletRoot())
		got := byTID(t, rep.Hangs)
		require.Len(t, got, many, "%s: %v", backend, rep.Capture)
		for _, h := range got {
			require.Equal(t, "ceph-fuse", string(h.Mount.Kind))
			require.NotNil(t, h.Volume)
		}
		require.Equal(t, many, rep.Summary.HungThreads)
	}
}

// BenchmarkReport measures whole runs: the bars are a second for an ordinary
// target, two with ten thousand blocked threads, and 64 MiB of memory.
func BenchmarkReport(b *testing.B) {
	for _, backend := range backends {
		b.Run("ordinary/"+backend, func(b *testing.B) {
			s := newStage(b)
			fs := s.csi(podUID, pvName)
			v := s.victim("ops", fs.MountPoint)
			s.hang(v, fs, len(victim.OpNames()))
			time.Sleep(2 * time.Second)
			measure(b, s, len(victim.OpNames()), pid(v.PID), "--backend="+backend, s.kubeletRoot())
		})
		b.Run(fmt.Sprintf("threads-%d/%s", many, backend), func(b *testing.B) {
			s := newStage(b)
			p := s.crowd(many)
			for _, form := range []string{"text", "json"} {
				b.Run(form, func(b *testing.B) {
					measure(b, s, many, pid(p.PID), "--backend="+backend, s.kubeletRoot(), "-o", form)
				})
			}
		})
	}
}

// measure runs report as a whole process and prints medians.
func measure(b *testing.B, s *stage, hangs int, args ...string) {
	b.Helper()
	var took, cpu, rss []float64
	for b.Loop() {
		r, used := measured(b, s.Sandbox, append([]string{"report"}, args...)...)
		require.Equal(b, exitHung, used.Code, "%s", &r.stderr)
		all := strings.Join(strings.Fields(r.stdout.String()), " ")
		said := strings.Contains(all, fmt.Sprintf("%d in all", hangs)) || strings.Contains(all, fmt.Sprintf(`"hung_threads": %d,`, hangs))
		require.True(b, said, "%.500s", all)
		took = append(took, float64(used.Took.Milliseconds()))
		cpu = append(cpu, float64(used.CPU.Milliseconds()))
		rss = append(rss, float64(used.MaxRSS)/(1<<20))
	}
	b.ReportMetric(median(took), "ms-median")
	b.ReportMetric(median(cpu), "cpu-ms-median")
	b.ReportMetric(median(rss), "MiB-median")
	b.ReportMetric(slices.Max(rss), "MiB-max")
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}
