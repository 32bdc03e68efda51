package correlate

// Behind counts threads that wait behind another.
type Behind struct {
	Threads   int `json:"threads"`
	Processes int `json:"processes"`
	// KernelThreads are among the threads.
	KernelThreads int `json:"kernel_threads"`
}

// groups sorts hangs that share a cause together: whom their root waits for,
// on which file system. The hangs are in the report's order, so the oldest root
// of a group comes first and gives it its name.
func (w *world) groups(hangs []*Hang) {
	byID := make(map[string]*Hang, len(hangs))
	for _, h := range hangs {
		byID[h.ID] = h
	}
	leaders := make(map[groupKey]*Hang)
	for _, h := range hangs {
		key := w.groupKey(rootIn(h, byID))
		if leaders[key] == nil {
			leaders[key] = h
		}
		h.Group = Text(leaders[key].ID)
	}
	w.countBehind(hangs, byID)
}

// rootIn is the hang that another one waits behind; itself for a root.
func rootIn(h *Hang, byID map[string]*Hang) *Hang {
	if root := byID[string(h.WaitsBehind)]; h.WaitsBehind != "" && root != nil {
		return root
	}
	return h
}

// groupKey is the server that a root waits for and the file system; where no
// server is known, what it waits for.
type groupKey struct {
	server, device string
	wait           waitKey
}

func (w *world) groupKey(root *Hang) groupKey {
	server := serverOf(root)
	if server == "" {
		return groupKey{wait: w.waitKey(root)}
	}
	key := groupKey{server: server}
	if m := root.Mount; m != nil {
		key.device = m.Device.Or(m.Image + string(m.Kind))
	}
	return key
}

// waitKey is what a hang waits for, as the walk found it; else the hang alone.
func (w *world) waitKey(h *Hang) waitKey {
	if e := w.explained[h.Task.TID]; e != nil && e.key != (waitKey{}) {
		return e.key
	}
	return waitKey{what: "hang " + h.ID}
}

// countBehind counts for each root, and of those that wait for the same thing
// for the oldest alone, the threads that wait with it or behind it.
func (w *world) countBehind(hangs []*Hang, byID map[string]*Hang) {
	first := make(map[waitKey]*Hang)
	processes := make(map[string]map[int]bool)
	for _, h := range hangs {
		root := rootIn(h, byID)
		key := w.waitKey(root)
		head := first[key]
		if head == nil {
			head = root
			first[key], processes[head.ID] = head, make(map[int]bool)
		}
		if head == h {
			continue
		}
		if head.Behind == nil {
			head.Behind = &Behind{}
		}
		b := head.Behind
		b.Threads++
		if h.Task.KernelThread {
			b.KernelThreads++
		}
		processes[head.ID][h.Task.PID] = true
		b.Processes = len(processes[head.ID])
	}
}
