package amqp

import (
	"cmp"
	"slices"
	"sort"

	"github.com/robustmq/robustmq-go/shard"
)

// unacked is a delivery that the client has not settled.
type unacked struct {
	tag     uint64
	k       *consumer // nil once settled
	message shard.DeliveryTag
}

// unackedList holds a channel's deliveries in order of their tags.
type unackedList struct {
	list []unacked
	next uint64 // last tag given
	dead int    // settled ones still in list
}

// add gives the delivery the channel's next tag.
func (u *unackedList) add(k *consumer, message shard.DeliveryTag) uint64 {
	u.next++
	u.list = append(u.list, unacked{u.next, k, message})
	return u.next
}

// skip gives a tag that needs no acknowledgement.
func (u *unackedList) skip() uint64 {
	u.next++
	return u.next
}

func (u *unackedList) find(tag uint64) int {
	i := sort.Search(len(u.list), func(i int) bool { return u.list[i].tag >= tag })
	if i < len(u.list) && u.list[i].tag == tag && u.list[i].k != nil {
		return i
	}
	return -1
}

// take removes the delivery of that tag, with multiple all up to it (0: all),
// and calls fn for each. ok is false, and nothing is done, for unknown tags.
func (u *unackedList) take(tag uint64, multiple bool, fn func(unacked)) (ok bool) {
	from, to := 0, len(u.list)
	if tag != 0 || !multiple {
		i := u.find(tag)
		if i < 0 {
			return false
		}
		to = i + 1
		if !multiple {
			from = i
		}
	}
	for i := from; i < to; i++ {
		if u.list[i].k != nil {
			fn(u.list[i])
			u.list[i].k = nil
			u.dead++
		}
	}
	u.trim()
	return true
}

// restore puts deliveries back that were taken, each under its tag.
func (u *unackedList) restore(es []unacked) {
	if len(es) == 0 {
		return
	}
	all := append(slices.DeleteFunc(u.list, func(e unacked) bool { return e.k == nil }), es...)
	slices.SortFunc(all, func(a, b unacked) int { return cmp.Compare(a.tag, b.tag) })
	u.list, u.dead = all, 0
}

// trim drops settled deliveries at the front, and all of them when they are most.
func (u *unackedList) trim() {
	i := 0
	for i < len(u.list) && u.list[i].k == nil {
		i++
	}
	u.list, u.dead = u.list[i:], u.dead-i
	if len(u.list) == 0 {
		u.list = nil
	}
	if u.dead > 64 && u.dead > len(u.list)/2 {
		live := make([]unacked, 0, len(u.list)-u.dead)
		for _, e := range u.list {
			if e.k != nil {
				live = append(live, e)
			}
		}
		u.list, u.dead = live, 0
	}
}

// count is the number of deliveries that wait.
func (u *unackedList) count() int { return len(u.list) - u.dead }

// ackBatch gathers acknowledgements of one read, so that a group is called once
// for many.
type ackBatch struct {
	by    map[*consumer][]shard.DeliveryTag
	order []*consumer
}

func (a *ackBatch) add(e unacked) {
	if a.by == nil {
		a.by = make(map[*consumer][]shard.DeliveryTag)
	}
	tags, ok := a.by[e.k]
	if !ok || len(tags) == 0 {
		a.order = append(a.order, e.k)
	}
	a.by[e.k] = append(tags, e.message)
}

func (a *ackBatch) flush() {
	for _, k := range a.order {
		k.sc.Ack(a.by[k]...)
		k.settled(len(a.by[k]))
	}
	if len(a.order) > 0 {
		a.by, a.order = nil, a.order[:0]
	}
}

// confirmTracker orders confirms: what was published is confirmed in order,
// runs of equal outcomes by one method.
type confirmTracker struct {
	base  uint64 // all up to it are confirmed
	state []outcome
}

type outcome uint8

const (
	pending outcome = iota
	confirmed
	refused
)

// set notes an outcome and calls emit for each run that is complete at the front.
func (t *confirmTracker) set(seq uint64, o outcome) {
	i := int(seq - t.base - 1)
	for len(t.state) <= i {
		t.state = append(t.state, pending)
	}
	t.state[i] = o
}

func (t *confirmTracker) emit(fn func(seq uint64, multiple, ok bool)) {
	for len(t.state) > 0 && t.state[0] != pending {
		n := 1
		for n < len(t.state) && t.state[n] == t.state[0] {
			n++
		}
		t.base += uint64(n)
		fn(t.base, n > 1, t.state[0] == confirmed)
		t.state = t.state[n:]
	}
	if len(t.state) == 0 {
		t.state = nil
	}
}
