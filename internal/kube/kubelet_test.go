package kube

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hangtrace/hangtrace/internal/facts"
)

func TestKubeletRoot(t *testing.T) {
	for _, tc := range []struct{ args, root, source string }{
		{"/usr/bin/kubelet --config=/var/lib/kubelet/config.yaml", DefaultRoot, "default"},
		{"/usr/bin/kubelet --root-dir=/data/kubelet/ --v=2", "/data/kubelet", "--root-dir"},
		{"/usr/bin/kubelet --root-dir /data/kubelet", "/data/kubelet", "--root-dir"},
		{"kubelet -root-dir=/data/k", "/data/k", "--root-dir"},
		{"kubelet --root-dir=/a --root-dir=/b", "/b", "--root-dir"},
		{"kubelet --root-dir", DefaultRoot, "default"},
		{"kubelet --root-dir=state", "state", "--root-dir"},
		{"k3s server --data-dir=/data/k3s", DefaultRoot, "default"},
		{"k3s server --kubelet-arg=root-dir=/data/k --kubelet-arg=v=2", "/data/k", "--kubelet-arg"},
		{"k3s agent --kubelet-arg root-dir=/data/k", "/data/k", "--kubelet-arg"},
		{"k3s agent --kubelet-arg --root-dir=/data/k", "/data/k", "--kubelet-arg"},
		{"k0s worker --kubelet-root-dir=/srv/k", "/srv/k", "--kubelet-root-dir"},
		{"/snap/microk8s/1/kubelite --kubelet-args-file=/var/snap/microk8s/1/args/kubelet", microk8sRoot, "default of MicroK8s"},
		{"kubelet --hostname-override root-dir=/x", DefaultRoot, "default"},
		{"", DefaultRoot, "default"},
	} {
		root, source := KubeletRoot(strings.Fields(tc.args))
		if root != tc.root || source != tc.source {
			t.Errorf("KubeletRoot(%q) = %q, %q; want %q, %q", tc.args, root, source, tc.root, tc.source)
		}
	}
}

func TestIsKubelet(t *testing.T) {
	for _, tc := range []struct {
		comm, exe string
		want      string // part of the label, "" for none
	}{
		{"kubelet", "/usr/bin/kubelet", "kubelet"},
		{"kubelet", "", "kubelet"},
		{"kubelet", "/usr/bin/kubelet (deleted)", "kubelet"},
		{"k3s-server", "/var/lib/rancher/k3s/data/abc/bin/k3s", "k3s runs the kubelet"},
		{"k3s-agent", "", "k3s runs the kubelet"},
		{"k3s", "/usr/local/bin/k3s", "k3s runs the kubelet"},
		{"kubectl", "/var/lib/rancher/k3s/data/abc/bin/k3s", ""},
		{"rke2", "/usr/local/bin/rke2", ""},
		{"k0s", "/usr/local/bin/k0s", ""},
		{"kubelite", "/snap/microk8s/1/kubelite", "MicroK8s"},
		{"hyperkube", "/hyperkube", "may run"},
		{"kubelet-v1.34.4", "/opt/kubelet (deleted)", "executable"},
		{"kubelet-proxy", "/bin/kubelet-proxy", ""},
		{"bash", "/bin/bash", ""},
		{"", "", ""},
	} {
		label, ok := IsKubelet(tc.comm, tc.exe)
		if ok != (tc.want != "") || !strings.Contains(label, tc.want) {
			t.Errorf("IsKubelet(%q, %q) = %q, %t; want %q", tc.comm, tc.exe, label, ok, tc.want)
		}
	}
}

