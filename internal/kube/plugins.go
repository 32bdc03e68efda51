package kube

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"strings"
)

// parsePlugins reads what follows plugins/. In-tree plugins live below
// kubernetes.io; the others are directories of drivers.
func (r *VolumeRef) parsePlugins(segs []string) {
	r.Kind = PluginDir
	if segs[0] != "kubernetes.io" {
		r.Driver = segs[0]
		r.Dir = r.at("plugins", segs[0])
		r.Rest = path.Join(segs[1:]...)
		return
	}
	n := min(len(segs), 2)
	r.Plugin = path.Join(segs[:n]...)
	r.Dir = r.at("plugins", segs[:n]...)
	r.Rest = path.Join(segs[n:]...)
	if len(segs) < 3 {
		return
	}
	switch {
	case segs[2] == "volumeDevices":
		r.parseGlobalBlock(segs)
	case r.Plugin == csiPlugin:
		r.parseGlobalCSI(segs)
	default:
		r.parseGlobalInTree(segs)
	}
}

// parseGlobalCSI reads kubernetes.io/csi/DRIVER/SHA256/globalmount, since
// Kubernetes 1.24, and kubernetes.io/csi/pv/PV/globalmount before.
func (r *VolumeRef) parseGlobalCSI(segs []string) {
	if segs[2] != "pv" {
		r.Driver = segs[2]
	}
	if len(segs) < 4 {
		return
	}
	r.Kind, r.Name = GlobalMount, segs[3]
	r.Dir = r.at("plugins", segs[:4]...)
	r.VolDataPath = path.Join(r.Dir, "vol_data.json")
	rest := segs[4:]
	if len(rest) > 0 && rest[0] == "globalmount" {
		rest = rest[1:]
	}
	r.Rest = path.Join(rest...)
	switch {
	case segs[2] == "pv":
		r.PV = segs[3]
	case isHex(segs[3], 64):
		r.HandleSHA256 = segs[3]
		// The rbd driver of ceph-csi mounts at globalmount/HANDLE.
		if len(rest) > 0 && hashOf(rest[0]) == segs[3] {
			r.Handle, r.Rest = rest[0], path.Join(rest[1:]...)
		}
	}
}

func hashOf(handle string) string {
	sum := sha256.Sum256([]byte(handle))
	return hex.EncodeToString(sum[:])
}

// parseGlobalBlock reads the places of raw block volumes:
// PLUGIN/volumeDevices/PV/{dev,data}, .../{staging,publish}/PV since 1.14 (and
// publish/PV/PODUID since 1.17); of in-tree plugins, /volumeDevices/NAME.
func (r *VolumeRef) parseGlobalBlock(segs []string) {
	rest := segs[3:]
	depth := 4
	if r.Plugin == csiPlugin && len(rest) > 1 && (rest[0] == "staging" || rest[0] == "publish") {
		if rest[0] == "publish" && len(rest) > 2 && isPodUID(rest[2]) {
			r.PodUID, r.StaticPod = rest[2], isHex(rest[2], 32)
		}
		rest, depth = rest[1:], 5
	}
	if len(rest) == 0 {
		return
	}
	r.Kind, r.Name = GlobalMount, rest[0]
	r.Dir = r.at("plugins", segs[:depth]...)
	r.Rest = path.Join(rest[1:]...)
	if r.Plugin != csiPlugin {
		r.Handle = imageOf(r.Plugin, r.Name)
		return
	}
	r.PV = r.Name
	r.VolDataPath = r.at("plugins", csiPlugin, "volumeDevices", r.Name, "data", "vol_data.json")
	if len(rest) > 2 && rest[1] == "dev" && isPodUID(rest[2]) {
		r.PodUID, r.StaticPod = rest[2], isHex(rest[2], 32)
	}
}

// parseGlobalInTree reads PLUGIN/mounts/NAME of the in-tree plugins that attach
// devices; rbd had PLUGIN/rbd/NAME before 1.10, iscsi has an interface's name,
// cloud disks a path of their own below mounts.
func (r *VolumeRef) parseGlobalInTree(segs []string) {
	old := r.Plugin == "kubernetes.io/rbd" && segs[2] == "rbd"
	iface := r.Plugin == "kubernetes.io/iscsi" && strings.HasPrefix(segs[2], "iface-")
	if segs[2] != "mounts" && !old && !iface || len(segs) < 4 {
		return
	}
	depth := 4
	if r.Plugin == "kubernetes.io/aws-ebs" && segs[3] == "aws" {
		depth = min(len(segs), 6) // aws/ZONE/VOLUME
	}
	r.Kind = GlobalMount
	r.Name = path.Join(segs[3:depth]...)
	r.Dir = r.at("plugins", segs[:depth]...)
	r.Rest = path.Join(segs[depth:]...)
	r.Handle = imageOf(r.Plugin, r.Name)
}

// imageOf gives POOL/IMAGE of an in-tree rbd directory, POOL-image-IMAGE; ""
// where that can be read in two ways.
func imageOf(plugin, name string) string {
	parts := strings.Split(name, "-image-")
	if plugin != "kubernetes.io/rbd" || len(parts) != 2 {
		return ""
	}
	return parts[0] + "/" + parts[1]
}
