package correlate

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// clientIndex finds the requests of one ceph client by what they are about, so
// that ten thousand threads are not held against ten thousand requests each.
// Its values are indices into the client's lists.
type clientIndex struct {
	byInode  map[uint64][]int // requests about an inode itself
	byPath   map[string][]int // without slashes around it
	byName   map[string][]int // where the list gives no path
	byObject map[uint64][]int // OSD requests by the inode in the object's name
	open     map[string]*OpenRequests
}

func (w *world) index(c *facts.CephState) *clientIndex {
	if x := w.clientIndexes[c]; x != nil {
		return x
	}
	x := &clientIndex{
		byInode: make(map[uint64][]int), byPath: make(map[string][]int), byName: make(map[string][]int),
		byObject: make(map[uint64][]int), open: make(map[string]*OpenRequests),
	}
	for i := range c.MDSRequests {
		r := &c.MDSRequests[i]
		w.countOpen(x, c, "mds", r.Rank, fmt.Sprint(r.TID), r.AgeMS, r.Unsafe)
		if r.Unsafe || r.Aborted { // answered, or nobody waits any more
			continue
		}
		x.addMDS(i, r)
	}
	for i := range c.OSDRequests {
		r := &c.OSDRequests[i]
		if r.Linger {
			continue
		}
		w.countOpen(x, c, "osd", r.OSD, fmt.Sprint(r.TID), r.AgeMS, false)
		name, _, _ := strings.Cut(r.Object, ".")
		if ino, err := strconv.ParseUint(name, 16, 64); err == nil {
			x.byObject[ino] = append(x.byObject[ino], i)
		}
	}
	for _, r := range c.MONRequests {
		w.countOpen(x, c, "mon", 0, fmt.Sprint(r.TID), 0, false)
	}
	if w.clientIndexes == nil {
		w.clientIndexes = make(map[*facts.CephState]*clientIndex)
	}
	w.clientIndexes[c] = x
	return x
}

func (x *clientIndex) addMDS(i int, r *facts.CephMDSRequest) {
	if r.Name == "" && r.Ino != 0 {
		x.byInode[r.Ino] = append(x.byInode[r.Ino], i)
	}
	for _, p := range []string{r.Path, r.Path2} {
		if p = strings.Trim(p, "/"); p != "" {
			x.byPath[p] = append(x.byPath[p], i)
		}
	}
	if r.Path == "" && r.Name != "" {
		x.byName[r.Name] = append(x.byName[r.Name], i)
	}
}

// countOpen counts a request to a server. An unsafe one is answered, and not
// overdue however old.
func (w *world) countOpen(x *clientIndex, c *facts.CephState, kind string, rank int, id string, ageMS int64, unsafe bool) {
	key := kind + "." + strconv.Itoa(rank)
	o := x.open[key]
	if o == nil {
		o = &OpenRequests{}
		x.open[key] = o
	}
	age := max(ageMS, w.seenFor(c, kind, id))
	if unsafe {
		age = 0
	}
	o.addListed(age, w.opts.Threshold)
}

// openAt is a copy of what a client has open at a server; nil: nothing.
func (w *world) openAt(c *facts.CephState, kind string, rank int) *OpenRequests {
	o := w.index(c).open[kind+"."+strconv.Itoa(rank)]
	if o == nil {
		return nil
	}
	own := *o
	return &own
}

// fittingMDS lists a client's MDS requests that fit inodes or a path, each once,
// with how well.
func (x *clientIndex) fittingMDS(inos []uint64, rel string) map[int]fit {
	const byInode, byWholePath = 3000, 2000 // above any path's length in parts
	found := make(map[int]fit)
	add := func(list []int, f fit) {
		for _, i := range list {
			if f.rank > found[i].rank {
				found[i] = f
			}
		}
	}
	for _, ino := range inos {
		add(x.byInode[ino], fit{"the inode of its descriptor", byInode})
	}
	if rel == "" {
		return found
	}
	add(x.byPath[rel], fit{"its path", byWholePath})
	for at := strings.LastIndexByte(rel, '/'); at > 0; at = strings.LastIndexByte(rel[:at], '/') {
		add(x.byPath[rel[:at]], fit{"the beginning of its path", 1 + strings.Count(rel[:at], "/")})
	}
	if len(x.byName) > 0 {
		for depth, part := range strings.Split(rel, "/") {
			add(x.byName[part], fit{"a name on its path", 1 + depth})
		}
	}
	return found
}

// fit is how a request fits a thread, and how well: the higher the better.
type fit struct {
	how  string
	rank int
}
