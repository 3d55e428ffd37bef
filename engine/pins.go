package engine

import (
	"maps"
	"sync"

	"github.com/robustmq/robustmq-go/shard"
)

// pins are how many stored bytes each durable group keeps from being freed: what
// retention would have freed in its last pass, were it not for the group.
type pins struct {
	mu         sync.Mutex
	told, next map[string]int64
}

// notePins counts, for one shard, the extents below an offset up to which retention
// would free, for each group that needs them still.
func (e *Engine) notePins(id shard.ID, below int64) {
	holders := e.groups.Holders(id, below)
	if len(holders) == 0 {
		return
	}
	exts := e.cat.Extents(id)
	e.pins.mu.Lock()
	defer e.pins.mu.Unlock()
	if e.pins.next == nil {
		e.pins.next = make(map[string]int64)
	}
	for name, from := range holders {
		for i := range exts {
			if x := &exts[i].Extent; x.Last >= from && x.Last < below {
				e.pins.next[name] += x.Len
			}
		}
	}
}

// tell ends a pass of retention.
func (p *pins) tell() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told, p.next = p.next, nil
}

// Pinned gives, by group, the stored bytes that retention would have freed in its
// last pass, were it not for the group.
func (e *Engine) Pinned() map[string]int64 {
	e.pins.mu.Lock()
	defer e.pins.mu.Unlock()
	return maps.Clone(e.pins.told)
}
