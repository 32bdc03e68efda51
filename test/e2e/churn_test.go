package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Births and deaths a second of a churning process.
const (
	threadsASecond   = 400
	processesASecond = 100
)

// runChurn bears threads and processes, each of which asks for a file and dies,
// until a line comes, and lives on until another does. Arguments: the file.
func runChurn(args []string) error {
	var threads, processes atomic.Int64
	stop := make(chan struct{})
	go func() {
		every(stop, time.Second/threadsASecond, func() {
			threads.Add(1)
			go func() {
				runtime.LockOSThread() // and never unlocked: the thread dies
				_ = runStat(args)
			}()
		})
	}()
	go func() {
		every(stop, time.Second/processesASecond, func() {
			if shortLived(args[0]) == nil {
				processes.Add(1)
			}
		})
	}()
	if err := ready(); err != nil { // the word to stop
		return err
	}
	close(stop)
	time.Sleep(100 * time.Millisecond)
	fmt.Println(threads.Load(), processes.Load())
	return ready()
}

// every calls f that often, as well as a busy machine allows.
func every(stop <-chan struct{}, period time.Duration, f func()) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			f()
		}
	}
}

// shortLived starts a process that asks for a file and exits.
func shortLived(name string) error {
	pid, err := syscall.ForkExec("/usr/bin/test", []string{"test", "-e", name}, &syscall.ProcAttr{Dir: "/"})
	if err != nil {
		return err
	}
	_, err = unix.Wait4(pid, nil, 0, nil)
	return err
}

// mountsComeAndGo mounts and unmounts in the test's own mount namespace, five
// times a second, until it is told to stop. It gives how often.
func mountsComeAndGo(dir string, stop <-chan struct{}) (int, error) {
	n := 0
	var failed error
	every(stop, 200*time.Millisecond, func() {
		point := filepath.Join(dir, fmt.Sprintf("come-and-go-%d", n%7))
		err := os.MkdirAll(point, 0o755)
		if err == nil {
			err = unix.Mount("tmpfs", point, "tmpfs", 0, "size=4k")
		}
		if err == nil {
			err = unix.Unmount(point, 0)
		}
		if err != nil && failed == nil {
			failed = fmt.Errorf("mount %d on %s: %w", n, point, err)
		}
		n++
	})
	return n, failed
}
