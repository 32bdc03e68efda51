package mounts

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is the kind of file system a mount belongs to, named by who answers for
// it rather than by its on-disk format: ext4 on an rbd image is KindRBD.
type Kind string

// The kinds.
const (
	KindCephFS   Kind = "cephfs"    // the kernel's ceph client
	KindCephFuse Kind = "ceph-fuse" // the ceph client in user space
	KindRBD      Kind = "rbd"       // any file system on /dev/rbdN or /dev/nbdN
	KindNFS      Kind = "nfs"
	KindFuse     Kind = "fuse" // any other FUSE file system, virtiofs too
	KindCIFS     Kind = "cifs"
	KindBlock    Kind = "block" // local disks
	KindOther    Kind = "other" // tmpfs, proc, overlay, ...
)

// Kinds lists every kind, in the order KindSet.String prints them.
func Kinds() []Kind {
	return []Kind{
		KindCephFS, KindCephFuse, KindRBD, KindNFS, KindFuse, KindCIFS,
		KindBlock, KindOther,
	}
}

// KindSet is a set of kinds, as --fs names it. The zero value is empty.
type KindSet uint16

const (
	cephKinds KindSet = 1<<3 - 1 // the first three of Kinds
	allKinds  KindSet = 1<<8 - 1
)

// SetOf returns the set of the given kinds.
func SetOf(kinds ...Kind) KindSet {
	var s KindSet
	for _, k := range kinds {
		s |= k.bit()
	}
	return s
}

func (k Kind) bit() KindSet {
	i := slices.Index(Kinds(), k)
	if i < 0 {
		return 0
	}
	return 1 << i
}

// ValidKinds are the words ParseKinds understands.
func ValidKinds() []string {
	words := []string{"ceph"}
	for _, k := range Kinds() {
		if k != KindOther {
			words = append(words, string(k))
		}
	}
	return append(words, "all")
}

// ParseKinds reads the values of --fs, each a word of ValidKinds or several
// joined by commas. "ceph" is cephfs, ceph-fuse and rbd; "all" is every kind,
// KindOther included. No value at all gives ceph, the default.
func ParseKinds(list []string) (KindSet, error) {
	if len(list) == 0 {
		return cephKinds, nil
	}
	var set KindSet
	for _, item := range list {
		for word := range strings.SplitSeq(item, ",") {
			s, err := parseKind(strings.TrimSpace(word))
			if err != nil {
				return 0, err
			}
			set |= s
		}
	}
	return set, nil
}

func parseKind(word string) (KindSet, error) {
	switch word = strings.ToLower(word); word {
	case "ceph":
		return cephKinds, nil
	case "all":
		return allKinds, nil
	}
	if slices.Contains(ValidKinds(), word) {
		return Kind(word).bit(), nil
	}
	return 0, fmt.Errorf("unknown file system kind %q, valid are %s",
		word, strings.Join(ValidKinds(), ", "))
}

// Has tells whether k is in the set.
func (s KindSet) Has(k Kind) bool { return s&k.bit() != 0 }

// List returns the kinds of the set in the order of Kinds.
func (s KindSet) List() []Kind {
	var out []Kind
	for _, k := range Kinds() {
		if s.Has(k) {
			out = append(out, k)
		}
	}
	return out
}

// String gives the set in the words of --fs, as short as they allow.
func (s KindSet) String() string {
	if s&allKinds == allKinds {
		return "all"
	}
	var words []string
	if s&cephKinds == cephKinds {
		words = append(words, "ceph")
		s &^= cephKinds
	}
	for _, k := range s.List() {
		words = append(words, string(k))
	}
	return strings.Join(words, ",")
}

// KindOf tells the kind of a file system from what mountinfo shows of it: its
// type, source and device ("253:0"). A type alone never shows rbd, so the
// device is followed through blocks; where blocks does not know it, the name
// of the source (/dev/rbd0, /dev/nbd0) decides.
func KindOf(fstype, source, device string, blocks Blocks) Kind {
	switch fstype {
	case "ceph":
		return KindCephFS
	case "fuse.ceph-fuse", "fuse.ceph", "fuse.cephfs":
		return KindCephFuse
	case "fuse":
		// ceph-fuse before 9.1, and every daemon that sets no subtype.
		if source == "ceph-fuse" {
			return KindCephFuse
		}
		return KindFuse
	case "fuseblk", "virtiofs":
		return KindFuse
	case "nfs", "nfs4":
		return KindNFS
	case "cifs", "smb3", "smbfs":
		return KindCIFS
	}
	if strings.HasPrefix(fstype, "fuse.") {
		return KindFuse
	}
	return blockKind(fstype, source, device, blocks)
}

// blockKind tells rbd, local disk and everything else apart.
func blockKind(fstype, source, device string, blocks Blocks) Kind {
	if dev, ok := blocks.remote(blockDevice(fstype, source, device, blocks)); ok && dev != "" {
		return KindRBD
	}
	anonymous := strings.HasPrefix(device, "0:")
	switch fstype {
	case "btrfs", "bcachefs", "zfs":
		// On disks, yet with an anonymous device number.
	default:
		if anonymous {
			return KindOther
		}
	}
	if !blocks.knows(blockDevice(fstype, source, device, blocks)) && remoteName(source) {
		return KindRBD
	}
	return KindBlock
}

// blockDevice returns the number of the block device a mount stands on: its own
// one, or for btrfs and bcachefs, whose superblocks have anonymous numbers, the
// one their source names. "" when there is none.
func blockDevice(fstype, source, device string, blocks Blocks) string {
	if !strings.HasPrefix(device, "0:") {
		return device
	}
	if fstype == "btrfs" || fstype == "bcachefs" {
		return blocks.byName[strings.TrimPrefix(firstOf(source, ':'), "/dev/")]
	}
	return ""
}

// firstOf returns s up to sep: bcachefs names all its members as a:b:c.
func firstOf(s string, sep byte) string {
	if i := strings.IndexByte(s, sep); i >= 0 {
		return s[:i]
	}
	return s
}

// remoteName tells whether a source is an rbd or nbd device by its name alone.
func remoteName(source string) bool {
	name, ok := strings.CutPrefix(source, "/dev/")
	if !ok {
		return false
	}
	for _, prefix := range []string{"rbd", "nbd"} {
		rest, ok := strings.CutPrefix(name, prefix)
		if ok && rest != "" && (rest[0] == '/' || rest[0] >= '0' && rest[0] <= '9') {
			return true
		}
	}
	return false
}
