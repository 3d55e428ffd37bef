package tier

import (
	"context"
	"errors"
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier/store"
)

const (
	// scanLimit is how many bytes of an extent are walked through before the
	// index is asked where to begin.
	scanLimit = 256 << 10
	// maxRead is the largest maxBytes of a Read; more is taken for this.
	maxRead = 64 << 20
	// hintCount is how many positions of sequential readers are remembered.
	hintCount = 8192
)

// ReaderOptions are the budgets of a Reader. Zero values mean the defaults.
type ReaderOptions struct {
	CacheBytes  int64         // of all cached blocks; default 64 MiB
	BlockBytes  int           // default 1 MiB, less when CacheBytes has not 8 blocks
	IndexBytes  int64         // of decoded indexes; default 8 MiB
	FetchBytes  int           // largest GET; default 8 MiB
	AheadBytes  int64         // largest read-ahead of a Cursor; default 32 MiB
	Concurrency int           // GETs under way; at most half of them read ahead; default 16
	Timeout     time.Duration // of one GET; default 30 s
}

func (o *ReaderOptions) defaults() {
	def := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&o.CacheBytes, 64<<20)
	def(&o.IndexBytes, 8<<20)
	def(&o.AheadBytes, 32<<20)
	o.CacheBytes = max(o.CacheBytes, 64<<10)
	if o.BlockBytes <= 0 {
		o.BlockBytes = 1 << 20
	}
	o.BlockBytes = int(min(int64(o.BlockBytes), o.CacheBytes/8))
	if o.FetchBytes <= 0 {
		o.FetchBytes = 8 << 20
	}
	if o.Concurrency <= 0 {
		o.Concurrency = 16
	}
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
}

// Reader reads extents of segment objects through a block cache. All methods may
// be called concurrently.
type Reader struct {
	cache   *blockCache
	opts    ReaderOptions
	indexes *byteLRU[string, *Index]
	hints   *lru.Cache[hint, int64]
	cursors cursorCount
	passing *lru.Cache[string, pass]
}

// hint is where a sequential reader comes next.
type hint struct {
	key    string
	shard  shard.ID
	offset int64
}

// NewReader returns a Reader of the segment objects in st. st should carry its
// own retries. The error says that the budgets are out of reason.
func NewReader(st store.Store, o ReaderOptions) (*Reader, error) {
	o.defaults()
	c, err := newBlockCache(st, o)
	if err != nil {
		return nil, err
	}
	hints, err := lru.New[hint, int64](hintCount)
	if err != nil {
		return nil, fmt.Errorf("make position cache: %w", err)
	}
	passing, err := lru.New[string, pass](passCount)
	if err != nil {
		return nil, fmt.Errorf("make passing cache: %w", err)
	}
	return &Reader{cache: c, opts: o, indexes: newByteLRU[string, *Index](o.IndexBytes), hints: hints, passing: passing}, nil
}

// Close ends reads under way with ErrClosed and waits for the background to end.
func (r *Reader) Close() { r.cache.close() }

// Forget drops what is cached of an object of size bytes, when it was deleted.
func (r *Reader) Forget(key string, size int64) {
	r.cache.drop(key, 0, size/r.cache.block)
	r.indexes.remove(key)
}

// ReaderStats counts what a Reader did since it was made.
type ReaderStats struct {
	Hits   int64 // blocks found in the cache
	Misses int64 // blocks that a read had to get from the store
	Shared int64 // blocks that a read waited for while another got them
	Gets   int64 // GETs sent
	Ahead  int64 // blocks read ahead
	Bytes  int64 // received from the store
	Errors int64 // GETs that failed
	Blocks int64 // now cached
}

// Stats returns the counters.
func (r *Reader) Stats() ReaderStats {
	s := &r.cache.stats
	return ReaderStats{
		Hits: s.hits.Load(), Misses: s.misses.Load(), Shared: s.shared.Load(), Gets: s.gets.Load(),
		Ahead: s.aheads.Load(), Bytes: s.bytes.Load(), Errors: s.errors.Load(), Blocks: int64(r.cache.blocks.Len()),
	}
}

// checkExtent says whether ext can be in an object of size bytes.
func checkExtent(key string, size int64, ext Extent) error {
	if size < v1MinObject || size > store.MaxObject || ext.Pos < v1HeaderLen || ext.Len < v1MinFrame || ext.Len > size || ext.Pos > size-v1TrailerLen-ext.Len ||
		ext.Base < 0 || ext.Last < ext.Base {
		return fmt.Errorf("read segment %q of %d bytes: shard %s, offsets %d to %d at %d+%d: %w", key, size, ext.Shard, ext.Base, ext.Last, ext.Pos, ext.Len, ErrExtent)
	}
	return nil
}

