package capture

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/leftover"
)

const (
	probesAtOnce = 48
	probeMost    = time.Second
	probeStart   = time.Second
)

// ask reads the files that name volumes, and probes mounts if that was asked
// for.
func (sc *scan) ask(ctx context.Context, q leftover.Questions) {
	if len(q.VolumeData) > 0 {
		if sc.cache.volumeData == nil {
			sc.cache.volumeData = make(map[string]*facts.VolumeData)
		}
		sc.volumeData(ctx, sc.out.HostPID, sc.snap.Kube, q.VolumeData, sc.skip)
	}
	if sc.opts.Probe {
		sc.probes(ctx, q.Probes)
	}
}

// probes asks one child a device, many at a time, and once more what a busy
// node had no time to ask: that says nothing of a mount.
func (sc *scan) probes(ctx context.Context, targets []leftover.ProbeTarget) {
	if late := sc.probeAll(ctx, targets); len(late) > 0 && ctx.Err() == nil {
		sc.out.Probes = slices.DeleteFunc(sc.out.Probes, func(p facts.Probe) bool {
			return slices.ContainsFunc(late, func(t leftover.ProbeTarget) bool { return t.Device == p.Device })
		})
		sc.probeAll(ctx, late)
	}
	abandoned := sc.Session.opts.Runner.Abandoned()
	for i := range sc.out.Probes {
		p := &sc.out.Probes[i]
		at := slices.IndexFunc(abandoned, func(c expendable.Child) bool { return c.Key == deviceKey(p.Device) })
		if at >= 0 {
			p.LeftPID = abandoned[at].PID
		}
	}
	slices.SortFunc(sc.out.Probes, func(a, b facts.Probe) int { return strings.Compare(a.Device, b.Device) })
}

// probeAll gives each the same share of the time that is left, as those that
// hang must not use up the others', and returns those whose child did not get
// to ask.
func (sc *scan) probeAll(ctx context.Context, targets []leftover.ProbeTarget) (late []leftover.ProbeTarget) {
	rounds := (len(targets) + probesAtOnce - 1) / probesAtOnce
	// What is left at the end is for the output. In the first place the mount
	// gets the time; the rest is for the start of the children, which on a busy
	// node takes long and says nothing of a mount.
	patience, each := probeMost, probeStart+probeMost
	if until, ok := ctx.Deadline(); ok && rounds > 0 {
		each = time.Until(until) * 2 / 3 / time.Duration(rounds)
		patience = min(patience, each*3/4)
	}
	queue := make(chan leftover.ProbeTarget)
	var wg sync.WaitGroup
	for range min(probesAtOnce, len(targets)) {
		wg.Go(func() {
			for t := range queue {
				p, asked := sc.probe(ctx, t, each, patience)
				sc.mu.Lock()
				sc.out.Probes = append(sc.out.Probes, p)
				if !asked {
					late = append(late, t)
				}
				sc.mu.Unlock()
			}
		})
	}
	for _, t := range targets {
		queue <- t
	}
	close(queue)
	wg.Wait()
	return late
}

// probe tells of a mount, and whether its child got to ask in time.
func (sc *scan) probe(ctx context.Context, t leftover.ProbeTarget, deadline, patience time.Duration) (p facts.Probe, asked bool) {
	p = facts.Probe{Device: t.Device, Point: t.Point}
	req := expendable.Request{Op: expendable.OpProbe, Root: hostRoot(t.PID), Path: expendable.Raw(t.Point), Device: t.Device}
	if t.BlockDevice {
		req.Op = expendable.OpRead
	}
	begin := time.Now()
	answer, err := sc.Session.opts.Runner.Probe(ctx, deviceKey(t.Device), req, deadline, patience)
	p.TookMS = time.Since(begin).Milliseconds()
	var outstanding *expendable.OutstandingError
	switch {
	case errors.As(err, &outstanding):
		p.Outcome, p.Why, p.LeftPID = facts.ProbeUnasked, err.Error(), outstanding.PID
	case errors.Is(err, expendable.ErrSilent):
		p.Outcome, p.Why = facts.ProbeSilent, fmt.Sprintf("no answer within %s", patience.Round(time.Millisecond))
	case err != nil:
		p.Outcome, p.Why = facts.ProbeUnasked, err.Error()
		return p, false
	case answer.Err != "":
		p.Outcome, p.Why = facts.ProbeUnasked, answer.Err
	case len(answer.Data) > 0:
		p.Outcome, p.Errno = facts.ProbeFailed, string(answer.Data)
	default:
		p.Outcome = facts.ProbeAnswered
	}
	return p, true
}
