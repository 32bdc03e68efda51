package correlate

import (
	"time"

	"github.com/hangtrace/hangtrace/internal/events"
)

// OpenRequests counts one client's requests to one server, whether a thread
// waits for them or not (aborted, not yet safe on disk, read ahead).
type OpenRequests struct {
	Total int `json:"total"`
	// Overdue are older than the threshold, as far as the kernel keeps times.
	Overdue int `json:"overdue"`
	// Unwaited are those that no thread waits for; nil where the list names no
	// threads.
	Unwaited *int `json:"unwaited"`
	// OldestMS is nil where the kernel keeps no time.
	OldestMS *int64 `json:"oldest_ms"`
}

// openKey names a server of one client whose requests are counted.
type openKey struct {
	kind   string
	dev    events.Dev
	client uint64
	rank   int
}

// counted counts a server's requests once, not for each of ten thousand threads
// that wait for it.
func (w *world) counted(key openKey, count func(*OpenRequests)) OpenRequests {
	o := w.open[key]
	if o == nil {
		o = &OpenRequests{}
		count(o)
		if w.open == nil {
			w.open = make(map[openKey]*OpenRequests)
		}
		w.open[key] = o
	}
	return *o
}

func (o *OpenRequests) add(ageNS uint64, waiters int, threshold time.Duration) {
	o.Total++
	if o.Unwaited == nil {
		o.Unwaited = new(0)
	}
	if waiters == 0 {
		*o.Unwaited++
	}
	if ageNS == 0 {
		return
	}
	age := int64(ageNS / 1e6)
	if age >= threshold.Milliseconds() {
		o.Overdue++
	}
	if o.OldestMS == nil || *o.OldestMS < age {
		o.OldestMS = &age
	}
}

func (o *OpenRequests) orNil() *OpenRequests {
	if o.Total == 0 {
		return nil
	}
	return o
}

// plus adds what another client has open at the same server.
func (o *OpenRequests) plus(more *OpenRequests) *OpenRequests {
	if more == nil {
		return o
	}
	if o == nil {
		first := *more
		return &first
	}
	sum := *o
	sum.Total += more.Total
	sum.Overdue += more.Overdue
	sum.Unwaited = nil
	if o.Unwaited != nil && more.Unwaited != nil {
		sum.Unwaited = new(*o.Unwaited + *more.Unwaited)
	}
	if more.OldestMS != nil && (o.OldestMS == nil || *more.OldestMS > *o.OldestMS) {
		sum.OldestMS = more.OldestMS
	}
	return &sum
}
