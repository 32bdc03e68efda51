package decode

import (
	"fmt"
	"strings"

	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// showIovec shows buffers. At a read's return only what was read is shown.
func showIovec(d *decoder, v value) (string, bool) {
	n, ok := d.count(v)
	if !ok {
		return "", false
	}
	left := -1
	if v.arg.Dir&syscalls.DirOut != 0 {
		if d.failed() || !d.in.Returned {
			return d.iovecs(v, v.addr, n, -1, true)
		}
		left = int(d.in.Ret)
	}
	return d.iovecs(v, v.addr, n, left, v.arg.Struct == syscalls.StructIovecbase)
}

// iovecs shows n buffers; left is how many bytes they hold in all, -1 for as
// many as their lengths say.
func (d *decoder) iovecs(v value, addr uint64, n, left int, baseOnly bool) (string, bool) {
	size := 2 * d.bits / 8
	at := v
	at.addr = addr
	return d.array(at, n, size, func(w view) (string, bool) {
		base, length := w.ulong(0), clamp(w.ulong(1))
		text := pointer(base)
		show := length
		if left >= 0 {
			show = min(length, left)
			left -= show
		}
		if !baseOnly {
			if s, ok := d.data(v, base, show); ok && base != 0 {
				text = s
			}
		}
		return fields("iov_base="+text, "iov_len="+utoa(w.ulong(1))), true
	})
}

func showMsghdr(d *decoder, v value) (string, bool) {
	if v.arg.Dir&syscalls.DirOut != 0 && (!d.in.Returned || d.failed()) {
		w, ok := d.view(v, 2*d.bits/8)
		return fields("msg_namelen=" + utoa(uint64(w.u32(w.long)))), ok
	}
	return d.msghdr(v, v.addr, msgLength(d, v))
}

// msgLength is how much a message's buffers hold: what recvmsg returned.
func msgLength(d *decoder, v value) int {
	if v.arg.Dir&syscalls.DirOut != 0 {
		return int(d.in.Ret)
	}
	return -1
}

// msghdr shows struct msghdr: name, namelen, iov, iovlen, control,
// controllen, flags; pointers and lengths are longs, but for namelen.
func (d *decoder) msghdr(v value, addr uint64, left int) (string, bool) {
	size := 56
	if d.bits == 32 {
		size = 28
	}
	b, ok := v.read(addr, size)
	if !ok {
		return "", false
	}
	w := view{b: b, long: d.bits / 8}
	namelen, nameAddr := w.u32(w.long), w.ulong(0)
	name, ok := d.sockaddr(v, nameAddr, int(min(namelen, 128)))
	if !ok || nameAddr == 0 {
		name = pointer(nameAddr)
	}
	iov, ok := d.iovecs(v, w.ulong(2), clamp(w.ulong(3)), left, false)
	if !ok {
		iov = pointer(w.ulong(2))
	}
	parts := []string{"msg_name=" + name, "msg_namelen=" + utoa(uint64(namelen)), "msg_iov=" + iov, "msg_iovlen=" + utoa(w.ulong(3))}
	if n := w.ulong(5); n != 0 {
		control, ok := d.control(v, w.ulong(4), clamp(n))
		if !ok {
			control = pointer(w.ulong(4))
		}
		parts = append(parts, "msg_control="+control)
	}
	parts = append(parts, "msg_controllen="+utoa(w.ulong(5)), "msg_flags="+d.flags(syscalls.SetMsg, uint64(w.u32(6*w.long))))
	return fields(parts...), true
}

func showMmsghdr(d *decoder, v value) (string, bool) {
	if v.arg.Dir&syscalls.DirOut != 0 && (!d.in.Returned || d.failed()) {
		return "", false
	}
	n, ok := d.count(v)
	if !ok {
		return "", false
	}
	size := 64
	if d.bits == 32 {
		size = 32
	}
	i := -1
	return d.array(v, n, size, func(w view) (string, bool) {
		i++
		length := w.u32(7 * w.long)
		left := -1
		if v.arg.Dir&syscalls.DirOut != 0 {
			left = int(length)
		}
		hdr, ok := d.msghdr(v, v.addr+uint64(i*size), left)
		if !ok {
			return "", false
		}
		parts := []string{"msg_hdr=" + hdr}
		if d.in.Returned && int64(i) < d.in.Ret {
			length = d.messageLength(v.addr+uint64(i*size+7*w.long), length)
			parts = append(parts, "msg_len="+utoa(uint64(length)))
		}
		return fields(parts...), true
	})
}

// messageLength reads what the call stored as a message's length.
func (d *decoder) messageLength(addr uint64, otherwise uint32) uint32 {
	if d.in.Exit != nil {
		if b := d.in.Exit(addr, 4); len(b) >= 4 {
			return view{b: b}.u32(0)
		}
	}
	return otherwise
}

// control shows ancillary data: passed descriptors and credentials.
func (d *decoder) control(v value, addr uint64, n int) (string, bool) {
	b, ok := v.read(addr, n)
	if !ok {
		return "", false
	}
	word := d.bits / 8
	head := word + 8
	var parts []string
	for off := 0; off+head <= len(b); {
		w := view{b: b[off:], long: word}
		length := clamp(w.ulong(0))
		if length < head || off+length > len(b) {
			break
		}
		parts = append(parts, d.cmsg(w, head, length))
		off += (length + word - 1) &^ (word - 1)
	}
	if len(parts) == 0 {
		return "", false
	}
	return bracketed(parts), true
}

func (d *decoder) cmsg(w view, head, length int) string {
	level, typ := w.u32(w.long), w.u32(w.long+4)
	parts := []string{"cmsg_len=" + utoa(w.ulong(0)), "cmsg_level=" + d.enum(syscalls.SetSol, uint64(level))}
	const rights, credentials = 1, 2
	data := w.field(head, length-head)
	switch {
	case level == solSocket && typ == rights && len(data)%4 == 0:
		var fds []string
		for i := 0; i < len(data); i += 4 {
			fds = append(fds, d.fd(int32(view{b: data}.u32(i))))
		}
		parts = append(parts, "cmsg_type=SCM_RIGHTS", "cmsg_data="+bracketed(fds))
	case level == solSocket && typ == credentials && len(data) >= 12:
		c := view{b: data}
		parts = append(parts, "cmsg_type=SCM_CREDENTIALS", "cmsg_data="+
			fields("pid="+utoa(uint64(c.u32(0))), "uid="+id(c.u32(4)), "gid="+id(c.u32(8))))
	default:
		parts = append(parts, "cmsg_type="+hex(uint64(typ)))
		if len(data) > 0 {
			parts = append(parts, "cmsg_data="+hexBytes(data))
		}
	}
	return fields(parts...)
}

// hexBytes shows bytes as strace does binary data: "\x01\x02".
func hexBytes(b []byte) string {
	var s strings.Builder
	s.WriteByte('"')
	for _, c := range b {
		fmt.Fprintf(&s, `\x%02x`, c)
	}
	s.WriteByte('"')
	return s.String()
}
