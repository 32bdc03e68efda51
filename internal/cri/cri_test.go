package cri

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/hangtrace/hangtrace/internal/expendable"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == expendable.ChildCommand {
		os.Exit(expendable.Main(os.Stdin, os.Stdout, map[expendable.Op]expendable.Handler{Op: Handle}))
	}
	os.Exit(m.Run())
}

// onePod serves CRI with a single pod.
type onePod struct {
	runtime.UnimplementedRuntimeServiceServer
}

func (onePod) ListPodSandbox(context.Context, *runtime.ListPodSandboxRequest) (*runtime.ListPodSandboxResponse, error) {
	return &runtime.ListPodSandboxResponse{Items: []*runtime.PodSandbox{
		{Id: "s", State: runtime.PodSandboxState_SANDBOX_READY, Metadata: &runtime.PodSandboxMetadata{Uid: "u", Name: "web", Namespace: "shop"}},
	}}, nil
}

func (onePod) ListContainers(context.Context, *runtime.ListContainersRequest) (*runtime.ListContainersResponse, error) {
	return &runtime.ListContainersResponse{}, nil
}

// A runtime that accepts and never answers costs the others nothing: what they
// said is there at the deadline, and it alone is without an answer.
func TestAskOneSilentOfMany(t *testing.T) {
	dir, err := os.MkdirTemp("", "cri")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	listen := func(name string) net.Listener {
		l, err := net.Listen("unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	listen("silent")
	server := grpc.NewServer()
	runtime.RegisterRuntimeServiceServer(server, onePod{})
	good := listen("good")
	go func() { _ = server.Serve(good) }()
	t.Cleanup(server.Stop)

	runner := expendable.NewRunner(expendable.Options{})
	sockets := []string{dir + "/absent", dir + "/silent", dir + "/good"}
	got := Ask(t.Context(), runner, os.Getpid(), sockets, 5*time.Second)
	if len(got) != 3 || !got[0].Absent || got[0].Err != "" {
		t.Fatalf("absent: %+v", got)
	}
	if got[1].Absent || got[1].Err == "" || got[1].Pods != nil {
		t.Errorf("silent: %+v", got[1])
	}
	if got[2].Err != "" || len(got[2].Pods) != 1 || got[2].Pods[0].Name != "web" {
		t.Errorf("good: %+v", got[2])
	}
	for i, r := range got {
		if r.Socket != sockets[i] {
			t.Errorf("reply %d is of %s", i, r.Socket)
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, r := range Ask(ctx, runner, os.Getpid(), sockets, time.Second) {
		if r.Err == "" || r.Absent {
			t.Errorf("not asked: %+v", r)
		}
	}
}