// Read returns whole batches of an extent, one after the other as they were
// added, from the batch that contains the offset from on, or the first one after
// it when from is in a gap or before the extent. It stops before the batch with
// which the result would exceed maxBytes (64 MiB at most), but returns at least
// one batch. key, size and ext are as Builder gave them; of ext, Shard, Base,
// Last, Pos and Len are used.
//
// Errors: ErrOffset when from is after ext.Last; *CorruptError when the first
// batch to return cannot be had (read on at its To+1); *VersionError; ErrExtent;
// those of store.Store.Get. What failed its checksum is read from the store once
// more before it is called corrupt. The caller owns the result.
func (r *Reader) Read(ctx context.Context, key string, size int64, ext Extent, from int64, maxBytes int) ([]byte, error) {
	parts, err := r.Batches(ctx, Segment{key, size, ext}, from, maxBytes)
	if err != nil {
		return nil, err
	}
	n := 0
	for _, p := range parts {
		n += p.Len()
	}
	out := make([]byte, 0, n)
	for _, p := range parts {
		out = p.appendTo(out)
	}
	return out, nil
}

// Batches is Read without the copy: each batch lies in the blocks of the cache, in
// a piece or several, unless they are a small part of these. The caller must not
// change them; one that is kept keeps its blocks (of 1 MiB) in memory.
func (r *Reader) Batches(ctx context.Context, seg Segment, from int64, maxBytes int) ([]Pieces, error) {
	out, _, err := r.read(ctx, seg, from, maxBytes, true)
	return out, err
}

// read is Batches that also returns the place in the object after the last batch
// returned, and the offset after it.
func (r *Reader) read(ctx context.Context, seg Segment, from int64, maxBytes int, again bool) ([]Pieces, place, error) {
	if err := checkExtent(seg.Key, seg.Size, seg.Extent); err != nil {
		return nil, place{}, err
	}
	if from > seg.Extent.Last {
		return nil, place{}, fmt.Errorf("read segment %q at offset %d after %d: %w", seg.Key, from, seg.Extent.Last, ErrOffset)
	}
	var out []Pieces
	var at place
	err := r.twice(ctx, seg, again, func(w *walker, careful bool) (err error) {
		start, err := r.startAt(ctx, seg, from, careful)
		if err != nil {
			return err
		}
		if out, at, err = w.read(start, from, min(max(maxBytes, 1), maxRead)); err == nil {
			w.detach(out)
		}
		return err
	})
	if err != nil {
		return nil, place{}, err
	}
	r.hints.Add(hint{seg.Key, seg.Extent.Shard, at.offset}, at.pos)
	return out, at, nil
}

// place is a frame's begin in an object and the offset that is read there.
type place struct {
	pos, offset int64
}

// twice runs f on a walker over seg, and once more with blocks read anew from
// the store when f came upon corruption. careful is true the second time.
func (r *Reader) twice(ctx context.Context, seg Segment, again bool, f func(w *walker, careful bool) error) error {
	var bad *CorruptError
	w := &walker{ctx: ctx, r: r, seg: seg, again: again}
	err := f(w, false)
	if !errors.As(err, &bad) {
		return err
	}
	block := r.cache.block
	r.cache.drop(seg.Key, seg.Extent.Pos/block, (seg.Extent.Pos+seg.Extent.Len-1)/block)
	w = &walker{ctx: ctx, r: r, seg: seg, again: again}
	if err = f(w, true); !errors.As(err, &bad) {
		return err
	}
	var version *VersionError
	if verr := r.checkVersion(ctx, seg); errors.As(verr, &version) {
		return verr
	}
	w.bound(bad)
	return err
}

// checkVersion looks at the object's header: what a reader of this version takes
// for damage may be another version.
func (r *Reader) checkVersion(ctx context.Context, seg Segment) error {
	w := &walker{ctx: ctx, r: r, seg: seg}
	b, err := w.bytes(0, v1HeaderLen)
	if err != nil {
		return err
	}
	return v1CheckHeader(seg.Key, b)
}

