package kafka

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

const (
	// maxAhead bounds what is read ahead of a partition, allAhead of all
	// connections together: whoever finds no room is served without.
	maxAhead = 8 << 20
	allAhead = 32 << 20
	// maxAheadParts is of how many partitions of a fetch.
	maxAheadParts = 16
	// aheadFor is how long it is kept for a client that does not come for it.
	aheadFor = 2 * time.Second
)

// ahead reads what a client that is behind will fetch next, while it is being sent
// what it has fetched: from the store, checked, and as it will be sent. The
// processor of the connection starts and takes, a timer of each drops it.
type ahead struct {
	room   *atomic.Int64 // of the server: bytes that may be read ahead still
	guard  func(func())  // of the connection
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	reads map[shard.ID]*aheadRead
}

// aheadRead is one read. Its results are set before done is closed.
type aheadRead struct {
	from  int64
	limit int
	timer *time.Timer
	done  chan struct{}

	batches []*shard.Batch // none after an error: who comes for it reads again
	shown   [][]byte
}

func (a *ahead) init(ctx context.Context, room *atomic.Int64, guard func(func())) {
	a.room, a.guard, a.reads = room, guard, make(map[shard.ID]*aheadRead)
	a.ctx, a.cancel = context.WithCancel(ctx)
}

// close ends what is under way and waits for it.
func (a *ahead) close() {
	a.cancel()
	a.mu.Lock()
	for id := range a.reads {
		a.dropped(id)
	}
	a.mu.Unlock()
	a.wg.Wait()
}

// start reads up to limit bytes of a shard from an offset on, if there is room.
func (a *ahead) start(log shard.Log, id shard.ID, from int64, limit int) {
	r := &aheadRead{from: from, limit: min(limit, maxAhead), done: make(chan struct{})}
	if a.room.Add(-int64(r.limit)) < 0 {
		a.room.Add(int64(r.limit))
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dropped(id)
	a.reads[id] = r
	r.timer = time.AfterFunc(aheadFor, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.reads[id] == r {
			a.dropped(id)
		}
	})
	a.wg.Go(func() {
		defer close(r.done)
		a.guard(func() { a.read(log, id, r) })
	})
}

func (a *ahead) read(log shard.Log, id shard.ID, r *aheadRead) {
	res, err := log.Read(a.ctx, id, r.from, shard.ReadOptions{MaxBytes: r.limit})
	if err != nil {
		return
	}
	r.shown = make([][]byte, len(res.Batches))
	for i, b := range res.Batches {
		r.shown[i] = shownToKafka(b)
	}
	r.batches = res.Batches
}

// dropped gives up what is read ahead of a shard, if anything is; mu is held.
func (a *ahead) dropped(id shard.ID) *aheadRead {
	r := a.reads[id]
	if r != nil {
		delete(a.reads, id)
		r.timer.Stop()
		a.room.Add(int64(r.limit))
	}
	return r
}

// take gives what was read ahead of a shard from an offset on; nil for nothing. It
// waits for a read that is under way.
func (a *ahead) take(id shard.ID, from int64) *aheadRead {
	a.mu.Lock()
	r := a.dropped(id)
	a.mu.Unlock()
	if r == nil || r.from != from {
		return nil
	}
	<-r.done // it ends with the connection at the latest
	if len(r.batches) == 0 {
		return nil
	}
	return r
}

// takeAhead takes what was read ahead, up to limit bytes; ok is false where it has
// to be read again.
func (f *fetch) takeAhead(ctx context.Context, p *fetchPart, r *aheadRead, limit int) (took int, ok bool) {
	b, err := f.c.srv.broker.Log.Bounds(ctx, p.id)
	if err != nil || p.next < b.Start || checkLeaderEpoch(p.epoch, b.Epoch) != codeNone {
		return 0, false
	}
	p.bounds, p.known = b, true
	return f.add(p, r.batches, r.shown, limit), true
}

// lookAhead starts reading what comes after a fetch in the partitions that have
// more, about as much as it found in them. Not of many: these are a little of each
// object, and read at once they would push one another out of the cache.
func (f *fetch) lookAhead() {
	var more []*fetchPart
	for _, p := range f.parts {
		if p.code != codeNone || p.bytes == 0 || p.next >= p.bounds.End {
			continue
		}
		if more = append(more, p); len(more) > maxAheadParts {
			return
		}
	}
	for _, p := range more {
		f.c.ahead.start(f.c.srv.broker.Log, p.id, p.next, max(1, min(p.limit, 2*p.bytes+64<<10)))
	}
}
