package expendable

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// OpenExe opens the program of a process, for handlers: it may block for ever
// if the program lies on a hung mount.
func OpenExe(pid int) (*os.File, int64, error) {
	return openRegular(fmt.Sprintf("/proc/%d/exe", pid))
}

// OpenMapped opens a file that a process has mapped, for handlers. The mapping
// itself leads to the very file, even one that was replaced since; where these
// rights do not show it, the path in the process's root does.
func OpenMapped(pid int, start, end uint64, path string) (*os.File, int64, error) {
	f, size, err := openRegular(fmt.Sprintf("/proc/%d/map_files/%x-%x", pid, start, end))
	if err == nil {
		return f, size, nil
	}
	return openRegular(fmt.Sprintf("/proc/%d/root%s", pid, path))
}

func openRegular(name string) (*os.File, int64, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, 0, fmt.Errorf("%s: not a regular file", name)
	}
	return f, info.Size(), nil
}

// ReadMaps reads the mappings of a process, for handlers: it waits for the
// process's memory map.
func ReadMaps(pid int) (string, error) {
	const most = 64 << 20
	f, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most))
	return string(text), err
}
