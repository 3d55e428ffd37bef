package kafka

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
)

// TestReplies: whichever order requests are done in, the writer gets them in the
// order they came, each once, and no more than maxQueued are in between.
func TestReplies(t *testing.T) {
	const n = 4 * maxQueued
	var q replies
	q.init()
	ctx := context.Background()
	pushed := make(chan *request, n)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			r := &request{due: &q, corr: int32(i)}
			if err := q.push(ctx, r); err != nil {
				t.Error(err)
			}
			pushed <- r
		}
		close(pushed)
	})
	wg.Go(func() {
		rng := rand.New(rand.NewPCG(1, 0))
		var mine []*request
		for r := range pushed {
			if mine = append(mine, r); len(mine) < 32 && len(pushed) > 0 {
				continue // more may come without the first of these
			}
			rng.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
			for _, r := range mine {
				wg.Go(func() { r.reply(nil) })
			}
			mine = nil
		}
	})
	next := int32(0)
	for next < n {
		got := q.take(ctx, nil, true)
		if len(got) == 0 || len(got) > maxQueued {
			t.Fatalf("%d requests at once", len(got))
		}
		for _, r := range got {
			if r.corr != next || !r.done {
				t.Fatalf("request %d, done %v, want %d", r.corr, r.done, next)
			}
			next++
		}
	}
	wg.Wait()
	q.end()
	if got := q.take(ctx, nil, true); len(got) != 0 {
		t.Fatalf("%d requests after the last", len(got))
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	var open replies
	open.init()
	if got := open.take(ended, nil, true); len(got) != 0 {
		t.Fatalf("%d requests of nobody", len(got))
	}
	for range maxQueued {
		if err := open.push(ended, &request{due: &open}); err != nil {
			t.Fatal(err)
		}
	}
	if open.push(ended, &request{due: &open}) == nil {
		t.Fatal("more than maxQueued")
	}
}
