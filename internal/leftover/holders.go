package leftover

import (
	"cmp"
	"slices"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/kube"
)

const holdersMost = 16

// holders lists who keeps a superblock in use: blocked threads first, which are
// in trouble, then what is merely open.
func (n *node) holders(l *correlate.Leftover, s *super) {
	var list []correlate.Holder
	for _, h := range s.hangs {
		list = append(list, n.blocked(h))
	}
	for _, f := range s.files {
		list = append(list, n.file(f))
	}
	for _, d := range n.scan.Daemons {
		if s.fuse != nil && d.Number == s.fuse.Number {
			list = append(list, n.holder(d.PID, "daemon", ""))
		}
	}
	n.setHolders(l, list)
}

func (n *node) setHolders(l *correlate.Leftover, list []correlate.Holder) {
	slices.SortStableFunc(list, func(a, b correlate.Holder) int {
		return cmp.Or(-cmp.Compare(a.ForMS, b.ForMS), 0)
	})
	if len(list) > holdersMost {
		l.HoldersMore = len(list) - holdersMost
		list = list[:holdersMost]
	}
	l.Holders = list
}

func (n *node) blocked(h *correlate.Hang) correlate.Holder {
	return correlate.Holder{
		PID: h.Task.PID, TID: correlate.Number(h.Task.TID), Comm: string(h.Task.ProcessComm.Or(h.Task.Comm)), How: "blocked",
		Path: h.Path.Value, ForMS: h.Blocked.ForMS, Container: h.Task.Container,
	}
}

func (n *node) file(f facts.HeldFile) correlate.Holder { return n.holder(f.PID, f.How, f.Path) }

func (n *node) holder(pid int, how, path string) correlate.Holder {
	h := correlate.Holder{PID: pid, How: how, Path: correlate.Text(path)}
	if p := n.procs[pid]; p != nil {
		h.Comm = p.Comm
		if id, uid := kube.ParseCgroup(p.Cgroup); id != "" || uid != "" {
			h.Container = &correlate.Container{ID: correlate.Text(id), PodUID: correlate.Text(uid)}
		}
	}
	return h
}

// members are processes of a mount namespace.
func (n *node) members(ns uint32) []correlate.Holder {
	var list []correlate.Holder
	for _, pid := range n.ns[ns].Members {
		list = append(list, n.holder(pid, "namespace", ""))
	}
	return list
}
