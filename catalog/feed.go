package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// listPage is how many keys one read of a listing asks for.
const listPage = 512

// change is an event with its kind.
type change struct {
	kind string
	event
}

// feed brings every change of a key into the stores exactly once.
//
// A change comes by the watch, which gives all changes in the order of their
// revisions, or first from the transaction of ours that made it. In the latter
// case its key is noted in ahead, and whatever the watch says of that key up to
// that revision is old news. rev is the revision up to which the watch has told
// everything; ahead names keys past it only, so it stays small.
type feed struct {
	note notifier // woken when rev rises
	mu   struct {
		sync.Mutex
		rev   int64
		ahead map[string]int64
		bad   error // the first value that could not be decoded
	}
}

func (f *feed) init() {
	f.note.init()
	f.mu.ahead = map[string]int64{}
}

func (f *feed) revision() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.rev
}

// Revision gives the revision of etcd up to which the view has everything.
func (c *Catalog) Revision() int64 { return c.feed.revision() }

// Health gives the first stored value that could not be decoded, or nil. What
// it held is missing from the view.
func (c *Catalog) Health() error {
	c.feed.mu.Lock()
	defer c.feed.mu.Unlock()
	return c.feed.mu.bad
}

// applyWatch takes changes from the watch; all revisions up to rev are told.
func (c *Catalog) applyWatch(chs []change, rev int64) {
	f := &c.feed
	f.mu.Lock()
	fresh := chs[:0]
	for _, ch := range chs {
		if ch.mod <= f.mu.rev || f.mu.ahead[ch.kind+"/"+ch.name] >= ch.mod {
			continue
		}
		fresh = append(fresh, ch)
	}
	c.dispatch(fresh)
	c.advance(rev)
	f.mu.Unlock()
	f.note.wake()
}

// advance moves rev; feed.mu is held.
func (c *Catalog) advance(rev int64) {
	f := &c.feed
	f.mu.rev = max(f.mu.rev, rev)
	for k, r := range f.mu.ahead {
		if r <= f.mu.rev {
			delete(f.mu.ahead, k)
		}
	}
}

// applyOwn takes the changes of a transaction of ours that was committed.
func (c *Catalog) applyOwn(rev int64, chs ...change) {
	f := &c.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	if rev <= f.mu.rev {
		return // the watch was faster
	}
	fresh := chs[:0]
	for _, ch := range chs {
		full := ch.kind + "/" + ch.name
		if f.mu.ahead[full] >= rev {
			continue
		}
		f.mu.ahead[full] = rev
		ch.mod = rev
		if ch.create == 0 {
			ch.create, ch.version = rev, 1
		}
		fresh = append(fresh, ch)
	}
	c.dispatch(fresh)
}

// dispatch hands runs of changes of one revision to their stores; feed.mu is held.
func (c *Catalog) dispatch(chs []change) {
	for i := 0; i < len(chs); {
		j := i
		for j < len(chs) && chs[j].mod == chs[i].mod {
			j++
		}
		c.dispatchRun(chs[i:j])
		i = j
	}
}

func (c *Catalog) dispatchRun(run []change) {
	evs := make([]event, 0, len(run))
	for len(run) > 0 {
		kind, rest := run[0].kind, run[:0]
		evs = evs[:0]
		for _, ch := range run {
			if ch.kind == kind {
				evs = append(evs, ch.event)
			} else {
				rest = append(rest, ch)
			}
		}
		if s := c.stores[kind]; s != nil {
			c.applied(kind, s.apply(evs))
		}
		run = rest
	}
}

// applied notes the error of a store, if it gave one; feed.mu is held, or this is the first listing.
func (c *Catalog) applied(kind string, err error) {
	if err == nil {
		return
	}
	err = fmt.Errorf("apply %s: %w", kind, err)
	if c.feed.mu.bad == nil {
		c.feed.mu.bad = err
	}
	c.log.Error("catalog value cannot be read; what it names is missing from this gateway's view", "err", err)
}

// waitApplied returns when the watch has told everything up to rev, which must
// be a revision of a key below our prefix.
func (c *Catalog) waitApplied(ctx context.Context, rev int64) error {
	for {
		ch := c.feed.note.wait()
		if c.feed.revision() >= rev {
			return nil
		}
		select {
		case <-ch:
		case <-ctx.Done():
			return fmt.Errorf("wait for the watch: %w: %w", ErrUnavailable, context.Cause(ctx))
		}
	}
}

// split gives kind and name of an etcd key.
func (c *Catalog) split(key []byte) (kind, name string) {
	kind, name, _ = strings.Cut(string(key[len(c.cfg.Prefix):]), "/")
	return kind, name
}

func (c *Catalog) changeOf(kv *mvccpb.KeyValue, deleted bool) change {
	kind, name := c.split(kv.Key)
	return change{kind: kind, event: event{
		name: name, value: kv.Value, create: kv.CreateRevision, mod: kv.ModRevision, version: kv.Version, deleted: deleted,
	}}
}

