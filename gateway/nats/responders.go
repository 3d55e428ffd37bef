package nats

import (
	"sync"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// responders knows who but live subscribers may answer a request: consumers of
// groups, an AMQP server on its queue for one. What it knows is a moment old.
type responders struct {
	sync.Mutex
	at      time.Time
	filters []shard.Filter
}

const respondersAge = 200 * time.Millisecond

// any tells whether a group that has a consumer is bound to the subject.
func (r *responders) any(groups shard.Groups, subject string, now time.Time) bool {
	if groups == nil {
		return false
	}
	r.Lock()
	defer r.Unlock()
	if now.Sub(r.at) > respondersAge {
		r.at, r.filters = now, r.filters[:0]
		for _, g := range groups.List("") {
			if g.Stats().Consumers == 0 {
				continue
			}
			for _, b := range g.Bindings().List() {
				r.filters = append(r.filters, b.Filter)
			}
		}
	}
	rec := &shard.Record{}
	for i := range r.filters {
		if r.filters[i].MatchMessage(subject, rec) {
			return true
		}
	}
	return false
}

// responds tells whether anybody may answer the client's request on a subject;
// with "echo" false that is not the client itself.
func (c *conn) responds(subject string) bool {
	b := &c.s.env.Broker
	interest := b.Live.Interest(subject)
	if interest && !c.opts.Echo {
		interest = b.Live.InterestIn(subject, c.nc.Origin)
	}
	return interest || c.s.responders.any(b.Groups, subject, time.Now())
}
