package loader

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/features"
	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/bpf"
	"github.com/hangtrace/hangtrace/internal/testkit"
)

var (
	sizesMode = flag.String("sizes", "check", "check; print: only tell them; update: replace the lines of this kernel in "+sizesFile)
	sizesFrom = flag.String("sizes-from", "", "with update: take over what runs on other kernels printed, from `FILE`")
)

const (
	sizesFile = "testdata/sizes.tsv"
	sizesHead = "kernel\tarch\twhat\tverified instructions\tbytes"
	// growth is what may be added, in percent, before somebody has to look.
	growth = 20
)

// size is a line of the table. Verified is how many instructions the verifier
// looked at, "-" before 5.16 and of an object; Bytes are machine code, or the
// object's.
type size struct{ kernel, arch, what, verified, bytes string }

func (s size) String() string {
	return strings.Join([]string{s.kernel, s.arch, s.what, s.verified, s.bytes}, "\t")
}

// TestSizes holds how big the programs are, and how much work they make the
// verifier on this kernel, against what was written down. "make sizes" writes it
// anew.
func TestSizes(t *testing.T) {
	testkit.NeedBPF(t)
	now := sizesNow(t)
	for _, s := range now {
		t.Logf("size: %s", s)
	}
	if *sizesMode == "print" {
		return
	}
	written := readSizes(t)
	if *sizesMode == "update" {
		writeSizes(t, written, append(now, printed(t, *sizesFrom)...))
		return
	}
	if !slices.ContainsFunc(written, func(s size) bool { return s.kernel == now[0].kernel && s.arch == now[0].arch }) {
		t.Skipf("%s has nothing of Linux %s on %s", sizesFile, now[0].kernel, now[0].arch)
	}
	for _, fault := range grown(written, now) {
		t.Error(fault)
	}
}

// grown compares what is loaded now; what this machine's modules do not give is
// not.
func grown(written, now []size) (faults []string) {
	for _, s := range now {
		i := slices.IndexFunc(written, func(w size) bool { return w.kernel == s.kernel && w.arch == s.arch && w.what == s.what })
		if i < 0 {
			faults = append(faults, fmt.Sprintf("%s is not in %s; try: make sizes", s.what, sizesFile))
			continue
		}
		for _, c := range []struct{ was, is, of string }{{written[i].verified, s.verified, "verified instructions"}, {written[i].bytes, s.bytes, "bytes"}} {
			was, err1 := strconv.Atoi(c.was)
			is, err2 := strconv.Atoi(c.is)
			if err1 == nil && err2 == nil && is > was+was*growth/100 {
				faults = append(faults, fmt.Sprintf("%s has grown from %d to %d %s, more than %d %%; if that is worth it: make sizes", s.what, was, is, c.of, growth))
			}
		}
	}
	return faults
}

// TestSizesSee plants growth, and a program that is not in the table.
func TestSizesSee(t *testing.T) {
	written := []size{{"6.1", "amd64", "trace_exit", "500", "2000"}}
	for text, now := range map[string]size{
		"":                                {"6.1", "amd64", "trace_exit", "600", "2400"},
		"500 to 601 verified instruction": {"6.1", "amd64", "trace_exit", "601", "2000"},
		"2000 to 2401 bytes":              {"6.1", "amd64", "trace_exit", "-", "2401"},
		"trace_more is not in":            {"6.1", "amd64", "trace_more", "1", "1"},
	} {
		faults := strings.Join(grown(written, []size{now}), "\n")
		if text == "" && faults != "" || !strings.Contains(faults, text) {
			t.Errorf("%s: faults %q, want %q", now, faults, text)
		}
	}
}

// sizesNow loads everything that this kernel takes.
func sizesNow(t *testing.T) []size {
	s, err := NewSnapshotter(SnapshotOptions{All: true})
	require.NoError(t, err)
	defer s.Close()
	tr, err := NewTracer(TraceOptions{Threshold: time.Second, HZ: 250, FollowForks: true})
	require.NoError(t, err)
	defer tr.Close()
	st, err := NewStrace(StraceOptions{Files: true, Stacks: true, FollowForks: true})
	require.NoError(t, err)
	defer st.Close()
	if w, err := NewWalker(nil); err == nil {
		defer w.Close()
	} else {
		require.ErrorIs(t, err, ErrNotSupported)
	}
	units, err := RunningIn(os.Getpid(), heldHere(t))
	require.NoError(t, err)
	kernel := release(t)
	var list []size
	for i, name := range []string{"snapshot", "trace", "strace", "walk"} {
		list = append(list, size{kernel, runtime.GOARCH, name + ".o", "-", strconv.Itoa(len(bpf.Objects()[i]))})
	}
	for _, u := range units {
		for _, p := range u.Programs {
			line := size{kernel, runtime.GOARCH, p.Name, "-", "-"}
			if p.Verified != nil {
				line.verified = strconv.FormatUint(uint64(*p.Verified), 10)
			}
			if p.JITed != nil {
				line.bytes = strconv.FormatUint(uint64(*p.JITed), 10)
			}
			list = append(list, line)
		}
	}
	require.Greater(t, len(list), 15, "programs are missing")
	return list
}

// heldHere lists the programs and maps that this process has open.
func heldHere(t *testing.T) (list []Held) {
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, e := range entries {
		link, _ := os.Readlink("/proc/self/fd/" + e.Name())
		fd, err := strconv.Atoi(e.Name())
		require.NoError(t, err)
		if strings.Contains(link, "bpf-prog") || strings.Contains(link, "bpf-map") {
			list = append(list, Held{FD: fd, Program: strings.Contains(link, "bpf-prog")})
		}
	}
	return list
}

// release is the kernel's version without what a distribution adds: its fixes
// hardly change the verifier.
func release(t *testing.T) string {
	v, err := features.LinuxVersionCode()
	require.NoError(t, err)
	return fmt.Sprintf("%d.%d", v>>16, v>>8&0xff)
}

func readSizes(t *testing.T) (list []size) {
	f, err := os.Open(sizesFile)
	require.NoError(t, err)
	defer f.Close()
	in := bufio.NewScanner(f)
	for in.Scan() {
		if c := strings.Split(in.Text(), "\t"); len(c) == 5 && in.Text() != sizesHead {
			list = append(list, size{c[0], c[1], c[2], c[3], c[4]})
		}
	}
	require.NoError(t, in.Err())
	return list
}

// printed reads the sizes in the output of tests.
func printed(t *testing.T, file string) (list []size) {
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	for _, m := range regexp.MustCompile(`: size: (\S+)\t(\S+)\t(\S+)\t(\S+)\t(\S+)`).FindAllStringSubmatch(string(text), -1) {
		list = append(list, size{m[1], m[2], m[3], m[4], m[5]})
	}
	require.NotEmpty(t, list, file)
	return list
}

// writeSizes keeps what other kernels gave, and programs of this one whose
// module is not loaded now.
func writeSizes(t *testing.T, written, now []size) {
	list := slices.Clone(now)
	for _, w := range written {
		if !slices.ContainsFunc(now, func(s size) bool { return s.kernel == w.kernel && s.arch == w.arch && s.what == w.what }) {
			list = append(list, w)
		}
	}
	text := make([]string, 0, len(list)+1)
	for _, s := range list {
		text = append(text, s.String())
	}
	slices.Sort(text)
	text = append([]string{sizesHead}, text...)
	require.NoError(t, os.WriteFile(sizesFile, []byte(strings.Join(text, "\n")+"\n"), 0o644))
}
