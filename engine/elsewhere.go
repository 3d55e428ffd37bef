package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier"
	"github.com/robustmq/robustmq-go/tier/store"
)

// maxUnnamed bounds how many objects that the catalog does not name are looked into.
const maxUnnamed = 1000

// elsewhere finds objects that the catalog does not name and that hold offsets which
// neither it nor the log has: etcd was restored from an older snapshot. What a
// failed commit leaves is in the log, or was flushed again.
func (c *checker) elsewhere(ctx context.Context) error {
	look := c.unnamed
	if c.o.Quick {
		look = look[:min(len(look), maxUnnamed/10)]
	}
	for _, o := range look {
		ix, err := tier.ReadIndex(ctx, c.st, o.Key, o.Size)
		var version *tier.VersionError
		var damaged *tier.CorruptError
		switch {
		case errors.As(err, &version), errors.As(err, &damaged), errors.Is(err, store.ErrNotFound):
			continue // it tells nothing
		case err != nil:
			return fmt.Errorf("look into object %s: %w", o.Key, err)
		}
		for i := range ix.Extents {
			x := &ix.Extents[i]
			if c.missing(x.Shard, x.Base, x.Last) {
				c.add(c.at(Finding{Part: "store", Where: o.Key, Shard: &x.Shard, From: x.Base, To: x.Last, Unnamed: true,
					Problem: "the catalog does not name this object, which holds offsets that are nowhere else"}))
				break
			}
		}
	}
	return nil
}

// missing tells whether some of a shard's offsets are in a hole, or past all that
// the catalog and the log have.
func (c *checker) missing(id shard.ID, base, last int64) bool {
	if _, ok := c.cat.Topics().ByNum(id.Topic); !ok {
		return id.Topic > newestTopic(c.cat)
	}
	end, known := c.ends[id]
	return known && last >= end || slices.ContainsFunc(c.gaps, func(g Finding) bool { return *g.Shard == id && g.From <= last && base <= g.To })
}
