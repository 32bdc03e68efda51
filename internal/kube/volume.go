package kube

import (
	"path"
	"strings"
)

// DefaultRoot is the kubelet's root directory when no flag names another.
const DefaultRoot = "/var/lib/kubelet"

// csiPlugin is the name of the in-tree plugin that speaks to CSI drivers.
const csiPlugin = "kubernetes.io/csi"

// Kind says which part of the kubelet's directory a path lies in.
type Kind string

// The kinds.
const (
	// PodVolume is pods/UID/volumes/PLUGIN/NAME.
	PodVolume Kind = "pod-volume"
	// PodBlockVolume is pods/UID/volumeDevices/PLUGIN/NAME, a raw block device.
	PodBlockVolume Kind = "pod-block-volume"
	// SubPath is pods/UID/volume-subpaths/VOLUME/CONTAINER/INDEX.
	SubPath Kind = "subpath"
	// GlobalMount is where a plugin mounts or maps a volume once for the node,
	// below plugins/PLUGIN.
	GlobalMount Kind = "global-mount"
	// PluginDir is any other place below plugins: sockets and state of drivers.
	PluginDir Kind = "plugin-dir"
	// PodDir is any other place in a pod's directory: its top, volumes/ and
	// volumes/PLUGIN themselves, containers, plugins, etc-hosts. A thread that
	// waits for the lock of such a directory waits behind one in a volume.
	PodDir Kind = "pod-dir"
)

// VolumeRef is what the path of a file tells about the volume it lies in.
type VolumeRef struct {
	Kind Kind
	Root string // the kubelet's root directory
	// PodUID is the pod's UID, "" for what belongs to no single pod. StaticPod
	// marks the 32 hex digits that the kubelet makes up for static pods.
	PodUID    string
	StaticPod bool
	// Plugin is the volume plugin with ~ turned back: "kubernetes.io/csi".
	Plugin string
	// Name is the name of the volume's directory: the PV's name where the pod
	// uses a claim, else the name of the volume in the pod.
	Name string
	// PV is the name of the PersistentVolume where the path alone proves it: a
	// name of the provisioners' form pvc-UID, or a directory for PVs only.
	PV string
	// Driver is the CSI driver's name.
	Driver string
	// Handle is the CSI volume handle, or POOL/IMAGE for in-tree rbd, where the
	// path contains it; HandleSHA256 is its hash (Kubernetes 1.24+ names global
	// mounts so).
	Handle       string
	HandleSHA256 string
	// Container and Index are those of a SubPath: Index is the position in the
	// container's volumeMounts.
	Container string
	Index     string
	// Dir is the volume's directory; for CSI the mount point is below it.
	Dir string
	// VolDataPath is the vol_data.json that belongs to the volume, "" for
	// plugins that write none. It lies outside the mount and stays readable.
	// For a SubPath it is there only if the volume is a CSI volume.
	VolDataPath string
	// Rest is the path below the volume, "" for the volume itself.
	Rest string
}

// ParsePath tells which volume a path lies in, given the kubelet's root
// directory. It knows the layouts of Kubernetes 1.13 to 1.34. False for a path
// that is relative, outside root, or in no pod's or plugin's directory. The
// path is taken lexically; nothing is touched.
func ParsePath(root, name string) (VolumeRef, bool) {
	if !path.IsAbs(root) || !path.IsAbs(name) {
		return VolumeRef{}, false
	}
	root, name = path.Clean(root), path.Clean(name)
	rel, ok := below(root, name)
	if !ok {
		return VolumeRef{}, false
	}
	dir, segs := "", strings.Split(rel, "/")
	if len(segs) < 2 {
		return VolumeRef{}, false
	}
	dir, segs = segs[0], segs[1:]
	ref := VolumeRef{Root: root}
	switch dir {
	case "pods":
		ref.parsePod(trail{name, len(name) - len(rel) + len("pods/"), segs})
	case "plugins":
		ref.parsePlugins(segs)
	default:
		return VolumeRef{}, false
	}
	return ref, true
}

// below returns name relative to dir, both clean.
func below(dir, name string) (string, bool) {
	if dir == "/" {
		return name[1:], true
	}
	rel, ok := strings.CutPrefix(name, dir+"/")
	return rel, ok
}

