package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier"
	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/wal"
)

// A log, a catalog and a store belong together in one state. What follows notices
// at the start that one of them is older than the others, before anything is
// served. Each has a memory of the catalog's revision or of the others' state:
//
//   - the log's directory notes the cluster, the highest revision seen, and a mark
//     that it draws before each join; the catalog has the mark of the last join;
//   - the catalog notes with each flush an entry of the log that it names the
//     records of: a log that ends before it is an older one;
//   - the store holds the highest revision that the cluster has reached (see
//     noteRevision), and segments whose keys have it.

// Errors of a start. All are about what an operator has brought back.
var (
	// ErrCatalogOlder: etcd was set back to an older state.
	ErrCatalogOlder = &shard.Error{Kind: shard.KindInvalid, Msg: "etcd went back: it is older than what it was used with",
		Hint: "bring the newest snapshot of etcd back; robustmq verify shows what this one lacks"}
	// ErrLogOlder: the log's directory was set back to an older state.
	ErrLogOlder = &shard.Error{Kind: shard.KindInvalid, Msg: "the write-ahead log is older than the catalog: its directory was brought back from a backup, or two gateways use copies of it",
		Hint: "bring the newest directory back; or move this one away, start, and give the log up with robustmq wal abandon"}
	// ErrOvertaken: the log holds records whose offsets were given to others since.
	ErrOvertaken = &shard.Error{Kind: shard.KindInvalid, Msg: "the write-ahead log holds records whose offsets other records have",
		Hint: "move its directory away and start with an empty one; robustmq wal dump --dir shows what it holds"}
)

// errOtherCluster: the log was written by a gateway of another cluster.
var errOtherCluster = &shard.Error{Kind: shard.KindInvalid, Msg: "the write-ahead log is of another cluster", Hint: "check etcd.endpoints and etcd.prefix, or move the log's directory away"}

// beforeJoin checks that log and catalog are of one state, and draws the mark of
// the coming join. The catalog gets it when the log has been replayed: a start that
// is refused leaves all as it was for the right directory.
func (e *Engine) beforeJoin() error {
	j, have, err := e.wal.Joined()
	if errors.Is(err, wal.ErrCorrupt) {
		e.log.Error("what the log's directory notes of the catalog cannot be read; nothing is compared with it", "error", err)
		j, have = wal.Joined{Cluster: e.cat.ClusterID()}, true
		if w, _ := e.cat.WAL(e.walID()); len(w.Mark) == len(j.Mark) {
			j.Mark = [16]byte(w.Mark)
		}
	} else if err != nil {
		return err
	}
	if err := comparable(e.cat, e.walID(), e.opts.WALDir, j, have); err != nil {
		return err
	}
	next := wal.Joined{Cluster: e.cat.ClusterID(), Mark: [16]byte(catalog.NewMark()), Before: j.Mark, Revision: j.Revision}
	if w, ok := e.cat.WAL(e.walID()); ok && len(w.Mark) == len(next.Before) {
		next.Before = [16]byte(w.Mark) // of the last start that came to pass
	}
	err = e.wal.SetJoined(next)
	if have && errors.Is(err, syscall.ENOSPC) { // what is noted stays, and holds
		next.Mark, err = next.Before, nil
	}
	if err != nil {
		return err
	}
	e.joined = next
	return nil
}

