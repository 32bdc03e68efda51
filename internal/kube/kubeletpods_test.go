package kube

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hangtrace/hangtrace/internal/facts"
)

func TestKubeletPods(t *testing.T) {
	tests := []struct {
		name, body string
		status     int
		pods       int
		wrong      string // in the error
	}{
		{"pods", `{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[` +
			`{"metadata":{"name":"web-0","namespace":"shop","uid":"u-1"},"spec":{"containers":[{}]},"status":{"phase":"Pending"}},` +
			`{"metadata":{"name":"static","namespace":"kube-system","uid":"0123456789abcdef0123456789abcdef"}}]}`, 200, 2, ""},
		{"none", `{"kind":"PodList","apiVersion":"v1","items":null}`, 200, 0, ""},
		{"token wanted", "Unauthorized", 401, 0, "401 Unauthorized"},
		{"another server", `{"hello":1}`, 200, 0, "not a PodList"},
		{"no JSON", "<html>", 200, 0, "invalid character"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(test.status)
				_, _ = w.Write([]byte(test.body))
			}))
			defer s.Close()
			pods, err := KubeletPods(context.Background(), s.URL+"/pods")
			if test.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), test.wrong) {
					t.Fatalf("error %v, want %q", err, test.wrong)
				}
				return
			}
			if err != nil || len(pods) != test.pods {
				t.Fatalf("%+v %v", pods, err)
			}
			want := facts.Pod{UID: "u-1", Name: "web-0", Namespace: "shop", Source: SourceKubelet}
			if test.pods > 0 && !reflect.DeepEqual(pods[0], want) {
				t.Errorf("%+v, want %+v", pods[0], want)
			}
		})
	}
}

// TestKubeletPodsHangs wants an end whatever the kubelet does.
func TestKubeletPodsHangs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := KubeletPods(ctx, "http://"+l.Addr().String()+"/pods"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody answers: %v", err)
	}
	l.Close()
	if _, err := KubeletPods(context.Background(), "http://"+l.Addr().String()+"/pods"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("closed port: %v", err)
	}
}

// TestPodStateOfKubelet: a pod that waits for its volumes has no sandbox, and is
// not gone.
func TestPodStateOfKubelet(t *testing.T) {
	k := &facts.Kube{PodSources: []string{SourceCRI, SourceKubelet}, Pods: []facts.Pod{
		{UID: "other", Source: SourceCRI, State: "running"}, {UID: "waits", Name: "web-0", Source: SourceKubelet}, {UID: "other", Source: SourceKubelet},
	}}
	for uid, want := range map[string]State{"waits": StateUnknown, "other": StateRunning, "gone": StateDeleted} {
		if _, state, _ := FindPod(k, uid); state != want {
			t.Errorf("%s is %s, want %s", uid, state, want)
		}
	}
}
