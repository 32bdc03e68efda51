package expendable

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// treeWalk lists a directory tree without ever crossing a mount point.
type treeWalk struct {
	patterns [][]string
	limit    int
	total    int
	list     []Entry
	emit     func(Answer)
	cut      bool
	buf      []byte
}

// tree lists the names below a directory that match one of the patterns. A
// directory is stepped into only if a longer pattern begins with its name, and
// never if something is mounted on it.
func (c child) tree(req Request, emit func(Answer)) (Answer, error) {
	fd, err := openBelow(req, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return Answer{}, err
	}
	w := &treeWalk{limit: bound(req.Max, entriesDefault, entriesLimit), emit: emit, buf: make([]byte, 32<<10)}
	for _, p := range req.Patterns {
		w.patterns = append(w.patterns, strings.Split(p, "/"))
	}
	err = w.directory(fd, "", 0, w.patterns)
	return Answer{Entries: w.list, Truncated: w.cut}, err
}

// directory lists fd, which it closes; patterns are those that led here.
func (w *treeWalk) directory(fd int, name string, depth int, patterns [][]string) error {
	defer unix.Close(fd)
	entries, err := w.names(fd)
	if err != nil {
		return fmt.Errorf("list %s: %w", name, err)
	}
	for _, e := range entries {
		below, matches := deeper(patterns, depth, string(e.Name))
		if !matches {
			continue
		}
		child := Entry{Name: Raw(path.Join(name, string(e.Name))), Type: e.Type}
		next := -1
		if e.Type == unix.DT_DIR {
			next, child.MTimeNS = w.step(fd, string(e.Name))
		}
		if !w.add(child) {
			if next >= 0 {
				unix.Close(next)
			}
			return nil
		}
		if next < 0 {
			continue
		}
		if len(below) == 0 {
			unix.Close(next)
			continue
		}
		// One directory that cannot be read is no reason to lose the others.
		if err := w.directory(next, string(child.Name), depth+1, below); err != nil && !errors.Is(err, unix.ENOENT) {
			continue
		}
	}
	return nil
}

// deeper gives the patterns that go on below a name, and whether any has it.
func deeper(patterns [][]string, depth int, name string) (below [][]string, matches bool) {
	for _, p := range patterns {
		if depth >= len(p) {
			continue
		}
		if ok, err := path.Match(p[depth], name); err != nil || !ok {
			continue
		}
		matches = true
		if depth+1 < len(p) {
			below = append(below, p)
		}
	}
	return below, matches
}

// step opens a directory that nothing is mounted on; -1 otherwise.
func (w *treeWalk) step(dir int, name string) (fd int, mtimeNS int64) {
	fd, err := openat2(dir, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH,
	})
	if err != nil {
		return -1, 0
	}
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_MTIME, &st); err == nil {
		mtimeNS = st.Mtime.Sec*1e9 + int64(st.Mtime.Nsec)
	}
	return fd, mtimeNS
}

func (w *treeWalk) names(fd int) ([]Entry, error) {
	var list []Entry
	for {
		n, err := unix.Getdents(fd, w.buf)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return list, err
		case n == 0:
			return list, nil
		default:
			list = appendEntries(list, w.buf[:n])
		}
	}
}

// add keeps an entry, and tells whether there is room for more.
func (w *treeWalk) add(e Entry) bool {
	if w.total == w.limit {
		w.cut = true
		return false
	}
	w.total++
	w.list = append(w.list, e)
	if len(w.list) >= entriesPerLine {
		w.emit(Answer{Entries: w.list})
		w.list = nil
	}
	return true
}
