package expendable

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const pinsPerLine = 500

// pins says on which mounts processes have their working and root directories.
// Only a descriptor that names the directory knows the mount when that is in no
// mount table any more: the link's text has lost its prefix then. Holding it
// for a moment may make this process the last user of a file system that is
// then taken down, which may hang: that is why it is done here.
func (c child) pins(req Request, emit func(Answer)) (Answer, error) {
	var a Answer
	names := req.Names
	if len(names) == 0 {
		names = []string{"cwd", "root"}
	}
	for _, pid := range req.PIDs {
		for _, name := range names {
			link := fmt.Sprintf("%s/%d/%s", c.proc, pid, name)
			pin, ok := c.pin(link, req.Devices)
			if !ok {
				continue
			}
			pin.PID, pin.Name = pid, name
			a.Pins = append(a.Pins, pin)
		}
		if len(a.Pins) >= pinsPerLine {
			emit(a)
			a = Answer{}
		}
	}
	return a, nil
}

// pin says where a magic link points. The process may be gone.
func (c child) pin(link string, device bool) (Pin, bool) {
	text, err := readlinkat(unix.AT_FDCWD, link)
	if err != nil {
		return Pin{}, false
	}
	fd, err := unix.Open(link, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return Pin{}, false
	}
	defer unix.Close(fd)
	pin := Pin{Path: Raw(text)}
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return Pin{}, false
	}
	for line := range strings.Lines(string(info)) {
		if value, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			pin.MountID, _ = strconv.Atoi(strings.TrimSpace(value))
		}
	}
	if device {
		var st unix.Statx_t
		if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, 0, &st); err == nil {
			pin.Device = deviceNumber(&st)
		}
	}
	return pin, true
}

func deviceNumber(st *unix.Statx_t) string {
	return fmt.Sprintf("%d:%d", st.Dev_major, st.Dev_minor)
}
