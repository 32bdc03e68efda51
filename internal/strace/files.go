package strace

import (
	"fmt"
	"strings"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// fdPath gives what a descriptor stood for in the call that is shown: as the
// kernel had it then, else as calls before left it, else as /proc has it now.
func (p *Printer) fdPath(fd int) string {
	for _, list := range [...][]events.Segment{p.mem.filesEntry, p.mem.filesExit} {
		if text, ok := p.fileText(list, fd); ok {
			return text
		}
	}
	return p.fds.path(p.pid, fd)
}

// retFDPath is fdPath for what the call returned.
func (p *Printer) retFDPath(fd int) string {
	if text, ok := p.fileText(p.mem.filesExit, fd); ok {
		return text
	}
	return p.fds.path(p.pid, fd)
}

// fileText finds a descriptor among segments. One that was not open has no text.
func (p *Printer) fileText(list []events.Segment, fd int) (string, bool) {
	for _, s := range list {
		if uint32(s.Addr) != uint32(fd) {
			continue
		}
		if len(s.Data) == 0 {
			return "", true
		}
		if text := p.file(s.Data); text != "" {
			return text, true
		}
	}
	return "", false
}

// learnFiles remembers what the kernel said of descriptors.
func (p *Printer) learnFiles(t *thread, memory []byte) {
	if !p.o.FDPaths || len(memory) == 0 {
		return
	}
	p.mem.segments = events.AppendSegments(p.mem.segments[:0], memory)
	for _, s := range p.mem.segments {
		if !s.File {
			continue
		}
		if text := p.file(s.Data); text != "" {
			p.fds.set(t.pid, int(int32(uint32(s.Addr))), text)
		}
	}
}

const (
	typeMask, typeChar, typeBlock = 0o170000, 0o020000, 0o060000

	familyUnix, familyInet, familyInet6, familyNetlink = 1, 2, 10, 16
)

// file is the text of a descriptor; "" where the kernel makes the name up in a
// way that the tracer's programs do not know. What begins with < has brackets
// already.
func (p *Printer) file(data []byte) string {
	f, ok := events.DecodeStraceFile(data)
	if !ok || f.Path == "" {
		return ""
	}
	if !p.o.FDDetails {
		return f.Path
	}
	switch f.Mode & typeMask {
	case typeChar:
		return device(&f, "char")
	case typeBlock:
		return device(&f, "block")
	}
	if f.Family != 0 {
		return "<" + socketText(&f) + ">"
	}
	return f.Path
}

func device(f *events.StraceFile, kind string) string {
	text, deleted := strings.CutSuffix(syscalls.Bracket(f.Path), "(deleted)")
	text = fmt.Sprintf("%s<%s %d:%d>>", strings.TrimSuffix(text, ">"), kind, f.Major, f.Minor)
	if deleted {
		text += "(deleted)"
	}
	return text
}

func socketText(f *events.StraceFile) string {
	const tcp, udp = 6, 17
	inode := fmt.Sprintf("[%d]", f.Inode)
	name, six := "", ""
	switch f.Family {
	case familyInet6:
		six = "v6"
	case familyInet:
	case familyUnix:
		kind := ""
		if f.Type == 1 { // the kernel's names: all but streams are of one protocol
			kind = "-STREAM"
		}
		if f.Peer != 0 {
			inode = fmt.Sprintf("[%d->%d]", f.Inode, f.Peer)
		}
		return "UNIX" + kind + ":" + inode
	case familyNetlink:
		return "NETLINK:" + inode
	default:
		return f.Path
	}
	switch f.Protocol {
	case tcp:
		name = "TCP" + six
	case udp:
		name = "UDP" + six
	default:
		return f.Path
	}
	switch {
	case f.Remote.Port() != 0:
		return name + ":[" + f.Local.String() + "->" + f.Remote.String() + "]"
	case f.Local.Port() != 0:
		return name + ":[" + f.Local.String() + "]"
	}
	return name + ":" + inode
}
