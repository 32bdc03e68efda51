package kube

import "strings"

// ParseCgroup finds the container and the pod in the text of /proc/PID/cgroup,
// of cgroup v1 and v2, of the cgroupfs and the systemd driver; "" for what is
// not there. Where clusters or containers are nested in containers, the pod is
// the innermost and the container the one directly in it, which is the one the
// pod's runtime knows; without a pod, the container is the innermost.
func ParseCgroup(text string) (containerID, podUID string) {
	best := 0
	for line := range strings.Lines(text) {
		// hierarchy:controllers:path; the path may have colons.
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		id, uid := parseCgroupPath(parts[2])
		// Not every hierarchy of v1 need have the pod.
		score := 0
		if id != "" {
			score++
		}
		if uid != "" {
			score += 2
		}
		if score > best {
			best, containerID, podUID = score, id, uid
		}
	}
	return containerID, podUID
}

func parseCgroupPath(name string) (id, uid string) {
	name = strings.TrimSuffix(name, " (deleted)")
	// containerd with the cgroupfs driver under a kubelet with the systemd one
	// writes kubepods-pod<UID>.slice:cri-containerd:<ID> as one name.
	for seg := range strings.FieldsFuncSeq(name, func(c rune) bool { return c == '/' || c == ':' }) {
		if pod := podOfSegment(seg); pod != "" {
			uid, id = pod, ""
			continue
		}
		if c := containerOfSegment(seg); c != "" && (uid == "" || id == "") {
			id = c
		}
	}
	return id, uid
}

// podOfSegment returns the UID in pod<UID> (cgroupfs) or in
// kubepods[-QOS]-pod<UID>.slice (systemd, which cannot have dashes in a UID as
// they separate its levels, so the kubelet writes underscores).
func podOfSegment(seg string) string {
	if slice, ok := strings.CutSuffix(seg, ".slice"); ok {
		i := strings.LastIndex(slice, "-pod")
		if i < 0 {
			return ""
		}
		uid := strings.ReplaceAll(slice[i+len("-pod"):], "_", "-")
		if isPodUID(uid) {
			return uid
		}
		return ""
	}
	uid, ok := strings.CutPrefix(seg, "pod")
	if ok && isPodUID(uid) {
		return uid
	}
	return ""
}

// containerOfSegment returns the container's ID in <ID> (cgroupfs), crio-<ID>,
// or <RUNTIME>-<ID>.scope (systemd) with cri-containerd, crio, docker, libpod
// and the like for runtime. The monitors of CRI-O and podman (crio-conmon-<ID>,
// libpod-conmon-<ID>) run beside the container, not in it.
func containerOfSegment(seg string) string {
	seg = strings.TrimSuffix(seg, ".scope")
	id := seg
	if i := strings.LastIndexByte(seg, '-'); i >= 0 {
		if strings.HasSuffix(seg[:i], "conmon") {
			return ""
		}
		id = seg[i+1:]
	}
	if isHex(id, 64) {
		return id
	}
	return ""
}
