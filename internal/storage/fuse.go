package storage

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// fusectlMagic is FUSE_CTL_SUPER_MAGIC (fs/fuse/control.c).
const fusectlMagic = 0x65735543

// FuseConnections returns the FUSE connections that the control file system in
// the sysfs at root shows, by number, those of detached mounts too. degraded
// says why it may have shown less than there is; a kernel without FUSE has no
// connections and nothing to say.
func FuseConnections(root string) (connections []facts.FuseConnection, degraded []string, err error) {
	r := &reader{root: root}
	dir := filepath.Join(root, "fs", "fuse", "connections")
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("list FUSE connections: %w", err)
	}
	defer f.Close()
	numbers, err := f.Readdirnames(-1)
	if err != nil {
		return nil, nil, fmt.Errorf("list FUSE connections: %w", err)
	}
	for _, number := range numbers {
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			continue
		}
		connections = append(connections, r.connection(uint32(n), filepath.Join("fs", "fuse", "connections", number)))
	}
	slices.SortFunc(connections, func(a, b facts.FuseConnection) int { return cmp.Compare(a.Number, b.Number) })
	if len(connections) == 0 && !mountedFusectl(f) {
		degraded = append(degraded, "the FUSE control file system is not mounted on "+dir+
			": requests that wait in FUSE connections, and connections without a mount, cannot be seen")
	}
	return connections, append(degraded, unread(r.skipped)...), nil
}

// unread tells in one sentence of the files of all connections that could not
// be read: without rights, those are three for each mount.
func unread(skipped []facts.Skipped) []string {
	if len(skipped) == 0 {
		return nil
	}
	first := slices.MinFunc(skipped, func(a, b facts.Skipped) int { return cmp.Compare(a.What, b.What) })
	text := fmt.Sprintf("FUSE connections: read %s: %s", first.What, first.Why)
	if n := len(skipped) - 1; n > 0 {
		text += fmt.Sprintf(" (and %d more files)", n)
	}
	return []string{text}
}

func (r *reader) connection(number uint32, dir string) facts.FuseConnection {
	c := facts.FuseConnection{Number: number, Device: fuseDevice(number), Waiting: -1, CongestionThreshold: -1, MaxBackground: -1}
	for name, value := range map[string]*int{
		"waiting": &c.Waiting, "congestion_threshold": &c.CongestionThreshold, "max_background": &c.MaxBackground,
	} {
		if n, ok := r.number(dir, name); ok {
			*value = n
		}
	}
	return c
}

// fuseDevice turns the number of a connection, which is the kernel's dev_t of
// the superblock, into field 3 of mountinfo. The major is 0 but for fuseblk.
func fuseDevice(number uint32) string {
	return fmt.Sprintf("%d:%d", number>>20, number&(1<<20-1))
}

func mountedFusectl(dir *os.File) bool {
	var st unix.Statfs_t
	for {
		err := unix.Fstatfs(int(dir.Fd()), &st)
		if err != unix.EINTR {
			return err == nil && st.Type == fusectlMagic
		}
	}
}
