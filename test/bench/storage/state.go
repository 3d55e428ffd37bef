package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// The state log's million changes, by default: half of them cursors of 1,000 consumer groups that move over
// and over, three tenths retained messages of different topics, the rest subscriptions of sessions.
const (
	stateGroups     = 1_000
	statePartitions = 100
	stateOfSession  = 10
	cursorBytes     = 40
	retainedBytes   = 200 // a record batch of one
	subBytes        = 60
)

func change(i int) (owner, key string, size int) {
	switch kind := i % 10; {
	case kind < 5:
		n := i / 10 * 5
		return fmt.Sprintf("kafka/group/billing-%d", (n+kind)%stateGroups), fmt.Sprintf("offset/orders/%d", (n+kind)/stateGroups%statePartitions), cursorBytes
	case kind < 8:
		n := i/10*3 + kind - 5
		return fmt.Sprintf("mqtt/retained/%02x", n%256), fmt.Sprintf("plant/hall/%d/machine/%d/temperature", n%40, n), retainedBytes
	default:
		n := i/10*2 + kind - 8
		return fmt.Sprintf("mqtt/session/sensor-%08d", n/stateOfSession), fmt.Sprintf("sub/plant/hall/%d/#", n%stateOfSession), subBytes
	}
}

// state makes -n changes, and opens a gateway that has them: all in the WAL, as a crash leaves them, then in
// segments, with as many again, each tenth of them flushed.
func state(_ context.Context, d string) error {
	for _, step := range []string{"state-fill", "state-wal", "state-flush", "state-segments"} {
		if err := child(d, step); err != nil {
			return err
		}
	}
	return nil
}

func stateChanges() int {
	if *count > 0 {
		return *count
	}
	return 1_000_000
}

func stateFill(ctx context.Context, d string) error {
	n, err := open(ctx, d)
	if err != nil {
		return err
	}
	if err := changeState(ctx, n, 0); err != nil {
		return err
	}
	os.Exit(0) // no flush: the WAL has everything
	return nil
}

// changeState makes the changes, 2,000 of them under way.
func changeState(ctx context.Context, n *node, flushEach int) error {
	st, began := n.Broker().State, time.Now()
	slot := make(chan struct{}, 2000)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var bad error
	for i := range stateChanges() {
		owner, key, size := change(i)
		slot <- struct{}{}
		wg.Add(1)
		st.Apply(ctx, owner, []shard.StateOp{{Key: key, Value: make([]byte, size), If: shard.AnyRev}}, func(err error) {
			mu.Lock()
			bad = errors.Join(bad, err)
			mu.Unlock()
			<-slot
			wg.Done()
		})
		if flushEach > 0 && i%flushEach == flushEach-1 {
			wg.Wait()
			if err := n.Flush(ctx); err != nil {
				return err
			}
		}
	}
	wg.Wait()
	took := time.Since(began)
	fmt.Printf("state: %d changes in %s: %.0f a second, WAL %d MiB, %d segments, resident %s\n", stateChanges(), round(took),
		float64(stateChanges())/took.Seconds(), n.Stats().WAL.LiveBytes>>20, n.Stats().Segments, memory("VmRSS"))
	return bad
}

// stateOpened opens a gateway, counts what it knows and says how long it took.
func stateOpened(ctx context.Context, d, from string) (*node, error) {
	began := time.Now()
	n, err := open(ctx, d)
	if err != nil {
		return nil, err
	}
	took := time.Since(began)
	owners, err := n.Broker().State.Owners(ctx, "")
	if err != nil {
		return nil, err
	}
	values := 0
	for _, o := range owners {
		if err := n.Broker().State.Range(ctx, o, "", func(string, shard.StateValue) bool { values++; return true }); err != nil {
			return nil, err
		}
	}
	fmt.Printf("state: restart from %s: %s; %d values of %d owners, %d segments, resident %s, peak %s\n", from, round(took), values, len(owners),
		n.Stats().Segments, memory("VmRSS"), memory("VmHWM"))
	return n, nil
}

// stateFromWAL ends as a crash does: the WAL stays as it is.
func stateFromWAL(ctx context.Context, d string) error {
	if _, err := stateOpened(ctx, d, "the WAL"); err != nil {
		return err
	}
	os.Exit(0)
	return nil
}

// stateFlush makes the changes again, flushed into ten segments.
func stateFlush(ctx context.Context, d string) error {
	n, err := open(ctx, d)
	if err != nil {
		return err
	}
	if err := n.Flush(ctx); err != nil {
		return err
	}
	if err := changeState(ctx, n, stateChanges()/10); err != nil {
		return err
	}
	return n.close(ctx)
}

func stateFromSegments(ctx context.Context, d string) error {
	n, err := stateOpened(ctx, d, fmt.Sprintf("segments, these and as many before, %d changes", 2*stateChanges()))
	if err != nil {
		return err
	}
	return n.close(ctx)
}