func TestPodLogs(t *testing.T) {
	got, ok := ParsePodLogDir("kube-system_coredns-5d78c_" + uid)
	want := facts.Pod{UID: uid, Name: "coredns-5d78c", Namespace: "kube-system", Source: SourcePodLogs}
	if d := cmp.Diff(want, got); !ok || d != "" {
		t.Error(ok, d)
	}
	if p, ok := ParsePodLogDir("kube-system_kube-proxy-n1_" + static); !ok || p.UID != static {
		t.Errorf("static pod: %+v", p)
	}
	for _, bad := range []string{"", uid, "a_b", "a_b_c", "_b_" + uid, "a__" + uid, "a_b_c_" + uid, "a_b_" + uid + "x"} {
		if p, ok := ParsePodLogDir(bad); ok {
			t.Errorf("ParsePodLogDir(%q) = %+v", bad, p)
		}
	}

	link, target := "web-0_shop_app-v2-"+cid+".log", "/var/log/pods/shop_web-0_"+uid+"/app-v2/0.log"
	got, ok = ParseContainerLogLink("/var/log/containers/"+link, target)
	want = facts.Pod{UID: uid, Name: "web-0", Namespace: "shop", Source: SourcePodLogs, Containers: map[string]string{cid: "app-v2"}}
	if d := cmp.Diff(want, got); !ok || d != "" {
		t.Error(ok, d)
	}
	for _, bad := range [][2]string{
		{link, "/var/log/pods/other_web-0_" + uid + "/app-v2/0.log"}, {link, "/var/lib/docker/containers/x/x-json.log"}, {link, ""},
		{"web-0_shop_app-" + cid, target}, {"web-0_shop_" + cid + ".log", target}, {"web-0_shop_app-123.log", target}, {"", ""},
	} {
		if p, ok := ParseContainerLogLink(bad[0], bad[1]); ok {
			t.Errorf("ParseContainerLogLink(%q) = %+v", bad, p)
		}
	}
}

func TestFindPod(t *testing.T) {
	logs := facts.Pod{UID: uid, Name: "web", Namespace: "shop", Source: SourcePodLogs}
	run := facts.Pod{UID: uid, Name: "web", Namespace: "shop", Source: SourceCRI, State: "running"}
	stopped := run
	stopped.State = "notready"
	other := facts.Pod{UID: static, Name: "proxy", Namespace: "kube-system", Source: SourceCRI, State: "running"}
	both := []string{SourceCRI, SourcePodLogs}
	for _, tc := range []struct {
		name    string
		pods    []facts.Pod
		sources []string
		state   State
		source  string // of the pod found, "" for none
	}{
		{"running", []facts.Pod{logs, run, other}, both, StateRunning, SourceCRI},
		{"running, older sandbox listed too", []facts.Pod{stopped, run}, both, StateRunning, SourceCRI},
		{"running, older sandbox listed last", []facts.Pod{run, stopped}, both, StateRunning, SourceCRI},
		{"stopped", []facts.Pod{stopped, other}, both, StateUnknown, SourceCRI},
		{"deleted, name from its logs", []facts.Pod{logs, other}, both, StateDeleted, SourcePodLogs},
		{"deleted, a true orphan", []facts.Pod{other}, both, StateDeleted, ""},
		{"CRI did not answer", []facts.Pod{logs}, []string{SourcePodLogs}, StateUnknown, SourcePodLogs},
		{"CRI did not answer to the end", []facts.Pod{logs, other}, []string{SourcePodLogs}, StateUnknown, SourcePodLogs},
		{"a runtime without any pod", []facts.Pod{logs}, both, StateUnknown, SourcePodLogs},
		{"nothing known", nil, nil, StateUnknown, ""},
	} {
		k := &facts.Kube{Pods: tc.pods, PodSources: tc.sources, PodDirs: []string{uid}}
		pod, state, ok := FindPod(k, uid)
		if state != tc.state || pod.Source != tc.source || ok != (tc.source != "") {
			t.Errorf("%s: %s, %+v, %t", tc.name, state, pod, ok)
		}
	}
	if _, state, ok := FindPod(nil, uid); ok || state != StateUnknown {
		t.Error("no facts at all")
	}
	if _, state, ok := FindPod(&facts.Kube{Pods: []facts.Pod{other}, PodSources: both}, ""); ok || state != StateUnknown {
		t.Error("no UID")
	}
}
