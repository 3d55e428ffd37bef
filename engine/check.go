package engine

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/internal/vfs"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier"
	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/wal"
)

// CheckOptions say what Check looks at.
type CheckOptions struct {
	// WALDir is the write-ahead log of a gateway that does not run; "" leaves
	// it out.
	WALDir string
	FS     vfs.FS // default vfs.OS
	// Quick looks at the existence and size of objects only, not at their bytes.
	Quick bool
}

// Finding is one thing that is wrong. Offsets From to To of Shard are affected;
// where Shard is nil it concerns no shard in particular.
type Finding struct {
	// Part is "wal", "catalog" or "store"; Where is a position, key or object.
	Part, Where string
	Shard       *shard.ID
	Topic       string // its name, "" when it does not exist any more
	From, To    int64  // To is OpenEnd where the end is not known
	Problem     string
	Unnamed     bool // Where is an object that the catalog does not name
	Unread      bool // it could not be looked at: nothing is known of it
	harmless    bool
}

// Nothing tells whether nothing is lost by what is wrong.
func (f Finding) Nothing() bool { return f.harmless }

// OpenEnd is Finding.To where what is affected ends at an unknown offset.
const OpenEnd = math.MaxInt64

// String gives the finding as one line.
func (f Finding) String() string {
	s := f.Part + " " + f.Where
	if f.Shard != nil {
		s += fmt.Sprintf(": shard %s", f.Shard)
		if f.Topic != "" {
			s += fmt.Sprintf(" (%s[%d])", f.Topic, f.Shard.Index)
		}
		if f.To == OpenEnd {
			s += fmt.Sprintf(" offsets from %d on", f.From)
		} else {
			s += fmt.Sprintf(" offsets %d to %d", f.From, f.To)
		}
	}
	return s + ": " + f.Problem
}

// CheckReport is what Check looked at and found.
type CheckReport struct {
	WALEntries, WALBytes int64
	TornBytes            int64 // a cut-off, never acknowledged write at the WAL's end: no finding
	Topics, Shards       int
	Segments, Objects    int
	ObjectBytes          int64
	Unnamed              int   // segment objects that the catalog does not name: left by
	UnnamedBytes         int64 // commits that failed, waiting to be deleted, or orphans
	Batches, Records     int64 // in objects, that are sound
	Findings             []Finding
}

// maxFindings bounds a report.
const maxFindings = 10_000

// Check compares the write-ahead log, the catalog and the object store of a
// stopped gateway, and verifies every checksum in them. It changes nothing. The
// error says that something could not be looked at; what is wrong is in the
// report, which is valid with an error too as far as it goes.
func Check(ctx context.Context, cat *catalog.Catalog, st store.Store, o CheckOptions) (CheckReport, error) {
	c := &checker{cat: cat, st: st, o: o, ends: make(map[shard.ID]int64)}
	err := c.catalog(ctx)
	if err == nil {
		c.holes(ctx)
		err = c.objects(ctx)
	}
	if o.WALDir != "" && ctx.Err() == nil {
		werr := c.wal(ctx)
		if werr == nil {
			werr = c.elsewhere(ctx)
		}
		err = errors.Join(err, werr)
	}
	slices.SortStableFunc(c.rep.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Part, b.Part), cmp.Compare(a.Where, b.Where), cmp.Compare(a.From, b.From))
	})
	return c.rep, err
}

type checker struct {
	cat  *catalog.Catalog
	st   store.Store
	o    CheckOptions
	mu   sync.Mutex
	rep  CheckReport
	ends map[shard.ID]int64 // offset after the last one that the catalog names, and the log after that

	unnamed []store.Info       // the first ones
	open    []hole             // in the catalog, not told yet
	slots   map[int]*stateSlot // that start offsets were read from
	gaps    []Finding          // offsets that neither the log nor a named segment holds
}

func (c *checker) find(part, where, format string, args ...any) {
	c.add(Finding{Part: part, Where: where, From: 0, To: -1, Problem: fmt.Sprintf(format, args...)})
}

