package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hangtrace/hangtrace/internal/testkit"
)

// tool is one way to follow the victim.
type tool struct {
	name string
	// kinds are the calls that are measured under it.
	kinds []int
	// rival is another's: its figure is far from the others', so few visits do.
	rival bool
	// waits says that the victim waits for it at each call: its cost is time by
	// the clock, not the victim's CPU time.
	waits bool
	// start attaches it to the victim and returns once it traces.
	start func(b *bench) (*attached, error)
}

// attached is a tool that runs.
type attached struct {
	*testkit.Process
	output *lines
	// traced tells, after the end, whether it saw anything. Optional.
	traced func() error
	// detach ends what this program does in the tool's place. Optional.
	detach func() error
}

// lines keeps what a process prints.
type lines struct{ testkit.Said }

// last is the last line, for an error's text.
func (l *lines) last() string {
	text := strings.TrimSpace(l.String())
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// patience is how long a tool may take to attach or to end on a busy machine.
const patience = 20 * time.Second

// run starts a program, on one core if cpu is not negative.
func (b *bench) run(cpu int, args ...string) (*attached, error) {
	if cpu >= 0 {
		args = append([]string{"/proc/self/exe", wordPinned, strconv.Itoa(cpu)}, args...)
	}
	a := &attached{output: new(lines)}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = a.output, a.output
	var err error
	a.Process, err = b.Start(cmd)
	return a, err
}

// until waits for the tool to be where it is wanted.
func (a *attached) until(what string, cond func() bool) error {
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(2 * time.Millisecond) {
		if err := a.Wait(0); !errors.Is(err, testkit.ErrNotEnded) {
			return fmt.Errorf("ended before %s: %s", what, a.output.last())
		}
		if time.Now().After(deadline) {
			a.Kill()
			return fmt.Errorf("not %s after %v: %s", what, patience, a.output.last())
		}
	}
	return nil
}

// stop ends the tool as Ctrl-C does, and wants it to have traced.
func (a *attached) stop() error {
	if a.detach != nil {
		if err := a.detach(); err != nil {
			a.Kill()
			return err
		}
	}
	if err := a.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	err := a.Wait(patience)
	if errors.Is(err, testkit.ErrNotEnded) {
		a.Kill()
		return err
	}
	if a.traced != nil {
		return a.traced()
	}
	return nil
}

// hangtrace starts the tool and waits for its ready file.
func (b *bench) hangtrace(args ...string) (*attached, error) {
	ready := filepath.Join(b.Dir, fmt.Sprintf("ready-%d", time.Now().UnixNano()))
	a, err := b.run(-1, append([]string{b.bin}, append(args, "--ready-file", ready)...)...)
	if err != nil {
		return nil, err
	}
	return a, a.until("ready", func() bool {
		_, err := os.Stat(ready)
		return err == nil
	})
}

// live is the tool without a command.
func (b *bench) live(mode string, pid int) (*attached, error) {
	return b.hangtrace("--mode="+mode, "--pid="+strconv.Itoa(pid), "-o", "ndjson")
}

// idler is a process that does nothing, in a tool's place: what is measured
// beside it differs from what was before and after by the method alone.
func (b *bench) idler() (*attached, error) { return b.run(-1, "sleep", "60") }

// emptyAgain is an idler, and the empty pair in the place of a tool's programs.
func (b *bench) emptyAgain(empty *emptyPair) (*attached, error) {
	a, err := b.idler()
	if err != nil {
		return nil, err
	}
	a.detach = empty.detach
	if err := empty.attach(); err != nil {
		a.Kill()
		return nil, err
	}
	return a, nil
}

// strace is the tool's strace.
func (b *bench) strace(out string, args ...string) (*attached, error) {
	return b.hangtrace(append([]string{"strace", "-f", "-p", strconv.Itoa(b.victim.PID), "-o", out}, args...)...)
}

// realStrace attaches the rival from a core, and waits until it has stopped the
// victim once.
func (b *bench) realStrace(cpu int) (*attached, error) {
	a, err := b.run(cpu, "strace", "-f", "-p", strconv.Itoa(b.victim.PID), "-o", "/dev/null")
	if err != nil {
		return nil, err
	}
	return a, a.until("attached", func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.victim.PID))
		return err == nil && strings.Contains(string(text), "\nTracerPid:\t"+strconv.Itoa(a.PID)+"\n")
	})
}

// perfTrace has no way to tell that it has begun but its output.
func (b *bench) perfTrace() (*attached, error) {
	out := filepath.Join(b.Dir, "perf-trace")
	_ = os.Remove(out)
	a, err := b.run(-1, "perf", "trace", "-p", strconv.Itoa(b.victim.PID), "-o", out)
	if err != nil {
		return nil, err
	}
	return a, a.until("tracing", func() bool {
		_, err := b.victim.rounds(callStat, 1000, 1)
		st, serr := os.Stat(out)
		return err == nil && serr == nil && st.Size() > 0
	})
}

// oneLiner is what one types to see slow calls of a process.
const oneLiner = `tracepoint:raw_syscalls:sys_enter /pid == %d/ { @at[tid] = nsecs }
tracepoint:raw_syscalls:sys_exit /@at[tid]/ { if (nsecs - @at[tid] > 1000000000) { printf("%%d %%d\n", tid, args->id) } delete(@at[tid]) }
interval:ms:100 { printf("ready\n") }`

func (b *bench) bpftrace() (*attached, error) {
	a, err := b.run(-1, "bpftrace", "-e", fmt.Sprintf(oneLiner, b.victim.PID))
	if err != nil {
		return nil, err
	}
	// The second time every probe is attached, whatever their order.
	return a, a.until("tracing", func() bool { return strings.Count(a.output.String(), "ready") > 1 })
}

// runPinned executes a command on one core. Arguments: the core, the command.
func runPinned(args []string) error {
	if len(args) < 2 {
		return errors.New("want a core and a command")
	}
	cpu, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	if err := pin(cpu); err != nil {
		return err
	}
	path, err := exec.LookPath(args[1])
	if err != nil {
		return err
	}
	return syscall.Exec(path, args[1:], os.Environ())
}

// summary reads what strace mode says at its end.
func summary(text string) (calls, lost int, err error) {
	for in := bufio.NewScanner(strings.NewReader(text)); in.Scan(); {
		line := in.Text()
		if n, _ := fmt.Sscanf(line, "hangtrace: %d calls traced, %d lost", &calls, &lost); n == 2 {
			return calls, lost, nil
		}
		if n, _ := fmt.Sscanf(line, "hangtrace: %d calls traced, none lost", &calls); n == 1 && strings.HasSuffix(line, "none lost") {
			return calls, 0, nil
		}
	}
	return 0, 0, fmt.Errorf("no summary in %q", text)
}
