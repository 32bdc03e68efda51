package correlate

import (
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/kube"
)

// noticeAfterMS is how long a kubelet's sync loop must be silent before its
// /healthz/syncloop fails: twice the resync interval, and never less than this
// (syncLoopHealthCheck of pkg/kubelet).
const noticeAfterMS = 5 * 60 * 1000

// compareHealthz puts what a kubelet says of its sync loop beside the fact that
// it has been stuck for some time.
func compareHealthz(said *facts.KubeletHealth, stuckMS int64) string {
	switch {
	case said.SyncLoop == kube.SyncLoopFailed:
		return "/healthz/syncloop says failed: the kubelet has noticed by itself"
	case said.SyncLoop == kube.SyncLoopOK && stuckMS < noticeAfterMS:
		return "/healthz/syncloop still says ok: it needs 5 minutes to notice"
	case said.SyncLoop == kube.SyncLoopOK:
		return "/healthz/syncloop still says ok, after more than the 5 minutes it needs to notice"
	case said.Detail != "":
		return "/healthz/syncloop not known: " + said.Detail
	}
	return "/healthz/syncloop not known"
}
