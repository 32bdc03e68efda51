package decode

import (
	"fmt"
	"strconv"

	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// statFields are the fields of struct stat that are shown.
type statFields struct {
	dev, ino, nlink, rdev, size, blksize, blocks uint64
	mode, uid, gid                               uint32
	atime, mtime, ctime                          [2]int64
}

// appendStat reads struct stat of the 64-bit architectures: x86 has its own
// layout, arm64 the generic one.
func (d *decoder) appendStat(b []byte, v value) ([]byte, bool) {
	size := 128
	if d.arch() == syscalls.AMD64 {
		size = 144
	}
	if d.bits == 32 {
		return b, false
	}
	w, ok := d.view(v, size)
	if !ok {
		return b, false
	}
	s := statFields{dev: w.u64(0), ino: w.u64(8), size: w.u64(48)}
	if d.arch() == syscalls.AMD64 {
		s.nlink, s.mode, s.uid, s.gid = w.u64(16), w.u32(24), w.u32(28), w.u32(32)
		s.rdev, s.blksize, s.blocks = w.u64(40), w.u64(56), w.u64(64)
	} else {
		s.mode, s.nlink, s.uid, s.gid = w.u32(16), uint64(w.u32(20)), w.u32(24), w.u32(28)
		s.rdev, s.blksize, s.blocks = w.u64(32), uint64(w.u32(56)), w.u64(64)
	}
	for i, t := range []*[2]int64{&s.atime, &s.mtime, &s.ctime} {
		*t = [2]int64{int64(w.u64(72 + 16*i)), int64(w.u64(80 + 16*i))}
	}
	return d.stat(b, &s), true
}

// showStat64 reads struct stat64 of the 32-bit architectures: i386 packs its
// 64-bit fields on 4 bytes, arm aligns them.
func showStat64(d *decoder, v value) (string, bool) {
	pad := 0
	if d.arch() == syscalls.ARM {
		pad = 4
	}
	w, ok := d.view(v, 96+2*pad)
	if !ok {
		return "", false
	}
	s := statFields{
		dev: w.u64(0), mode: w.u32(16), nlink: uint64(w.u32(20)), uid: w.u32(24), gid: w.u32(28),
		rdev: w.u64(32), size: w.u64(44 + pad), blksize: uint64(w.u32(52 + pad)),
	}
	off := 56 + 2*pad
	s.blocks = w.u64(off)
	for i, t := range []*[2]int64{&s.atime, &s.mtime, &s.ctime} {
		*t = [2]int64{int64(int32(w.u32(off + 8 + 8*i))), int64(w.u32(off + 12 + 8*i))}
	}
	s.ino = w.u64(off + 32)
	return string(d.stat(nil, &s)), true
}

func (d *decoder) stat(b []byte, s *statFields) []byte {
	b = append(b, '{')
	if d.o.Verbose {
		b = append(append(b, "st_dev="...), dev(s.dev)...)
		b = number64(b, ", st_ino=", s.ino)
		b = append(b, ", "...)
	}
	b = syscalls.AppendFileMode(append(b, "st_mode="...), d.arch(), s.mode)
	if d.o.Verbose {
		b = number64(b, ", st_nlink=", s.nlink)
		b = number64(b, ", st_uid=", uint64(s.uid))
		b = number64(b, ", st_gid=", uint64(s.gid))
		b = number64(b, ", st_blksize=", s.blksize)
		b = number64(b, ", st_blocks=", s.blocks)
	}
	if isDevice(s.mode) {
		b = append(append(b, ", st_rdev="...), dev(s.rdev)...)
	} else {
		b = strconv.AppendInt(append(b, ", st_size="...), int64(s.size), 10)
	}
	if !d.o.Verbose {
		return append(b, ", ...}"...)
	}
	for _, t := range [...]struct {
		name string
		v    [2]int64
	}{{"atime", s.atime}, {"mtime", s.mtime}, {"ctime", s.ctime}} {
		b = strconv.AppendInt(append(append(append(b, ", st_"...), t.name...), '='), t.v[0], 10)
		b = append(b, d.when(t.v[0], t.v[1], 9)...)
		b = strconv.AppendInt(append(append(append(b, ", st_"...), t.name...), "_nsec="...), t.v[1], 10)
	}
	return append(b, '}')
}

func number64(b []byte, name string, v uint64) []byte {
	return strconv.AppendUint(append(b, name...), v, 10)
}

func isDevice(mode uint32) bool {
	const ifmt, ifchr, ifblk = 0o170000, 0o020000, 0o060000
	return mode&ifmt == ifchr || mode&ifmt == ifblk
}

func dev(v uint64) string {
	return syscalls.Makedev(syscalls.Major(v), syscalls.Minor(v))
}

// showStatx reads struct statx, the same everywhere.
func showStatx(d *decoder, v value) (string, bool) {
	w, ok := d.view(v, 256)
	if !ok {
		return "", false
	}
	var parts []string
	add := func(name, text string) { parts = append(parts, "stx_"+name+"="+text) }
	mask := w.u32(0)
	has := func(bits uint32, name, text string) { // strace shows what the file system gave
		if mask&bits != 0 {
			add(name, text)
		}
	}
	add("mask", d.flags(syscalls.SetStatx, uint64(mask)))
	if d.o.Verbose {
		add("blksize", utoa(uint64(w.u32(4))))
	}
	add("attributes", d.flags(syscalls.SetStatxAttr, w.u64(8)))
	if d.o.Verbose {
		has(0x4, "nlink", utoa(uint64(w.u32(16))))
		has(0x8, "uid", id(w.u32(20)))
		has(0x10, "gid", id(w.u32(24)))
	}
	has(0x3, "mode", syscalls.FileMode(d.arch(), uint32(w.u16(28))))
	if d.o.Verbose {
		has(0x100, "ino", utoa(w.u64(32)))
	}
	has(0x200, "size", utoa(w.u64(40)))
	if !d.o.Verbose {
		return fields(append(parts, "...")...), true
	}
	has(0x400, "blocks", utoa(w.u64(48)))
	add("attributes_mask", d.flags(syscalls.SetStatxAttr, w.u64(56)))
	bits := [...]uint32{0x20, 0x800, 0x80, 0x40} // STATX_ATIME...
	for i, name := range []string{"atime", "btime", "ctime", "mtime"} {
		sec, nsec := int64(w.u64(64+16*i)), int64(w.u32(72+16*i))
		has(bits[i], name, fields("tv_sec="+itoa(sec), "tv_nsec="+itoa(nsec))+d.when(sec, nsec, 9))
	}
	add("rdev_major", utoa(uint64(w.u32(128))))
	add("rdev_minor", utoa(uint64(w.u32(132))))
	add("dev_major", utoa(uint64(w.u32(136))))
	add("dev_minor", utoa(uint64(w.u32(140))))
	has(0x1000, "mnt_id", hex(w.u64(144)))
	return fields(parts...), true
}

// showStatfs reads struct statfs (fields are longs) and statfs64 (fields of 8
// bytes between ints, packed as arm and i386 do).
func showStatfs(d *decoder, v value) (string, bool) {
	wide := d.bits == 32 // statfs64: only 32-bit calls have it
	size := 120
	if wide {
		size = 84
	}
	w, ok := d.view(v, size)
	if !ok {
		return "", false
	}
	var n [12]uint64 // type bsize blocks bfree bavail files ffree fsid fsid namelen frsize flags
	if wide {
		n[0], n[1] = uint64(w.u32(0)), uint64(w.u32(4))
		for i := range 5 {
			n[2+i] = w.u64(8 + 8*i)
		}
		for i := range 5 {
			n[7+i] = uint64(w.u32(48 + 4*i))
		}
	} else {
		for i := range 7 {
			n[i] = w.u64(8 * i)
		}
		n[7], n[8] = uint64(w.u32(56)), uint64(w.u32(60))
		for i := range 3 {
			n[9+i] = w.u64(64 + 8*i)
		}
	}
	return fields("f_type="+bare(d.enum(syscalls.SetSysmagic, n[0])), "f_bsize="+utoa(n[1]), "f_blocks="+utoa(n[2]),
		"f_bfree="+utoa(n[3]), "f_bavail="+utoa(n[4]), "f_files="+utoa(n[5]), "f_ffree="+utoa(n[6]),
		fmt.Sprintf("f_fsid={val=[%s, %s]}", hex(n[7]), hex(n[8])), "f_namelen="+utoa(n[9]),
		"f_frsize="+utoa(n[10]), "f_flags="+d.flags(syscalls.SetStFlags, n[11])), true
}
