package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/mounts"
)

// row is a line of the table.
type row struct{ what, bar, measured, verdict string }

func (b *bench) row(what, bar, measured, verdict string) {
	b.rows = append(b.rows, row{what, bar, measured, verdict})
}

func verdict(met bool) string {
	if met {
		return "met"
	}
	return "**missed**"
}

// leaveOut says what is not in the table, and why.
func (b *bench) leaveOut(what, format string, args ...any) {
	b.left = append(b.left, what+": "+fmt.Sprintf(format, args...))
	b.progress("left out: %s", b.left[len(b.left)-1])
}

// most is a row whose bar is a ratio at most so large.
func (b *bench) most(what string, bar float64, list []float64) {
	if len(list) == 0 {
		b.row(what, fmt.Sprintf("<= %.2f", bar), "not measured", "")
		return
	}
	b.row(what, fmt.Sprintf("<= %.2f", bar), spread(list, ""), verdict(median(list) <= bar))
}

func (b *bench) least(what string, bar float64, list []float64) {
	if len(list) == 0 {
		b.row(what, fmt.Sprintf(">= %g", bar), "not measured", "")
		return
	}
	b.row(what, fmt.Sprintf(">= %g", bar), spread(list, ""), verdict(median(list) >= bar))
}

func (b *bench) callsSection(quick bool) error {
	budget := 75 * time.Second
	if quick {
		budget = 20 * time.Second
	}
	v, err := b.measureCalls(budget)
	if err != nil {
		return err
	}
	b.most("trace mode, stat by the target / untraced", 1.40, v.overUntraced(nameTrace, callStat))
	b.most("trace mode, stat by the target / the empty pair", 1.15, v.overEmpty(nameTrace, callStat))
	for _, k := range []int{callGetppid, callEpoll} {
		b.most("trace mode, "+kinds[k]+" by the target / the empty pair", 1.03, v.overEmpty(nameTrace, k))
	}
	for _, k := range allKinds {
		b.most("trace mode, "+kinds[k]+" by another process / the empty pair", 1.03, v.overEmpty(nameOther, k))
	}
	for _, k := range allKinds {
		b.most("sample mode, "+kinds[k]+" by the target / untraced", 1.01, v.overUntraced(nameSample, k))
	}
	for _, k := range allKinds {
		b.row("control: "+kinds[k]+", nothing attached / untraced", "", spread(v.overUntraced(nameNothing, k), ""), "")
		b.row("control: "+kinds[k]+", the empty pair once more / the empty pair", "", spread(v.overEmpty(nameEmptyAgain, k), ""), "")
	}
	b.most("strace mode, stat / untraced", 2.30, v.overUntraced(nameLines, callStat))
	b.least("strace -f on the same core / strace mode", 10, v.over(nameSameCore, nameLines, callStat))
	b.least("strace -f on another core / strace mode", 200, v.over(nameOtherCore, nameLines, callStat))
	b.costs(v)
	return nil
}

// costs are the rows of what each costs over an untraced call, for comparison.
func (b *bench) costs(v visits) {
	untraced := make([][]float64, len(kinds))
	empty := make([][]float64, len(kinds))
	for _, turns := range v {
		for _, one := range turns {
			for k := range kinds {
				if one.untraced[k].cpu > 0 {
					untraced[k] = append(untraced[k], one.untraced[k].cpu)
					empty[k] = append(empty[k], one.empty[k].cpu/one.untraced[k].cpu)
				}
			}
		}
	}
	for k, name := range kinds {
		b.row(name+", untraced", "", spread(untraced[k], " ns"), "")
		b.row(name+", the empty pair / untraced", "", spread(empty[k], ""), "")
	}
	for _, name := range []string{nameLines, nameFile, nameBpftrace, namePerf, nameSameCore, nameOtherCore} {
		if len(v[name]) > 0 {
			b.row("stat, "+name+" / untraced", "", spread(v.overUntraced(name, callStat), ""), "")
		}
	}
}

// measureMounts parses the mount table of a large node.
func (b *bench) measureMounts(quick bool) error {
	var text strings.Builder
	text.WriteString("22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n")
	const n = 5000
	for i := range n - 1 {
		fmt.Fprintf(&text, "%d 22 0:%d / /var/lib/kubelet/pods/7d6b5c1e-2f0a-4d6e-9b1b-%012d/volumes/kubernetes.io~csi/pvc-%d/mount"+
			" rw,relatime shared:%d - ceph 10.99.0.1:6789,10.99.0.2:6789:/volumes/csi/csi-vol-%d rw,name=csi,secret=<hidden>,acl\n",
			100+i, 50+i, i/3, i, i, i)
	}
	blocks := mounts.NewBlocks([]facts.BlockDevice{})
	var list []float64
	for range 25 {
		began := time.Now()
		table, err := mounts.Parse([]byte(text.String()), 1, blocks)
		if err != nil {
			return err
		}
		list = append(list, float64(time.Since(began))/1e6)
		if len(table.Mounts) != n {
			return fmt.Errorf("%d of %d mounts", len(table.Mounts), n)
		}
	}
	b.row("mountinfo of 5,000 mounts", "<= 10 ms", spread(list, " ms"), verdict(median(list) <= 10))
	return nil
}

// print writes the table and what belongs to it.
func (b *bench) print(out io.Writer) error {
	var t strings.Builder
	t.WriteString("| what | bar | measured: median (quartiles, number) | |\n|---|---|---|---|\n")
	for _, r := range b.rows {
		fmt.Fprintf(&t, "| %s | %s | %s | %s |\n", r.what, r.bar, r.measured, r.verdict)
	}
	fmt.Fprintf(&t, "\nMachine: %s; load %s at the end of %.0f s.\n", machine(), load(), time.Since(b.began).Seconds())
	var rivals []string
	for _, r := range [][2]string{{"strace", "-V"}, {"perf", "--version"}, {"bpftrace", "--version"}, {"ps", "--version"}} {
		if v := version(r[0], r[1]); v != "" {
			rivals = append(rivals, v)
		}
	}
	fmt.Fprintf(&t, "Beside: %s. hangtrace: %s.\n", strings.Join(rivals, "; "), version(b.bin, "version"))
	if b.disturbed > 0 {
		fmt.Fprintf(&t, "Dropped: %s during which others began or ended to trace this machine.\n", plural(b.disturbed, "visit"))
	}
	if b.foreign > 0 {
		fmt.Fprintf(&t, "Others traced this machine during %s: what is called untraced is not.\n", plural(b.foreign, "visit"))
	}
	for _, l := range b.left {
		fmt.Fprintf(&t, "Left out: %s.\n", l)
	}
	_, err := io.WriteString(out, t.String())
	return err
}

func machine() string {
	model := "unknown CPU"
	text, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%s, %s, Linux %s, %s", model, plural(runtime.NumCPU(), "core"), kernel(), runtime.GOARCH)
}

func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}
