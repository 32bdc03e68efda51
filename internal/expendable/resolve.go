package expendable

import (
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	linksLimit = 40  // as the kernel's MAXSYMLINKS
	depthLimit = 512 // every level keeps a descriptor
	linkLength = 4096
)

// resolve follows the symbolic links in a path as the process would, one
// element at a time: each is opened with O_PATH only, and never across a mount
// point that is not known to be safe. openat2 then says EXDEV, from there on
// names are only added up. A single last element also starts no automount.
func (c child) resolve(req Request, _ func(Answer)) (Answer, error) {
	w, err := newWalk(c.dir(req.PID), req)
	if err != nil {
		return Answer{}, err
	}
	defer w.close()
	err = w.run()
	return Answer{Resolved: &Resolved{
		Path: Raw(w.path()), Complete: err == nil && !w.blind, Mount: Raw(w.mount),
	}}, err
}

// level is one element of the path resolved so far. Its descriptor is -1 from
// the first mount point on that was not stepped onto.
type level struct {
	name string
	fd   int
}

type walk struct {
	levels []level // levels[0] is the root
	todo   []string
	safe   map[string]bool
	follow bool
	links  int
	mount  string
	// blind: an element beyond mount was taken as it stands.
	blind bool
}

func newWalk(dir string, req Request) (*walk, error) {
	root, err := openPath(dir + "/root")
	if err != nil {
		return nil, err
	}
	w := &walk{levels: []level{{"", root}}, safe: map[string]bool{}, follow: !req.NoFollow}
	for _, mount := range req.SafeMounts {
		w.safe[path.Clean(string(mount))] = true
	}
	name := string(req.Path)
	if !strings.HasPrefix(name, "/") {
		// The link's text has no links of its own; walking it from the root
		// finds the mount points on the way.
		cwd, err := workingDirectory(dir)
		if err != nil {
			w.close()
			return nil, err
		}
		name = cwd + "/" + name
	}
	w.push(name)
	return w, nil
}

// workingDirectory is where the process is, as seen from its own root.
func workingDirectory(dir string) (string, error) {
	cwd, err := readlinkat(unix.AT_FDCWD, dir+"/cwd")
	if err != nil {
		return "", fmt.Errorf("read link %s/cwd: %w", dir, err)
	}
	if !strings.HasPrefix(cwd, "/") {
		return "", fmt.Errorf("read link %s/cwd: %q is on no mount", dir, cwd)
	}
	root, err := readlinkat(unix.AT_FDCWD, dir+"/root")
	if err != nil {
		return "", fmt.Errorf("read link %s/root: %w", dir, err)
	}
	if rest, ok := strings.CutPrefix(cwd, strings.TrimRight(root, "/")); ok && (rest == "" || rest[0] == '/') {
		return rest, nil
	}
	return cwd, nil
}

func readlinkat(dir int, name string) (string, error) {
	buf := make([]byte, linkLength)
	for {
		n, err := unix.Readlinkat(dir, name, buf)
		if err == nil {
			return string(buf[:n]), nil
		}
		if err != unix.EINTR {
			return "", err
		}
	}
}

// push puts the elements of name before what is still to do.
func (w *walk) push(name string) {
	w.todo = append(strings.Split(name, "/"), w.todo...)
}

func (w *walk) run() error {
	for len(w.todo) > 0 {
		name := w.todo[0]
		w.todo = w.todo[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			w.pop()
			continue
		}
		if len(w.levels) > depthLimit {
			return fmt.Errorf("resolve %s: deeper than %d", w.path(), depthLimit)
		}
		if err := w.step(name); err != nil {
			err = fmt.Errorf("resolve %s: %w", path.Join(w.path(), name), err)
			w.levels = append(w.levels, level{name, -1})
			w.finishByName()
			return err
		}
	}
	return nil
}

// step goes one element further.
func (w *walk) step(name string) error {
	dir := w.levels[len(w.levels)-1].fd
	if dir < 0 {
		w.levels = append(w.levels, level{name, -1})
		w.blind = true
		return nil
	}
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS,
	}
	fd, err := openat2(dir, name, &how)
	if err == unix.EXDEV {
		here := path.Join(w.path(), name)
		if !w.safe[here] {
			w.mount = here
			w.levels = append(w.levels, level{name, -1})
			return nil
		}
		how.Resolve = unix.RESOLVE_NO_MAGICLINKS
		fd, err = openat2(dir, name, &how)
	}
	if err != nil {
		return err
	}
	if w.follow || len(w.todo) > 0 {
		// An empty name reads the link that fd is; ENOENT: it is none.
		target, err := readlinkat(fd, "")
		if err == nil {
			_ = unix.Close(fd)
			return w.link(target)
		}
	}
	w.levels = append(w.levels, level{name, fd})
	return nil
}

func (w *walk) link(target string) error {
	if w.links++; w.links > linksLimit {
		return unix.ELOOP
	}
	if strings.HasPrefix(target, "/") {
		for len(w.levels) > 1 {
			w.pop()
		}
	}
	w.push(target)
	return nil
}

func (w *walk) pop() {
	if last := len(w.levels) - 1; last > 0 { // ".." of the root is the root
		if fd := w.levels[last].fd; fd >= 0 {
			_ = unix.Close(fd)
		} else if !w.blind {
			w.mount = "" // back on this side of it
		}
		w.levels = w.levels[:last]
	}
}

// finishByName adds what is left to do without looking at it.
func (w *walk) finishByName() {
	for _, name := range w.todo {
		switch name {
		case "", ".":
		case "..":
			w.pop()
		default:
			w.levels = append(w.levels, level{name, -1})
		}
	}
	w.todo = nil
}

func (w *walk) path() string {
	var b strings.Builder
	for _, l := range w.levels[1:] {
		b.WriteByte('/')
		b.WriteString(l.name)
	}
	if b.Len() == 0 {
		return "/"
	}
	return b.String()
}

func (w *walk) close() {
	for _, l := range w.levels {
		if l.fd >= 0 {
			_ = unix.Close(l.fd)
		}
	}
}
