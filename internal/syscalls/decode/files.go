package decode

import (
	"fmt"
	"strings"

	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// statFields are the fields of struct stat that are shown.
type statFields struct {
	dev, ino, nlink, rdev, size, blksize, blocks uint64
	mode, uid, gid                               uint32
	atime, mtime, ctime                          [2]int64
}

// showStat reads struct stat of the 64-bit architectures: x86 has its own
// layout, arm64 the generic one.
func showStat(d *decoder, v value) (string, bool) {
	size := 128
	if d.arch() == syscalls.AMD64 {
		size = 144
	}
	if d.bits == 32 {
		return "", false
	}
	w, ok := d.view(v, size)
	if !ok {
		return "", false
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
	return d.stat(s), true
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
	return d.stat(s), true
}

func (d *decoder) stat(s statFields) string {
	var parts []string
	add := func(name, text string) { parts = append(parts, "st_"+name+"="+text) }
	if d.o.Verbose {
		add("dev", dev(s.dev))
		add("ino", utoa(s.ino))
	}
	add("mode", syscalls.FileMode(d.arch(), s.mode))
	if d.o.Verbose {
		add("nlink", utoa(s.nlink))
		add("uid", utoa(uint64(s.uid)))
		add("gid", utoa(uint64(s.gid)))
		add("blksize", utoa(s.blksize))
		add("blocks", utoa(s.blocks))
	}
	if isDevice(s.mode) {
		add("rdev", dev(s.rdev))
	} else {
		add("size", itoa(int64(s.size)))
	}
	if !d.o.Verbose {
		return fields(append(parts, "...")...)
	}
	for _, t := range []struct {
		name string
		v    [2]int64
	}{{"atime", s.atime}, {"mtime", s.mtime}, {"ctime", s.ctime}} {
		add(t.name, itoa(t.v[0])+d.when(t.v[0], t.v[1], 9))
		add(t.name+"_nsec", itoa(t.v[1]))
	}
	return fields(parts...)
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
	add("mask", d.flags(syscalls.SetStatx, uint64(w.u32(0))))
	if d.o.Verbose {
		add("blksize", utoa(uint64(w.u32(4))))
	}
	add("attributes", d.flags(syscalls.SetStatxAttr, w.u64(8)))
	if d.o.Verbose {
		add("nlink", utoa(uint64(w.u32(16))))
		add("uid", id(w.u32(20)))
		add("gid", id(w.u32(24)))
	}
	add("mode", syscalls.FileMode(d.arch(), uint32(w.u16(28))))
	if d.o.Verbose {
		add("ino", utoa(w.u64(32)))
	}
	add("size", utoa(w.u64(40)))
	if !d.o.Verbose {
		return fields(append(parts, "...")...), true
	}
	add("blocks", utoa(w.u64(48)))
	add("attributes_mask", d.flags(syscalls.SetStatxAttr, w.u64(56)))
	const btime = 0x800
	for i, name := range []string{"atime", "btime", "ctime", "mtime"} {
		if name == "btime" && w.u32(0)&btime == 0 {
			continue
		}
		sec, nsec := int64(w.u64(64+16*i)), int64(w.u32(72+16*i))
		add(name, fields("tv_sec="+itoa(sec), "tv_nsec="+itoa(nsec))+d.when(sec, nsec, 9))
	}
	add("rdev_major", utoa(uint64(w.u32(128))))
	add("rdev_minor", utoa(uint64(w.u32(132))))
	add("dev_major", utoa(uint64(w.u32(136))))
	add("dev_minor", utoa(uint64(w.u32(140))))
	add("mnt_id", hex(w.u64(144)))
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

// bare drops the comment of an unknown value.
func bare(s string) string {
	s, _, _ = strings.Cut(s, " /*")
	return s
}

// showDirents counts directory entries as strace does, or lists them.
func showDirents(d *decoder, v value) (string, bool) {
	total, ok := d.count(v)
	if !ok {
		return "", false
	}
	b := v.mem(v.addr, total)
	header, nameOff := 19, 19
	if v.arg.Struct == syscalls.StructDirents {
		header, nameOff = 2*d.bits/8+2, 2*d.bits/8+2
	}
	var parts []string
	off := 0
	for off+header <= len(b) {
		w := view{b: b[off:], long: d.bits / 8}
		reclen := int(w.u16(nameOff - 3))
		if v.arg.Struct == syscalls.StructDirents {
			reclen = int(w.u16(nameOff - 2))
		}
		if reclen < header || off+reclen > total {
			break
		}
		if off+reclen > len(b) {
			break
		}
		if d.o.Verbose {
			parts = append(parts, d.dirent(v, view{b: b[off : off+reclen], long: d.bits / 8}, nameOff))
		} else {
			parts = append(parts, "")
		}
		off += reclen
	}
	more := ""
	if off < total { // not all was captured
		more = "+"
	}
	if !d.o.Verbose {
		return fmt.Sprintf("%s /* %d%s entries */", hex(v.addr), len(parts), more), true
	}
	if more != "" {
		parts = append(parts, "...")
	}
	return bracketed(parts), true
}

func (d *decoder) dirent(v value, w view, nameOff int) string {
	name := func(size int) string { return syscalls.Quote(w.str(nameOff, size), false) }
	if v.arg.Struct == syscalls.StructDirents {
		typ := w.u8(len(w.b) - 1) // behind the name
		return fields("d_ino="+utoa(w.ulong(0)), "d_off="+itoa(w.slong(1)), "d_reclen="+utoa(uint64(len(w.b))),
			"d_name="+name(len(w.b)-nameOff-1), "d_type="+d.enum(syscalls.SetDirentry, uint64(typ)))
	}
	return fields("d_ino="+utoa(w.u64(0)), "d_off="+itoa(int64(w.u64(8))), "d_reclen="+utoa(uint64(len(w.b))),
		"d_type="+d.enum(syscalls.SetDirentry, uint64(w.u8(18))), "d_name="+name(len(w.b)-nameOff))
}

// showFlock reads struct flock of the 64-bit architectures (and of 32-bit
// calls the old one, whose offsets are longs).
func showFlock(d *decoder, v value) (string, bool) {
	size := 32
	if d.bits == 32 {
		size = 16
	}
	w, ok := d.view(v, size)
	if !ok {
		return "", false
	}
	if d.bits == 32 {
		return d.flock(w, int64(int32(w.u32(4))), int64(int32(w.u32(8))), w.u32(12)), true
	}
	return d.flock(w, int64(w.u64(8)), int64(w.u64(16)), w.u32(24)), true
}

func showFlock64(d *decoder, v value) (string, bool) {
	const f64 = 12 // F_GETLK64 and the two behind it; the others take struct flock
	if cmd := d.in.Args[1]; cmd < f64 {
		return showFlock(d, v)
	}
	if d.arch() == syscalls.I386 {
		w, ok := d.view(v, 24)
		return d.flock(w, int64(w.u64(4)), int64(w.u64(12)), w.u32(20)), ok
	}
	w, ok := d.view(v, 32)
	return d.flock(w, int64(w.u64(8)), int64(w.u64(16)), w.u32(24)), ok
}

func (d *decoder) flock(w view, start, length int64, pid uint32) string {
	parts := []string{
		"l_type=" + d.enum(syscalls.SetLocktype, uint64(w.u16(0))),
		"l_whence=" + d.enum(syscalls.SetWhence, uint64(w.u16(2))),
		"l_start=" + itoa(start), "l_len=" + itoa(length),
	}
	if v := d.list[2]; v.Dir&syscalls.DirOut != 0 && d.in.Returned {
		parts = append(parts, "l_pid="+itoa(int64(int32(pid))))
	}
	return fields(parts...)
}

func showFOwner(d *decoder, v value) (string, bool) {
	w, ok := d.view(v, 8)
	return fields("type="+d.enum(syscalls.SetFOwner, uint64(w.u32(0))), "pid="+itoa(int64(int32(w.u32(4))))), ok
}

func showOpenHow(d *decoder, v value) (string, bool) {
	w, ok := d.view(v, 24)
	if !ok {
		return "", false
	}
	flags := w.u64(0)
	parts := []string{"flags=" + d.flags(syscalls.SetOpen, flags)}
	const creat, tmpfile = 0o100, 0o20000000
	if mode := w.u64(8); mode != 0 || flags&(creat|tmpfile) != 0 {
		parts = append(parts, "mode="+fmt.Sprintf("%#03o", mode))
	}
	parts = append(parts, "resolve="+d.flags(syscalls.SetResolve, w.u64(16)))
	return fields(parts...), true
}

func showFileHandle(d *decoder, v value) (string, bool) {
	w, ok := d.view(v, 8)
	if !ok {
		return "", false
	}
	n := w.u32(0)
	size := "handle_bytes=" + utoa(uint64(n))
	if v.arg.Dir&syscalls.DirOut != 0 {
		const overflow = 75 // EOVERFLOW: the size is what was missing
		if !d.in.Returned || d.failed() && syscalls.ErrnoOf(d.in.Ret) != overflow {
			return fields(size), true
		}
		if b := d.in.Entry; b != nil {
			if was := b(v.addr, 4); len(was) >= 4 {
				size = "handle_bytes=" + utoa(uint64(view{b: was}.u32(0)))
			}
		}
		if b := d.in.Exit; b != nil {
			if is := b(v.addr, 4); len(is) >= 4 && "handle_bytes="+utoa(uint64(view{b: is}.u32(0))) != size {
				size += " => " + utoa(uint64(view{b: is}.u32(0)))
			}
		}
		if d.failed() {
			return fields(size), true
		}
	}
	const maxHandle = 128
	parts := []string{size, "handle_type=" + itoa(int64(int32(w.u32(4))))}
	if n > maxHandle {
		return fields(append(parts, "f_handle=...")...), true
	}
	b, ok := v.read(v.addr+8, int(n))
	if !ok {
		return "", false
	}
	return fields(append(parts, "f_handle="+hexBytes(b))...), true
}

func showMountAttr(d *decoder, v value) (string, bool) {
	w, ok := d.view(v, 32)
	if !ok {
		return "", false
	}
	return fields("attr_set="+d.flags(syscalls.SetMountAttr, w.u64(0)), "attr_clr="+d.flags(syscalls.SetMountAttr, w.u64(8)),
		"propagation="+d.flags(syscalls.SetMountPropagation, w.u64(16)), "userns_fd="+itoa(int64(w.u64(24)))), true
}

func showWinsize(d *decoder, v value) (string, bool) {
	w, ok := d.view(v, 8)
	if !ok {
		return "", false
	}
	var parts []string
	for i, name := range []string{"ws_row", "ws_col", "ws_xpixel", "ws_ypixel"} {
		parts = append(parts, name+"="+utoa(uint64(w.u16(2*i))))
	}
	return fields(parts...), true
}

// showTermios shows a terminal's settings.
func showTermios(d *decoder, v value) (string, bool) {
	w, ok := d.view(v, 36)
	if !ok {
		return "", false
	}
	parts := []string{
		"c_iflag=" + d.flags(syscalls.SetCIflag, uint64(w.u32(0))), "c_oflag=" + d.flags(syscalls.SetCOflag, uint64(w.u32(4))),
		"c_cflag=" + d.cflag(w.u32(8)), "c_lflag=" + d.flags(syscalls.SetCLflag, uint64(w.u32(12))),
	}
	if !d.o.Verbose {
		return fields(append(parts, "...")...), true
	}
	var chars []string
	names := strings.Fields("VINTR VQUIT VERASE VKILL VEOF VTIME VMIN VSWTC VSTART VSTOP VSUSP VEOL VREPRINT VDISCARD VWERASE VLNEXT VEOL2 17 18")
	for i, name := range names {
		chars = append(chars, "["+name+"]="+hex(uint64(w.u8(17+i))))
	}
	return fields(append(parts, "c_line="+lineDiscipline(w.u8(16)), "c_cc="+bracketed(chars))...), true
}

// cflag shows the control flags, with the input speed between the output
// speed and the rest.
func (d *decoder) cflag(v uint32) string {
	const shift, speed = 16, 0x100f
	text := d.flags(syscalls.SetCCflag, uint64(v&^(speed<<shift)))
	in := v >> shift & speed
	if in == 0 {
		return text
	}
	out, rest, more := strings.Cut(text, "|")
	name, _, _ := strings.Cut(d.flags(syscalls.SetCCflag, uint64(in)), "|")
	out += "|" + name + "<<IBSHIFT"
	if more {
		out += "|" + rest
	}
	return out
}

func lineDiscipline(n uint8) string {
	names := strings.Fields("N_TTY N_SLIP N_MOUSE N_PPP N_STRIP N_AX25 N_X25 N_6PACK N_MASC N_R3964 N_PROFIBUS_FDL N_IRDA N_SMSBLOCK N_HDLC N_SYNC_PPP N_HCI")
	if int(n) < len(names) {
		return names[n]
	}
	return hex(uint64(n)) + " /* N_??? */"
}
