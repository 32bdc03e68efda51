package kube

import (
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hangtrace/hangtrace/internal/facts"
)

const (
	uid    = "7d6b5c1e-2f0a-4d6e-9b1b-0123456789ab"
	static = "0123456789abcdef0123456789abcdef"
	pv     = "pvc-1b4e28ba-2fa1-11d2-883f-0016d3cca427"
	handle = "0001-0009-rook-ceph-0000000000000001-1b4e28ba-2fa1-11d2-883f-0016d3cca427"
	driver = "rook-ceph.cephfs.csi.ceph.com"
	pod    = "/var/lib/kubelet/pods/" + uid
	plug   = "/var/lib/kubelet/plugins/"
)

func TestParsePath(t *testing.T) {
	sum := hashOf(handle)
	csi := pod + "/volumes/kubernetes.io~csi/" + pv
	global := plug + "kubernetes.io/csi/" + driver + "/" + sum
	block := plug + "kubernetes.io/csi/volumeDevices/"
	for _, tc := range []struct {
		path string
		want VolumeRef
	}{
		{csi + "/mount", VolumeRef{Kind: PodVolume, PodUID: uid, Plugin: "kubernetes.io/csi", Name: pv, PV: pv,
			Dir: csi, VolDataPath: csi + "/vol_data.json"}},
		{csi + "/mount/a/b c", VolumeRef{Kind: PodVolume, PodUID: uid, Plugin: "kubernetes.io/csi", Name: pv, PV: pv,
			Dir: csi, VolDataPath: csi + "/vol_data.json", Rest: "a/b c"}},
		{csi + "/vol_data.json", VolumeRef{Kind: PodVolume, PodUID: uid, Plugin: "kubernetes.io/csi", Name: pv, PV: pv,
			Dir: csi, VolDataPath: csi + "/vol_data.json", Rest: "vol_data.json"}},
		{pod + "/volumes/kubernetes.io~csi/inline/mount", VolumeRef{Kind: PodVolume, PodUID: uid, Plugin: "kubernetes.io/csi",
			Name: "inline", Dir: pod + "/volumes/kubernetes.io~csi/inline",
			VolDataPath: pod + "/volumes/kubernetes.io~csi/inline/vol_data.json"}},
		{pod + "/volumes/kubernetes.io~cephfs/pvc-data/mount/x", VolumeRef{Kind: PodVolume, PodUID: uid,
			Plugin: "kubernetes.io/cephfs", Name: "pvc-data", Dir: pod + "/volumes/kubernetes.io~cephfs/pvc-data", Rest: "mount/x"}},
		{pod + "/volumes/kubernetes.io~cephfs/data~keyring/admin", VolumeRef{Kind: PodVolume, PodUID: uid,
			Plugin: "kubernetes.io/cephfs", Name: "data", Dir: pod + "/volumes/kubernetes.io~cephfs/data~keyring", Rest: "admin"}},
		{pod + "/volumes/vendor~flex/v", VolumeRef{Kind: PodVolume, PodUID: uid, Plugin: "vendor/flex", Name: "v",
			Dir: pod + "/volumes/vendor~flex/v"}},
		{"/var/lib/kubelet/pods/" + static + "/volumes/kubernetes.io~nfs/n", VolumeRef{Kind: PodVolume, PodUID: static, StaticPod: true,
			Plugin: "kubernetes.io/nfs", Name: "n", Dir: "/var/lib/kubelet/pods/" + static + "/volumes/kubernetes.io~nfs/n"}},
		{pod + "/volumeDevices/kubernetes.io~csi/" + pv, VolumeRef{Kind: PodBlockVolume, PodUID: uid, Plugin: "kubernetes.io/csi",
			Name: pv, PV: pv, Dir: pod + "/volumeDevices/kubernetes.io~csi/" + pv, VolDataPath: block + pv + "/data/vol_data.json"}},
		{pod + "/volumeDevices/kubernetes.io~rbd/pv1", VolumeRef{Kind: PodBlockVolume, PodUID: uid, Plugin: "kubernetes.io/rbd",
			Name: "pv1", PV: "pv1", Dir: pod + "/volumeDevices/kubernetes.io~rbd/pv1"}},
		{pod + "/volume-subpaths/" + pv + "/app/2/deep", VolumeRef{Kind: SubPath, PodUID: uid, Name: pv, PV: pv, Container: "app", Index: "2",
			Dir: pod + "/volume-subpaths/" + pv + "/app/2", VolDataPath: csi + "/vol_data.json", Rest: "deep"}},
		{pod + "/volume-subpaths/data/app", VolumeRef{Kind: SubPath, PodUID: uid, Name: "data", Container: "app",
			Dir: pod + "/volume-subpaths/data/app", VolDataPath: pod + "/volumes/kubernetes.io~csi/data/vol_data.json"}},
		{pod, VolumeRef{Kind: PodDir, PodUID: uid, Dir: pod}},
		{pod + "/volumes", VolumeRef{Kind: PodDir, PodUID: uid, Dir: pod, Rest: "volumes"}},
		{pod + "/volumes/kubernetes.io~csi", VolumeRef{Kind: PodDir, PodUID: uid, Plugin: "kubernetes.io/csi", Dir: pod,
			Rest: "volumes/kubernetes.io~csi"}},
		{pod + "/etc-hosts", VolumeRef{Kind: PodDir, PodUID: uid, Dir: pod, Rest: "etc-hosts"}},

		{global + "/globalmount", VolumeRef{Kind: GlobalMount, Plugin: "kubernetes.io/csi", Driver: driver, Name: sum, HandleSHA256: sum,
			Dir: global, VolDataPath: global + "/vol_data.json"}},
		{global + "/globalmount/x", VolumeRef{Kind: GlobalMount, Plugin: "kubernetes.io/csi", Driver: driver, Name: sum, HandleSHA256: sum,
			Dir: global, VolDataPath: global + "/vol_data.json", Rest: "x"}},
		{global + "/globalmount/" + handle + "/f", VolumeRef{Kind: GlobalMount, Plugin: "kubernetes.io/csi", Driver: driver, Name: sum,
			HandleSHA256: sum, Handle: handle, Dir: global, VolDataPath: global + "/vol_data.json", Rest: "f"}},
		{plug + "kubernetes.io/csi/pv/" + pv + "/globalmount/d", VolumeRef{Kind: GlobalMount, Plugin: "kubernetes.io/csi", Name: pv, PV: pv,
			Dir: plug + "kubernetes.io/csi/pv/" + pv, VolDataPath: plug + "kubernetes.io/csi/pv/" + pv + "/vol_data.json", Rest: "d"}},
		{block + pv + "/dev/" + uid, VolumeRef{Kind: GlobalMount, Plugin: "kubernetes.io/csi", Name: pv, PV: pv, PodUID: uid,
			Dir: block + pv, VolDataPath: block + pv + "/data/vol_data.json", Rest: "dev/" + uid}},
		{block + pv + "/data/vol_data.json", VolumeRef{Kind: GlobalMount, Plugin: "kubernetes.io/csi", Name: pv, PV: pv,
			Dir: block + pv, VolDataPath: block + pv + "/data/vol_data.json", Rest: "data/vol_data.json"}},
		{block + "staging/" + pv + "/" + handle, VolumeRef{Kind: GlobalMount, Plugin: "kubernetes.io/csi", Name: pv, PV: pv,
			Dir: block + "staging/" + pv, VolDataPath: block + pv + "/data/vol_data.json", Rest: handle}},
		{block + "publish/" + pv + "/" + uid, VolumeRef{Kind: GlobalMount, Plugin: "kubernetes.io/csi", Name: pv, PV: pv, PodUID: uid,
			Dir: block + "publish/" + pv, VolDataPath: block + pv + "/data/vol_data.json", Rest: uid}},
		{plug + "kubernetes.io/rbd/mounts/kube-image-img1/d", VolumeRef{Kind: GlobalMount, Plugin: "kubernetes.io/rbd",
			Name: "kube-image-img1", Handle: "kube/img1", Dir: plug + "kubernetes.io/rbd/mounts/kube-image-img1", Rest: "d"}},
		{plug + "kubernetes.io/rbd/rbd/kube-image-img1", VolumeRef{Kind: GlobalMount, Plugin: "kubernetes.io/rbd",
			Name: "kube-image-img1", Handle: "kube/img1", Dir: plug + "kubernetes.io/rbd/rbd/kube-image-img1"}},
		{plug + "kubernetes.io/rbd/mounts/a-image-b-image-c", VolumeRef{Kind: GlobalMount, Plugin: "kubernetes.io/rbd",
			Name: "a-image-b-image-c", Dir: plug + "kubernetes.io/rbd/mounts/a-image-b-image-c"}},
		{plug + "kubernetes.io/rbd/volumeDevices/kube-image-img1/" + uid, VolumeRef{Kind: GlobalMount, Plugin: "kubernetes.io/rbd",
			Name: "kube-image-img1", Handle: "kube/img1", Dir: plug + "kubernetes.io/rbd/volumeDevices/kube-image-img1", Rest: uid}},
		{plug + "kubernetes.io/iscsi/iface-default/10.0.0.1:3260-iqn.x:y-lun-0/f", VolumeRef{Kind: GlobalMount, Plugin: "kubernetes.io/iscsi",
			Name: "10.0.0.1:3260-iqn.x:y-lun-0", Dir: plug + "kubernetes.io/iscsi/iface-default/10.0.0.1:3260-iqn.x:y-lun-0", Rest: "f"}},
		{plug + "kubernetes.io/aws-ebs/mounts/aws/eu-1a/vol-1/f", VolumeRef{Kind: GlobalMount, Plugin: "kubernetes.io/aws-ebs",
			Name: "aws/eu-1a/vol-1", Dir: plug + "kubernetes.io/aws-ebs/mounts/aws/eu-1a/vol-1", Rest: "f"}},
		{plug + "kubernetes.io/nfs/x/y", VolumeRef{Kind: PluginDir, Plugin: "kubernetes.io/nfs", Dir: plug + "kubernetes.io/nfs", Rest: "x/y"}},
		{plug + "kubernetes.io/csi", VolumeRef{Kind: PluginDir, Plugin: "kubernetes.io/csi", Dir: plug + "kubernetes.io/csi"}},
		{plug + "kubernetes.io", VolumeRef{Kind: PluginDir, Plugin: "kubernetes.io", Dir: plug + "kubernetes.io"}},
		{plug + driver + "/csi.sock", VolumeRef{Kind: PluginDir, Driver: driver, Dir: plug + driver, Rest: "csi.sock"}},
	} {
		tc.want.Root = DefaultRoot
		got, ok := ParsePath(DefaultRoot, tc.path)
		if d := cmp.Diff(tc.want, got); !ok || d != "" {
			t.Errorf("ParsePath(%q): %t %s", tc.path, ok, d)
		}
		// The same below another root, given with a slash too many.
		moved, ok := ParsePath("/data/kubelet/", "/data/kubelet/."+strings.TrimPrefix(tc.path, DefaultRoot))
		if !ok || moved.Kind != got.Kind || moved.Name != got.Name || moved.Root != "/data/kubelet" ||
			strings.TrimPrefix(moved.VolDataPath, "/data/kubelet") != strings.TrimPrefix(got.VolDataPath, DefaultRoot) {
			t.Errorf("ParsePath below /data/kubelet of %q: %+v, %t", tc.path, moved, ok)
		}
	}
}

