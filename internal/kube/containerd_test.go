package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// startContainerd runs a real containerd in a directory of its own and returns
// its socket.
func startContainerd(t *testing.T, disabled string) string {
	t.Helper()
	exe, err := exec.LookPath("containerd")
	if err != nil || os.Getuid() != 0 {
		t.Skip("needs containerd and root")
	}
	dir, err := os.MkdirTemp("", "ctrd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "c.sock")
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [%s]\n[grpc]\naddress = %q\n[ttrpc]\naddress = %q\n"+
		"[plugins.\"io.containerd.internal.v1.opt\"]\npath = %q\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nconf_dir = %q\nbin_dir = %q\n",
		dir+"/root", dir+"/state", disabled, socket, dir+"/t.sock", dir+"/opt", dir+"/cni", dir+"/cnibin")
	file := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, exe, "--config", file, "--log-level", "warn")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("containerd said:\n%s", log.String())
		}
	})
	for range 300 {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			return socket
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("containerd did not listen")
	return ""
}

func TestListPodsOfContainerd(t *testing.T) {
	socket := startContainerd(t, "")
	pods, err := ListPods(within(t, 20*time.Second), socket)
	// CRI answers "not initialized yet" for a moment after the start.
	for i := 0; err != nil && !errors.Is(err, ErrNoCRI) && i < 100; i++ {
		time.Sleep(100 * time.Millisecond)
		pods, err = ListPods(within(t, 20*time.Second), socket)
	}
	if err != nil || len(pods) != 0 {
		t.Errorf("%+v, %v", pods, err)
	}
}

// As Docker's packages configure it.
func TestListPodsOfContainerdWithoutCRI(t *testing.T) {
	socket := startContainerd(t, `"io.containerd.grpc.v1.cri"`)
	if pods, err := ListPods(within(t, 20*time.Second), socket); !errors.Is(err, ErrNoCRI) || pods != nil {
		t.Errorf("%+v, %v", pods, err)
	}
}
