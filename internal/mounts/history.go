package mounts

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// maxVanished bounds how many mounts that are gone a History remembers: those of
// hours of pods that come and go, in a MiB.
const maxVanished = 1024

// History is the mount tables of the node over time. A lazily unmounted volume
// is in no mountinfo any more, while the call that was blocked on it still is;
// a History that saw the earlier table can still name it.
//
// The tables of one namespace must be read through the same root directory. A
// History is not safe for concurrent use.
type History struct {
	current map[uint32]dated
	// gone holds the vanished mounts, oldest first; mounts of KindOther, which
	// come and go with every container and hang for nobody, are not kept.
	gone []vanished
}

type dated struct {
	table *Table
	at    time.Time
}

// vanished is a mount that was there at a time and is not any more.
type vanished struct {
	mount Mount
	last  time.Time // when it was last seen
}

// NewHistory returns a History that knows nothing yet.
func NewHistory() *History {
	return &History{current: map[uint32]dated{}}
}

// HistoryOf builds a History from recorded tables. A namespace of which there
// are only earlier tables counts as gone with all its mounts. Tables that could
// not be parsed are left out; the error names the first of them.
func HistoryOf(tables []facts.MountTable, blocks Blocks) (*History, error) {
	ordered := slices.Clone(tables)
	slices.SortStableFunc(ordered, func(a, b facts.MountTable) int {
		if a.Earlier != b.Earlier {
			if a.Earlier {
				return -1
			}
			return 1
		}
		return a.AsOf.Compare(b.AsOf)
	})
	h := NewHistory()
	best := map[uint32]dated{}
	var first error
	for _, m := range ordered {
		t, err := Parse([]byte(m.Text), m.Namespace, blocks)
		switch {
		case err != nil && first == nil:
			first = fmt.Errorf("mount table of namespace %d: %w", m.Namespace, err)
		case err != nil:
		case m.Earlier:
			h.Remember(t, m.AsOf)
		default:
			// Of one namespace seen through two roots, the wider view.
			if b, ok := best[m.Namespace]; !ok || len(t.Mounts) > len(b.table.Mounts) {
				best[m.Namespace] = dated{t, m.AsOf}
			}
		}
	}
	for _, ns := range h.Namespaces() {
		if now, ok := best[ns]; ok && now.at.Before(h.current[ns].at) {
			now.at = h.current[ns].at // the mark outranks the clock
			best[ns] = now
		} else if !ok {
			h.Gone(ns)
		}
	}
	for _, now := range best {
		h.Remember(now.table, now.at)
	}
	return h, first
}

// Remember makes t the current table of its namespace as of at. What the table
// before it had and t has not is kept as vanished. A table older than the
// current one adds its mounts to the vanished ones.
func (h *History) Remember(t *Table, at time.Time) {
	prev, ok := h.current[t.Namespace]
	if ok && at.Before(prev.at) {
		h.vanish(dated{t, at}, prev.table)
		return
	}
	h.current[t.Namespace] = dated{t, at}
	h.revive(t)
	if ok {
		h.vanish(prev, t)
	}
}

// Gone tells that a mount namespace has ended: its mounts are vanished.
func (h *History) Gone(ns uint32) {
	prev, ok := h.current[ns]
	if !ok {
		return
	}
	delete(h.current, ns)
	h.vanish(prev, nil)
}

// vanish keeps the mounts of old that now has not.
func (h *History) vanish(old dated, now *Table) {
	var missing []Mount
	for _, m := range old.table.Mounts {
		if m.Kind != KindOther && !now.has(m) {
			missing = append(missing, m)
		}
	}
	if len(missing) == 0 {
		return // the usual case, once a tick for every namespace
	}
	known := make(map[identity]bool, len(h.gone))
	for _, v := range h.gone {
		known[identityOf(v.mount)] = true
	}
	for _, m := range missing {
		if !known[identityOf(m)] {
			h.gone = append(h.gone, vanished{m, old.at})
		}
	}
	slices.SortStableFunc(h.gone, func(a, b vanished) int { return a.last.Compare(b.last) })
	h.evict()
}

