package decode

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// Socket families and levels that have a form of their own.
const (
	afUnix    = 1
	afInet    = 2
	afInet6   = 10
	afNetlink = 16
	afPacket  = 17
	afVsock   = 40

	solSocket = 1
	solTCP    = 6
)

func showSockaddr(d *decoder, v value) (string, bool) {
	n, ok := d.count(v)
	if !ok {
		return "", false
	}
	if v.arg.Len >= syscalls.LenAt && d.in.Entry != nil {
		// The kernel filled in no more than the caller's room.
		if b := d.in.Entry(d.in.Args[v.arg.Len.ArgIndex()], 4); len(b) >= 4 {
			n = min(n, clamp(uint64(view{b: b}.u32(0))))
		}
	}
	return d.sockaddr(v, v.addr, min(n, 128))
}

// sockaddr shows an address of n bytes.
func (d *decoder) sockaddr(v value, addr uint64, n int) (string, bool) {
	if addr == 0 || n < 2 {
		return "", false
	}
	b, ok := v.read(addr, n)
	if !ok {
		return "", false
	}
	w := view{b: b}
	family := "sa_family=" + d.enum(syscalls.SetAf, uint64(w.u16(0)))
	if n == 2 {
		return fields(family), true
	}
	switch fam := w.u16(0); {
	case fam == afUnix:
		return fields(family, sunPath(b[2:])), true
	case fam == afInet && n >= 16:
		ip, _ := netip.AddrFromSlice(b[4:8])
		return fields(family, fmt.Sprintf(`sin_port=htons(%d), sin_addr=inet_addr("%s")`, w.be16(2), ip)), true
	case fam == afInet6 && n >= 24:
		return fields(family, inet6(w, b)), true
	case fam == afNetlink && n >= 12:
		return fields(family, fmt.Sprintf("nl_pid=%d, nl_groups=%s", int32(w.u32(4)), groups(w.u32(8)))), true
	case fam == afVsock && n >= 16:
		return fields(family, fmt.Sprintf("svm_cid=%s, svm_port=%s", hex(uint64(w.u32(8))), hex(uint64(w.u32(4))))), true
	}
	return fields(family, "sa_data="+syscalls.Quote(string(b[2:]), false)), true
}

// groups is C's %#08x.
func groups(n uint32) string {
	if n == 0 {
		return "00000000"
	}
	return fmt.Sprintf("0x%06x", n)
}

func sunPath(b []byte) string {
	if b[0] == 0 { // abstract: the length counts
		return "sun_path=@" + syscalls.Quote(string(b[1:]), false)
	}
	s := string(b)
	if i := strings.IndexByte(s, 0); i >= 0 {
		s = s[:i]
	}
	return "sun_path=" + syscalls.Quote(s, false)
}

func inet6(w view, b []byte) string {
	ip, _ := netip.AddrFromSlice(b[8:24])
	s := fmt.Sprintf(`sin6_port=htons(%d), sin6_flowinfo=htonl(%d), inet_pton(AF_INET6, "%s", &sin6_addr)`,
		w.be16(2), w.be32(4), ip)
	if len(b) >= 28 {
		s += fmt.Sprintf(", sin6_scope_id=%d", w.u32(24))
	}
	return s
}

// showSocklen shows the length of an address: [16], or [128 => 16] when the
// call changed it.
func showSocklen(d *decoder, v value) (string, bool) {
	before, haveBefore := uint32(0), false
	if d.in.Entry != nil {
		if b := d.in.Entry(v.addr, 4); len(b) >= 4 {
			before, haveBefore = view{b: b}.u32(0), true
		}
	}
	if !d.in.Returned || d.failed() {
		return "[" + itoa(int64(int32(before))) + "]", haveBefore
	}
	w, ok := d.view(v, 4)
	if !ok {
		return "", false
	}
	after := itoa(int64(int32(w.u32(0))))
	if haveBefore && before != w.u32(0) {
		return "[" + itoa(int64(int32(before))) + " => " + after + "]", true
	}
	return "[" + after + "]", true
}

// showSockopt shows an option's value: an int, or one of a few structures.
func showSockopt(d *decoder, v value) (string, bool) {
	n, ok := d.count(v)
	if !ok || n < 0 {
		return "", false
	}
	const (
		soError, soLinger, soPeercred, soRcvtimeo, soSndtimeo, soPeersec, soBindtodevice = 4, 13, 17, 20, 21, 31, 25
		tcpCongestion                                                                    = 13
	)
	level, opt := d.in.Args[1], d.in.Args[2]
	switch {
	case level == solSocket && opt == soLinger && n == 8:
		w, ok := d.view(v, 8)
		return fields("l_onoff="+itoa(int64(int32(w.u32(0)))), "l_linger="+itoa(int64(int32(w.u32(4))))), ok
	case level == solSocket && opt == soError && n == 4:
		w, ok := d.view(v, 4)
		name := syscalls.ErrnoName(int(int32(w.u32(0))))
		if name == "" {
			name = itoa(int64(int32(w.u32(0))))
		}
		return "[" + name + "]", ok
	case level == solSocket && opt == soPeercred && n == 12:
		w, ok := d.view(v, 12)
		return fields("pid="+utoa(uint64(w.u32(0))), "uid="+id(w.u32(4)), "gid="+id(w.u32(8))), ok
	case level == solSocket && (opt == soRcvtimeo || opt == soSndtimeo) && n == 2*d.bits/8:
		w, ok := d.view(v, n)
		return timeval(w), ok
	case level == solSocket && (opt == soPeersec || opt == soBindtodevice), level == solTCP && opt == tcpCongestion:
		return d.data(v, v.addr, n)
	case n == 4:
		w, ok := d.view(v, 4)
		return "[" + itoa(int64(int32(w.u32(0)))) + "]", ok
	}
	return d.data(v, v.addr, n)
}
