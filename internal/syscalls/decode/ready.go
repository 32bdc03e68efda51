package decode

import (
	"strings"

	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// showPollfds shows what poll waits for; what came is behind the return value.
func showPollfds(d *decoder, v value) (string, bool) {
	n, ok := d.count(v)
	if !ok {
		return "", false
	}
	v.mem = d.in.Entry
	return d.array(v, n, 8, func(w view) (string, bool) {
		fd := int32(w.u32(0))
		if fd < 0 {
			return fields("fd=" + itoa(int64(fd))), true
		}
		return fields("fd="+d.fd(fd), "events="+d.flags(syscalls.SetPoll, uint64(w.u16(4)))), true
	})
}

func showEpollEvents(d *decoder, v value) (string, bool) {
	n, ok := d.count(v)
	if !ok {
		return "", false
	}
	size, dataOff := 12, 4 // packed on x86
	if a := d.arch(); a == syscalls.ARM64 || a == syscalls.ARM {
		size, dataOff = 16, 8
	}
	element := func(w view) (string, bool) {
		return fields("events="+d.flags(syscalls.SetEpollevents, uint64(w.u32(0))),
			"data="+fields("u32="+utoa(uint64(w.u32(dataOff))), "u64="+utoa(w.u64(dataOff)))), true
	}
	if v.arg.Len == syscalls.LenFixed { // epoll_ctl's one
		w, ok := d.view(v, size)
		if !ok {
			return "", false
		}
		return element(w)
	}
	return d.array(v, n, size, element)
}

// bareFD is a descriptor as strace shows it behind the return value.
func bareFD(fd int32) string { return itoa(int64(fd)) }

// fdset gives the descriptors in a set of select below n.
func (d *decoder) fdset(m Memory, addr uint64, n int, text func(int32) string) ([]string, bool) {
	const max = 1024 * 64
	if n < 0 || m == nil {
		return nil, false
	}
	n = min(n, max)
	word := d.bits / 8
	size := (n + 8*word - 1) / (8 * word) * word
	b := m(addr, size)
	if len(b) < size {
		return nil, false
	}
	fds := []string{}
	for fd := range n {
		if b[fd/8]>>(fd%8)&1 != 0 {
			fds = append(fds, text(int32(fd)))
		}
	}
	return fds, true
}

// showFdset shows the descriptors select waits for.
func showFdset(d *decoder, v value) (string, bool) {
	fds, ok := d.fdset(d.in.Entry, v.addr, int(int32(d.in.Args[0])), d.fd)
	return "[" + strings.Join(fds, " ") + "]", ok
}

// returnNote gives what stands in parentheses behind the return value.
func (d *decoder) returnNote() string {
	switch d.in.Call.Name {
	case "poll", "ppoll", "ppoll_time64":
		return d.pollNote()
	case "select", "_newselect", "pselect6", "pselect6_time64":
		if len(d.list) >= 5 {
			return d.selectNote()
		}
	case "time":
		return d.date(d.in.Ret)
	}
	return ""
}

func (d *decoder) pollNote() string {
	if d.in.Ret == 0 {
		return "Timeout"
	}
	if d.in.Exit == nil {
		return ""
	}
	n := clamp(uint64(uint32(d.in.Args[1])))
	var parts []string
	for i := range n {
		b := d.in.Exit(d.in.Args[0]+uint64(8*i), 8)
		if len(b) < 8 {
			break
		}
		w := view{b: b}
		if fd := int32(w.u32(0)); fd >= 0 && w.u16(6) != 0 {
			parts = append(parts, fields("fd="+itoa(int64(fd)), "revents="+d.flags(syscalls.SetPoll, uint64(w.u16(6)))))
		}
	}
	text := bracketed(parts)
	if left, ok := d.timeLeft(2); ok && d.in.Call.Name != "poll" {
		text += ", left " + left
	}
	return text
}

func (d *decoder) selectNote() string {
	left, haveLeft := d.timeLeft(4)
	if d.in.Ret == 0 {
		return "Timeout"
	}
	var parts []string
	for i, name := range []string{"in", "out", "except"} {
		addr := d.in.Args[1+i]
		if addr == 0 {
			continue
		}
		if fds, ok := d.fdset(d.in.Exit, addr, int(int32(d.in.Args[0])), bareFD); ok && len(fds) > 0 {
			parts = append(parts, name+" ["+strings.Join(fds, " ")+"]")
		}
	}
	if haveLeft {
		parts = append(parts, "left "+left)
	}
	return strings.Join(parts, ", ")
}

// timeLeft shows what the kernel left of a timeout.
func (d *decoder) timeLeft(i int) (string, bool) {
	if i >= len(d.list) || d.in.Args[i] == 0 || d.in.Exit == nil {
		return "", false
	}
	show := timeShower(d.list[i].Struct)
	if show == nil {
		return "", false
	}
	return show(d, value{i: i, arg: d.list[i], addr: d.in.Args[i], mem: d.in.Exit})
}
