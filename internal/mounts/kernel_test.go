package mounts

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// inPrivateNamespace runs f on a thread of its own in a mount namespace that
// ends with it. Only tmpfs and bind mounts of it are made there: nothing that
// could hang.
func inPrivateNamespace(t *testing.T, f func() error) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err != nil {
			done <- fmt.Errorf("private mount namespace: %w", err)
			return
		}
		done <- f()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// ownTable parses the thread's own mountinfo, through a descriptor of /proc that
// still works after chroot.
func ownTable(proc int) (*Table, error) {
	fd, err := unix.Openat(proc, "thread-self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open mountinfo: %w", err)
	}
	file := os.NewFile(uintptr(fd), "mountinfo")
	defer file.Close()
	text, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	return Parse(text, 1, Blocks{})
}

// kernelMountID asks the kernel which mount a path is on.
func kernelMountID(path string) (int, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_DONT_SYNC, unix.STATX_MNT_ID, &st); err != nil {
		return 0, err
	}
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return 0, unix.ENOTSUP
	}
	return int(st.Mnt_id), nil
}

func compare(t *testing.T, table *Table, path string) {
	t.Helper()
	want, err := kernelMountID(path)
	if err != nil {
		return
	}
	got, ok := table.Lookup(path)
	if !ok || got.ID != want {
		t.Errorf("Lookup(%q) = mount %d (%s), %t; the kernel says %d", path, got.ID, got.Point, ok, want)
	}
}

// TestAgainstKernel stacks, binds, moves and detaches tmpfs at random and
// compares every path with the kernel's own walk.
func TestAgainstKernel(t *testing.T) {
	base := t.TempDir()
	rng := rand.New(rand.NewPCG(1, 2))
	var dirs []string
	for _, a := range []string{"a", "b"} {
		for _, b := range []string{"x", "y z"} {
			for _, c := range []string{"p", "q\\r"} {
				dirs = append(dirs, filepath.Join(base, a, b, c))
			}
			dirs = append(dirs, filepath.Join(base, a, b))
		}
		dirs = append(dirs, filepath.Join(base, a))
	}
	compared := 0
	inPrivateNamespace(t, func() error {
		proc, err := unix.Open("/proc", unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(proc)
		if err := unix.Mount("t", base, "tmpfs", 0, "size=1m"); err != nil {
			return fmt.Errorf("mount tmpfs: %w", err)
		}
		for range 150 {
			for _, d := range dirs {
				_ = os.MkdirAll(d, 0o755)
			}
			target, other := dirs[rng.IntN(len(dirs))], dirs[rng.IntN(len(dirs))]
			switch n := rng.IntN(10); {
			case n < 5:
				_ = unix.Mount("t", target, "tmpfs", 0, "size=1m")
			case n < 7:
				_ = unix.Mount(other, target, "", unix.MS_BIND|unix.MS_REC, "")
			case n < 8:
				_ = unix.Mount(other, target, "", unix.MS_MOVE, "")
			default:
				_ = unix.Unmount(target, unix.MNT_DETACH)
			}
			table, err := ownTable(proc)
			if err != nil {
				return err
			}
			if len(table.Mounts) > 2000 {
				break // recursive binds of binds double
			}
			for _, d := range dirs {
				compare(t, table, d)
				compared++
			}
			compare(t, table, "/")
			compare(t, table, "/proc/self")
		}
		return nil
	})
	if compared < 1000 {
		t.Errorf("only %d paths compared", compared)
	}
}

// TestRootAgainstKernel covers a mount over "/" and processes in a chroot.
func TestRootAgainstKernel(t *testing.T) {
	base := t.TempDir()
	for _, where := range []string{"over root", "directory", "mount"} {
		inPrivateNamespace(t, func() error {
			proc, err := unix.Open("/proc", unix.O_PATH|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(proc)
			if err := unix.Mount("t", base, "tmpfs", 0, "size=1m"); err != nil {
				return err
			}
			in := filepath.Join(base, "jail")
			if where == "mount" {
				in = base
			}
			if err := os.MkdirAll(in+"/data/deep", 0o755); err != nil {
				return err
			}
			if err := unix.Mount("t", in+"/data", "tmpfs", 0, "size=1m"); err != nil {
				return err
			}
			if err := os.MkdirAll(in+"/data/deep", 0o755); err != nil {
				return err
			}
			paths := []string{"/", "/data", "/data/deep", "/.."}
			if where == "over root" {
				if err := unix.Mount("t", "/", "tmpfs", 0, "size=1m"); err != nil {
					return err
				}
				paths = []string{"/", "/proc", base, in + "/data/deep"}
			} else if err := unix.Chroot(in); err != nil {
				return err
			}
			table, err := ownTable(proc)
			if err != nil {
				return err
			}
			for _, p := range paths {
				if where == "directory" && !strings.HasPrefix(p, "/data") {
					continue // on a mount that this process's mountinfo leaves out
				}
				compare(t, table, p)
			}
			return nil
		})
	}
}