// list reads every key at one revision and makes the stores equal to it, all at
// once. It runs at Open, and again when the watch has fallen behind etcd's
// compaction.
func (c *Catalog) list(ctx context.Context) error {
	var segments *loader
	segmentPrefix := []byte(c.key(kindSegment, ""))
	if c.feed.revision() == 0 {
		segments = c.segments.newLoader(len(segmentPrefix))
	}
	var listed []change
	var rev int64
	err := c.scan(ctx, c.cfg.Prefix, func(r int64, kvs []*mvccpb.KeyValue) error {
		rev = r
		var heads []*mvccpb.KeyValue
		for _, kv := range kvs {
			if segments != nil && bytes.HasPrefix(kv.Key, segmentPrefix) {
				heads = append(heads, kv)
			} else {
				listed = append(listed, c.changeOf(kv, false))
			}
		}
		if len(heads) > 0 {
			segments.pages <- heads
		}
		return nil
	})
	if segments != nil {
		c.applied(kindSegment, segments.close())
	}
	if err != nil {
		return fmt.Errorf("list catalog: %w", err)
	}
	f := &c.feed
	f.mu.Lock()
	c.dispatchRun(c.difference(listed, rev))
	c.advance(rev)
	f.mu.Unlock()
	f.note.wake()
	return nil
}

// difference gives what makes the stores equal to a listing at rev, leaving
// alone what we have changed since; feed.mu is held.
func (c *Catalog) difference(listed []change, rev int64) []change {
	ahead := c.feed.mu.ahead
	var gone []change
	if c.feed.mu.rev > 0 {
		seen := make(map[string]struct{}, len(listed))
		for _, ch := range listed {
			seen[ch.kind+"/"+ch.name] = struct{}{}
		}
		for kind, s := range c.stores {
			for name := range s.names() {
				full := kind + "/" + name
				if _, ok := seen[full]; !ok && ahead[full] <= rev {
					gone = append(gone, change{kind: kind, event: event{name: name, mod: rev, deleted: true}})
				}
			}
		}
	}
	for _, ch := range listed {
		if ahead[ch.kind+"/"+ch.name] <= rev {
			gone = append(gone, ch)
		}
	}
	return gone
}

// scan pages through the keys below a prefix as of one revision. With each page
// etcd counts, and for that visits, every key of the range it is asked for: it
// is asked for the keys that begin like those of the last page, not for all that
// are left, or the cost of a listing would grow with the square of their number.
func (c *Catalog) scan(ctx context.Context, prefix string, fn func(rev int64, kvs []*mvccpb.KeyValue) error) error {
	var rev int64
	end := clientv3.GetPrefixRangeEnd(prefix)
	alike := len(prefix) // so many bytes of the first key to read have all keys of the range
	wider := 1           // and so many fewer of the next range, if there were few
	for from := prefix; ; {
		alike = min(alike, len(from))
		stop := clientv3.GetPrefixRangeEnd(from[:alike])
		resp, err := c.get(ctx, from, clientv3.WithRange(stop), clientv3.WithLimit(listPage), clientv3.WithRev(rev))
		if err != nil {
			return err
		}
		if rev == 0 {
			rev = resp.Header.Revision
		}
		if err := fn(rev, resp.Kvs); err != nil {
			return err
		}
		switch {
		case resp.More:
			wider = 1
			last := string(resp.Kvs[len(resp.Kvs)-1].Key)
			alike = commonPrefix(string(resp.Kvs[0].Key), last)
			if resp.Count > 4*listPage {
				alike++
			}
			from = last + "\x00"
		case stop == end:
			return nil
		default:
			if from = stop; len(resp.Kvs) < listPage/4 {
				alike, wider = max(alike-wider, len(prefix)), 2*wider
			}
		}
	}
}

func commonPrefix(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// follow keeps the stores up to date until Close.
func (c *Catalog) follow() {
	defer c.done.Done()
	wait := retryMin
	for c.ctx.Err() == nil {
		started := time.Now()
		err := c.watch()
		if c.ctx.Err() != nil {
			return
		}
		if errors.Is(err, rpctypes.ErrCompacted) {
			c.log.Warn("catalog watch fell behind compaction; listing again", "revision", c.feed.revision())
			if err = c.list(c.ctx); err == nil {
				continue
			}
		}
		if time.Since(started) > 10*retryMax {
			wait = retryMin
		}
		c.log.Warn("catalog watch ended; resuming", "revision", c.feed.revision(), "err", err)
		select {
		case <-time.After(wait):
		case <-c.ctx.Done():
		}
		wait = min(2*wait, retryMax)
	}
}

// watch applies changes from the revision after the last one applied on; it
// returns when etcd ends the watch.
func (c *Catalog) watch() error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(c.ctx))
	defer cancel()
	ch := c.client.Watch(ctx, c.cfg.Prefix, clientv3.WithPrefix(), clientv3.WithRev(c.feed.revision()+1),
		clientv3.WithFragment(), clientv3.WithProgressNotify())
	for resp := range ch {
		if err := resp.Err(); err != nil {
			return err
		}
		if resp.IsProgressNotify() {
			c.applyWatch(nil, resp.Header.Revision)
			continue
		}
		if len(resp.Events) == 0 {
			continue
		}
		chs := make([]change, 0, len(resp.Events))
		for _, ev := range resp.Events {
			chs = append(chs, c.changeOf(ev.Kv, ev.Type == clientv3.EventTypeDelete))
		}
		c.applyWatch(chs, chs[len(chs)-1].mod)
	}
	return errors.New("watch channel closed")
}
