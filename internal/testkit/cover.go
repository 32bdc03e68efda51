package testkit

import (
	"os"

	"golang.org/x/sys/unix"
)

// Bind bind-mounts a directory until Close. It looks the paths up: only for
// healthy ones.
func (s *Sandbox) Bind(from, to string) error {
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return os.NewSyscallError("bind "+to, err)
	}
	s.covered = append(s.covered, to)
	return nil
}

// Cover puts an empty tmpfs over a directory until Close, in this mount
// namespace only: to have a /var/log/pods of its own, say.
func (s *Sandbox) Cover(dir string) error {
	if err := unix.Mount("hangtrace-testkit", dir, "tmpfs", 0, "mode=0755"); err != nil {
		return os.NewSyscallError("cover "+dir, err)
	}
	s.covered = append(s.covered, dir)
	return nil
}
