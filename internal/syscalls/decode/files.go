package decode

import (
	"fmt"
	"strings"

	"github.com/hangtrace/hangtrace/internal/syscalls"
)

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
