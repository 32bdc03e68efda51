package mounts

import (
	"bytes"
	"errors"
	"path"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// Mount is one line of mountinfo.
type Mount struct {
	ID, Parent int
	// Device is the superblock's device number, "0:28": st_dev of the files.
	Device string
	// Root is the directory of the file system that is mounted here; not "/"
	// for bind mounts and subPath volumes. RootDeleted tells that it was
	// removed meanwhile; the kernel's "//deleted" mark is taken off.
	Root        string
	RootDeleted bool
	// Point is the mount point, relative to the root of the process whose
	// mountinfo it was read from.
	Point  string
	FSType string
	// Source and SuperOptions hold no secret: it is replaced when parsed.
	Source       string
	SuperOptions string
	Kind         Kind
	// Image is POOL/IMAGE for rbd, "" when unknown.
	Image string
	// Namespace is the inode number of the mount namespace.
	Namespace uint32
}

// Table is the mounts of one mount namespace as one process sees them.
type Table struct {
	Namespace uint32
	Mounts    []Mount
	// Malformed counts lines that were no mountinfo lines and were left out.
	Malformed int

	root     int // index of the process's root mount, or noRoot
	byID     map[int]int
	byDevice map[string][]int
	children map[place]int
}

// place is where a mount sits: on which mount, at which path.
type place struct {
	parent int
	point  string
}

const (
	noRoot = -1
	// rootID stands for the directory a path walk starts from when the
	// process's root is no mount point of its own (a chroot).
	rootID = -1
)

// Parse reads the text of a mountinfo file. Broken lines are counted in
// Malformed; it is an error only if there is nothing else. An empty text, which
// a process without any mount below its root has, gives an empty Table.
func Parse(text []byte, ns uint32, blocks Blocks) (*Table, error) {
	infos, malformed, err := readInfos(text)
	if err != nil {
		return nil, err
	}
	t := &Table{
		Namespace: ns,
		Mounts:    make([]Mount, 0, len(infos)),
		Malformed: malformed,
	}
	options := map[string]string{} // most mounts share theirs with others
	for _, info := range infos {
		m := mountOf(info, ns, blocks)
		clean, ok := options[info.VFSOptions]
		if !ok {
			clean = redactOptions(info.VFSOptions)
			options[info.VFSOptions] = clean
		}
		m.SuperOptions = clean
		t.Mounts = append(t.Mounts, m)
	}
	t.index()
	return t, nil
}

// readInfos parses text in one go and, should that fail, line by line, so that
// one broken line (or one longer than the library's buffer) costs only itself.
func readInfos(text []byte) ([]*mountinfo.Info, int, error) {
	infos, err := mountinfo.GetMountsFromReader(bytes.NewReader(text), nil)
	if err == nil {
		return infos, 0, nil
	}
	infos, malformed := nil, 0
	for line := range bytes.Lines(text) {
		one, lineErr := mountinfo.GetMountsFromReader(bytes.NewReader(line), nil)
		if lineErr != nil {
			malformed++
			continue
		}
		infos = append(infos, one...)
	}
	if len(infos) == 0 {
		// The library's message quotes the line, which may hold a secret.
		return nil, malformed, errors.New("no line of mountinfo could be parsed")
	}
	return infos, malformed, nil
}

// mountOf gives a line without its options, which Parse redacts.
func mountOf(info *mountinfo.Info, ns uint32, blocks Blocks) Mount {
	device := strconv.Itoa(info.Major) + ":" + strconv.Itoa(info.Minor)
	root, deleted := strings.CutSuffix(info.Root, "//deleted")
	if deleted && root == "" {
		root = "/"
	}
	m := Mount{
		ID:          info.ID,
		Parent:      info.Parent,
		Device:      device,
		Root:        root,
		RootDeleted: deleted,
		Point:       info.Mountpoint,
		FSType:      info.FSType,
		Source:      redactSource(info.Source),
		Kind:        KindOf(info.FSType, info.Source, device, blocks),
		Namespace:   ns,
	}
	if m.Kind == KindRBD {
		d, _ := blocks.Remote(blockDevice(m.FSType, info.Source, device, blocks))
		m.Image = image(d)
	}
	return m
}

// index builds the maps. Mountinfo lists only what is at or below the process's
// root (seq_path_root, fs/proc_namespace.c), so the root mount is the line for
// "/" whose parent is not listed: of several mounts stacked on "/", processes
// stay on the lowest.
func (t *Table) index() {
	t.byID = make(map[int]int, len(t.Mounts))
	t.byDevice = make(map[string][]int, len(t.Mounts))
	t.children = make(map[place]int, len(t.Mounts))
	for i, m := range t.Mounts {
		t.byID[m.ID] = i
		t.byDevice[m.Device] = append(t.byDevice[m.Device], i)
	}
	t.root = noRoot
	for i, m := range t.Mounts {
		if m.Point == "/" && t.parentless(m) {
			t.root = i
		}
	}
	for i, m := range t.Mounts {
		if i == t.root {
			continue
		}
		t.children[place{t.parentOf(m), m.Point}] = i // the last line wins
	}
}

func (t *Table) parentless(m Mount) bool {
	_, listed := t.byID[m.Parent]
	return !listed || m.Parent == m.ID
}

// parentOf returns the ID of the mount m sits on. Mounts whose parent is not
// listed (a chroot, or a line lost while mounts changed) sit on the root.
func (t *Table) parentOf(m Mount) int {
	if !t.parentless(m) {
		return m.Parent
	}
	return t.rootMountID()
}

func (t *Table) rootMountID() int {
	if t.root == noRoot {
		return rootID
	}
	return t.Mounts[t.root].ID
}

// Lookup returns the mount that a path walk from the process's root would end
// on, without touching the path: symbolic links are not followed, and ".." is
// taken lexically. A mount hidden by a later one higher up is not found. False
// for a relative path ("(unreachable)/x" too) and where nothing is mounted.
func (t *Table) Lookup(name string) (Mount, bool) {
	if !strings.HasPrefix(name, "/") {
		return Mount{}, false
	}
	name = path.Clean(name)
	cur, id := t.root, t.rootMountID()
	for end := nextPrefix(name, 0); end > 0; end = nextPrefix(name, end) {
		cur, id = t.climb(cur, id, name[:end])
	}
	if cur == noRoot {
		return Mount{}, false
	}
	return t.Mounts[cur], true
}

// climb follows the mounts stacked on one mount point to the topmost.
func (t *Table) climb(cur, id int, point string) (int, int) {
	// The bound is for texts that no kernel wrote, with parents in a circle.
	for range len(t.Mounts) {
		child, ok := t.children[place{id, point}]
		if !ok {
			break
		}
		cur, id = child, t.Mounts[child].ID
	}
	return cur, id
}

// nextPrefix returns the end of the next longer path prefix of name after end,
// 0 when there is none. It starts with the first component, not with "/": a
// walk does not step onto what is mounted over its own root.
func nextPrefix(name string, end int) int {
	if end >= len(name) || name == "/" {
		return 0
	}
	i := strings.IndexByte(name[end+1:], '/')
	if i < 0 {
		return len(name)
	}
	return end + 1 + i
}

// ByID returns the mount with an ID, as fdinfo's mnt_id gives it.
func (t *Table) ByID(id int) (Mount, bool) {
	i, ok := t.byID[id]
	if !ok {
		return Mount{}, false
	}
	return t.Mounts[i], true
}

// ByDevice returns every mount of one superblock, in the order of the text: a
// CSI volume has its global mount, pod mounts and subPaths.
func (t *Table) ByDevice(device string) []Mount {
	var out []Mount
	for _, i := range t.byDevice[device] {
		out = append(out, t.Mounts[i])
	}
	return out
}