// comparable tells whether the catalog is of the state that a log's directory has
// noted.
func comparable(cat *catalog.Catalog, id, dir string, j wal.Joined, have bool) error {
	w, _ := cat.WAL(id) // none: clean and forgotten since, or new
	switch {
	case w.State == catalog.WALAbandoned:
		return fmt.Errorf("%w: log %s in %s", catalog.ErrAbandoned, id, dir)
	case have && j.Cluster != cat.ClusterID():
		return fmt.Errorf("%w: it is of %s, the catalog is of %s", errOtherCluster, j.Cluster, cat.ClusterID())
	case have && cat.Revision() < j.Revision:
		return fmt.Errorf("%w: it is at revision %d, the log has seen %d", ErrCatalogOlder, cat.Revision(), j.Revision)
	case len(w.Mark) == 0:
		return nil // a version that drew no marks was the last one to use it
	case !have:
		return fmt.Errorf("%w: log %s in %s", ErrLogOlder, id, dir)
	case bytes.Equal(w.Mark, j.Mark[:]), bytes.Equal(w.Mark, j.Before[:]):
		return nil
	case cat.WALRevision(id) < j.Revision:
		return fmt.Errorf("%w: it knows an older state of the log %s", ErrCatalogOlder, id)
	}
	return fmt.Errorf("%w: log %s in %s", ErrLogOlder, id, dir)
}

// checkFlushed compares where the log ends with what the catalog names of it.
func (e *Engine) checkFlushed(rec wal.Recovery) error {
	w, _ := e.cat.WAL(e.walID())
	at := wal.Pos{File: w.Flushed.File, Off: w.Flushed.Off}
	if at.IsZero() || at.Less(rec.End) || at.Less(rec.Start) || rec.MarkLost || rec.Err() != nil || e.opts.AcceptDamage {
		return nil //nolint:nilerr // a damaged log is told by its damage
	}
	return fmt.Errorf("%w: log %s in %s ends at %s, and the catalog names records behind %s", ErrLogOlder, e.walID(), e.opts.WALDir, rec.End, at)
}

// seenEvery is how often the log's directory and the store note the catalog's revision.
const seenEvery = time.Minute

// noteSeen keeps the revision in the log's directory.
func (e *Engine) noteSeen(rev int64) {
	if rev <= e.joined.Revision {
		return
	}
	e.joined.Revision = rev
	if err := e.wal.SetJoined(e.joined); err != nil {
		e.log.Warn("the catalog's revision is not noted beside the log", "error", err)
	}
}

// revisionLoop notes the catalog's revision where an older catalog would meet it.
func (e *Engine) revisionLoop() {
	tick := time.NewTicker(seenEvery)
	defer tick.Stop()
	e.checkObjects()
	noted := int64(0)
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-tick.C:
		}
		rev := e.cat.Revision()
		e.noteSeen(rev)
		if rev == noted {
			continue
		}
		switch err := e.noteRevision(e.ctx); {
		case err == nil:
			noted = rev
		case e.ctx.Err() == nil:
			e.log.Warn("the catalog's revision is not noted in the object store", "error", err)
		}
	}
}

// newestObjects is how many of the newest segments are looked for at the start.
const newestObjects = 16

// checkObjects looks for the newest segments in the store: one that was set back
// lacks them. Reads of their offsets fail, and all else is served; that it is the
// store as a whole is what an operator has to know.
func (e *Engine) checkObjects() {
	var newest []*catalog.Segment
	for s := range e.cat.Segments() {
		newest = append(newest, s)
	}
	newest = newest[max(0, len(newest)-newestObjects):]
	var missing []string
	for _, s := range newest {
		if _, err := e.store.Head(e.ctx, s.Key); errors.Is(err, store.ErrNotFound) {
			if _, still := e.cat.Segment(s.ULID); still {
				missing = append(missing, s.Key)
			}
		}
	}
	if len(missing) == 0 {
		return
	}
	err := shard.Errorf(shard.KindCorrupt, "the object store lacks %d of the %d newest objects that the catalog names, as %s: was it set back? robustmq verify lists them all",
		len(missing), len(newest), missing[0])
	e.log.Error("objects are missing", "error", err)
	e.storeOlder.Store(err)
}

// noteLastRevision is noteRevision for an engine that stops in good order: the next one
// may come with nothing but the store to tell it.
func (e *Engine) noteLastRevision(ctx context.Context) {
	if !e.claimed.yes.Load() || e.down() != nil {
		return
	}
	if err := e.noteRevision(ctx); err != nil {
		e.log.Warn("the catalog's revision is not noted in the object store", "error", err)
	}
}

