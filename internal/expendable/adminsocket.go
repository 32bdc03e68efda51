package expendable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const adminAnswerLimit = 4 << 20

// adminCommands are those that a daemon answers from its memory and that change
// nothing.
var adminCommands = []string{"mds_requests", "objecter_requests", "mds_sessions", "status"}

// adminSocket asks a Ceph daemon through its admin socket, which is found among
// the sockets that the daemon itself listens on: a container's paths and a
// configuration need not be known for that. A stopped daemon lets one connect,
// and never answers.
func (c child) adminSocket(req Request, emit func(Answer)) (Answer, error) {
	path, err := c.listens(req.PID, ".asok")
	if err != nil {
		return Answer{}, err
	}
	emit(Answer{Entries: []Entry{{Name: Raw(path)}}})
	for _, command := range req.Names {
		if !slices.Contains(adminCommands, command) {
			return Answer{}, fmt.Errorf("admin socket: command %q is not one that is asked", command)
		}
		text, err := c.askAdmin(req.PID, path, command)
		if err != nil {
			return Answer{}, fmt.Errorf("ask %s %s: %w", path, command, err)
		}
		emit(Answer{Texts: []Text{{Name: command, Data: text}}})
	}
	return Answer{}, nil
}

// listens finds the path of the stream socket on which a process listens and
// whose name ends in suffix.
func (c child) listens(pid int, suffix string) (string, error) {
	dir := c.dir(pid)
	f, err := os.Open(dir + "/fd")
	if err != nil {
		return "", err
	}
	names, err := f.Readdirnames(-1)
	f.Close()
	if err != nil {
		return "", err
	}
	own := make(map[string]bool)
	for _, name := range names {
		if to, err := readlinkat(unix.AT_FDCWD, dir+"/fd/"+name); err == nil && strings.HasPrefix(to, "socket:[") {
			own[strings.TrimSuffix(strings.TrimPrefix(to, "socket:["), "]")] = true
		}
	}
	text, err := readText(dir+"/net/unix", 64<<20)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if path, inode, ok := listener(line); ok && own[inode] && strings.HasSuffix(path, suffix) {
			return path, nil
		}
	}
	return "", fmt.Errorf("process %d listens on no socket named *%s", pid, suffix)
}

// listener reads a line of /proc/net/unix: "NUM: REFS PROTOCOL FLAGS TYPE STATE
// INODE PATH" for a stream socket that listens at a path.
func listener(line string) (path, inode string, ok bool) {
	const acceptsConnections = 1 << 16 // __SO_ACCEPTCON
	f := strings.Fields(line)
	if len(f) < 8 || f[4] != "0001" {
		return "", "", false
	}
	flags, err := strconv.ParseUint(f[3], 16, 32)
	if err != nil || flags&acceptsConnections == 0 {
		return "", "", false
	}
	at := strings.Index(line, " "+f[6]+" ")
	if at < 0 {
		return "", "", false
	}
	path = strings.TrimRight(line[at+len(f[6])+2:], "\n")
	return path, f[6], strings.HasPrefix(path, "/")
}

// askAdmin sends one command, as Ceph's own client does: JSON and a NUL out, a
// length and JSON back.
func (c child) askAdmin(pid int, path, command string) ([]byte, error) {
	root, err := openPath(c.dir(pid) + "/root")
	if err != nil {
		return nil, err
	}
	defer unix.Close(root)
	place, err := openat2(root, strings.TrimPrefix(path, "/"), &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, err
	}
	defer unix.Close(place)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	socket := os.NewFile(uintptr(fd), path)
	defer socket.Close()
	// A path below /proc/self fits into the 108 bytes that the address has.
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(place)}); err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	if _, err := socket.Write([]byte(`{"prefix":"` + command + `","format":"json"}` + "\x00")); err != nil {
		return nil, err
	}
	var length uint32
	if err := binary.Read(socket, binary.BigEndian, &length); err != nil {
		return nil, err
	}
	if length > adminAnswerLimit {
		return nil, fmt.Errorf("an answer of %d bytes", length)
	}
	var text bytes.Buffer
	if _, err := io.CopyN(&text, socket, int64(length)); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return text.Bytes(), nil
}