func (c *checker) findAt(part, where string, id shard.ID, from, to int64, format string, args ...any) {
	c.add(c.at(Finding{Part: part, Where: where, Shard: &id, From: from, To: to, Problem: fmt.Sprintf(format, args...)}))
}

// at names the topic of a finding's shard.
func (c *checker) at(f Finding) Finding {
	if t, ok := c.cat.Topics().ByNum(f.Shard.Topic); ok {
		f.Topic = t.Name
	}
	return f
}

func (c *checker) add(f Finding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.rep.Findings) < maxFindings {
		c.rep.Findings = append(c.rep.Findings, f)
	}
}

// catalog checks that every record can be decoded, and that each shard's extents
// follow one another.
func (c *checker) catalog(ctx context.Context) error {
	if err := c.cat.Dump(ctx, &dumpErrors{c: c}); err != nil {
		return err
	}
	c.rep.Topics = c.cat.Topics().Len()
	seen := make(map[shard.ID]bool)
	for s := range c.cat.Segments() {
		c.rep.Segments++
		full, ok := c.cat.Segment(s.ULID)
		if !ok {
			continue
		}
		for i := range full.Extents {
			if id := full.Extents[i].Shard; !seen[id] {
				seen[id] = true
				c.extents(id)
			}
		}
	}
	c.rep.Shards = len(seen)
	return nil
}

// compacted tells whether holes in a shard's offsets are as they should be.
func (c *checker) compacted(id shard.ID) bool {
	t, ok := c.cat.Topics().ByNum(id.Topic)
	return ok && t.Config.Compact
}

func (c *checker) extents(id shard.ID) {
	exts := c.cat.Extents(id)
	next := exts[0].Extent.Base
	for i := range exts {
		x, key := &exts[i].Extent, exts[i].Segment.Key
		switch {
		case x.Base < next:
			c.findAt("catalog", key, id, x.Base, min(next-1, x.Last), "offsets are named by another segment too")
		case x.Base > next && !c.compacted(id) && !c.leaped(next, x.Base):
			c.open = append(c.open, hole{id: id, finding: Finding{Part: "catalog", Where: key, Shard: &id, From: next, To: x.Base - 1,
				Problem: "no segment holds the offsets before this one's"}})
		}
		next = max(next, x.Last+1)
	}
	c.ends[id] = next
}

// dumpErrors finds the records that a dump could not decode.
type dumpErrors struct {
	c   *checker
	buf []byte
}

// Write implements io.Writer.
func (d *dumpErrors) Write(p []byte) (int, error) {
	d.buf = append(d.buf, p...)
	for {
		i := bytes.IndexByte(d.buf, '\n')
		if i < 0 {
			return len(p), nil
		}
		var line struct{ Key, Error string }
		if err := json.Unmarshal(d.buf[:i], &line); err != nil {
			return 0, fmt.Errorf("read catalog dump: %w", err)
		}
		if line.Error != "" {
			d.c.find("catalog", line.Key, "%s", line.Error)
		}
		d.buf = d.buf[i+1:]
	}
}

