package engine

import (
	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier"
)

// arrival bounds when records came to this engine, in milliseconds; zero: not known.
type arrival struct{ min, max int64 }

func arrivedAt(ms int64) arrival { return arrival{ms, ms} }

func arrivalOf(x *catalog.Extent) arrival { return arrival{x.MinArrival, x.MaxArrival} }

// with gives the bounds of both; where one is not known neither is.
func (a arrival) with(b arrival) arrival {
	if a == (arrival{}) || b == (arrival{}) {
		return arrival{}
	}
	return arrival{min(a.min, b.min), max(a.max, b.max)}
}

// arrivals are those of the extents of one object, of which each shard has one.
type arrivals map[shard.ID]arrival

func (as arrivals) note(id shard.ID, a arrival) {
	if was, ok := as[id]; ok {
		a = was.with(a)
	}
	as[id] = a
}

func catalogExtents(es []tier.Extent, as arrivals) []catalog.Extent {
	out := make([]catalog.Extent, len(es))
	for i, x := range es {
		a := as[x.Shard]
		out[i] = catalog.Extent{Shard: x.Shard, Base: x.Base, Last: x.Last, Pos: x.Pos, Len: x.Len, Records: x.Records,
			MinTime: x.MinTime, MaxTime: x.MaxTime, MinArrival: a.min, MaxArrival: a.max}
	}
	return out
}

func tierExtent(x catalog.Extent) tier.Extent {
	return tier.Extent{Shard: x.Shard, Base: x.Base, Last: x.Last, Pos: x.Pos, Len: x.Len, Records: x.Records,
		MinTime: x.MinTime, MaxTime: x.MaxTime}
}

// arrivedOr gives when an entry arrived. What was replayed from the log has no
// arrival of its own: it counts from the start that replayed it.
func (t *tailEntry) arrivedOr(start int64) int64 {
	if t.arrived == 0 {
		return start
	}
	return t.arrived
}

// Arrived implements shard.Arrivals.
func (e *Engine) Arrived(id shard.ID, offset int64) (first, last int64, ok bool) {
	s, _, err := e.shardFor(id)
	if err != nil {
		return 0, 0, false
	}
	s.mu.Lock()
	if i := s.find(offset); i < len(s.tail) && s.tail[i].base <= offset {
		at := int64(0)
		s.tail[i].each(func(t *tailEntry) bool {
			at = t.arrivedOr(e.opened)
			return t.last < offset
		})
		s.mu.Unlock()
		return at, at, true
	}
	s.mu.Unlock()
	_, x, found := e.cat.FindExtent(id, offset)
	if !found || x.Base > offset || x.MaxArrival == 0 {
		return 0, 0, false
	}
	return x.MinArrival, x.MaxArrival, true
}

var _ shard.Arrivals = (*Engine)(nil)
