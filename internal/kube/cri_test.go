package kube

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// fakeRuntime serves CRI as far as ListPods asks.
type fakeRuntime struct {
	runtime.UnimplementedRuntimeServiceServer
	hang          chan struct{} // not nil: no answer before it is closed
	containersErr error
}

func (f *fakeRuntime) ListPodSandbox(context.Context, *runtime.ListPodSandboxRequest) (*runtime.ListPodSandboxResponse, error) {
	if f.hang != nil {
		<-f.hang
	}
	box := func(id, uid, name, ns string, ready bool) *runtime.PodSandbox {
		state := runtime.PodSandboxState_SANDBOX_NOTREADY
		if ready {
			state = runtime.PodSandboxState_SANDBOX_READY
		}
		return &runtime.PodSandbox{Id: id, State: state, Metadata: &runtime.PodSandboxMetadata{Name: name, Namespace: ns, Uid: uid}}
	}
	return &runtime.ListPodSandboxResponse{Items: []*runtime.PodSandbox{
		box("s1", uid, "web", "shop", true),
		box("s0", uid, "web", "shop", false), // before its restart
		box("s2", static, "proxy", "kube-system", false),
		{Id: "s3", State: runtime.PodSandboxState_SANDBOX_NOTREADY, Labels: map[string]string{
			"io.kubernetes.pod.uid": "from-label", "io.kubernetes.pod.name": "n", "io.kubernetes.pod.namespace": "ns"}},
		{Id: "s4"}, // a sandbox that is no pod
	}}, nil
}

func (f *fakeRuntime) ListContainers(context.Context, *runtime.ListContainersRequest) (*runtime.ListContainersResponse, error) {
	if f.containersErr != nil {
		return nil, f.containersErr
	}
	return &runtime.ListContainersResponse{Containers: []*runtime.Container{
		{Id: cid, PodSandboxId: "s1", Metadata: &runtime.ContainerMetadata{Name: "app"}},
		{Id: node, PodSandboxId: "s0", Metadata: &runtime.ContainerMetadata{Name: "app"}},
		{Id: "stray", PodSandboxId: "s9", Metadata: &runtime.ContainerMetadata{Name: "x"}},
	}}, nil
}

// listen gives a socket in a directory short enough for a unix address.
func listen(t *testing.T) (net.Listener, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "cri")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	name := filepath.Join(dir, "s.sock")
	l, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, name
}

// serve runs a gRPC server with what register adds to it.
func serve(t *testing.T, register func(*grpc.Server)) string {
	t.Helper()
	l, name := listen(t)
	s := grpc.NewServer()
	register(s)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Stop(); <-done })
	return name
}

func wantPods(withContainers bool) []facts.Pod {
	pods := []facts.Pod{
		{UID: uid, Name: "web", Namespace: "shop", State: "running", Source: SourceCRI},
		{UID: static, Name: "proxy", Namespace: "kube-system", State: "notready", Source: SourceCRI},
		{UID: "from-label", Name: "n", Namespace: "ns", State: "notready", Source: SourceCRI},
	}
	if withContainers {
		pods[0].Containers = map[string]string{cid: "app", node: "app"}
	}
	return pods
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestListPods(t *testing.T) {
	name := serve(t, func(s *grpc.Server) { runtime.RegisterRuntimeServiceServer(s, &fakeRuntime{}) })
	got, err := ListPods(within(t, 20*time.Second), name)
	if d := cmp.Diff(wantPods(true), got); err != nil || d != "" {
		t.Error(err, d)
	}
	if got, err = ListPods(context.Background(), name); err != nil || len(got) != 3 {
		t.Errorf("without a deadline: %+v, %v", got, err)
	}
}

// A runtime of Kubernetes 1.19 and before.
func TestListPodsV1alpha2(t *testing.T) {
	name := serve(t, func(s *grpc.Server) {
		desc := runtime.RuntimeService_ServiceDesc
		desc.ServiceName = "runtime.v1alpha2.RuntimeService"
		s.RegisterService(&desc, &fakeRuntime{})
	})
	got, err := ListPods(within(t, 20*time.Second), name)
	if d := cmp.Diff(wantPods(true), got); err != nil || d != "" {
		t.Error(err, d)
	}
}

func TestListPodsWithoutContainers(t *testing.T) {
	name := serve(t, func(s *grpc.Server) {
		runtime.RegisterRuntimeServiceServer(s, &fakeRuntime{containersErr: status.Error(codes.Internal, "disk on fire")})
	})
	got, err := ListPods(within(t, 20*time.Second), name)
	if d := cmp.Diff(wantPods(false), got); d != "" {
		t.Error(d)
	}
	if !errors.Is(err, ErrNoContainers) || !strings.Contains(err.Error(), "disk on fire") {
		t.Error(err)
	}
}

func TestListPodsNoCRI(t *testing.T) {
	for what, register := range map[string]func(*grpc.Server){
		"no service": func(*grpc.Server) {},
		"no methods": func(s *grpc.Server) {
			runtime.RegisterRuntimeServiceServer(s, runtime.UnimplementedRuntimeServiceServer{})
		},
	} {
		pods, err := ListPods(within(t, 20*time.Second), serve(t, register))
		if !errors.Is(err, ErrNoCRI) || pods != nil {
			t.Errorf("%s: %+v, %v", what, pods, err)
		}
	}
}

// A server that accepts and says nothing, one that takes no connection off its
// queue, and one whose handler hangs: each must end with the context.
func TestListPodsNeverAnswers(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang) // before the servers' cleanups wait for the handler
	servers := map[string]string{
		"handler hangs": serve(t, func(s *grpc.Server) { runtime.RegisterRuntimeServiceServer(s, &fakeRuntime{hang: hang}) }),
	}
	silent, name := listen(t)
	servers["accepts and is silent"] = name
	conns := make(chan net.Conn, 16)
	go func() {
		for {
			c, err := silent.Accept()
			if err != nil {
				close(conns)
				return
			}
			conns <- c
		}
	}()
	defer func() {
		silent.Close()
		for c := range conns {
			c.Close()
		}
	}()
	_, servers["does not accept"] = listen(t)
	for what, name := range servers {
		begin := time.Now()
		pods, err := ListPods(within(t, 300*time.Millisecond), name)
		if !errors.Is(err, context.DeadlineExceeded) || pods != nil {
			t.Errorf("%s: %+v, %v", what, pods, err)
		}
		if took := time.Since(begin); took > 15*time.Second {
			t.Errorf("%s: took %v", what, took)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := ListPods(ctx, name); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

func TestListPodsRefuses(t *testing.T) {
	l, name := listen(t)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close() // the socket file stays and refuses
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for path, want := range map[string]string{
		name:                                    "connection refused",
		filepath.Join(filepath.Dir(name), "no"): "no such file",
		"/" + strings.Repeat("x", 107):          "108 bytes",
	} {
		pods, err := ListPods(within(t, time.Minute), path)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) || pods != nil {
			t.Errorf("%s: %+v, %v", path, pods, err)
		}
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("a refusal took %v: it was retried until the deadline", took)
	}
}

// Below /proc/PID/root the default sockets still fit into an address.
func TestDefaultSocketsFit(t *testing.T) {
	for _, s := range DefaultSockets() {
		if n := len("/proc/4194304/root" + s); n > maxSocketPath {
			t.Errorf("%s: %d bytes", s, n)
		}
	}
}