// objects verifies every object that the catalog names, each once, and counts the others.
func (c *checker) objects(ctx context.Context) error {
	byKey := make(map[string][]catalog.Segment)
	for s := range c.cat.Segments() {
		if full, ok := c.cat.Segment(s.ULID); ok {
			byKey[s.Key] = append(byKey[s.Key], full)
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for key, segs := range byKey {
		g.Go(func() error { return c.object(gctx, key, segs) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	owner, err := LookAtStore(ctx, c.cat, c.st)
	if err != nil {
		return c.unreadable(ctx, "store", tier.MarkerPrefix, err)
	}
	if err := owner.Err(); errors.Is(err, ErrObjectsGone) {
		c.find("store", tier.MarkerPrefix, "%s", err)
	} else if err != nil {
		c.find("store", tier.KeyPrefix, "%s", err)
	}
	for after := ""; ; {
		page, err := c.st.List(ctx, tier.KeyPrefix, after, 0)
		if err != nil {
			return c.unreadable(ctx, "store", tier.KeyPrefix, fmt.Errorf("list objects: %w", err))
		}
		if len(page) == 0 {
			return nil
		}
		for _, o := range page {
			if after = o.Key; byKey[o.Key] == nil {
				c.rep.Unnamed, c.rep.UnnamedBytes = c.rep.Unnamed+1, c.rep.UnnamedBytes+o.Size
				if len(c.unnamed) < maxUnnamed {
					c.unnamed = append(c.unnamed, o)
				}
			}
		}
	}
}

func (c *checker) object(ctx context.Context, key string, segs []catalog.Segment) error {
	rep := tier.Report{Key: key}
	var err error
	if c.o.Quick {
		var info store.Info
		info, err = c.st.Head(ctx, key)
		rep.Size = info.Size
	} else {
		rep, err = tier.Verify(ctx, c.st, key)
	}
	var version *tier.VersionError
	switch {
	case errors.Is(err, store.ErrNotFound):
		c.affected(key, segs, "the object is missing")
		return nil
	case errors.As(err, &version):
		c.affected(key, segs, version.Error())
		return nil
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("check object %s: %w", key, err)
	case err != nil: // the next one may be readable
		c.affected(key, segs, cannotRead+err.Error())
		return nil //nolint:nilerr // it is in the report
	}
	c.mu.Lock()
	c.rep.Objects++
	c.rep.ObjectBytes += rep.Size
	c.rep.Batches += rep.Batches
	c.rep.Records += rep.Records
	c.mu.Unlock()
	if rep.Size != segs[0].Size {
		c.affected(key, segs, fmt.Sprintf("the object has %d bytes, the catalog says %d", rep.Size, segs[0].Size))
		return nil
	}
	for _, p := range rep.Problems {
		if p.From > p.To {
			c.affected(key, segs, fmt.Sprintf("corrupt at byte %d: %s", p.Pos, p.Reason))
			return nil
		}
		c.findAt("store", key, p.Shard, p.From, p.To, "corrupt at byte %d: %s", p.Pos, p.Reason)
	}
	if c.o.Quick {
		return nil
	}
	for i := range segs {
		for _, x := range segs[i].Extents {
			if !slices.Contains(rep.Extents, tierExtent(x)) {
				c.findAt("store", key, x.Shard, x.Base, x.Last, "the object does not hold this extent as the catalog names it")
			}
		}
	}
	return nil
}

// cannotRead begins what is said of an object that is there and that the store
// did not give: nothing is known of it.
const cannotRead = "the object could not be read: "

// unreadable notes that a part of the store could not be looked at; the rest is
// looked at all the same, unless the caller has no more time.
func (c *checker) unreadable(ctx context.Context, part, where string, err error) error {
	if ctx.Err() != nil {
		return err
	}
	c.add(Finding{Part: part, Where: where, To: -1, Problem: "it could not be looked at: " + err.Error(), Unread: true})
	return nil
}

// affected reports every extent that the catalog has in an object.
func (c *checker) affected(key string, segs []catalog.Segment, problem string) {
	n := 0
	for i := range segs {
		for _, x := range segs[i].Extents {
			c.add(c.at(Finding{Part: "store", Where: key, Shard: &x.Shard, From: x.Base, To: x.Last, Problem: problem,
				Unread: strings.HasPrefix(problem, cannotRead)}))
			n++
		}
	}
	if n == 0 {
		c.find("store", key, "%s", problem)
	}
}

// wal verifies the log, and that with the catalog it leaves no hole.
func (c *checker) wal(ctx context.Context) error {
	src := wal.Source{Dir: c.o.WALDir, FS: c.o.FS}
	rec, err := wal.Dump(src, func(pos wal.Pos, e wal.Entry) error {
		b, err := shard.ParseBatch(e.Data)
		if err != nil {
			c.findAt("wal", pos.String(), e.Shard, 0, OpenEnd, "the entry holds no record batch: %s", err)
			return nil
		}
		base, last := b.BaseOffset(), b.LastOffset()
		next, known := c.ends[e.Shard]
		_, exists := c.cat.Topics().ByNum(e.Shard.Topic)
		switch {
		case !exists, known && last < next:
			return nil
		case known && base < next:
			c.findAt("wal", pos.String(), e.Shard, base, next-1, "offsets are written twice")
		case known && base > next && !c.compacted(e.Shard) && !c.leaped(next, base):
			id := e.Shard
			c.gaps = append(c.gaps, Finding{Part: "wal", Where: pos.String(), Shard: &id, From: next, To: base - 1})
		}
		c.ends[e.Shard] = last + 1
		return nil
	})
	c.rep.WALEntries, c.rep.WALBytes, c.rep.TornBytes = rec.Entries, rec.Bytes, rec.TornBytes
	if err != nil {
		return fmt.Errorf("check write-ahead log: %w", err)
	}
	if rec.MarkLost && rec.Files > 0 {
		c.find("wal", c.o.WALDir, "the trim mark cannot be read; everything is replayed, what is flushed already is passed over")
	}
	c.gaps = c.below(ctx, c.gaps)
	named, err := c.damages(src, rec.Damaged)
	if err != nil {
		return err
	}
	for _, g := range c.gaps {
		if !slices.ContainsFunc(named, func(n Finding) bool { return *n.Shard == *g.Shard && n.From <= g.From && g.To <= n.To }) {
			c.findAt("wal", g.Where, *g.Shard, g.From, g.To, "neither the log nor a segment holds the offsets before this entry's")
		}
	}
	return nil
}

// damages reports the damaged ranges of the log. Which offsets a damaged entry
// held is told by the entry of its shard that follows. Entries side by side are
// given together, so that a hole of several is covered by one.
func (c *checker) damages(src wal.Source, ds []wal.Damage) ([]Finding, error) {
	bases := make(map[shard.ID][]int64)
	for _, d := range ds {
		if d.Named {
			bases[d.Shard] = nil
		}
	}
	if len(bases) > 0 {
		if _, err := wal.Dump(src, func(_ wal.Pos, e wal.Entry) error {
			if have, ok := bases[e.Shard]; ok {
				if b, err := shard.ParseBatch(e.Data); err == nil {
					bases[e.Shard] = append(have, b.BaseOffset())
				}
			}
			return nil
		}); err != nil {
			return nil, fmt.Errorf("check write-ahead log: %w", err)
		}
	}
	var named []Finding
	for _, d := range ds {
		if !d.Named {
			c.find("wal", d.From.String(), "%s", d.Error())
			continue
		}
		to := int64(OpenEnd)
		for _, b := range bases[d.Shard] {
			if b > d.BaseOffset {
				to = min(to, b-1)
			}
		}
		problem, harmless := "the entry fails its checksum", false
		if _, last, ok := c.cat.Bounds(d.Shard); ok && to != OpenEnd && to <= last {
			problem, harmless = problem+"; its records are in object storage already, nothing is lost", true
		}
		c.add(c.at(Finding{Part: "wal", Where: d.From.String(), Shard: &d.Shard, From: d.BaseOffset, To: to, Problem: problem, harmless: harmless}))
		named = append(named, Finding{Shard: &d.Shard, From: d.BaseOffset, To: to})
	}
	return named, nil
}

// Orphans is Engine.Orphans for a cluster whose engine does not run here. alone
// says that none runs anywhere: one that was killed is registered until its
// lease ends, and an embedded etcd that does not run ends none.
func Orphans(ctx context.Context, cat *catalog.Catalog, st store.Store, now func() time.Time, remove, alone bool) ([]Orphan, error) {
	e := &Engine{cat: cat, store: st, opts: Options{Now: now}}
	return e.orphans(ctx, remove, alone)
}
