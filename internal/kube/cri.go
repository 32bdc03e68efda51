package kube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// ErrNoCRI tells that a server answered but does not serve CRI: a containerd
// with that plugin disabled, as Docker brings it along.
var ErrNoCRI = errors.New("no CRI on this socket")

// ErrNoContainers tells that a runtime listed its pods but not their containers.
var ErrNoContainers = errors.New("containers unknown")

const (
	// defaultWait bounds ListPods when its context has no deadline.
	defaultWait = 2 * time.Second
	// maxMessage is the kubelet's own bound for a CRI answer.
	maxMessage = 16 << 20
	// maxSocketPath is the size of sun_path less its final zero byte.
	maxSocketPath = 107
)

// DefaultSockets are the places of CRI sockets in the host's mount namespace:
// containerd, CRI-O, k3s and RKE2, MicroK8s, k0s, cri-dockerd, and the
// dockershim that kubelets up to 1.23 had. /run and not /var/run, which is a
// symbolic link and would be followed in the wrong root below /proc/1/root.
func DefaultSockets() []string {
	return []string{
		"/run/containerd/containerd.sock",
		"/run/crio/crio.sock",
		"/run/k3s/containerd/containerd.sock",
		"/var/snap/microk8s/common/run/containerd.sock",
		"/run/k0s/containerd.sock",
		"/run/cri-dockerd.sock",
		"/run/dockershim.sock",
	}
}

// ListPods asks the container runtime at a unix socket for its pods, with their
// containers. A pod is "running" if it has a ready sandbox, else "notready". It
// returns when ctx ends, whatever the server does; without a deadline in ctx,
// after 2 s.
//
// The deadline does not reach into the kernel: the socket must lie on a mount
// that cannot hang, as those of DefaultSockets do.
//
// The error is ErrNoCRI if the server is up but no container runtime. With
// ErrNoContainers the pods are complete and only Containers is missing.
func ListPods(ctx context.Context, socketPath string) ([]facts.Pod, error) {
	if len(socketPath) > maxSocketPath {
		return nil, fmt.Errorf("CRI socket path %s: %d bytes, more than the %d a unix address holds",
			socketPath, len(socketPath), maxSocketPath)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultWait)
		defer cancel()
	}
	// grpc turns a failed dial into text: keep the error, whose kind tells that
	// no runtime is there.
	var mu sync.Mutex
	var dialed error
	// The address is free for the dialer to ignore; as :authority it must be
	// one that the runtimes' HTTP/2 servers accept.
	conn, err := grpc.NewClient("passthrough:///localhost",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socketPath)
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				dialed = err
			}
			return conn, err
		}))
	if err != nil {
		return nil, fmt.Errorf("CRI client for %s: %w", socketPath, err)
	}
	defer conn.Close()
	pods, err := listPods(ctx, conn)
	mu.Lock()
	defer mu.Unlock()
	if err != nil && dialed != nil {
		return nil, fmt.Errorf("pods over CRI: %w", dialed)
	}
	if err != nil {
		return pods, fmt.Errorf("pods over CRI at %s: %w", socketPath, err)
	}
	return pods, nil
}

func listPods(ctx context.Context, conn grpc.ClientConnInterface) ([]facts.Pod, error) {
	service := "runtime.v1.RuntimeService"
	sandboxes := &runtime.ListPodSandboxResponse{}
	err := conn.Invoke(ctx, "/"+service+"/ListPodSandbox", &runtime.ListPodSandboxRequest{}, sandboxes)
	if status.Code(err) == codes.Unimplemented {
		// Runtimes of Kubernetes 1.19 and before: v1 is v1alpha2 renamed, with
		// the same messages on the wire.
		service = "runtime.v1alpha2.RuntimeService"
		err = conn.Invoke(ctx, "/"+service+"/ListPodSandbox", &runtime.ListPodSandboxRequest{}, sandboxes)
	}
	if status.Code(err) == codes.Unimplemented {
		return nil, ErrNoCRI
	}
	if err != nil {
		return nil, shortened(ctx, err)
	}
	containers := &runtime.ListContainersResponse{}
	err = conn.Invoke(ctx, "/"+service+"/ListContainers", &runtime.ListContainersRequest{}, containers)
	pods := podsOf(sandboxes.GetItems(), containers.GetContainers())
	if err != nil {
		return pods, fmt.Errorf("%w: %w", ErrNoContainers, shortened(ctx, err))
	}
	return pods, nil
}

// shortened takes the wrapping off an error of grpc, and gives the context's
// own error where that is the cause, so that errors.Is works.
func shortened(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("no answer: %w", ctx.Err())
	}
	if status.Code(err) == codes.DeadlineExceeded {
		return fmt.Errorf("no answer: %w", context.DeadlineExceeded)
	}
	if s, ok := status.FromError(err); ok {
		return errors.New(s.Message())
	}
	return err
}

// podsOf merges the sandboxes of each pod: one that restarted has several, of
// which the ready one counts. Pods are in the order the runtime gave.
func podsOf(sandboxes []*runtime.PodSandbox, containers []*runtime.Container) []facts.Pod {
	var pods []facts.Pod
	byUID := map[string]int{}
	bySandbox := map[string]int{}
	for _, s := range sandboxes {
		meta := s.GetMetadata()
		if meta == nil { // the kubelet labels its sandboxes with the same
			labels := s.GetLabels()
			meta = &runtime.PodSandboxMetadata{
				Uid:       labels["io.kubernetes.pod.uid"],
				Name:      labels["io.kubernetes.pod.name"],
				Namespace: labels["io.kubernetes.pod.namespace"],
			}
		}
		uid := meta.GetUid()
		if uid == "" {
			continue
		}
		i, ok := byUID[uid]
		if !ok {
			i = len(pods)
			byUID[uid] = i
			pods = append(pods, facts.Pod{
				UID: uid, Name: meta.GetName(), Namespace: meta.GetNamespace(),
				State: "notready", Source: SourceCRI,
			})
		}
		bySandbox[s.GetId()] = i
		if s.GetState() == runtime.PodSandboxState_SANDBOX_READY {
			pods[i].State = "running"
		}
	}
	for _, c := range containers {
		i, ok := bySandbox[c.GetPodSandboxId()]
		if !ok {
			continue
		}
		if pods[i].Containers == nil {
			pods[i].Containers = map[string]string{}
		}
		pods[i].Containers[c.GetId()] = c.GetMetadata().GetName()
	}
	return pods
}
