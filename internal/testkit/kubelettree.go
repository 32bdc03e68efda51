package testkit

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// KubeletTree is a kubelet's root directory and the pod logs next to it.
type KubeletTree struct {
	// Root is the kubelet's root directory (/var/lib/kubelet on a node).
	Root string
	// Logs is the pod log directory (/var/log/pods on a node).
	Logs string
}

// NewKubeletTree makes an empty tree below dir.
func NewKubeletTree(dir string) (*KubeletTree, error) {
	k := &KubeletTree{Root: filepath.Join(dir, "var/lib/kubelet"), Logs: filepath.Join(dir, "var/log/pods")}
	for _, d := range []string{filepath.Join(k.Root, "pods"), filepath.Join(k.Root, "plugins"), k.Logs} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("kubelet tree: %w", err)
		}
	}
	return k, nil
}

// Pod makes a pod's directory, and its log directory unless the namespace is
// empty: a pod without one is what a deleted pod leaves. It returns the pod's
// directory. A static pod's UID is 32 hex digits without dashes.
func (k *KubeletTree) Pod(uid, namespace, name string) (string, error) {
	dir := filepath.Join(k.Root, "pods", uid)
	dirs := []string{
		filepath.Join(dir, "volumes"), filepath.Join(dir, "containers"), filepath.Join(dir, "plugins"),
	}
	if namespace != "" {
		dirs = append(dirs, filepath.Join(k.Logs, namespace+"_"+name+"_"+uid, "app"))
	}
	return dir, mkdirs(dirs...)
}

// FlatVolume makes an in-tree volume's mount point
// (volumes/kubernetes.io~cephfs/NAME) and returns it. plugin is the plugin's
// name with its slash, "kubernetes.io/cephfs".
func (k *KubeletTree) FlatVolume(uid, plugin, name string) (string, error) {
	dir := filepath.Join(k.Root, "pods", uid, "volumes", strings.ReplaceAll(plugin, "/", "~"), name)
	return dir, mkdirs(dir)
}

// CSIVolume describes a CSI volume.
type CSIVolume struct {
	PV, Driver, Handle, Node string
	// OldLayout puts the global mount at plugins/kubernetes.io/csi/pv/PV, as
	// kubelets before 1.24 do, instead of .../csi/DRIVER/sha256(HANDLE).
	OldLayout bool
}

// volData is a vol_data.json.
func (v CSIVolume) volData() map[string]string {
	return map[string]string{
		"attachmentID": "csi-" + v.hash(), "driverName": v.Driver, "nodeName": v.Node,
		"specVolID": v.PV, "volumeHandle": v.Handle, "volumeLifecycleMode": "Persistent",
	}
}

func (v CSIVolume) hash() string { return fmt.Sprintf("%x", sha256.Sum256([]byte(v.Handle))) }

// CSIMount makes a CSI volume's directory in a pod, with its vol_data.json, and
// returns the mount point in it.
func (k *KubeletTree) CSIMount(uid string, v CSIVolume) (string, error) {
	dir := filepath.Join(k.Root, "pods", uid, "volumes/kubernetes.io~csi", v.PV)
	mount := filepath.Join(dir, "mount")
	if err := mkdirs(mount); err != nil {
		return "", err
	}
	return mount, writeVolData(dir, v.volData())
}

// GlobalMount makes a CSI volume's staging directory and returns its mount
// point.
func (k *KubeletTree) GlobalMount(v CSIVolume) (string, error) {
	base := filepath.Join(k.Root, "plugins/kubernetes.io/csi")
	dir := filepath.Join(base, v.Driver, v.hash())
	if v.OldLayout {
		dir = filepath.Join(base, "pv", v.PV)
	}
	mount := filepath.Join(dir, "globalmount")
	if err := mkdirs(mount); err != nil {
		return "", err
	}
	return mount, writeVolData(dir, map[string]string{"driverName": v.Driver, "volumeHandle": v.Handle})
}

// BlockVolume makes the directories of a CSI block volume and returns the
// pod's device path, where the kubelet puts a symbolic link.
func (k *KubeletTree) BlockVolume(uid string, v CSIVolume) (string, error) {
	plugin := filepath.Join(k.Root, "plugins/kubernetes.io/csi/volumeDevices", v.PV)
	device := filepath.Join(k.Root, "pods", uid, "volumeDevices/kubernetes.io~csi", v.PV)
	err := mkdirs(filepath.Join(plugin, "dev"), filepath.Join(plugin, "data"), filepath.Dir(device))
	if err != nil {
		return "", err
	}
	return device, writeVolData(filepath.Join(plugin, "data"), v.volData())
}

// SubPath makes the mount point of one container's subPath.
func (k *KubeletTree) SubPath(uid, volume, container string, index int) (string, error) {
	dir := filepath.Join(k.Root, "pods", uid, "volume-subpaths", volume, container, fmt.Sprint(index))
	return dir, mkdirs(dir)
}

func mkdirs(dirs ...string) error {
	for _, d := range dirs {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("kubelet tree: %w", err)
		}
	}
	return nil
}

func writeVolData(dir string, data map[string]string) error {
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "vol_data.json"), text, 0o644)
}
