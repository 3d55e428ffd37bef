package engine

import (
	"fmt"
	"sync"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// damagedReads remembers what reads could not be given, so that it is told once in
// the log, whoever reads it again and again, and by Health while it is news.
type damagedReads struct {
	mu    sync.Mutex
	found map[damagedAt]*damagedRange
	reads int64
}

// damagedAt is where: an object, or "" for the log, and a shard's offset in it.
type damagedAt struct {
	object string
	id     shard.ID
	from   int64
}

type damagedRange struct {
	said, last time.Time
	err        error
}

const (
	maxDamaged = 1000
	// damageNews is how long after the last read of it a range is told of, and the
	// time between two lines of the log about one.
	damageNews = time.Hour
)

// note takes up one damaged range, and logs it unless that was done.
func (e *Engine) noteDamage(object string, id shard.ID, from int64, err error) {
	d, now := &e.damaged, e.opts.Now()
	d.mu.Lock()
	d.reads++
	at := damagedAt{object, id, from}
	r := d.found[at]
	if r == nil {
		if len(d.found) >= maxDamaged {
			d.expire(now)
		}
		r = &damagedRange{}
		if d.found == nil {
			d.found = make(map[damagedAt]*damagedRange)
		}
		if len(d.found) < maxDamaged {
			d.found[at] = r
		}
	}
	say := r.said.IsZero() || now.Sub(r.said).Abs() >= damageNews
	if r.last, r.err = now, err; say {
		r.said = now
	}
	full := d.found[at] == nil
	d.mu.Unlock()
	if say && !full {
		e.log.Error("stored records cannot be read", "object", object, "shard", id.String(), "offset", from, "error", err)
	}
}

// expire forgets what is no news; mu is held.
func (d *damagedReads) expire(now time.Time) {
	for at, r := range d.found {
		if now.Sub(r.last).Abs() >= damageNews {
			delete(d.found, at)
		}
	}
}

// counts gives how many reads met damage, and in how many ranges that is news.
func (d *damagedReads) counts(now time.Time) (reads int64, ranges int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.expire(now)
	return d.reads, len(d.found)
}

// health tells of what reads met.
func (d *damagedReads) health(now time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.expire(now)
	var at damagedAt
	var first *damagedRange
	for a, r := range d.found {
		if first == nil || r.said.Before(first.said) {
			at, first = a, r
		}
	}
	if first == nil {
		return nil
	}
	return &shard.Error{Kind: shard.KindCorrupt, Msg: fmt.Sprintf("reads met %d damaged ranges, as of shard %s from offset %d on: %s; robustmq verify names all",
		len(d.found), at.id, at.from, first.err)}
}
