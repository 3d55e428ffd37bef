package engine

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
)

// A log of a former owner that is neither clean, nor replayed, nor abandoned may
// hold acknowledged records that no segment has. Until one of the three is true:
//
//   - what stands on logs waits: shards whose class is not object take no append
//     and are read up to their flushed end; state and groups are refused, unless
//     the class of the cluster is object. Which class a shard had is told by its
//     topic and, where that has none, by the defaults of all the logs' writers;
//   - shards of the class object are served at once: nothing of them that only a
//     log has was acknowledged;
//   - nothing is trimmed and nothing merged.
//
// What waits is decided once, at the start. When a log's record changes, the
// engine gives up ownership and the process starts over.

// WaitingLog is a log that slots of this gateway wait for.
type WaitingLog struct {
	ID    string
	Owner string // the gateway that wrote it last
	Slots []int
}

// waiting is what an engine waits for.
type waiting struct {
	logs []WaitingLog
	// object tells that topics without a class of their own had the class object.
	object bool
	err    error
}

// errStartOver ends an engine whose logs are there now, or given up.
var errStartOver = errors.New("a log that was waited for is back, or was abandoned: starting over with it")

// findWaiting takes from the slots that were claimed what is to be waited for, and
// how often each slot's offsets have to leap.
func (e *Engine) findWaiting() {
	slots := map[string][]int{}
	var passed []string
	for _, s := range e.cat.Slots() {
		e.leaps[s.Index] = s.Leaps
		for _, id := range s.Pending {
			if w, ok := e.cat.WAL(id); ok && w.State == catalog.WALOpen {
				slots[id] = append(slots[id], s.Index)
			}
		}
		if f, ok := e.session.Former(s.Index); ok {
			for _, id := range f.Passed {
				if w, known := e.cat.WAL(id); known && w.State == catalog.WALOpen && id != e.walID() && !slices.Contains(passed, id) {
					passed = append(passed, id)
				}
			}
		}
	}
	if len(passed) > 0 {
		e.log.Warn("logs of gateways before this version were passed over by it: what they held and no segment has is below later offsets; nobody waits for them",
			"logs", len(passed), "first", passed[0])
	}
	w := &e.waiting
	w.object = e.opts.Durability == shard.DurabilityObject
	for id, ns := range slots {
		row, _ := e.cat.WAL(id)
		w.logs = append(w.logs, WaitingLog{ID: id, Owner: row.Owner, Slots: ns})
		w.object = w.object && (row.Default == shard.DurabilityDefault || row.Default == shard.DurabilityObject)
	}
	slices.SortFunc(w.logs, func(a, b WaitingLog) int { return strings.Compare(a.ID, b.ID) })
	if len(w.logs) == 0 {
		return
	}
	var parts []string
	for _, l := range w.logs {
		parts = append(parts, fmt.Sprintf("%s for log %s of gateway %s", slotText(l.Slots), l.ID, l.Owner))
	}
	w.err = &shard.Error{Kind: shard.KindUnavailable, Msg: "slots wait: " + strings.Join(parts, "; "), Err: shard.ErrLogAway}
	e.log.Error("the log of a former owner is not here, and may hold acknowledged records: only what is object-durable is served",
		"logs", strings.Join(parts, "; "), "do", waitHint)
}

// waitHint is what there is to do about a log that is waited for.
const waitHint = "start a gateway with that log's directory, or `robustmq wal recover DIR` where it is; if it is lost for good, `robustmq wal abandon ID`"

// slotText names slots, a run of them by its ends.
func slotText(ns []int) string {
	var parts []string
	for i := 0; i < len(ns); {
		j := i
		for j+1 < len(ns) && ns[j+1] == ns[j]+1 {
			j++
		}
		if i == j {
			parts = append(parts, fmt.Sprint(ns[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", ns[i], ns[j]))
		}
		i = j + 1
	}
	return "slots " + strings.Join(parts, ",")
}

// class is the durability a topic had when the logs that are waited for were
// written.
func (e *Engine) class(t *shard.Topic) shard.Durability {
	if t.Config.Durability == shard.DurabilityDefault && e.waits() && !e.waiting.object {
		return shard.DurabilityWAL
	}
	return e.durability(t)
}

func (e *Engine) waits() bool { return len(e.waiting.logs) > 0 }

// mayServe gives the refusal of a topic that waits, nil for one that does not.
func (e *Engine) mayServe(t *shard.Topic) error {
	if !e.waits() || e.class(t) == shard.DurabilityObject {
		return nil
	}
	return e.waiting.err
}

// stateWaits is mayServe for State and Groups.
func (e *Engine) stateWaits() error {
	if e.waits() && !e.waiting.object {
		return e.waiting.err
	}
	return nil
}

// Waiting gives the logs that are waited for.
func (e *Engine) Waiting() []WaitingLog { return slices.Clone(e.waiting.logs) }

// watchWaiting starts over when a log that is waited for was brought back or given up.
func (e *Engine) watchWaiting() {
	for {
		changed := e.cat.WALsChanged()
		for _, l := range e.waiting.logs {
			if w, _ := e.cat.WAL(l.ID); w.State != catalog.WALOpen {
				e.fail(errStartOver)
				return
			}
		}
		select {
		case <-changed:
		case <-e.ctx.Done():
			return
		}
	}
}

func (e *Engine) walID() string {
	id := e.wal.ID()
	return hex.EncodeToString(id[:])
}

// opened notes that the log may hold acknowledged records: nothing is
// acknowledged on the strength of a log that others would not wait for.
type opened struct {
	yes atomic.Bool
	mu  sync.Mutex
}

func (e *Engine) openLog(ctx context.Context) error {
	if e.logOpen.yes.Load() {
		return nil
	}
	e.logOpen.mu.Lock()
	defer e.logOpen.mu.Unlock()
	if e.logOpen.yes.Load() {
		return nil
	}
	if err := e.session.PutWAL(ctx, catalog.WALOpen); err != nil {
		return shard.Errorf(shard.KindUnavailable, "note that the write-ahead log is in use: %w", err)
	}
	e.logOpen.yes.Store(true)
	return nil
}

// releaseTime bounds the last words of an engine that stops in good order.
const releaseTime = 10 * time.Second

// release tells the others that nobody has to wait for this gateway's log: all it
// held is committed, and nothing is under way.
func (e *Engine) release() error {
	ctx, cancel := context.WithTimeout(context.Background(), releaseTime)
	defer cancel()
	if err := e.session.PutWAL(ctx, catalog.WALClean); err != nil {
		return err
	}
	all := make([]int, Slots)
	for i := range all {
		all[i] = i
	}
	return e.session.ReleaseSlots(ctx, all)
}

// waitingGroups are the groups of a gateway whose state waits.
type waitingGroups struct{ err error }

// Create implements shard.Groups.
func (g waitingGroups) Create(context.Context, shard.GroupConfig) (shard.Group, error) {
	return nil, g.err
}

// Get implements shard.Groups.
func (g waitingGroups) Get(string) (shard.Group, error) { return nil, g.err }

// List implements shard.Groups.
func (g waitingGroups) List(string) []shard.Group { return nil }

// Interest implements shard.Groups.
func (g waitingGroups) Interest(string) bool { return false }

// Delete implements shard.Groups.
func (g waitingGroups) Delete(context.Context, string) error { return g.err }
