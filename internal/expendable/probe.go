package expendable

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// probe asks a mount for the attributes of its root in a way that only its
// server can answer: with AT_STATX_FORCE_SYNC ceph asks its MDS, FUSE its
// daemon, NFS and SMB their servers, whatever is cached. The answer, an error
// too, proves that somebody is there: it is given as the errno's name, "" for
// success.
func (c child) probe(req Request, emit func(Answer)) (Answer, error) {
	fd, err := openBelow(req, unix.O_PATH)
	if err != nil {
		return probed(err)
	}
	defer unix.Close(fd)
	var st unix.Statx_t
	// The device is cached, and tells whether this is still the mount meant.
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, 0, &st); err != nil {
		return probed(err)
	}
	if got := deviceNumber(&st); req.Device != "" && got != req.Device {
		return Answer{}, fmt.Errorf("%s is on device %s now, not %s", req.name(), got, req.Device)
	}
	emit(Answer{}) // from now on it is the mount that is slow
	err = unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_FORCE_SYNC|unix.AT_NO_AUTOMOUNT, unix.STATX_BASIC_STATS, &st)
	return probed(err)
}

// readDevice reads one block past the page cache.
func (c child) readDevice(req Request, emit func(Answer)) (Answer, error) {
	name := req.name()
	place, err := openBelow(req, unix.O_PATH)
	if err != nil {
		return Answer{}, err
	}
	defer unix.Close(place)
	var st unix.Statx_t
	if err := unix.Statx(place, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE, &st); err != nil {
		return Answer{}, fmt.Errorf("type of %s: %w", name, err)
	}
	if got := fmt.Sprintf("%d:%d", st.Rdev_major, st.Rdev_minor); st.Mode&unix.S_IFMT != unix.S_IFBLK || got != req.Device {
		return Answer{}, fmt.Errorf("%s is not block device %s", name, req.Device)
	}
	emit(Answer{})
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", place), unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return probed(err)
	}
	defer unix.Close(fd)
	const block = 4096 // O_DIRECT wants memory aligned to the device's block
	buf := make([]byte, 2*block)
	at := block - int(uintptr(unsafe.Pointer(&buf[0]))%block)
	_, err = unix.Pread(fd, buf[at:at+block], 0)
	return probed(err)
}

func probed(err error) (Answer, error) {
	if err == nil {
		return Answer{}, nil
	}
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return Answer{}, err
	}
	return Answer{Data: []byte(unix.ErrnoName(errno))}, nil
}
