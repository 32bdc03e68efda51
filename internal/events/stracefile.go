package events

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// StraceFile is what a descriptor stands for.
type StraceFile struct {
	// Path is as /proc/PID/fd/N gives it, from the root of the mount tree; ""
	// where the kernel makes the name up.
	Path           string
	Inode          uint64
	Magic          uint64 // of the file system
	Mode           uint32
	Major, Minor   uint32 // of a device
	Family, Type   uint16 // of a socket
	Protocol       uint16
	Local, Remote  netip.AddrPort
	Peer           uint64 // the inode of a UNIX socket's peer
	Deleted, whole bool
}

const (
	straceFileSize     = 80
	straceFileDeleted  = 1 << 0
	straceFileDetached = 1 << 1
	straceFileCut      = 1 << 2

	pipeMagic = 0x50495045
	sockMagic = 0x534f434b
	anonMagic = 0x09041934

	familyInet, familyInet6 = 2, 10
)

// DecodeStraceFile decodes the data of a file segment; false if it is none, or
// tells that the descriptor was not open.
func DecodeStraceFile(data []byte) (StraceFile, bool) {
	if len(data) < straceFileSize {
		return StraceFile{}, false
	}
	le := binary.LittleEndian
	f := StraceFile{Inode: le.Uint64(data), Magic: le.Uint64(data[8:]), Mode: le.Uint32(data[16:])}
	rdev, flags := le.Uint32(data[20:]), le.Uint32(data[24:])
	f.Major, f.Minor = rdev>>20, rdev&(1<<20-1)
	f.Family, f.Type, f.Protocol = le.Uint16(data[28:]), le.Uint16(data[30:]), le.Uint16(data[32:])
	f.Local = address(f.Family, data[48:64], le.Uint16(data[34:]))
	f.Remote = address(f.Family, data[64:80], le.Uint16(data[36:]))
	f.Peer = le.Uint64(data[40:])
	f.Deleted, f.whole = flags&straceFileDeleted != 0, flags&straceFileCut == 0
	f.Path = f.path(data[straceFileSize:], flags)
	return f, true
}

func address(family uint16, b []byte, port uint16) netip.AddrPort {
	switch family {
	case familyInet:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), port)
	case familyInet6:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b)), port)
	}
	return netip.AddrPort{}
}

// path puts the names together, innermost first as they come.
func (f *StraceFile) path(names []byte, flags uint32) string {
	list := strings.Split(strings.TrimSuffix(string(names), "\x00"), "\x00")
	number := "[" + strconv.FormatUint(f.Inode, 10) + "]"
	switch {
	case !f.whole:
		return ""
	case f.Magic == pipeMagic:
		return "pipe:" + number
	case f.Magic == sockMagic:
		return "socket:" + number
	case f.Magic == anonMagic:
		return "anon_inode:" + list[0]
	case flags&straceFileDetached != 0 && (list[0] == "" || list[0] == "/"): // nsfs, and others that make names up
		return ""
	case flags&straceFileDetached != 0:
		return "/" + list[0] + " (deleted)"
	}
	slices.Reverse(list)
	path := "/" + strings.Join(list, "/")
	if f.Deleted {
		path += " (deleted)"
	}
	return path
}
