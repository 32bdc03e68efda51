package testkit

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// remember notes the inode of the connection's directory: its number alone is
// given to the next mount at once.
func (f *HangFS) remember() error {
	dir, err := f.ConnectionDir()
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return os.NewSyscallError("lstat "+dir, err)
	}
	f.connection = st.Ino
	return nil
}

// gone waits until the kernel has forgotten the connection.
func (f *HangFS) gone() error {
	if f.connection == 0 {
		return nil
	}
	for deadline := time.Now().Add(slowed(10 * time.Second)); ; time.Sleep(10 * time.Millisecond) {
		dir, err := f.ConnectionDir()
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if unix.Lstat(dir, &st) != nil || st.Ino != f.connection {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("FUSE connection %d is left", f.connectionNumber())
		}
	}
}