// evict drops the oldest mounts above the bound: those on local disks first,
// of which every container that ends leaves a handful.
func (h *History) evict() {
	extra := len(h.gone) - maxVanished
	if extra <= 0 {
		return
	}
	h.gone = slices.DeleteFunc(h.gone, func(v vanished) bool {
		drop := extra > 0 && v.mount.Kind == KindBlock
		if drop {
			extra--
		}
		return drop
	})
	h.gone = slices.Delete(h.gone, 0, max(extra, 0))
}

// revive forgets vanished mounts that t has again: a table read while mounts
// changed may have missed a line.
func (h *History) revive(t *Table) {
	h.gone = slices.DeleteFunc(h.gone, func(v vanished) bool {
		return v.mount.Namespace == t.Namespace && t.has(v.mount)
	})
}

// identity tells two mounts apart although mount IDs and anonymous device
// numbers are used again.
type identity struct {
	ns                    uint32
	id                    int
	device, point, fstype string
}

func identityOf(m Mount) identity {
	return identity{m.Namespace, m.ID, m.Device, m.Point, m.FSType}
}

func (t *Table) has(m Mount) bool {
	if t == nil {
		return false
	}
	now, ok := t.ByID(m.ID)
	return ok && identityOf(now) == identityOf(m)
}

// Current returns the table of a namespace, nil when there is none.
func (h *History) Current(ns uint32) *Table { return h.current[ns].table }

// Lookup returns the mount of a path in a namespace. It is the current table's
// answer, unless a vanished mount that prefer accepts (nil accepts all) sat at
// a longer prefix of the path: then that one, with attached false. Of several
// at the same place, the one that was seen last.
func (h *History) Lookup(ns uint32, name string, prefer func(Mount) bool) (m Mount, attached, ok bool) {
	if t := h.Current(ns); t != nil {
		m, ok = t.Lookup(name)
	}
	attached = ok
	if !strings.HasPrefix(name, "/") {
		return m, attached, ok
	}
	name = path.Clean(name)
	for _, v := range h.gone {
		g := v.mount
		if g.Namespace != ns || !below(name, g.Point) || prefer != nil && !prefer(g) {
			continue
		}
		longer := len(g.Point) > len(m.Point)
		newer := !attached && len(g.Point) == len(m.Point)
		if !ok || longer || newer {
			m, attached, ok = g, false, true
		}
	}
	return m, attached, ok
}

// LookupDevice returns the mounts of a superblock: those in the namespace, else
// those in other namespaces (attached, but elsewhere), else vanished ones, the
// one seen last first. Anonymous device numbers are used again once free, so
// what is mounted now wins.
func (h *History) LookupDevice(ns uint32, device string) (mounts []Mount, attached bool) {
	if t := h.Current(ns); t != nil {
		if found := t.ByDevice(device); len(found) > 0 {
			return found, true
		}
	}
	for _, other := range h.Namespaces() {
		mounts = append(mounts, h.current[other].table.ByDevice(device)...)
	}
	if len(mounts) > 0 {
		return mounts, true
	}
	for _, own := range []bool{true, false} {
		for _, v := range slices.Backward(h.gone) {
			if v.mount.Device == device && (v.mount.Namespace == ns) == own {
				mounts = append(mounts, v.mount)
			}
		}
	}
	return mounts, false
}

// ByID returns the mount with an ID (fdinfo's mnt_id) in a namespace, a vanished
// one with attached false.
func (h *History) ByID(ns uint32, id int) (m Mount, attached, ok bool) {
	if t := h.Current(ns); t != nil {
		if m, ok = t.ByID(id); ok {
			return m, true, true
		}
	}
	for _, v := range slices.Backward(h.gone) {
		if v.mount.Namespace == ns && v.mount.ID == id {
			return v.mount, false, true
		}
	}
	return Mount{}, false, false
}

// Vanished returns the mounts that are gone, oldest first.
func (h *History) Vanished() []Mount {
	var out []Mount
	for _, v := range h.gone {
		out = append(out, v.mount)
	}
	return out
}

// Namespaces returns the namespaces that have a current table, in order.
func (h *History) Namespaces() []uint32 {
	var out []uint32
	for ns := range h.current {
		out = append(out, ns)
	}
	slices.Sort(out)
	return out
}

// below tells whether a clean path is dir or lies in it.
func below(name, dir string) bool {
	if dir == "/" || name == dir {
		return true
	}
	return strings.HasPrefix(name, dir) && name[len(dir)] == '/'
}
