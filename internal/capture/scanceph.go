package capture

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/facts"
)

// cephPerChild is how many ceph clients one child reads: a node has one for
// each volume, and a child for each would be hundreds at once.
const cephPerChild = 32

// ceph reads the kernel's ceph clients from debugfs. The files that take every
// session's lock (caps) are left alone. Where the walk saw the clients' requests
// they are only counted.
func (sc *scan) ceph(ctx context.Context) {
	names, err := sc.Session.cephClients(ctx)
	var missing missingDebugfs
	if errors.As(err, &missing) {
		sc.degrade(missing.Error())
		return
	}
	if err != nil {
		sc.skip("requests of the kernel's ceph clients", err)
		return
	}
	dir := sc.Session.debugfs() + "/ceph"
	var clients []facts.CephClient
	for _, name := range names {
		clients = append(clients, facts.CephClient{Name: name})
	}
	slices.SortFunc(clients, func(a, b facts.CephClient) int { return cmp.Compare(a.Name, b.Name) })
	if !sc.walkedCeph() {
		sc.cephRequests(ctx, dir, clients)
	}
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.out.Ceph = clients
}

// walkedCeph tells whether the walk saw ceph clients.
func (sc *scan) walkedCeph() bool {
	if len(sc.snap.Walks) == 0 {
		return false
	}
	w, err := events.DecodeWalk(sc.snap.Walks[len(sc.snap.Walks)-1], sc.snap.Clock)
	return err == nil && len(w.Clients) > 0
}

// cephRequests reads the clients' requests, and those of the ones that have any
// again after the threshold: what is still there then is slow.
func (sc *scan) cephRequests(ctx context.Context, dir expendable.Raw, clients []facts.CephClient) {
	every := make([]*facts.CephClient, len(clients))
	for i := range clients {
		every[i] = &clients[i]
	}
	sc.readClients(ctx, dir, every, []string{"mdsc", "osdc", "mds_sessions"}, func(c *facts.CephClient, a []expendable.Answer) {
		c.MDSC, c.OSDC, c.Sessions = string(a[0].Data), string(a[1].Data), string(a[2].Data)
		c.CephFS = a[0].Err == ""
	})
	open := slices.DeleteFunc(every, func(c *facts.CephClient) bool { return strings.TrimSpace(c.MDSC) == "" })
	if len(open) == 0 {
		return
	}
	begin := time.Now()
	wait := sc.Session.opts.Judge.Threshold
	if until, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(until)/3)
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
	}
	sc.readClients(ctx, dir, open, []string{"mdsc"}, func(c *facts.CephClient, a []expendable.Answer) {
		if a[0].Err == "" {
			c.Later, c.LaterMS = string(a[0].Data), time.Since(begin).Milliseconds()
		}
	})
}

// readClients reads the same files of many clients. take gets one answer for
// each file.
func (sc *scan) readClients(ctx context.Context, dir expendable.Raw, clients []*facts.CephClient, files []string, take func(*facts.CephClient, []expendable.Answer)) {
	var wg sync.WaitGroup
	for some := range slices.Chunk(clients, cephPerChild) {
		wg.Go(func() {
			var reqs []expendable.Request
			for _, c := range some {
				for _, f := range files {
					reqs = append(reqs, expendable.Request{Op: expendable.OpReadfile, Root: dir, Path: expendable.Raw(c.Name + "/" + f), Max: 1 << 20})
				}
			}
			answers, err := sc.Session.opts.Runner.Do(ctx, "ceph:"+some[0].Name, reqs, childDeadline(ctx))
			if err != nil {
				sc.skip("requests of ceph clients", err)
			}
			for i, c := range some {
				take(c, answers[i*len(files):(i+1)*len(files)])
			}
		})
	}
	wg.Wait()
}
