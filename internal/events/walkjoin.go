package events

import "slices"

// join resolves the addresses between records and hands out the waiters.
func (d *walkDecoder) join() {
	d.joinSuperblocks()
	d.joinCeph()
	d.joinFuse()
	d.joinQueues()
	d.hand()
	d.joinLookups()
	w := &d.w
	d.dropDoubleCaps()
	w.Locks = slices.DeleteFunc(w.Locks, func(l Lock) bool { return len(l.Waiters) == 0 })
	w.Pages = slices.DeleteFunc(w.Pages, func(p PageWait) bool { return len(p.Waiters) == 0 })
	w.Bits = slices.DeleteFunc(w.Bits, func(b BitWait) bool { return len(b.Waiters) == 0 })
}

// dropDoubleCaps takes a thread that has a cap wait of its own off its inode's
// queue, in which it waits, too.
func (d *walkDecoder) dropDoubleCaps() {
	own := make(map[waiterKey]bool)
	for _, c := range d.w.CapWaits {
		for _, w := range c.Waiters {
			if c.TGID != 0 {
				own[waiterKey{w.TID, w.StartNS, w.How}] = true
			}
		}
	}
	for i := range d.w.CapWaits {
		if c := &d.w.CapWaits[i]; c.TGID == 0 {
			c.Waiters = slices.DeleteFunc(slices.Clone(c.Waiters),
				func(w Waiter) bool { return own[waiterKey{w.TID, w.StartNS, w.How}] })
		}
	}
	d.w.CapWaits = slices.DeleteFunc(d.w.CapWaits, func(c CapWait) bool { return c.TGID == 0 && len(c.Waiters) == 0 })
}

func (d *walkDecoder) joinSuperblocks() {
	clients := make(map[uint64]CephClient, len(d.w.Clients))
	for _, c := range d.w.Clients {
		clients[c.Addr] = c
	}
	supers := make(map[uint64]*Superblock, len(d.w.Superblocks))
	for i := range d.w.Superblocks {
		s := &d.w.Superblocks[i]
		s.Stopping = s.Stopping || d.stopping[s.Addr]
		supers[s.Addr] = s
	}
	for i := range d.cephs {
		c := &d.cephs[i]
		c.FSID, c.ClientID = clients[c.client].FSID, clients[c.client].ID
		if s := supers[d.cephDev[i]]; s != nil {
			s.Ceph = c
		}
	}
	for i := range d.fuses {
		if s := supers[d.fuseSup[i]]; s != nil {
			s.Fuse = &d.fuses[i]
		}
	}
	for i := range d.w.Mounts {
		if s := supers[d.w.Mounts[i].Super]; s != nil {
			d.w.Mounts[i].Dev = s.Dev
		}
	}
}

func (d *walkDecoder) joinCeph() {
	devs := make(map[uint64]Dev)
	for _, s := range d.w.Superblocks {
		if s.Ceph != nil {
			devs[s.Ceph.mdsc] = s.Dev
		}
	}
	type place struct {
		owner uint64
		rank  int
	}
	sessions, osds := make(map[place]*MDSSession), make(map[place]string)
	for i := range d.w.Sessions {
		s := &d.w.Sessions[i]
		s.Dev = devs[s.mdsc]
		sessions[place{s.mdsc, s.Rank}] = s
	}
	for i := range d.w.MDSRequests {
		r := &d.w.MDSRequests[i]
		r.Dev = devs[r.mdsc]
		if s := sessions[place{r.mdsc, r.Rank}]; s != nil && r.Rank >= 0 {
			r.Peer = s.Peer
		}
	}
	for i := range d.w.CapWaits {
		d.w.CapWaits[i].Dev = devs[d.w.CapWaits[i].mdsc]
	}
	for _, o := range d.w.OSDs {
		osds[place{o.Client, o.OSD}] = o.Peer
	}
	for i := range d.w.OSDRequests {
		r := &d.w.OSDRequests[i]
		r.Peer = osds[place{r.Client, r.OSD}]
	}
}

func (d *walkDecoder) joinFuse() {
	conns := make(map[uint64]*Superblock)
	for i := range d.w.Superblocks {
		if s := &d.w.Superblocks[i]; s.Fuse != nil {
			conns[s.Fuse.addr] = s
		}
	}
	lookups := make(map[uint64]*Lookup, len(d.w.Lookups))
	for i := range d.w.Lookups {
		lookups[d.w.Lookups[i].nameAddr] = &d.w.Lookups[i]
	}
	for i := range d.w.FuseRequests {
		r := &d.w.FuseRequests[i]
		if s := conns[r.conn]; s != nil {
			r.Dev, r.Conn = s.Dev, s.Fuse.Number
		}
		// The name of a look-up is that of the dentry itself.
		if l := lookups[r.nameAddr]; l != nil && r.nameAddr != 0 && l.Dev == r.Dev {
			r.Path = l.Path
		}
	}
}

