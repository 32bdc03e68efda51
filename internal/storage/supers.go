package storage

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
)

// BackingDevices lists the names in /sys/class/bdi: every file system that
// writes back has one for as long as its superblock lives, mounted or not.
// "0:48" is FUSE or NFS and names the superblock's device, "ceph-1" is cephfs
// and does not.
func BackingDevices(root string) ([]string, error) {
	list, err := names(filepath.Join(root, "class", "bdi"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	slices.Sort(list)
	return list, err
}

// Superblocks lists the disk file systems that are alive, mounted or not, as
// TYPE/DEVICE: "ext4/rbd0".
func Superblocks(root string) []string {
	var list []string
	for _, fstype := range []string{"ext4", "xfs", "f2fs", "btrfs", "gfs2"} {
		devices, err := names(filepath.Join(root, "fs", fstype))
		if err != nil {
			continue // that type is not there
		}
		for _, d := range devices {
			if d != "features" && d != "stats" {
				list = append(list, fstype+"/"+d)
			}
		}
	}
	slices.Sort(list)
	return list
}
