package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/hangtrace/hangtrace/internal/testkit"
)

// The snapshot's contestants.
const (
	nameReport = "hangtrace report"
	nameReader = "a reader of /proc"
	namePS     = "ps -eLo"
)

// measureReports lets threads hang and looks at them by each means in turn.
func (b *bench) measureReports(quick bool) error {
	for _, size := range []struct{ threads, turns, bar int }{{100, 9, 60}, {1000, 7, 120}, {10_000, 5, 600}} {
		if quick {
			size.turns = 3
		}
		b.progress("report: %d blocked threads", size.threads)
		if err := b.measureReport(size.threads, size.turns, size.bar); err != nil {
			return fmt.Errorf("report of %d threads: %w", size.threads, err)
		}
	}
	return nil
}

// crowd blocks threads on a volume of a pod, for longer than the threshold.
func (b *bench) crowd(n int) (*testkit.HangFS, *testkit.Victim, error) {
	uid, pv := fmt.Sprintf("3e5c5b0c-7a57-4f6e-9f0e-%012d", n), fmt.Sprintf("pvc-%d", n)
	if _, err := b.tree.Pod(uid, "shop", "catalog-0"); err != nil {
		return nil, nil, err
	}
	point, err := b.tree.CSIMount(uid, testkit.CSIVolume{PV: pv, Driver: "cephfs.csi.ceph.com", Handle: "0001-0009-rook-" + pv, Node: "bench"})
	if err != nil {
		return nil, nil, err
	}
	fs, err := b.MountHangFS(testkit.HangFSOptions{MountPoint: point})
	if err != nil {
		return nil, nil, err
	}
	v, err := b.Crowd(fs, n)
	time.Sleep(1500 * time.Millisecond)
	return fs, v, err
}

func (b *bench) measureReport(threads, turns, bar int) error {
	fs, v, err := b.crowd(threads)
	if err != nil {
		return err
	}
	defer func() { // the daemon's death frees them
		v.Kill()
		fs.Kill()
		v.Wait(patience)
	}()
	report := []string{b.bin, "report", "--pid", strconv.Itoa(v.PID), "--kubelet-root", b.tree.Root, "-o", "json"}
	if err := b.checkReport(report, threads); err != nil {
		return err
	}
	means := map[string][]string{nameReport: report, nameReader: {"/proc/self/exe", wordRead, strconv.Itoa(v.PID)}}
	if _, err := exec.LookPath("ps"); err == nil {
		means[namePS] = []string{"ps", "-eLo", "pid,tid,stat,wchan:32,comm"}
	} else {
		b.leaveOut(namePS, "ps is not installed")
	}
	got, err := b.inTurn(means, turns)
	if err != nil {
		return err
	}
	what := plural(threads, "blocked thread")
	mine, reader := got[nameReport], got[nameReader]
	b.row("report, "+what, fmt.Sprintf("<= %d ms", bar), mine.time(), verdict(median(mine.took) <= float64(bar)))
	b.row("report, "+what+": resident at most", "", spread(mine.rss, " MiB"), "")
	faster := ratios(reader.took, mine.took)
	b.row("report, "+what+": a reader of /proc / report", ">= 5", spread(faster, ""), verdict(median(faster) >= 5))
	b.row("a reader of /proc, "+what, "", reader.time(), "")
	if ps := got[namePS]; ps != nil {
		b.row("ps -eLo, "+what, "", ps.time(), "")
	}
	return nil
}

// checkReport wants every thread in it before it is timed.
func (b *bench) checkReport(report []string, threads int) error {
	cmd := exec.Command(report[0], report[1:]...)
	text, _ := cmd.Output() // exit code 3: something hangs
	var said struct {
		Summary struct {
			HungThreads int `json:"hung_threads"`
		} `json:"summary"`
	}
	if err := json.Unmarshal(text, &said); err != nil {
		return fmt.Errorf("no report: %w", err)
	}
	if n := said.Summary.HungThreads; n != threads {
		return fmt.Errorf("the report has %d threads of %d", n, threads)
	}
	return nil
}

// runs are those of one program: ms of time and of CPU, and MiB.
type runs struct{ took, cpu, rss []float64 }

func (r *runs) time() string {
	return spread(r.took, " ms") + ", CPU " + figure(median(r.cpu)) + " ms"
}

// inTurn runs programs in an order shuffled anew in each turn.
func (b *bench) inTurn(means map[string][]string, turns int) (map[string]*runs, error) {
	out := make(map[string]*runs)
	var names []string
	for name := range means {
		names = append(names, name)
		out[name] = new(runs)
	}
	for range turns {
		rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		for _, name := range names {
			used, err := b.measured(means[name]...)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			r := out[name]
			r.took = append(r.took, float64(used.Took)/1e6)
			r.cpu = append(r.cpu, float64(used.CPU)/1e6)
			r.rss = append(r.rss, float64(used.MaxRSS)/(1<<20))
		}
	}
	return out, nil
}

// measured runs a program to its end, its output thrown away.
func (b *bench) measured(args ...string) (testkit.Usage, error) {
	file := filepath.Join(b.Dir, "usage")
	cmd := testkit.Measured(file, args...)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return testkit.Usage{}, err
	}
	defer null.Close()
	cmd.Stdout, cmd.Stderr = null, null
	p, err := b.Start(cmd)
	if err != nil {
		return testkit.Usage{}, err
	}
	if err := p.Wait(time.Minute); err != nil {
		p.Kill()
		return testkit.Usage{}, err
	}
	return testkit.ReadUsage(file)
}

func ratios(a, of []float64) (out []float64) {
	for i := range min(len(a), len(of)) {
		out = append(out, a[i]/of[i])
	}
	return out
}

// measureColdStart looks at a process that has nothing.
func (b *bench) measureColdStart(quick bool) error {
	turns := 15
	if quick {
		turns = 5
	}
	got, err := b.inTurn(map[string][]string{
		nameReport: {b.bin, "report", "--pid", strconv.Itoa(b.idle.PID), "--kubelet-root", b.tree.Root},
	}, turns)
	if err != nil {
		return err
	}
	r := got[nameReport]
	b.row("cold start of report on an idle target", "<= 60 ms", r.time(), verdict(median(r.took) <= 60))
	b.row("cold start of report: resident at most", "<= 32 MiB", spread(r.rss, " MiB"), verdict(median(r.rss) <= 32))
	return nil
}
