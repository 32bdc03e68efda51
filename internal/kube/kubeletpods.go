package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// DefaultKubeletPods is where a kubelet lists its pods to anybody on the node:
// the read-only port. Many nodes have it closed; the other port (10250) wants a
// token, which hangtrace has not and does not look for.
const DefaultKubeletPods = "http://127.0.0.1:10255/pods"

// maxPodList bounds the kubelet's answer: 250 pods of 100 KiB are 25 MB.
const maxPodList = 64 << 20

// KubeletPods asks a kubelet for its pods. Those are the pods that it was told
// of, a container or none: also one that waits for its volumes, which no
// container runtime knows. A kubelet whose main loop hangs answers, too, with
// what it knew then. It returns when ctx ends; without a deadline, after 2 s.
func KubeletPods(ctx context.Context, url string) ([]facts.Pod, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultWait)
		defer cancel()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("pods of the kubelet: %w", err)
	}
	// Neither a proxy nor a kept connection: this is a question to the node.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, ResponseHeaderTimeout: time.Minute}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("pods of the kubelet: %s answers %q", url, resp.Status)
	}
	var list struct {
		Kind  string `json:"kind"`
		Items []struct {
			Metadata struct {
				UID       string `json:"uid"`
				Name      string `json:"name"`
				Namespace string `json:"namespace"`
			} `json:"metadata"`
		} `json:"items"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxPodList)).Decode(&list); err != nil {
		return nil, fmt.Errorf("pods of the kubelet: %s: %w", url, err)
	}
	if list.Kind != "PodList" {
		return nil, fmt.Errorf("pods of the kubelet: %s answers with a %q, not a PodList", url, list.Kind)
	}
	var pods []facts.Pod
	for _, i := range list.Items {
		pods = append(pods, facts.Pod{UID: i.Metadata.UID, Name: i.Metadata.Name, Namespace: i.Metadata.Namespace, Source: SourceKubelet})
	}
	return pods, nil
}
