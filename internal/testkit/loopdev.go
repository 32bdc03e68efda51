package testkit

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// LoopDevice makes a block device of the given size, whose backing file lies
// on the sandbox's tmpfs. It is freed when its last user is gone.
func (s *Sandbox) LoopDevice(size int64) (string, error) {
	dev, err := s.loopDevice(size)
	if err != nil {
		return "", fmt.Errorf("loop device: %w", err)
	}
	return dev, nil
}

func (s *Sandbox) loopDevice(size int64) (string, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer control.Close()
	number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return "", os.NewSyscallError("LOOP_CTL_GET_FREE", err)
	}
	file, err := os.OpenFile(filepath.Join(s.Dir, fmt.Sprintf("loop-%d", number)), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer file.Close()
	if err := file.Truncate(size); err != nil {
		return "", err
	}
	name := fmt.Sprintf("/dev/loop%d", number)
	dev, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	config := &unix.LoopConfig{Fd: uint32(file.Fd())}
	// Frees itself at the last close, which is ours at the sandbox's end or
	// the kernel's when this process is killed.
	config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
	if err := unix.IoctlLoopConfigure(int(dev.Fd()), config); err != nil {
		dev.Close()
		return "", os.NewSyscallError("LOOP_CONFIGURE", err)
	}
	s.devices = append(s.devices, dev)
	return name, nil
}
