package engine

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/internal/vfs"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier"
	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/wal"
)

// SalvageOptions say whose log is salvaged and how.
type SalvageOptions struct {
	Dir string
	FS  vfs.FS // default vfs.OS
	// Durability is the default of topics, for logs whose writer did not say.
	Durability shard.Durability
	// Alone says that no gateway of the cluster runs, whatever the leases say.
	Alone bool
	// AcceptDamage salvages what is sound of a damaged log; else it is refused.
	AcceptDamage bool
	Logger       *slog.Logger
	Now          func() time.Time
}

// SalvageReport is what Salvage found in a log and did.
type SalvageReport struct {
	Log   string
	Clean bool // nobody waits for it: nothing was done
	// Batches and Bytes were committed, in so many Segments.
	Batches, Bytes int64
	Segments       int
	// Flushed batches were in segments before; Dropped ones are of object-durable
	// topics and were never acknowledged.
	Flushed, Dropped int64
	// Overtaken are batches whose offsets other records have; they stay in the
	// log's directory only. Ranges names some.
	Overtaken int64
	Ranges    string
	Damaged   int
}

// Salvage commits what the log of a gateway that does not run holds and no segment
// has. Gateways that wait for it start over then. It changes nothing in the log's
// directory, and may be repeated.
func Salvage(ctx context.Context, cat *catalog.Catalog, st store.Store, o SalvageOptions) (rep SalvageReport, err error) {
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	lock, err := wal.Hold(o.FS, o.Dir)
	if err != nil {
		return rep, err
	}
	defer lock.Close()
	src := wal.Source{Dir: o.Dir, FS: o.FS}
	id, ok, err := wal.Identify(src)
	if err != nil {
		return rep, err
	}
	if !ok {
		return rep, shard.Errorf(shard.KindNotFound, "%s holds no write-ahead log", o.Dir)
	}
	rep.Log = hex.EncodeToString(id[:])
	row, err := salvageable(cat, src, rep.Log)
	if err != nil {
		return rep, err
	}
	holders := cat.Holders(rep.Log, o.Alone)
	if row.State != catalog.WALOpen || len(holders) == 0 {
		rep.Clean = true
		return rep, nil
	}
	s := &salvage{rep: &rep, row: row, holders: holders, next: map[shard.ID]int64{}}
	s.e = &Engine{cat: cat, store: st, log: cmp.Or(o.Logger, slog.New(slog.DiscardHandler)), opts: Options{Now: o.Now, Durability: o.Durability, AcceptDamage: o.AcceptDamage}}
	s.e.opts.setDefaults()
	s.e.state = newStateStore(s.e)
	return rep, s.run(ctx, src)
}

// salvageOwn is Salvage for a gateway that has come back with its log, and finds
// another one that lives and waits for it.
func (e *Engine) salvageOwn(ctx context.Context) error {
	row, _ := e.cat.WAL(e.walID())
	holders := e.cat.Holders(e.walID(), false)
	if row.State != catalog.WALOpen || len(holders) == 0 {
		return nil
	}
	rep := SalvageReport{Log: row.ID}
	s := &salvage{e: e, rep: &rep, row: row, holders: holders, next: map[shard.ID]int64{}}
	err := s.fill(ctx, wal.Source{Dir: e.opts.WALDir, FS: e.opts.FS})
	if err != nil {
		return fmt.Errorf("salvage write-ahead log: %w", err)
	}
	e.log.Info("another gateway waited for this one's log: what it held is committed", "log", rep.Log, "batches", rep.Batches, "bytes", rep.Bytes,
		"overtaken", rep.Overtaken, "ranges", rep.Ranges)
	return nil
}

// salvageable gives the record of a log that may be salvaged: it is known, of this
// state of the catalog, and not given up.
func salvageable(cat *catalog.Catalog, src wal.Source, id string) (catalog.WAL, error) {
	row, known := cat.WAL(id)
	if !known {
		return row, shard.Errorf(shard.KindNotFound, "the catalog does not know the log %s", id)
	}
	j, have, err := wal.ReadJoined(src)
	if err != nil {
		return row, err
	}
	return row, comparable(cat, id, src.Dir, j, have)
}

// salvage is a log on its way into segments.
type salvage struct {
	e       *Engine
	rep     *SalvageReport
	row     catalog.WAL
	holders []int
	next    map[shard.ID]int64 // offsets go on there
	chunk   []salvaged
	size    int64
	over    []gap
}

// salvaged is a batch that is to be committed.
type salvaged struct {
	id   shard.ID
	base int64
	data []byte
}

func (s *salvage) run(ctx context.Context, src wal.Source) (err error) {
	owner := strings.TrimSuffix(s.row.Owner, catalog.SalvageSuffix)
	s.e.session, err = s.e.cat.Join(ctx, catalog.Gateway{ID: owner + catalog.SalvageSuffix, WALID: s.row.ID, Default: s.row.Default}, false)
	if err != nil {
		return fmt.Errorf("join cluster: %w", err)
	}
	defer func() {
		if lerr := s.e.session.Leave(); err == nil {
			err = lerr
		}
	}()
	if err := s.fill(ctx, src); err != nil {
		return fmt.Errorf("salvage write-ahead log: %w", err)
	}
	return nil
}

