package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// userHZ is the unit of start times in /proc: USER_HZ, 100 on both
// architectures (include/uapi/asm-generic/param.h).
const userHZ = 100

func decodeProcStream(data []byte) ([]Task, error) {
	var tasks []Task
	dec := json.NewDecoder(bytes.NewReader(data))
	for {
		var pt facts.ProcThread
		if err := dec.Decode(&pt); err != nil {
			if errors.Is(err, io.EOF) {
				return tasks, nil
			}
			return tasks, fmt.Errorf("thread %d of the pass: %w: %w", len(tasks)+1, ErrMalformed, err)
		}
		t, err := DecodeProcThread(pt)
		if err != nil {
			return tasks, fmt.Errorf("thread %d: %w", pt.TID, err)
		}
		tasks = append(tasks, t)
	}
}

// DecodeProcThread decodes what /proc/PID/task/TID says of one thread.
func DecodeProcThread(pt facts.ProcThread) (Task, error) {
	t := Task{PID: pt.PID, TID: pt.TID, SampledNS: uint64(pt.AtNS), MountNS: pt.MountNS, SyscallNR: NoSyscall}
	if err := t.parseStat(pt.Stat); err != nil {
		return t, err
	}
	t.parseStatus(pt.Status)
	t.parseSyscall(pt.Syscall)
	if w := strings.TrimSpace(pt.Wchan); w != "0" {
		t.Wchan = w
	}
	t.StackNames = parseStack(pt.Stack)
	return t, nil
}

// parseStat reads proc_pid_stat(5). The command may hold spaces and
// parentheses: it ends at the last ")".
func (t *Task) parseStat(s string) error {
	open, end := strings.IndexByte(s, '('), strings.LastIndexByte(s, ')')
	if open < 0 || end < open {
		return fmt.Errorf("stat: %w: no command", ErrMalformed)
	}
	t.Comm = s[open+1 : end]
	f := strings.Fields(s[end+1:])
	const flags, start = 6, 19 // fields 9 and 22, counted from field 3
	if len(f) <= start {
		return fmt.Errorf("stat: %w: %d fields", ErrMalformed, len(f)+2)
	}
	t.State = stateBits(f[0])
	if v, err := strconv.Atoi(f[1]); err == nil {
		t.PPID = v
	}
	if v, err := strconv.ParseUint(f[flags], 10, 32); err == nil {
		t.Flags = uint32(v)
	}
	ticks, err := strconv.ParseUint(f[start], 10, 64)
	if err != nil {
		return fmt.Errorf("stat: %w: start time %q", ErrMalformed, f[start])
	}
	t.StartBootNS = ticks * (1e9 / userHZ)
	return nil
}

// stateBits turns the letter of /proc into the bit it stands for. /proc folds
// killable sleeps into D and idle kernel threads into I.
func stateBits(letter string) uint32 {
	switch letter {
	case "S":
		return StateInterruptible
	case "D":
		return StateUninterruptible
	case "I":
		return StateUninterruptible | StateNoload
	case "T":
		return StateStopped
	case "t":
		return StateTraced
	case "X":
		return StateExitDead
	case "Z":
		return StateExitZombie
	case "P":
		return StateParked
	}
	return StateRunning
}

func (t *Task) parseStatus(s string) {
	for line := range strings.Lines(s) {
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		value = strings.TrimSpace(value)
		switch key {
		case "voluntary_ctxt_switches":
			t.VoluntarySwitches, _ = strconv.ParseUint(value, 10, 64)
		case "nonvoluntary_ctxt_switches":
			t.InvoluntarySwitches, _ = strconv.ParseUint(value, 10, 64)
		}
	}
}

// parseSyscall reads /proc/PID/task/TID/syscall: "running", "NR ARGS SP PC",
// or "-1 SP PC" when the thread is blocked outside any call.
func (t *Task) parseSyscall(s string) {
	f := strings.Fields(s)
	hex := func(i int) uint64 {
		v, _ := strconv.ParseUint(strings.TrimPrefix(f[i], "0x"), 16, 64)
		return v
	}
	switch {
	case len(f) == 3 && f[0] == "-1":
		t.HasRegs, t.SP, t.PC = true, hex(1), hex(2)
	case len(f) == 9:
		nr, err := strconv.Atoi(f[0])
		if err != nil {
			return
		}
		t.HasRegs, t.SyscallNR = true, nr
		for i := range t.Args {
			t.Args[i] = hex(1 + i)
		}
		t.SP, t.PC = hex(7), hex(8)
	}
}

// parseStack reads /proc/PID/task/TID/stack: "[<0>] name+0x1a/0x40 [module]".
func parseStack(s string) []string {
	var frames []string
	for line := range strings.Lines(s) {
		_, frame, ok := strings.Cut(strings.TrimSpace(line), "] ")
		if !ok {
			continue
		}
		name, rest, _ := strings.Cut(frame, "/")
		if _, module, ok := strings.Cut(rest, " "); ok {
			name += " " + module
		}
		frames = append(frames, name)
		if len(frames) == maxStack {
			break
		}
	}
	return frames
}

// Sleeping tells whether the thread is in an interruptible or uninterruptible
// sleep: neither running, stopped, idle nor dead.
func (t *Task) Sleeping() bool {
	if t.State&(StateStopped|StateTraced|StateParked|StateExitDead|StateExitZombie|StateDead|StateNoload) != 0 {
		return false
	}
	return t.State&(StateInterruptible|StateUninterruptible) != 0
}

// Killable tells whether SIGKILL alone would end the sleep, as far as the
// state tells. The proc backend cannot tell for D.
func (t *Task) Killable() bool {
	return t.State&(StateInterruptible|StateWakekill) != 0
}

// Letter is the state as ps prints it.
func (t *Task) Letter() string {
	switch s := t.State; {
	case s&(StateExitZombie) != 0:
		return "Z"
	case s&(StateExitDead|StateDead) != 0:
		return "X"
	case s&StateTraced != 0:
		return "t"
	case s&StateStopped != 0:
		return "T"
	case s&StateParked != 0:
		return "P"
	case s&(StateUninterruptible|StateNoload) == StateUninterruptible|StateNoload:
		return "I"
	case s&StateUninterruptible != 0:
		return "D"
	case s&StateInterruptible != 0:
		return "S"
	}
	return "R"
}

// KernelThread tells whether the thread has no user side at all.
func (t *Task) KernelThread() bool { return t.Flags&FlagKThread != 0 }

// IOWorker tells whether the thread works for an io_uring.
func (t *Task) IOWorker() bool { return t.Flags&FlagIOWorker != 0 }

// Exiting tells whether the thread is dying.
func (t *Task) Exiting() bool { return t.Flags&FlagExiting != 0 }

// Switches is how often the thread left a CPU.
func (t *Task) Switches() uint64 { return t.VoluntarySwitches + t.InvoluntarySwitches }

// Same tells whether u is a sample of the same thread.
func (t *Task) Same(u *Task) bool {
	return t.TID == u.TID && t.StartBootNS == u.StartBootNS
}
