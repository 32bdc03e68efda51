package proc

import (
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// PIDs returns the process IDs that /proc shows, ascending.
func (f *FS) PIDs() ([]int, error) {
	return listNumbers(f.root)
}

// Threads returns the thread IDs of a process, ascending.
func (f *FS) Threads(pid int) ([]int, error) {
	return listNumbers(f.dir(pid, 0) + "/task")
}

// FDs returns the open file descriptors of a process, ascending. Listing them
// looks at the descriptor table under RCU; neither the memory map nor the
// files behind the descriptors are touched.
func (f *FS) FDs(pid int) ([]int, error) {
	return listNumbers(f.dir(pid, 0) + "/fd")
}

// listNumbers returns the numeric names in a directory of /proc. It reads
// names only: os.ReadDir may lstat what it lists.
func listNumbers(path string) ([]int, error) {
	fd, err := open(unix.AT_FDCWD, path, unix.O_DIRECTORY)
	if err != nil {
		return nil, failed("open", path, err)
	}
	defer unix.Close(fd)
	numbers, err := appendNumbers(nil, fd, make([]byte, 32<<10))
	if err != nil {
		return nil, failed("list", path, err)
	}
	slices.Sort(numbers)
	return numbers, nil
}

// appendNumbers reads the directory fd to its end with buf as scratch space.
func appendNumbers(numbers []int, fd int, buf []byte) ([]int, error) {
	var names []string
	for {
		n, err := unix.ReadDirent(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return numbers, err
		}
		if n <= 0 {
			return numbers, nil
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names[:0])
		for _, name := range names {
			if number, err := strconv.Atoi(name); err == nil && number >= 0 {
				numbers = append(numbers, number)
			}
		}
	}
}
