package correlate

import "slices"

// ServerCount says how many hung threads wait for one server.
type ServerCount struct {
	Name          string `json:"name"`
	Threads       int    `json:"threads"`
	Processes     int    `json:"processes"`
	KernelThreads int    `json:"kernel_threads"`
	// Pods is how many pods' volumes they hang on.
	Pods     int   `json:"pods"`
	OldestMS int64 `json:"oldest_ms"`
	// Requests are those of all clients on this node that threads hang on.
	Requests *OpenRequests     `json:"requests"`
	Volumes  List[VolumeCount] `json:"volumes"`
}

// VolumeCount says how many of a server's hung threads hang on one file
// system.
type VolumeCount struct {
	// Group is the Hang.Group of all its threads.
	Group   Text `json:"group"`
	Kind    Text `json:"kind"`
	Device  Text `json:"device"`
	Source  Text `json:"source"` // of the mount, or the image: POOL/IMAGE
	PV      Text `json:"pv"`
	Threads int  `json:"threads"`
	// OldestMS is the longest that one of them is blocked.
	OldestMS int64 `json:"oldest_ms"`
	// Pods have it mounted, whether a thread of theirs hangs or not:
	// NAMESPACE/NAME, or the UID where the name is not known.
	Pods List[string] `json:"pods"`
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