func TestParsePathOutside(t *testing.T) {
	for _, tc := range [][2]string{
		{DefaultRoot, "/var/lib/kubelet"}, {DefaultRoot, "/var/lib/kubelet/pods"}, {DefaultRoot, "/var/lib/kubelet/plugins"},
		{DefaultRoot, "/var/lib/kubelet/plugins_registry/x"}, {DefaultRoot, "/var/lib/kubelet2/pods/" + uid + "/volumes"},
		{DefaultRoot, "pods/" + uid}, {DefaultRoot, ""}, {"", "/pods/" + uid}, {DefaultRoot, "/var/lib/kubelet/pods/../x/y"},
	} {
		if ref, ok := ParsePath(tc[0], tc[1]); ok {
			t.Errorf("ParsePath(%q, %q) = %+v", tc[0], tc[1], ref)
		}
	}
	if ref, ok := ParsePath("/", "/pods/u/volumes/a~b/c/d"); !ok || ref.Dir != "/pods/u/volumes/a~b/c" || ref.Rest != "d" {
		t.Errorf("root /: %+v, %t", ref, ok)
	}
}

func TestRootOf(t *testing.T) {
	for in, want := range map[string]string{
		pod + "/volumes/kubernetes.io~csi/x/mount":                           "/var/lib/kubelet",
		"/host/var/snap/k/pods/" + static + "/volume-subpaths/x/y/0":         "/host/var/snap/k",
		"/mnt/plugins/kubernetes.io/csi/pv/x/globalmount":                    "/mnt",
		"/pods/" + uid + "/volumeDevices/kubernetes.io~csi/x":                "/",
		"/var/log/pods/default_web_" + uid + "/app/0.log":                    "",
		"/home/pods/notauid/volumes/x":                                       "",
		"relative/pods/" + uid + "/volumes/a~b/c":                            "",
		"/var/lib/kubelet/pods/" + uid + "/containers/app/1":                 "",
		"/a/pods/" + uid + "/volumes/x~y/v/pods/" + uid + "/volumes/x~y/v/f": "/a",
	} {
		if got, ok := RootOf(in); got != want || ok != (want != "") {
			t.Errorf("RootOf(%q) = %q, %t; want %q", in, got, ok, want)
		}
	}
	got := RootsOf([]string{"/", pod + "/volumes/a~b/c", "/b/pods/" + uid + "/volumes/a~b/c", pod + "/volumes/a~b/d"})
	if d := cmp.Diff([]string{"/b", "/var/lib/kubelet"}, got); d != "" {
		t.Error(d)
	}
}

