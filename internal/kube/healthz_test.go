package kube

import (
	"slices"
	"strings"
	"testing"
)

func TestSyncLoopURLs(t *testing.T) {
	const secure, open = "https://127.0.0.1:10250/healthz/syncloop", "http://127.0.0.1:10255/healthz/syncloop"
	for name, tt := range map[string]struct {
		args   string
		config string // "-": not readable
		want   []string
		why    string
	}{
		"flags only: older defaults":    {"/usr/bin/kubelet --root-dir=/x", "", []string{open, secure}, ""},
		"kubeadm":                       {"kubelet --config=/var/lib/kubelet/config.yaml", "authentication:\n  anonymous:\n    enabled: false\n", nil, "token"},
		"configuration, defaults":       {"kubelet --config=/c", "kind: KubeletConfiguration\n", nil, "token"},
		"anonymous":                     {"kubelet --config /c", "authentication: {anonymous: {enabled: true}}\nport: 11250\n", []string{"https://127.0.0.1:11250/healthz/syncloop"}, ""},
		"read-only port":                {"kubelet --config /c", "readOnlyPort: 10255\n", []string{open}, ""},
		"flags outrank the file":        {"kubelet --config /c --read-only-port 0 --port=7 --anonymous-auth", "readOnlyPort: 10255\n", []string{"https://127.0.0.1:7/healthz/syncloop"}, ""},
		"anonymous off by flag":         {"kubelet --anonymous-auth=false --read-only-port=0", "", nil, "token"},
		"no port at all":                {"kubelet --port=0 --read-only-port=0", "", nil, "token"},
		"an address of its own":         {"kubelet --address 10.1.2.3 --read-only-port=0", "", []string{"https://10.1.2.3:10250/healthz/syncloop"}, ""},
		"IPv6":                          {"kubelet --address=:: --read-only-port=0", "", []string{"https://[::1]:10250/healthz/syncloop"}, ""},
		"the file cannot be read":       {"kubelet --config /c", "-", []string{secure}, ""},
		"the file is no YAML":           {"kubelet --config /c", "port: [", nil, "configuration /c"},
		"k3s: its --config is its own":  {"k3s server --config /etc/k3s.yaml --kubelet-arg=anonymous-auth=true --kubelet-arg read-only-port=0", "", []string{secure}, ""},
		"a flag that ends the line":     {"kubelet --read-only-port=0 --port", "", []string{secure}, ""},
		"a port that is none":           {"kubelet --read-only-port=0 --port=70000", "", nil, ""},
		"the healthz port has no check": {"kubelet --config /c --healthz-port=10248", "healthzPort: 10248\n", nil, "token"},
	} {
		var config []byte
		if tt.config != "-" && strings.Contains(tt.args, "--config") && !strings.HasPrefix(tt.args, "k3s") {
			config = []byte(tt.config)
		}
		urls, why := SyncLoopURLs(strings.Fields(tt.args), config)
		if !slices.Equal(urls, tt.want) || !strings.Contains(why, tt.why) || (len(urls) == 0) != (why != "") {
			t.Errorf("%s: %q %q, want %q %q", name, urls, why, tt.want, tt.why)
		}
	}
	if file := KubeletConfigFile([]string{"kubelet", "--config=/a", "--config", "/b"}); file != "/b" {
		t.Errorf("configuration file %q", file)
	}
}

func TestSyncLoopAnswer(t *testing.T) {
	for _, tt := range []struct {
		code          int
		body          string
		state, detail string
	}{
		{200, "ok", SyncLoopOK, ""},
		{200, "<html>", SyncLoopUnknown, "no kubelet"},
		{500, "internal server error: sync Loop took longer than expected\n", SyncLoopFailed, "longer than expected"},
		{401, "Unauthorized", SyncLoopUnknown, "token"},
		{403, "Forbidden (user=system:anonymous)", SyncLoopUnknown, "token"},
		{404, "", SyncLoopUnknown, "404"},
	} {
		state, detail := SyncLoopAnswer(tt.code, tt.body)
		if state != tt.state || !strings.Contains(detail, tt.detail) {
			t.Errorf("%d %q: %s, %q", tt.code, tt.body, state, detail)
		}
	}
}

func FuzzSyncLoopURLs(f *testing.F) {
	f.Add("kubelet\x00--config=/c\x00--port=1", []byte("port: 3"))
	f.Fuzz(func(t *testing.T, args string, config []byte) {
		if urls, why := SyncLoopURLs(strings.Split(args, "\x00"), config); len(urls) == 0 && why == "" {
			t.Error("neither an address nor a reason")
		}
	})
}
