package kube

import (
	"strings"
	"testing"
)

const (
	cid  = "1111111111111111111111111111111111111111111111111111111111111111"
	node = "2222222222222222222222222222222222222222222222222222222222222222"
)

func TestParseCgroup(t *testing.T) {
	under := strings.ReplaceAll(uid, "-", "_")
	for _, tc := range []struct{ name, text, id, uid string }{
		{"v2 cgroupfs containerd", "0::/kubepods/burstable/pod" + uid + "/" + cid, cid, uid},
		{"v2 cgroupfs guaranteed", "0::/kubepods/pod" + uid + "/" + cid + "\n", cid, uid},
		{"v2 cgroupfs CRI-O", "0::/kubepods/besteffort/pod" + uid + "/crio-" + cid, cid, uid},
		{"v2 systemd containerd", "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + under + ".slice/cri-containerd-" + cid + ".scope", cid, uid},
		{"v2 systemd guaranteed", "0::/kubepods.slice/kubepods-pod" + under + ".slice/crio-" + cid + ".scope", cid, uid},
		{"v2 systemd CRI-O nested", "0::/kubepods.slice/kubepods-pod" + under + ".slice/crio-" + cid + ".scope/container", cid, uid},
		{"v2 systemd docker", "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + under + ".slice/docker-" + cid + ".scope", cid, uid},
		{"static pod cgroupfs", "0::/kubepods/burstable/pod" + static + "/" + cid, cid, static},
		{"static pod systemd", "0::/kubepods.slice/kubepods-burstable-pod" + static + ".slice/cri-containerd-" + cid + ".scope", cid, static},
		{"containerd colon names", "0::/system.slice/containerd.service/kubepods-burstable-pod" + under + ".slice:cri-containerd:" + cid, cid, uid},
		{"v1", "12:pids:/kubepods/burstable/pod" + uid + "/" + cid + "\n1:name=systemd:/kubepods/burstable/pod" + uid + "/" + cid + "\n0::/system.slice/containerd.service\n", cid, uid},
		{"v1 hybrid, pod in one", "0::/\n9:misc:/\n4:memory:/kubepods.slice/kubepods-pod" + under + ".slice/docker-" + cid + ".scope", cid, uid},
		{"v1 pod sandbox only, then container", "5:cpuset:/kubepods/pod" + uid + "\n4:memory:/kubepods/pod" + uid + "/" + cid, cid, uid},
		{"kind node", "0::/docker/" + node + "/kubelet/kubepods/burstable/pod" + uid + "/" + cid, cid, uid},
		{"kind systemd", "0::/system.slice/docker-" + node + ".scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod" + under + ".slice/cri-containerd-" + cid + ".scope", cid, uid},
		{"kind's own kubelet", "0::/docker/" + node + "/kubelet.slice/kubelet.service", node, ""},
		{"cluster in a pod", "0::/kubepods/pod" + static + "/" + node + "/kubepods/pod" + uid + "/" + cid, cid, uid},
		{"docker in a pod", "0::/kubepods/pod" + uid + "/" + cid + "/docker/" + node, cid, uid},
		{"cgroup namespace", "0::/../../pod" + uid + "/" + cid, cid, uid},
		{"removed", "0::/kubepods/pod" + uid + "/" + cid + " (deleted)", cid, uid},
		{"docker", "0::/system.slice/docker-" + cid + ".scope", cid, ""},
		{"docker cgroupfs", "3:cpu:/docker/" + cid, cid, ""},
		{"podman", "0::/machine.slice/libpod-" + cid + ".scope/container", cid, ""},
		{"podman monitor", "0::/machine.slice/libpod-conmon-" + cid + ".scope", "", ""},
		{"CRI-O monitor", "0::/kubepods.slice/kubepods-pod" + under + ".slice/crio-conmon-" + cid + ".scope", "", uid},
		{"system service", "0::/system.slice/kubelet.service", "", ""},
		{"kubepods itself", "0::/kubepods.slice", "", ""},
		{"a name that is no UID", "0::/kubepods/podinfo/" + cid[1:], "", ""},
		{"empty", "", "", ""},
		{"rubbish", "::\n:\n0:\n", "", ""},
	} {
		if id, u := ParseCgroup(tc.text); id != tc.id || u != tc.uid {
			t.Errorf("%s: %q, %q; want %q, %q", tc.name, id, u, tc.id, tc.uid)
		}
	}
}

func FuzzParseCgroup(f *testing.F) {
	f.Add("0::/kubepods/burstable/pod" + uid + "/" + cid)
	f.Add("0::/kubepods.slice/kubepods-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice:cri-containerd:" + cid)
	f.Fuzz(func(t *testing.T, text string) {
		id, u := ParseCgroup(text)
		if id != "" && (!isHex(id, 64) || !strings.Contains(text, id)) {
			t.Errorf("container %q", id)
		}
		if u != "" && !isPodUID(u) {
			t.Errorf("pod %q", u)
		}
	})
}
