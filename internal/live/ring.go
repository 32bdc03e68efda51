package live

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
)

// read hands the ring's records to the loop. The ring is read with a deadline
// so that the end of the session is noticed.
func (s *session) read(ctx context.Context) {
	defer close(s.records)
	for ctx.Err() == nil {
		rec, err := s.tracer.Read(time.Now().Add(100 * time.Millisecond))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return // closed
		}
		s.records <- append([]byte(nil), rec...)
	}
}

// waiting takes in the records that have arrived.
func (s *session) waiting(records <-chan []byte) error {
	select {
	case rec, ok := <-records:
		if ok {
			return s.ring(s.batch(rec))
		}
	default:
	}
	return nil
}

// batch takes what else has arrived.
func (s *session) batch(rec []byte) []byte {
	const most = 1 << 20
	for len(rec) < most {
		select {
		case more, ok := <-s.records:
			if !ok {
				return rec
			}
			rec = append(rec, more...)
		default:
			return rec
		}
	}
	return rec
}

// ring judges a batch of records.
func (s *session) ring(data []byte) error {
	pass := facts.Pass{Format: facts.FormatBPFRing, AtNS: s.clock.MonoNS, Data: data}
	r, err := events.DecodeRing(pass, s.clock)
	if err != nil {
		return fmt.Errorf("records: %w", err)
	}
	for _, c := range r.Changes {
		if err := s.change(c); err != nil {
			return err
		}
	}
	var addrs []uint64
	for i := range r.Blocks {
		addrs = append(addrs, r.Blocks[i].Stack...)
	}
	names := s.capture.Names(addrs)
	if err := s.recordRaw(pass, addrs, names); err != nil {
		return err
	}
	return s.emit(s.tracker.Records(r, names)...)
}

// recordRaw records what a replay needs to judge a batch as it is judged here.
// It comes after the notices that the batch gave rise to, as in the output.
func (s *session) recordRaw(pass facts.Pass, addrs []uint64, names map[uint64]string) error {
	if s.opts.Recorder == nil {
		return nil
	}
	used := make(map[uint64]string)
	for _, a := range addrs {
		if name := names[a]; name != "" {
			used[a] = name
		}
	}
	if len(used) > 0 {
		if err := s.opts.Recorder.Symbols(used); err != nil {
			return err
		}
	}
	return s.opts.Recorder.Raw(pass.Format, pass.AtNS, pass.Data)
}

// drain takes what the reader has handed over already; it ends by itself.
func (s *session) drain() {
	timeout := time.After(time.Second)
	for {
		select {
		case rec, ok := <-s.records:
			if !ok {
				return
			}
			if err := s.ring(rec); err != nil {
				return
			}
		case <-timeout:
			return
		}
	}
}