// joinQueues makes values of the waiters for whole clients, super blocks and
// connections.
func (d *walkDecoder) joinQueues() {
	add := func(addr uint64, dev Dev) {
		byHow := make(map[WaitHow][]Waiter)
		for _, w := range d.waiters[addr] {
			byHow[w.How] = append(byHow[w.How], w)
		}
		for how := WaitUmount; how <= WaitBlocked; how++ {
			if len(byHow[how]) > 0 {
				d.w.Queues = append(d.w.Queues, QueueWait{Addr: addr, Dev: dev, How: how, Waiters: byHow[how]})
			}
		}
	}
	for _, s := range d.w.Superblocks {
		add(s.Addr, s.Dev)
	}
	for _, c := range d.w.Clients {
		add(c.Addr, 0)
	}
	for _, s := range d.w.Superblocks {
		if s.Fuse != nil {
			add(s.Fuse.addr, s.Dev)
		}
	}
}

// hand gives each value its waiters.
func (d *walkDecoder) hand() {
	w := &d.w
	for i := range w.MDSRequests {
		w.MDSRequests[i].Waiters = d.waiters[w.MDSRequests[i].Addr]
	}
	for i := range w.OSDRequests {
		w.OSDRequests[i].Waiters = d.waiters[w.OSDRequests[i].Addr]
	}
	for i := range w.MONRequests {
		w.MONRequests[i].Waiters = d.waiters[w.MONRequests[i].Addr]
	}
	for i := range w.FuseRequests {
		w.FuseRequests[i].Waiters = d.waiters[w.FuseRequests[i].Addr]
	}
	for i := range w.CapWaits {
		w.CapWaits[i].Waiters = d.waiters[w.CapWaits[i].Addr]
	}
	for i := range w.Locks {
		w.Locks[i].Waiters = d.waiters[w.Locks[i].Addr]
	}
	for i := range w.Pages {
		w.Pages[i].Waiters = d.waiters[w.Pages[i].Addr]
	}
	for i := range w.Bits {
		w.Bits[i].Waiters = d.waiters[w.Bits[i].Addr]
	}
	for i := range w.Lookups {
		w.Lookups[i].Waiters = slices.DeleteFunc(slices.Clone(d.waiters[w.Lookups[i].Addr]),
			func(w Waiter) bool { return w.How != WaitLookup })
	}
}

// joinLookups finds who looks a name up: the thread on whose stack the queue
// lies, or whose request it is. Since 7.1 the others wait for a variable inside
// the directory entry.
func (d *walkDecoder) joinLookups() {
	if len(d.w.Lookups) == 0 {
		return
	}
	variables := make(map[uint64]*BitWait)
	for i := range d.w.Bits {
		if b := &d.w.Bits[i]; b.Kind == "variable" {
			variables[b.Addr] = b
		}
	}
	for i := range d.w.Lookups {
		l := &d.w.Lookups[i]
		if b := variables[l.Addr]; b != nil {
			for _, w := range b.Waiters {
				w.How = WaitLookup
				l.Waiters = append(l.Waiters, w)
			}
			b.Waiters = nil
		}
	}
	d.w.Lookups = slices.DeleteFunc(d.w.Lookups, func(l Lookup) bool { return len(l.Waiters) == 0 })
	if len(d.w.Lookups) == 0 {
		return
	}
	find := d.lookers()
	for i := range d.w.Lookups {
		l := &d.w.Lookups[i]
		if owner := find(l); owner != nil {
			l.OwnerTID, l.OwnerPID = owner.TID, owner.PID
			l.OwnerComm, l.OwnerStartNS = owner.Comm, owner.StartNS
		}
	}
}

// lookers finds the thread that looks a name up; nil: it is not known.
func (d *walkDecoder) lookers() func(*Lookup) *Waiter {
	stacks := make(map[uint64]*Waiter)
	for _, ws := range d.waiters {
		for i := range ws {
			stacks[ws[i].stack] = &ws[i]
		}
	}
	byDentry, byName := make(map[uint64]*Waiter), make(map[uint64]*Waiter)
	for i := range d.w.MDSRequests {
		if r := &d.w.MDSRequests[i]; len(r.Waiters) > 0 && r.dentry != 0 {
			byDentry[r.dentry] = &r.Waiters[0]
		}
	}
	for i := range d.w.FuseRequests {
		if r := &d.w.FuseRequests[i]; len(r.Waiters) > 0 && r.nameAddr != 0 {
			byName[r.nameAddr] = &r.Waiters[0]
		}
	}
	return func(l *Lookup) *Waiter {
		const stack, large = 1 << 14, 1 << 16 // THREAD_SIZE with small and with large pages
		for _, owner := range []*Waiter{stacks[l.queue&^(stack-1)], stacks[l.queue&^(large-1)], byDentry[l.Addr], byName[l.nameAddr]} {
			if owner != nil {
				return owner
			}
		}
		return nil
	}
}
