package proc

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// skippedLimit bounds the sentences about single processes in one pass.
const skippedLimit = 20

// ProcThreads samples the threads of the processes, or of every process when
// pids is nil: the capture pass where the kernel's task iterator cannot be
// used. Syscall and Stack stay empty, for reading them may block. Processes
// and threads that end meanwhile are left out in silence.
func (f *FS) ProcThreads(pids []int, kernelThreads bool) ([]facts.ProcThread, []facts.Skipped) {
	w := walker{fs: f, kernelThreads: kernelThreads, buf: make([]byte, 64<<10)}
	if pids == nil {
		var err error
		if pids, err = f.PIDs(); err != nil {
			return nil, []facts.Skipped{{What: "threads of every process", Why: err.Error()}}
		}
	}
	for _, pid := range pids {
		if err := w.process(pid); err != nil && !errors.Is(err, ErrGone) {
			w.skip(pid, err)
		}
	}
	if more := w.failures - skippedLimit; more > 0 {
		w.skipped = append(w.skipped, facts.Skipped{
			What: fmt.Sprintf("threads of %d more processes", more), Why: "as above",
		})
	}
	return w.threads, w.skipped
}

// walker keeps one buffer for a whole pass: a node has thousands of threads
// with three files each.
type walker struct {
	fs            *FS
	kernelThreads bool
	buf           []byte
	tids          []int
	threads       []facts.ProcThread
	skipped       []facts.Skipped
	failures      int
}

func (w *walker) skip(pid int, err error) {
	if w.failures++; w.failures <= skippedLimit {
		w.skipped = append(w.skipped, facts.Skipped{
			What: "threads of process " + strconv.Itoa(pid), Why: err.Error(),
		})
	}
}

func (w *walker) process(pid int) error {
	path := w.fs.dir(pid, 0) + "/task"
	dir, err := open(unix.AT_FDCWD, path, unix.O_DIRECTORY)
	if err != nil {
		return failed("open", path, err)
	}
	defer unix.Close(dir)
	if w.tids, err = appendNumbers(w.tids[:0], dir, w.buf); err != nil {
		return failed("list", path, err)
	}
	slices.Sort(w.tids)
	namespace, _ := w.fs.Namespace(pid, "mnt")
	for _, tid := range w.tids {
		thread, kernel, err := w.thread(dir, strconv.Itoa(tid))
		if kernel && !w.kernelThreads {
			return nil
		}
		if err != nil {
			err = failed("read", path+"/"+strconv.Itoa(tid), err)
			if errors.Is(err, ErrGone) {
				continue
			}
			return err
		}
		thread.PID, thread.TID, thread.MountNS = pid, tid, namespace
		w.threads = append(w.threads, thread)
	}
	return nil
}

// thread samples one thread; status last, for its switch counters decide and
// must not be older than the state.
func (w *walker) thread(dir int, tid string) (t facts.ProcThread, kernel bool, err error) {
	if t.Stat, err = w.text(dir, tid, fileStat); err != nil {
		return t, false, err
	}
	s, err := parseStat([]byte(t.Stat))
	if err != nil {
		return t, false, err
	}
	kernel = s.flags&flagKThread != 0
	if kernel && !w.kernelThreads {
		return t, true, nil
	}
	// Without kallsyms there is no wchan file: the thread is still worth having.
	t.Wchan, err = w.text(dir, tid, fileWchan)
	if err != nil && err != unix.ENOENT && err != unix.EACCES {
		return t, kernel, err
	}
	t.Status, err = w.text(dir, tid, fileStatus)
	t.AtNS = clockNS(unix.CLOCK_MONOTONIC)
	return t, kernel, err
}

// text reads a file whose whole text comes with one read.
func (w *walker) text(dir int, tid string, name file) (string, error) {
	fd, err := open(dir, tid+"/"+string(name), 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	n, err := read(fd, w.buf)
	if err != nil {
		return "", err
	}
	if n > 0 && w.buf[n-1] == '\n' {
		n--
	}
	return string(w.buf[:n]), nil
}
