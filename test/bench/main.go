package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/testkit"
)

// The hidden commands, as first argument.
const (
	wordSpin   = "bench-spin"
	wordPinned = "bench-pinned"
	wordRead   = "bench-read"
)

func main() {
	testkit.RunHidden()
	if len(os.Args) > 2 {
		words := map[string]func([]string) error{wordSpin: runSpin, wordPinned: runPinned, wordRead: runRead}
		if run := words[os.Args[1]]; run != nil {
			if err := run(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, os.Args[1]+":", err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	bin := flag.String("bin", "bin/hangtrace", "the hangtrace binary to measure")
	quick := flag.Bool("quick", false, "a minute instead of four: fewer rounds, the same rows")
	only := flag.String("only", "", "only these `SECTIONS`, of "+strings.Join(sectionNames(), ","))
	out := flag.String("out", "", "write the table to `FILE` too")
	flag.Parse()
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "bench: attaching to processes and mounting a file system need root (try: sudo make bench)")
		os.Exit(1)
	}
	path, err := filepath.Abs(*bin)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: no tool to measure: %v (try: make build)\n", err)
		os.Exit(1)
	}
	// Before Supervise: inside, a tmpfs covers some directory.
	sinks := []io.Writer{os.Stdout}
	if *out != "" {
		f, err := os.Create(*out)
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench: --out:", err)
			os.Exit(1)
		}
		defer f.Close()
		sinks = append(sinks, f)
	}
	os.Exit(testkit.Supervise(func() int { return inside(path, *only, *quick, io.MultiWriter(sinks...)) }))
}

// inside runs in the private mount namespace.
func inside(bin, only string, quick bool, out io.Writer) int {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	ended := make(chan error, 1)
	var table bytes.Buffer
	go func() { ended <- run(bin, only, quick, &table) }()
	select {
	case <-signals:
		fmt.Fprintln(os.Stderr, "bench: interrupted") // the supervisor cleans up
		return 130
	case err := <-ended:
		if _, werr := out.Write(table.Bytes()); err == nil {
			err = werr
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			return 1
		}
	}
	return 0
}

// bench is one run.
type bench struct {
	*testkit.Sandbox
	bin             string
	tree            *testkit.KubeletTree
	victim          *victim
	idle            *testkit.Victim
	cores           int
	core, otherCore int // the victim's, and another
	rows            []row
	left            []string
	failed          map[string]int
	disturbed       int // visits that were dropped
	foreign         int // visits with hooks of others
	began           time.Time
}

// limit is when no further section is begun, on a machine that is slow or busy.
const limit = 4 * time.Minute

// section is one part of a run.
type section struct {
	name string
	run  func(b *bench, quick bool) error
}

func sections() []section {
	return []section{
		{"calls", (*bench).callsSection},
		{"strace", (*bench).throughput},
		{"cold", (*bench).measureColdStart},
		{"report", (*bench).measureReports},
		{"sample", (*bench).measureSample},
		{"mounts", (*bench).measureMounts},
	}
}

func sectionNames() (names []string) {
	for _, s := range sections() {
		names = append(names, s.name)
	}
	return names
}

func run(bin, only string, quick bool, out io.Writer) (err error) {
	sandbox, err := testkit.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sandbox.Close()) }()
	b := &bench{Sandbox: sandbox, bin: bin, failed: make(map[string]int), began: time.Now()}
	if err := b.putUp(); err != nil {
		return err
	}
	ran := 0
	for _, s := range sections() {
		if only != "" && !strings.Contains(","+only+",", ","+s.name+",") {
			continue
		}
		ran++
		if time.Since(b.began) > limit {
			b.leaveOut(s.name, "%v are over; try: --only %s", limit, s.name)
			continue
		}
		if err := s.run(b, quick); err != nil {
			b.leaveOut(s.name, "%v", err)
		}
	}
	if ran == 0 {
		return fmt.Errorf("--only %s names none of %s", only, strings.Join(sectionNames(), ","))
	}
	return b.print(out)
}

// putUp starts what all sections use.
func (b *bench) putUp() error {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	b.cores = set.Count()
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			b.core, b.otherCore = cpu, b.core // the last one, and the one before
		}
	}
	var err error
	if b.tree, err = testkit.NewKubeletTree(b.Dir); err != nil {
		return err
	}
	if b.victim, err = startVictim(b.Sandbox, b.core); err != nil {
		return err
	}
	if b.idle, err = b.StartVictim("rest", "4"); err != nil {
		return err
	}
	// bpftrace and perf look for the tracepoints here. Only this mount
	// namespace gets it.
	const debug = "/sys/kernel/debug"
	if _, err := os.Stat(filepath.Join(debug, "tracing/events")); err != nil {
		if err := unix.Mount("debugfs", debug, "debugfs", 0, ""); err != nil {
			b.leaveOut("tracepoints for bpftrace and perf", "mount debugfs: %v", err)
		}
	}
	return nil
}

func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: %4.0f s  "+format+"\n", append([]any{time.Since(b.began).Seconds()}, args...)...)
}
