package shardmem

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

func rec(v string) shard.Record {
	return shard.Record{Timestamp: time.Now().UnixMilli(), Value: []byte(v)}
}

func TestFailAppend(t *testing.T) {
	fail := true
	b := New(Options{FailAppend: func(shard.ID, *shard.Batch, shard.AppendOptions) error {
		if fail {
			return shard.ErrWALFull
		}
		return nil
	}})
	defer b.Close()
	ctx := context.Background()
	topic, err := b.Broker().Topics.Resolve(ctx, "a", true)
	if err != nil {
		t.Fatal(err)
	}
	_, err = shard.AppendWait(ctx, b, topic.Shard(0), shard.BatchOf(rec("x")), shard.AppendOptions{})
	if !errors.Is(err, shard.ErrWALFull) || shard.KindOf(err) != shard.KindUnavailable {
		t.Fatal(err)
	}
	fail = false
	res, err := shard.AppendWait(ctx, b, topic.Shard(0), shard.BatchOf(rec("x")), shard.AppendOptions{})
	if err != nil || res.Base != 0 {
		t.Fatal(res, err)
	}
}

func TestCatchAllPastTheBound(t *testing.T) {
	b := New(Options{AutoTopics: 2})
	defer b.Close()
	ctx := context.Background()
	for i := range 5 {
		x, err := b.Broker().Topics.Resolve(ctx, fmt.Sprint("s", i), true)
		if err != nil {
			t.Fatal(err)
		}
		if (x.Name == shard.CatchAllTopic) != (i >= 2) {
			t.Fatalf("subject %d went to %s", i, x.Name)
		}
	}
}

func TestBudgetBlocksAppend(t *testing.T) {
	b := New(Options{AppendBudget: 300, Delay: 30 * time.Millisecond})
	defer b.Close()
	ctx := context.Background()
	topic, _ := b.Broker().Topics.Resolve(ctx, "a", true)
	start := time.Now()
	for range 3 {
		b.Append(ctx, topic.Shard(0), shard.BatchOf(rec(string(make([]byte, 200)))), shard.AppendOptions{}, shard.CompletionFunc(func(shard.AppendResult) {}))
	}
	if d := time.Since(start); d < 50*time.Millisecond {
		t.Fatalf("three appends took %v", d)
	}
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	_, err := shard.AppendWait(ctx, appendWith{b, short}, topic.Shard(0), shard.BatchOf(rec("x")), shard.AppendOptions{})
	if shard.KindOf(err) != shard.KindUnavailable {
		t.Fatal(err)
	}
	if err := b.Settle(ctx); err != nil {
		t.Fatal(err)
	}
}

// appendWith appends with another context than it is given.
type appendWith struct {
	*Broker
	ctx context.Context
}

func (a appendWith) Append(_ context.Context, id shard.ID, b *shard.Batch, o shard.AppendOptions, done shard.Completion) {
	a.Broker.Append(a.ctx, id, b, o, done)
}
