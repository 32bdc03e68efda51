package kube

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// What a kubelet says of its own sync loop at /healthz/syncloop.
const (
	SyncLoopOK      = "ok"
	SyncLoopFailed  = "failed"
	SyncLoopUnknown = "unknown"
)

// The kubelet's ports (pkg/cluster/ports of Kubernetes). A third, 10248, has
// no syncloop check: it says ok for ever, and proves nothing.
const (
	kubeletPort         = 10250 // https
	kubeletReadOnlyPort = 10255 // http, no token
)

const syncLoopPath = "/healthz/syncloop"

// KubeletConfigFile is the configuration file that a kubelet's command line
// names, "" for none.
func KubeletConfigFile(args []string) string { return kubeletFlags(args)["config"] }

// kubeletFlags gives the flags that matter here; of a flag given twice, the
// last. k3s hands a kubelet's flags on by --kubelet-arg.
func kubeletFlags(args []string) map[string]string {
	wanted := map[string]bool{"config": true, "port": true, "read-only-port": true, "address": true, "anonymous-auth": true}
	out := make(map[string]string)
	take := func(arg, next string) {
		name, value, has := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !has && name == "anonymous-auth" {
			next = "true" // a switch: what follows is another argument
		}
		if !has {
			value = next
		}
		if wanted[name] {
			out[name] = value
		}
	}
	embedded := len(args) > 0 && !strings.Contains(args[0], "kubelet") // k3s's own --config is not the kubelet's
	for i, arg := range args {
		next := ""
		if i+1 < len(args) {
			next = args[i+1]
		}
		name, value, has := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch {
		case !strings.HasPrefix(arg, "-"):
		case name == "kubelet-arg":
			if !has {
				value = next
			}
			take(value, "")
		case !embedded:
			take(arg, next)
		}
	}
	return out
}

// kubeletConfig is what matters of a KubeletConfiguration.
type kubeletConfig struct {
	Port           *int   `json:"port"`
	ReadOnlyPort   *int   `json:"readOnlyPort"`
	Address        string `json:"address"`
	Authentication struct {
		Anonymous struct {
			Enabled *bool `json:"enabled"`
		} `json:"anonymous"`
	} `json:"authentication"`
}

// SyncLoopURLs gives the addresses, on the node itself, at which a kubelet says
// whether its sync loop runs, the one that needs no token first. config is the
// text of its configuration file; nil: it has none, or none that could be read.
// Where the list is empty, why says so.
func SyncLoopURLs(args []string, config []byte) (urls []string, why string) {
	flags := kubeletFlags(args)
	var c kubeletConfig
	if config != nil {
		if err := yaml.Unmarshal(config, &c); err != nil {
			return nil, fmt.Sprintf("configuration %s: %v", flags["config"], err)
		}
	}
	// Without a file the flags' older defaults hold.
	port, readOnly, anonymous := kubeletPort, 0, false
	if flags["config"] == "" {
		readOnly, anonymous = kubeletReadOnlyPort, true
	} else if config == nil {
		anonymous = true // perhaps: it costs a question
	}
	override := func(value *int, flag string, into *int) {
		if value != nil {
			*into = *value
		}
		if n, err := strconv.Atoi(flag); err == nil {
			*into = n
		}
	}
	override(c.Port, flags["port"], &port)
	override(c.ReadOnlyPort, flags["read-only-port"], &readOnly)
	if e := c.Authentication.Anonymous.Enabled; e != nil {
		anonymous = *e
	}
	if b, err := strconv.ParseBool(flags["anonymous-auth"]); err == nil {
		anonymous = b
	}
	host := localAddress(c.Address, flags["address"])
	if validPort(readOnly) {
		urls = append(urls, "http://"+net.JoinHostPort(host, strconv.Itoa(readOnly))+syncLoopPath)
	}
	if validPort(port) && anonymous {
		urls = append(urls, "https://"+net.JoinHostPort(host, strconv.Itoa(port))+syncLoopPath)
	}
	if len(urls) == 0 {
		why = "it answers only to a token (anonymous authentication is off, and so is the read-only port)"
	}
	return urls, why
}

func validPort(n int) bool { return n > 0 && n < 1<<16 }

// localAddress is where a server that listens at an address is reached from
// the node.
func localAddress(addresses ...string) string {
	host := "127.0.0.1"
	for _, text := range addresses {
		a, err := netip.ParseAddr(text)
		switch {
		case err != nil:
		case !a.IsUnspecified():
			host = a.String()
		case a.Is6():
			host = "::1"
		default:
			host = "127.0.0.1"
		}
	}
	return host
}

// SyncLoopAnswer reads what a kubelet answered. detail is what it said, or why
// that tells nothing.
func SyncLoopAnswer(code int, body string) (state, detail string) {
	const most = 200
	first, _, _ := strings.Cut(strings.TrimSpace(body), "\n")
	if len(first) > most {
		first = first[:most]
	}
	switch code {
	case http.StatusOK:
		if first == "ok" {
			return SyncLoopOK, ""
		}
		return SyncLoopUnknown, "no kubelet answers there"
	case http.StatusInternalServerError:
		return SyncLoopFailed, first
	case http.StatusUnauthorized, http.StatusForbidden:
		return SyncLoopUnknown, fmt.Sprintf("it answers only to a token (status %d)", code)
	}
	return SyncLoopUnknown, fmt.Sprintf("it answered with status %d", code)
}
