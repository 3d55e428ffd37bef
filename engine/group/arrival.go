package group

import (
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// arrival bounds when the records of a batch came; zero where nobody knows.
type arrival struct{ first, last int64 }

// arrivalOf is called with no lock held.
func (m *Manager) arrivalOf(id shard.ID, offset int64) arrival {
	log, ok := m.opts.Log.(shard.Arrivals)
	if !ok {
		return arrival{}
	}
	first, last, ok := log.Arrived(id, offset)
	if !ok {
		return arrival{}
	}
	return arrival{first, last}
}

// nearly is how far a writer's time may lie before the first arrival and still tell
// when the record came: it was on its way.
const nearly = time.Minute

// of gives when a record came: by its own time as far as that can be, else as late as
// can be, so that no message ends before its time.
func (a arrival) of(r *shard.Record) int64 {
	switch ts := r.Timestamp; {
	case a == (arrival{}):
		return ts
	case ts < a.first-nearly.Milliseconds(), ts > a.last:
		return a.last
	default:
		return max(ts, a.first)
	}
}