// fill commits what the log holds, and says that it is clean.
func (s *salvage) fill(ctx context.Context, src wal.Source) error {
	if err := s.e.findSnapshots(); err != nil { // what state they have is flushed, too
		return err
	}
	rec, err := wal.Dump(src, nil)
	if err != nil {
		return err
	}
	accept := s.e.opts.AcceptDamage
	if s.rep.Damaged = len(rec.Damaged); rec.Err() != nil && !accept {
		return fmt.Errorf("%w; robustmq wal recover --accept-damage passes over what is lost", rec.Err())
	}
	if at := (wal.Pos{File: s.row.Flushed.File, Off: s.row.Flushed.Off}); !at.IsZero() && !at.Less(rec.End) && !at.Less(rec.Start) && !accept {
		return fmt.Errorf("%w: it ends at %s, and the catalog names records behind %s", ErrLogOlder, rec.End, at)
	}
	if _, err := wal.Dump(src, func(_ wal.Pos, x wal.Entry) error { return s.take(ctx, x) }); err != nil {
		return err
	}
	if err := s.commit(ctx); err != nil {
		return err
	}
	s.rep.Ranges = gapText(s.over)
	return s.e.session.PutWAL(ctx, catalog.WALClean)
}

// take decides about one entry of the log.
func (s *salvage) take(ctx context.Context, x wal.Entry) error {
	b, err := shard.ParseBatch(x.Data)
	if err != nil {
		s.e.log.Error("write-ahead log entry does not hold a batch", "log", s.row.ID, "shard", x.Shard.String(), "error", err)
		return nil // the entry after it shows the gap, as at a replay
	}
	t, ok := s.e.cat.Topics().ByNum(x.Shard.Topic)
	if !ok || x.Shard.Index >= t.Shards {
		return nil // its topic was deleted
	}
	next, ok := s.next[x.Shard]
	if !ok {
		next = max(s.e.flushedTo(x.Shard), s.e.kept.start(x.Shard))
		s.next[x.Shard] = next
	}
	switch {
	case b.LastOffset() < next:
		s.rep.Flushed++
		return nil
	case s.object(t):
		s.rep.Dropped++
		return nil
	case b.BaseOffset() < next || !slices.Contains(s.holders, slotOf(x.Shard)):
		s.rep.Overtaken++
		s.over = append(s.over, gap{x.Shard, b.BaseOffset(), b.LastOffset()})
		return nil
	}
	if s.size > 0 && s.size+int64(len(x.Data)) > maxFlushed {
		if err := s.commit(ctx); err != nil {
			return err
		}
	}
	s.next[x.Shard] = b.LastOffset() + 1
	s.chunk = append(s.chunk, salvaged{x.Shard, b.BaseOffset(), slices.Clone(x.Data)})
	s.size += int64(len(x.Data))
	return nil
}

// object tells whether nothing of a topic was acknowledged before its commit.
func (s *salvage) object(t *shard.Topic) bool {
	d := s.e.durability(t)
	if t.Config.Durability == shard.DurabilityDefault && s.row.Default != shard.DurabilityDefault {
		d = s.row.Default
	}
	return d == shard.DurabilityObject
}

// commit makes a segment of what was taken.
func (s *salvage) commit(ctx context.Context) error {
	if len(s.chunk) == 0 {
		return nil
	}
	slices.SortStableFunc(s.chunk, func(a, b salvaged) int { return cmp.Or(a.id.Compare(b.id), cmp.Compare(a.base, b.base)) })
	b := tier.NewBuilderIn(nil, int(s.size+s.size/16))
	now, as := s.e.opts.Now().UnixMilli(), make(arrivals)
	for _, x := range s.chunk {
		if err := b.Add(x.id, x.data); err != nil {
			return err
		}
		as.note(x.id, arrivedAt(now)) // as at a replay
	}
	seg, object, err := s.e.finish(b, 0, now, as)
	if err != nil {
		return err
	}
	if err := s.e.put(ctx, seg.Key, object); err != nil {
		return err
	}
	if err := s.e.session.CommitSegment(ctx, seg); err != nil {
		return err
	}
	s.rep.Segments++
	s.rep.Batches += int64(len(s.chunk))
	s.rep.Bytes += s.size
	s.chunk, s.size = nil, 0
	return nil
}

// LostRange is what a log that is given up may have held of a shard: offsets from
// From on, of which there are no more than MaxLost.
type LostRange struct {
	Topic string
	Shard shard.ID
	From  int64
}

// MaxLost is how many offsets of a shard a log can have held that no segment has.
const MaxLost = maxUnflushed

// Losses gives what giving up a log may lose. def is the default durability of
// topics, for logs whose writer did not say.
func Losses(cat *catalog.Catalog, log string, def shard.Durability, alone bool) (slots []int, out []LostRange, err error) {
	row, ok := cat.WAL(log)
	if !ok {
		return nil, nil, shard.Errorf(shard.KindNotFound, "the catalog does not know the log %s", log)
	}
	s := salvage{row: row, e: &Engine{cat: cat, opts: Options{Durability: def}}}
	s.e.opts.setDefaults()
	slots = cat.Holders(log, alone)
	for t := range cat.Topics().All() {
		if s.object(t) || t.Internal && t.Num != stateTopicNum {
			continue
		}
		for i := range t.Shards {
			id := t.Shard(i)
			if !slices.Contains(slots, slotOf(id)) {
				continue
			}
			out = append(out, LostRange{Topic: t.Name, Shard: id, From: s.e.flushedTo(id)})
		}
	}
	slices.SortFunc(out, func(a, b LostRange) int { return cmp.Or(strings.Compare(a.Topic, b.Topic), a.Shard.Compare(b.Shard)) })
	return slots, out, nil
}