// startAt returns a frame of the extent at or before the one that contains from,
// and the offset at or after which it begins. careful means to begin as near to
// from as the index allows, so that no damage before that is met.
func (r *Reader) startAt(ctx context.Context, seg Segment, from int64, careful bool) (place, error) {
	ext := seg.Extent
	begin := place{ext.Pos, ext.Base}
	if from <= ext.Base {
		return begin, nil
	}
	if pos, ok := r.hints.Get(hint{seg.Key, ext.Shard, from}); ok && !careful && pos >= ext.Pos && pos < ext.Pos+ext.Len {
		return place{pos, from}, nil
	}
	if ext.Len <= scanLimit && !careful {
		return begin, nil
	}
	entries, err := r.entries(ctx, seg)
	if err != nil {
		return begin, err
	}
	if e := lastEntry(entries, func(e Entry) bool { return e.Offset <= from }); e != nil {
		return place{ext.Pos + e.Pos, e.Offset}, nil
	}
	return begin, nil
}

// lastEntry returns the last entry for which ok holds, or nil: ok holds for a
// first part of the entries.
func lastEntry(entries []Entry, ok func(Entry) bool) *Entry {
	lo, hi := 0, len(entries)
	for lo < hi {
		if mid := (lo + hi) / 2; ok(entries[mid]) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return nil
	}
	return &entries[lo-1]
}

// entries returns the sparse entries of an extent. None when the index is
// damaged: the batches can be read without it, more slowly.
func (r *Reader) entries(ctx context.Context, seg Segment) ([]Entry, error) {
	ix, err := r.Index(ctx, seg.Key, seg.Size)
	var bad *CorruptError
	if errors.As(err, &bad) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for i := range ix.Extents {
		e := &ix.Extents[i]
		if e.Shard == seg.Extent.Shard && e.Pos == seg.Extent.Pos && e.Len == seg.Extent.Len {
			return e.Entries, nil
		}
	}
	return nil, fmt.Errorf("read segment %q: shard %s at %d+%d is not in the index: %w", seg.Key, seg.Extent.Shard, seg.Extent.Pos, seg.Extent.Len, ErrExtent)
}

// Index returns the decoded footer of an object of size bytes. The caller must
// not change it.
func (r *Reader) Index(ctx context.Context, key string, size int64) (*Index, error) {
	if ix, ok := r.indexes.get(key); ok && ix.Size == size {
		return ix, nil
	}
	ix, err := r.loadIndex(ctx, key, size)
	var bad *CorruptError
	if errors.As(err, &bad) && size >= v1MinObject {
		r.cache.drop(key, max(0, bad.Pos)/r.cache.block, size/r.cache.block)
		ix, err = r.loadIndex(ctx, key, size)
	}
	if err != nil {
		return nil, err
	}
	n := int64(len(key)) + 64
	for i := range ix.Extents {
		n += 104 + int64(cap(ix.Extents[i].Entries))*v1EntryLen
	}
	r.indexes.add(key, ix, n)
	return ix, nil
}

func (r *Reader) loadIndex(ctx context.Context, key string, size int64) (*Index, error) {
	if size < v1MinObject || size > store.MaxObject {
		return nil, corrupt(key, 0, "object of %d bytes", size)
	}
	w := &walker{ctx: ctx, r: r, seg: Segment{Key: key, Size: size}, again: true}
	b, err := w.bytes(size-v1TrailerLen, v1TrailerLen)
	if err != nil {
		return nil, err
	}
	t, err := v1DecodeTrailer(key, b, size)
	if err != nil {
		return nil, err
	}
	if b, err = w.bytes(t.indexAt, t.indexLen); err != nil {
		return nil, err
	}
	return v1DecodeIndex(key, b, t)
}

// FindTime finds the first batch of an extent whose largest timestamp is ts or
// later (milliseconds), and returns its base offset and that largest timestamp.
// Which record in it is meant is found by decoding it. Of ext, MaxTime is used
// besides what Read uses. Errors are those of Read.
func (r *Reader) FindTime(ctx context.Context, key string, size int64, ext Extent, ts int64) (offset, timestamp int64, found bool, err error) {
	seg := Segment{key, size, ext}
	if err := checkExtent(key, size, ext); err != nil {
		return 0, 0, false, err
	}
	if ext.MaxTime < ts {
		return 0, 0, false, nil
	}
	start := place{ext.Pos, ext.Base}
	if ext.Len > scanLimit {
		entries, err := r.entries(ctx, seg)
		if err != nil {
			return 0, 0, false, err
		}
		if e := lastEntry(entries, func(e Entry) bool { return e.Before < ts }); e != nil {
			start = place{ext.Pos + e.Pos, e.Offset}
		}
	}
	err = r.twice(ctx, seg, true, func(w *walker, _ bool) (err error) {
		offset, timestamp, found, err = w.findTime(start, ts)
		return err
	})
	return offset, timestamp, found, err
}