// at joins the first n of segs to the place prefix under the root.
func (r *VolumeRef) at(prefix string, segs ...string) string {
	return path.Join(append([]string{r.Root, prefix}, segs...)...)
}

// trail is a clean path of which segs begin at a byte. Its parts are cut out of
// the path, for thousands of paths may be parsed for one report.
type trail struct {
	name string
	at   int
	segs []string
}

// dir is the path up to and with the first n segments, rest what follows them.
func (t trail) dir(n int) string { return t.name[:t.end(n)] }

func (t trail) rest(n int) string { return strings.TrimPrefix(t.name[t.end(n):], "/") }

func (t trail) end(n int) int {
	end := t.at - 1
	for _, seg := range t.segs[:n] {
		end += 1 + len(seg)
	}
	return end
}

// parsePod reads what follows pods/.
func (r *VolumeRef) parsePod(t trail) {
	segs := t.segs
	r.PodUID, r.StaticPod = segs[0], isHex(segs[0], 32)
	r.Kind, r.Dir, r.Rest = PodDir, t.dir(1), t.rest(1)
	if len(segs) < 2 {
		return
	}
	switch segs[1] {
	case "volumes":
		r.parsePodVolume(PodVolume, t)
	case "volumeDevices":
		r.parsePodVolume(PodBlockVolume, t)
	case "volume-subpaths":
		r.parseSubPath(t)
	}
}

// parsePodVolume reads UID/{volumes,volumeDevices}/PLUGIN/NAME/...
func (r *VolumeRef) parsePodVolume(kind Kind, t trail) {
	segs := t.segs
	if len(segs) > 2 {
		r.Plugin = unescape(segs[2])
	}
	if len(segs) < 4 {
		return
	}
	r.Kind = kind
	r.Name = segs[3]
	r.Dir = t.dir(4)
	skip := 4
	switch {
	case r.Plugin == csiPlugin && kind == PodVolume:
		r.VolDataPath = r.Dir + "/vol_data.json"
		if len(segs) > 4 && segs[4] == "mount" {
			skip = 5
		}
	case r.Plugin == csiPlugin:
		r.VolDataPath = r.at("plugins", csiPlugin, "volumeDevices", r.Name, "data", "vol_data.json")
	default:
		// In-tree cephfs keeps its keyring beside the volume.
		r.Name = strings.TrimSuffix(r.Name, "~keyring")
	}
	if kind == PodBlockVolume || isPVName(r.Name) {
		// Raw block needs a PersistentVolume.
		r.PV = r.Name
	}
	r.Rest = t.rest(skip)
}

// parseSubPath reads UID/volume-subpaths/VOLUME/CONTAINER/INDEX/...; VOLUME is
// the PV's name where the pod uses a claim.
func (r *VolumeRef) parseSubPath(t trail) {
	segs := t.segs
	if len(segs) < 3 {
		return
	}
	r.Kind, r.Name = SubPath, segs[2]
	r.Dir = t.dir(min(len(segs), 5))
	r.VolDataPath = r.at("pods", segs[0], "volumes", "kubernetes.io~csi", r.Name, "vol_data.json")
	if isPVName(r.Name) {
		r.PV = r.Name
	}
	if len(segs) > 3 {
		r.Container = segs[3]
	}
	if len(segs) > 4 {
		r.Index = segs[4]
	}
	r.Rest = t.rest(min(len(segs), 5))
}

// unescape undoes the kubelet's EscapeQualifiedName.
func unescape(plugin string) string { return strings.ReplaceAll(plugin, "~", "/") }

// isPVName tells whether a name has the form that external and in-tree
// provisioners give: pvc- and the UID of the claim.
func isPVName(name string) bool {
	uid, ok := strings.CutPrefix(name, "pvc-")
	return ok && isUUID(uid)
}

// isUUID tells whether s is a UID as the API server makes them.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if !hexDigit(c) {
			return false
		}
	}
	return true
}

// isHex tells whether s is n lower-case hexadecimal digits.
func isHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for _, c := range []byte(s) {
		if !hexDigit(c) {
			return false
		}
	}
	return true
}

func hexDigit(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' }

// isPodUID tells whether s is a pod's UID of either form.
func isPodUID(s string) bool { return isUUID(s) || isHex(s, 32) }
