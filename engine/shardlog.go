package engine

import (
	"sort"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/wal"
)

// shardLog is one shard in its owner.
//
// invariants, with mu held:
//   - start <= end <= next: [start, end) is visible, [end, next) has been given
//     offsets and is on its way
//   - flushed <= synced <= next: below flushed the catalog names every record,
//     below synced the WAL has them
//   - tail is in offset order, without overlap, and holds every record in
//     [flushed, next) that is not lost; what it holds below flushed is a cache, and
//     whole: from its first entry on the batches are there, or in the WAL still
type shardLog struct {
	id shard.ID

	mu      sync.Mutex
	epoch   int32
	start   int64
	end     int64
	next    int64
	flushed int64
	synced  int64
	tail    []tailEntry
	loose   int // entries that came to be without batch since the tail was packed
	// waiting is closed when end moves past the key; nil while nobody waits.
	waiting   map[int64]chan struct{}
	producers producers
	dups      []dupWait
	// object holds completions that wait for the commit of their segment.
	object []*pending
	gone   bool // its topic was deleted
	// lost are ranges that were damaged in the WAL before they were flushed:
	// reported by reads, never passed over.
	lost []span

	dirty bool // in the flusher's list; guarded by flusher.mu

	feeding *semaphore.Weighted // the shard's share of appends on their way
	onWay   atomic.Int64        // such appends
	fed     fed                 // guarded by feed.mu
}

// span is the offsets [from, to).
type span struct{ from, to int64 }

// tailEntry is one batch of the tail. Without batch its bytes are in the WAL only. With
// run it is several of such, see pack; each tells them.
type tailEntry struct {
	base, last int64
	maxTime    int64
	arrived    int64 // milliseconds, by the clock here; 0: it was replayed
	size       int
	batch      *shard.Batch
	pos        wal.Pos
	synced     bool
	evicted    bool // before it was synced: batch goes when it is
	run        *packedRun
}

// find gives the index of the first tail entry that ends at or past offset.
func (s *shardLog) find(offset int64) int {
	return sort.Search(len(s.tail), func(i int) bool { return s.tail[i].last >= offset })
}

// entryAt gives the entry that begins at base.
func (s *shardLog) entryAt(base int64) *tailEntry {
	if i := s.find(base); i < len(s.tail) && s.tail[i].base == base {
		return &s.tail[i]
	}
	return nil
}

// advance makes [end, to) visible and wakes those who wait.
func (s *shardLog) advance(to int64) {
	if to <= s.end {
		return
	}
	s.end = to
	for at, ch := range s.waiting {
		if at < to {
			close(ch)
			delete(s.waiting, at)
		}
	}
	if len(s.waiting) == 0 {
		s.waiting = nil
	}
}

func (s *shardLog) bounds() shard.Bounds {
	return shard.Bounds{Start: s.start, End: s.end, Stable: s.end, Epoch: s.epoch}
}