func TestParseVolData(t *testing.T) {
	got, err := ParseVolData([]byte(`{"attachmentID":"csi-1","driverName":"` + driver + `","nodeName":"n1","specVolID":"` + pv +
		`","volumeHandle":"` + handle + `","volumeLifecycleMode":"Persistent","Path":"/forged","err":"forged"}`))
	want := facts.VolumeData{AttachmentID: "csi-1", DriverName: driver, NodeName: "n1", SpecVolID: pv, VolumeHandle: handle,
		VolumeLifecycleMode: "Persistent"}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Error(err, d)
	}
	ref, _ := ParsePath(DefaultRoot, plug+"kubernetes.io/csi/"+driver+"/"+hashOf(handle)+"/globalmount")
	if !ref.Describes(got) {
		t.Error("the global mount does not find its data by hash")
	}
	other := got
	other.DriverName = "another"
	if ref.Describes(other) || ref.Describes(facts.VolumeData{Path: ref.VolDataPath, Err: "unreadable"}) {
		t.Error("data of another volume is taken")
	}
	if other.Path = ref.VolDataPath; !ref.Describes(other) {
		t.Error("the data at its own place is not taken")
	}
	for _, bad := range []string{"", "{}", "[]", "{", `{"driverName":1}`, `{"driverName":"` + strings.Repeat("x", maxVolData) + `"}`} {
		if v, err := ParseVolData([]byte(bad)); err == nil {
			t.Errorf("ParseVolData(%.20q) = %+v", bad, v)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	f.Add(DefaultRoot, pod+"/volumes/kubernetes.io~csi/"+pv+"/mount/a")
	f.Add(DefaultRoot, plug+"kubernetes.io/csi/volumeDevices/publish/"+pv+"/"+uid)
	f.Add("/", "/plugins/kubernetes.io/aws-ebs/mounts/aws")
	f.Add("/r", "/r/pods/x/volume-subpaths/a/b/c/d")
	f.Fuzz(func(t *testing.T, root, name string) {
		ref, ok := ParsePath(root, name)
		if !ok {
			if ref != (VolumeRef{}) {
				t.Errorf("half a result: %+v", ref)
			}
			return
		}
		// The directory is a prefix of the path, and Rest its end.
		clean := path.Clean(name)
		if clean != ref.Dir && !strings.HasPrefix(clean, ref.Dir+"/") {
			t.Errorf("%q is not below %q", clean, ref.Dir)
		}
		if ref.Rest != "" && !strings.HasSuffix(clean, "/"+ref.Rest) {
			t.Errorf("%q does not end in %q", clean, ref.Rest)
		}
		if ref.VolDataPath != "" && !strings.HasPrefix(ref.VolDataPath, path.Clean(root)) {
			t.Errorf("vol_data %q outside %q", ref.VolDataPath, root)
		}
		if again, ok := ParsePath(root, clean); !ok || again != ref {
			t.Errorf("the clean path gives %+v", again)
		}
	})
}

func FuzzParseVolData(f *testing.F) {
	f.Add([]byte(`{"driverName":"d","specVolID":"pv","volumeHandle":"h"}`))
	f.Add([]byte(`{"driverName":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := ParseVolData(data)
		if err == nil && (v.Path != "" || v.Err != "" || v.DriverName+v.SpecVolID+v.VolumeHandle == "") {
			t.Errorf("%+v", v)
		}
		if err != nil && v != (facts.VolumeData{}) {
			t.Errorf("error and %+v", v)
		}
	})
}
