package correlate

import "slices"

// groups sorts hangs that share a cause together: whom their root waits for,
// on which file system. The hangs are in the report's order, so the oldest root
// of a group comes first and gives it its name.
func (w *world) groups(hangs []*Hang) {
	byID := make(map[string]*Hang, len(hangs))
	for _, h := range hangs {
		byID[h.ID] = h
	}
	leaders := make(map[string]*Hang)
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

func (w *world) groupKey(root *Hang) string {
	server := serverOf(root)
	if server == "" {
		return w.waitKey(root)
	}
	if m := root.Mount; m != nil {
		return server + "\x00" + m.Device.Or(m.Image+string(m.Kind))
	}
	return server
}

// waitKey is what a hang waits for, as the walk found it; else the hang alone.
func (w *world) waitKey(h *Hang) string {
	if e := w.explained[h.Task.TID]; e != nil && e.key != "" {
		return e.key
	}
	return "hang " + h.ID
}

// countBehind counts for each root, and of those that wait for the same thing
// for the oldest alone, the threads that wait with it or behind it.
func (w *world) countBehind(hangs []*Hang, byID map[string]*Hang) {
	first := make(map[string]*Hang)
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

// serverGroup collects what the summary says of one server.
type serverGroup struct {
	count     *ServerCount
	processes map[int]bool
	pods      map[string]bool
	volumes   map[Text]*VolumeCount
	order     []Text
}

// byServer groups hung threads by whom they wait for; a victim counts for the
// server that its root waits for.
func (w *world) byServer(hangs []*Hang) List[ServerCount] {
	byID := make(map[string]*Hang, len(hangs))
	for _, h := range hangs {
		byID[h.ID] = h
	}
	groups := make(map[string]*serverGroup)
	var names []string
	for _, h := range hangs {
		root := rootIn(h, byID)
		name := serverOf(root)
		if name == "" {
			continue
		}
		g := groups[name]
		if g == nil {
			g = &serverGroup{count: &ServerCount{Name: name}, processes: make(map[int]bool), pods: make(map[string]bool), volumes: make(map[Text]*VolumeCount)}
			groups[name] = g
			names = append(names, name)
		}
		w.addToServer(g, h, root)
	}
	slices.Sort(names)
	var list List[ServerCount]
	for _, name := range names {
		list = append(list, *groups[name].finish())
	}
	slices.SortStableFunc(list, func(a, b ServerCount) int { return b.Threads - a.Threads })
	return list
}

func (w *world) addToServer(g *serverGroup, h, root *Hang) {
	c := g.count
	c.Threads++
	c.OldestMS = max(c.OldestMS, h.Blocked.ForMS)
	if h.Task.KernelThread {
		c.KernelThreads++
	}
	g.processes[h.Task.PID] = true
	if h.Volume != nil && h.Volume.Pod != nil && h.Volume.Pod.UID != "" {
		g.pods[string(h.Volume.Pod.UID)] = true
	}
	v := g.volumes[h.Group]
	if v == nil {
		v = w.volumeCount(h, root)
		g.volumes[h.Group] = v
		g.order = append(g.order, h.Group)
		c.Requests = c.Requests.plus(root.WaitingOn.server().OpenRequests)
	}
	v.Threads++
	v.OldestMS = max(v.OldestMS, h.Blocked.ForMS)
	if h.Volume != nil && v.PV == "" {
		v.PV = h.Volume.PV
	}
}

func (g *serverGroup) finish() *ServerCount {
	c := g.count
	c.Processes, c.Pods = len(g.processes), len(g.pods)
	for _, group := range g.order {
		c.Volumes = append(c.Volumes, *g.volumes[group])
	}
	slices.SortStableFunc(c.Volumes, func(a, b VolumeCount) int { return b.Threads - a.Threads })
	return c
}

// plus adds what another client has open at the same server.
func (o *OpenRequests) plus(more *OpenRequests) *OpenRequests {
	if more == nil {
		return o
	}
	if o == nil {
		first := *more
		return &first
	}
	sum := *o
	sum.Total += more.Total
	sum.Overdue += more.Overdue
	sum.Unwaited = nil
	if o.Unwaited != nil && more.Unwaited != nil {
		sum.Unwaited = new(*o.Unwaited + *more.Unwaited)
	}
	if more.OldestMS != nil && (o.OldestMS == nil || *more.OldestMS > *o.OldestMS) {
		sum.OldestMS = more.OldestMS
	}
	return &sum
}

func (w *world) volumeCount(h, root *Hang) *VolumeCount {
	v := &VolumeCount{Group: h.Group}
	m := root.Mount
	if m == nil {
		return v
	}
	v.Kind, v.Device, v.Source = m.Kind, m.Device, m.Source
	if m.Image != "" {
		v.Source = Text(m.Image)
	}
	pods := w.podsOn(string(m.Device))
	if root.Volume != nil && root.Volume.Pod != nil && root.Volume.Pod.UID != "" {
		pods = append(pods, string(root.Volume.Pod.UID))
	}
	for i, uid := range pods {
		if p := w.pod(uid); p.Name != "" {
			pods[i] = string(p.Namespace) + "/" + string(p.Name)
		}
	}
	slices.Sort(pods)
	v.Pods = slices.Compact(pods)
	return v
}

// podsOn are the UIDs of the pods that have a file system mounted below the
// kubelet's directory, in any namespace.
func (w *world) podsOn(device string) []string {
	if device == "" {
		return nil
	}
	var uids []string
	for _, ns := range w.history.Namespaces() {
		for _, m := range w.history.Current(ns).ByDevice(device) {
			if ref, ok := w.volumeRef(m.Point); ok && ref.PodUID != "" {
				uids = append(uids, ref.PodUID)
			}
		}
	}
	return uids
}

func serverOf(h *Hang) string {
	on := h.WaitingOn.server()
	if on == nil || on.Kind == "unknown" || on.Kind == "lock" {
		return ""
	}
	if on.Name == "" || on.Name == "unknown" {
		return on.Kind
	}
	if on.Address != "" {
		return string(on.Name) + " " + string(on.Address)
	}
	return string(on.Name)
}
