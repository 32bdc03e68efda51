package events

// AgreeWalks keeps of b what a found, too: the same request of the same number
// at the same address, with those of its waiters that both saw. Locks, pages
// and their like go when no waiter is left. Both walks took no lock, so what
// only one of them saw may be a leftover of something that just ended.
func AgreeWalks(a, b Walk) Walk {
	w := Walk{AtNS: b.AtNS, TookNS: b.TookNS, Stats: b.Stats}
	w.Superblocks = agree(a.Superblocks, b.Superblocks, func(s *Superblock) (agreeKey, *[]Waiter) {
		return agreeKey{s.Addr, uint64(s.Dev), s.FSType}, nil
	})
	w.Mounts = agree(a.Mounts, b.Mounts, func(m *Mount) (agreeKey, *[]Waiter) {
		return agreeKey{m.Addr, uint64(m.ID), m.Point}, nil
	})
	w.Clients = agree(a.Clients, b.Clients, func(c *CephClient) (agreeKey, *[]Waiter) {
		return agreeKey{c.Addr, c.ID, c.FSID}, nil
	})
	w.RBDs = agree(a.RBDs, b.RBDs, func(r *RBDDevice) (agreeKey, *[]Waiter) {
		return agreeKey{r.Addr, uint64(r.Dev), r.Pool + "/" + r.Namespace + "/" + r.Image}, nil
	})
	w.Sessions = agree(a.Sessions, b.Sessions, func(s *MDSSession) (agreeKey, *[]Waiter) {
		return agreeKey{s.Addr, uint64(s.Rank), s.Peer}, nil
	})
	w.OSDs = agree(a.OSDs, b.OSDs, func(o *OSDSession) (agreeKey, *[]Waiter) {
		return agreeKey{o.Addr, uint64(o.OSD), o.Peer}, nil
	})
	agreeRequests(&w, a, b)
	agreeWaits(&w, a, b)
	return w
}

func agreeRequests(w *Walk, a, b Walk) {
	w.MDSRequests = agree(a.MDSRequests, b.MDSRequests, func(r *MDSRequest) (agreeKey, *[]Waiter) {
		return agreeKey{r.Addr, r.TID, r.OpName}, &r.Waiters
	})
	w.OSDRequests = agree(a.OSDRequests, b.OSDRequests, func(r *OSDRequest) (agreeKey, *[]Waiter) {
		return agreeKey{r.Addr, r.TID, r.Object}, &r.Waiters
	})
	w.MONRequests = agree(a.MONRequests, b.MONRequests, func(r *MONRequest) (agreeKey, *[]Waiter) {
		return agreeKey{r.Addr, r.TID, r.OpName}, &r.Waiters
	})
	w.FuseRequests = agree(a.FuseRequests, b.FuseRequests, func(r *FuseRequest) (agreeKey, *[]Waiter) {
		return agreeKey{r.Addr, r.Unique, r.OpName}, &r.Waiters
	})
}

func agreeWaits(w *Walk, a, b Walk) {
	w.CapWaits = waited(agree(a.CapWaits, b.CapWaits, func(c *CapWait) (agreeKey, *[]Waiter) {
		return agreeKey{c.Addr, c.Ino, ""}, &c.Waiters
	}), func(c CapWait) bool { return c.TGID != 0 || len(c.Waiters) > 0 })
	w.Locks = waited(agree(a.Locks, b.Locks, func(l *Lock) (agreeKey, *[]Waiter) {
		return agreeKey{l.Addr, uint64(l.OwnerTID), l.Kind}, &l.Waiters
	}), func(l Lock) bool { return len(l.Waiters) > 0 })
	w.Pages = waited(agree(a.Pages, b.Pages, func(p *PageWait) (agreeKey, *[]Waiter) {
		return agreeKey{p.Addr, p.Index, p.Bit}, &p.Waiters
	}), func(p PageWait) bool { return len(p.Waiters) > 0 })
	w.Bits = waited(agree(a.Bits, b.Bits, func(x *BitWait) (agreeKey, *[]Waiter) {
		return agreeKey{x.Addr, uint64(x.Bit), x.Kind}, &x.Waiters
	}), func(x BitWait) bool { return len(x.Waiters) > 0 })
	w.Lookups = waited(agree(a.Lookups, b.Lookups, func(l *Lookup) (agreeKey, *[]Waiter) {
		return agreeKey{l.Addr, uint64(l.OwnerTID), l.Path}, &l.Waiters
	}), func(l Lookup) bool { return len(l.Waiters) > 0 })
	w.Queues = waited(agree(a.Queues, b.Queues, func(q *QueueWait) (agreeKey, *[]Waiter) {
		return agreeKey{q.Addr, uint64(q.How), ""}, &q.Waiters
	}), func(q QueueWait) bool { return len(q.Waiters) > 0 })
}

// agreeKey is what must be the same in both walks.
type agreeKey struct {
	addr, number uint64
	text         string
}

// waiterKey is what must be the same of a waiter.
type waiterKey struct {
	tid   int
	start uint64
	how   WaitHow
}

// agree keeps the elements of b that are in a, in b's order, with the waiters
// that both have. b is not changed.
func agree[T any](a, b []T, of func(*T) (agreeKey, *[]Waiter)) []T {
	old := make(map[agreeKey]*[]Waiter, len(a))
	for i := range a {
		key, waiters := of(&a[i])
		old[key] = waiters
	}
	if len(b) == 0 {
		return nil
	}
	both := make([]T, 0, len(b))
	for i := range b {
		x := b[i]
		key, waiters := of(&x)
		before, ok := old[key]
		if !ok {
			continue
		}
		if waiters != nil {
			*waiters = agreeWaiters(*before, *waiters)
		}
		both = append(both, x)
	}
	return both
}

func agreeWaiters(a, b []Waiter) []Waiter {
	same := func(v, w Waiter) bool { return v.TID == w.TID && v.StartNS == w.StartNS && v.How == w.How }
	if len(a) == 1 && len(b) == 1 && same(a[0], b[0]) { // of ten thousand requests each has one
		return b
	}
	old := make(map[waiterKey]bool, len(a))
	for _, w := range a {
		old[waiterKey{w.TID, w.StartNS, w.How}] = true
	}
	var both []Waiter
	for _, w := range b {
		if old[waiterKey{w.TID, w.StartNS, w.How}] {
			both = append(both, w)
		}
	}
	return both
}

func waited[T any](all []T, keep func(T) bool) []T {
	var kept []T
	for _, x := range all {
		if keep(x) {
			kept = append(kept, x)
		}
	}
	return kept
}