// noteRevision puts the catalog's revision into the store, and takes out what says
// less. Where nothing has changed there is nothing to do.
func (e *Engine) noteRevision(ctx context.Context) error {
	if err := e.claim(ctx); err != nil {
		return err
	}
	id, rev := e.cat.ClusterID(), e.cat.Revision()
	old, err := e.store.List(ctx, tier.RevisionPrefix(id), "", 0)
	if err != nil {
		return fmt.Errorf("list revisions: %w", err)
	}
	var lower []string
	for _, o := range old {
		if _, n, ok := tier.ParseRevisionKey(o.Key); ok && n >= rev {
			return nil
		}
		lower = append(lower, o.Key)
	}
	text := fmt.Sprintf("The catalog of RobustMQ cluster %s has reached revision %d.\n", id, rev)
	if err := e.store.Put(ctx, tier.RevisionKey(id, rev), []byte(text)); err != nil && !errors.Is(err, store.ErrExists) {
		return fmt.Errorf("put revision: %w", err)
	}
	return e.store.Delete(ctx, lower...)
}

// gap is a range of offsets of a shard.
type gap struct {
	id       shard.ID
	from, to int64
}

func gapText(gs []gap) string {
	var parts []string
	for i, g := range gs {
		if i == 3 {
			parts = append(parts, fmt.Sprintf("and %d more", len(gs)-i))
			break
		}
		parts = append(parts, fmt.Sprintf("shard %s offsets %d to %d", g.id, g.from, g.to))
	}
	return strings.Join(parts, ", ")
}

// accepts tells whether an entry of our log is still the shard's: what its slot
// was before we claimed it says so. The shard is locked.
func (r *recovery) accepts(x *replayed, s *shardLog, t *shard.Topic) bool {
	former, _ := r.e.session.Former(slotOf(x.id))
	id := r.e.walID()
	if former.Epoch == 0 || former.WAL == id {
		return true
	}
	// Another gateway has had the slot since. It gave out object-durable offsets
	// anew: ours were never acknowledged. All others it kept for us, if it waited.
	if r.e.class(t) == shard.DurabilityObject {
		r.dropped++
		return false
	}
	if !slices.Contains(former.Pending, id) && !slices.Contains(former.Passed, id) || x.base < s.next {
		r.overtaken = append(r.overtaken, gap{x.id, x.base, x.last})
		return false
	}
	return true
}

// leaped tells whether offsets that are missing before an entry were leaped over.
// What a state shard leaped over is noted behind the hole only.
func (r *recovery) leaped(x *replayed, from int64) bool {
	return x.base == r.e.kept.leap(x.id) ||
		x.id.Topic == stateTopicNum && r.e.leaps[slotOf(x.id)] > 0 && x.base >= from+maxUnflushed
}

// unexplained gives an error for offsets that are missing, or are others', though
// the log is not damaged: then log and catalog are not of one state.
func (r *recovery) unexplained(rec wal.Recovery) error {
	if r.dropped > 0 {
		r.e.log.Info("entries of object-durable shards that were never acknowledged were passed over: another gateway has gone on since", "entries", r.dropped)
		r.dropped = 0
	}
	if r.e.opts.AcceptDamage {
		if len(r.overtaken) > 0 {
			r.e.log.Error("records of the log are dropped: their offsets are others'", "ranges", gapText(r.overtaken))
		}
		return nil
	}
	if len(r.overtaken) > 0 {
		return fmt.Errorf("%w: %s", ErrOvertaken, gapText(r.overtaken))
	}
	if len(r.gaps) > 0 && len(rec.Damaged) == 0 && !r.malformed && !rec.MarkLost {
		return fmt.Errorf("%w: the log begins behind what it names, and is not damaged: %s are in neither", ErrCatalogOlder, gapText(r.gaps))
	}
	return nil
}
