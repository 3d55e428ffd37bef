package shardtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

var logTests = []test{
	{"append and read", func(e *env) {
		id := e.topic("t").Shard(0)
		for i := range 3 {
			if res := e.publish("t", numbers(i*2, 2)...); res.Base != int64(i*2) || res.Duplicate || res.AppendTime != -1 {
				e.Fatalf("append %d: %+v", i, res)
			}
		}
		e.equal(e.read(id, 0), numbers(0, 6))
		e.equal(e.read(id, 3), numbers(3, 3))
		e.equal(e.read(id, 6), []string(nil))
		b, err := e.Broker.Log.Bounds(e.ctx, id)
		e.must(err)
		if b.Start != 0 || b.End != 6 || b.Stable != 6 {
			e.Fatalf("%+v", b)
		}
	}},
	{"bytes stay as they were", func(e *env) {
		t := e.topic("t")
		in := shard.Record{Timestamp: 12345, Key: []byte{}, Value: nil, Headers: []shard.Header{{Name: "h", Value: nil}, {Name: "h", Value: []byte{}}}}
		e.append(t.Shard(0), shard.BatchOf(in), shard.AppendOptions{})
		res, err := e.Broker.Log.Read(e.ctx, t.Shard(0), 0, shard.ReadOptions{})
		e.must(err)
		recs, err := res.Batches[0].Records()
		e.must(err)
		r := recs[0]
		if r.Timestamp != 12345 || r.Key == nil || r.Value != nil || len(r.Headers) != 2 || r.Headers[0].Value != nil || r.Headers[1].Value == nil {
			e.Fatalf("%+v", r)
		}
	}},
	{"completions come in order", completionsInOrder},
	{"read bounds", func(e *env) {
		id := e.topic("t").Shard(0)
		for i := range 5 {
			e.publish("t", fmt.Sprint(i))
		}
		one, err := e.Broker.Log.Read(e.ctx, id, 1, shard.ReadOptions{MaxBytes: 1})
		e.must(err)
		until, err := e.Broker.Log.Read(e.ctx, id, 1, shard.ReadOptions{Until: 3})
		e.must(err)
		if len(one.Batches) != 1 || one.Batches[0].BaseOffset() != 1 || len(until.Batches) != 2 {
			e.Fatal(len(one.Batches), len(until.Batches))
		}
		for _, from := range []int64{-1, 6} {
			res, err := e.Broker.Log.Read(e.ctx, id, from, shard.ReadOptions{})
			if !errors.Is(err, shard.ErrOffsetOutOfRange) || res.Bounds.End != 5 {
				e.Fatalf("read from %d: %v, %+v", from, err, res.Bounds)
			}
		}
	}},
	{"wait", waitForEnd},
	{"trim", func(e *env) {
		id := e.topic("t").Shard(0)
		for i := range 5 {
			e.publish("t", fmt.Sprint(i))
		}
		e.must(e.Broker.Log.TrimBefore(e.ctx, id, 3))
		e.must(e.Broker.Log.TrimBefore(e.ctx, id, 1)) // never back
		_, err := e.Broker.Log.Read(e.ctx, id, 2, shard.ReadOptions{})
		e.kind(err, shard.KindOutOfRange)
		e.equal(e.read(id, 3), numbers(3, 2))
		if res := e.publish("t", "5"); res.Start != 3 || res.Base != 5 {
			e.Fatalf("%+v", res)
		}
	}},
	{"offset of time", func(e *env) {
		id := e.topic("t").Shard(0)
		for i := range 4 {
			e.append(id, shard.BatchOf(shard.Record{Timestamp: int64(1000 + 20*i)}, shard.Record{Timestamp: int64(1010 + 20*i)}), shard.AppendOptions{})
		}
		for _, c := range []struct {
			ts, offset, at int64
			ok             bool
		}{{0, 0, 1000, true}, {1000, 0, 1000, true}, {1011, 2, 1020, true}, {1070, 7, 1070, true}, {1071, 0, 0, false}} {
			offset, at, ok, err := e.Broker.Log.OffsetOf(e.ctx, id, c.ts)
			e.must(err)
			if ok != c.ok || ok && (offset != c.offset || at != c.at) {
				e.Errorf("offset of %d: %d at %d, %v", c.ts, offset, at, ok)
			}
		}
	}},
	{"offset of time after a trim", offsetsOfTimeAfterTrim},
	{"append time", func(e *env) {
		t := e.create(shard.Topic{Name: "t", Config: shard.TopicConfig{AppendTime: true}})
		before := time.Now().UnixMilli()
		res := e.append(t.Shard(0), shard.BatchOf(shard.Record{Timestamp: 1}), shard.AppendOptions{})
		read, err := e.Broker.Log.Read(e.ctx, t.Shard(0), 0, shard.ReadOptions{})
		e.must(err)
		recs, err := read.Batches[0].Records()
		e.must(err)
		if res.AppendTime < before-1000 || recs[0].Timestamp != res.AppendTime || !read.Batches[0].AppendTime() {
			e.Fatalf("%+v, record at %d", res, recs[0].Timestamp)
		}
	}},
	{"limits", func(e *env) {
		t := e.create(shard.Topic{Name: "t", Config: shard.TopicConfig{MaxMessageBytes: 200}})
		_, err := shard.AppendWait(e.ctx, e.Broker.Log, t.Shard(0), shard.BatchOf(shard.Record{Value: make([]byte, 300)}), shard.AppendOptions{})
		e.kind(err, shard.KindTooLarge)
		e.append(t.Shard(0), shard.BatchOf(shard.Record{Value: make([]byte, 50)}), shard.AppendOptions{})
		for _, id := range []shard.ID{t.Shard(7), {Topic: 999999}} {
			_, err = shard.AppendWait(e.ctx, e.Broker.Log, id, shard.BatchOf(shard.Record{}), shard.AppendOptions{})
			e.kind(err, shard.KindNotFound)
			_, err = e.Broker.Log.Read(e.ctx, id, 0, shard.ReadOptions{})
			e.kind(err, shard.KindNotFound)
			_, err = e.Broker.Log.Bounds(e.ctx, id)
			e.kind(err, shard.KindNotFound)
		}
	}},
}

// offsetsOfTimeAfterTrim: wherever the start lies, in the middle of a batch too, no
// time is answered with an offset below it.
func offsetsOfTimeAfterTrim(e *env) {
	id := e.topic("t").Shard(0)
	var times []int64
	for i := range 8 {
		recs := make([]shard.Record, 5)
		for j := range recs {
			recs[j].Timestamp = 1000 + int64((i*31+j*17)%40) // not in order, as producers' clocks
			times = append(times, recs[j].Timestamp)
		}
		e.append(id, shard.BatchOf(recs...), shard.AppendOptions{})
	}
	for start := range len(times) {
		e.must(e.Broker.Log.TrimBefore(e.ctx, id, int64(start)))
		for ts := int64(999); ts <= 1041; ts++ {
			want := slices.IndexFunc(times[start:], func(t int64) bool { return t >= ts })
			offset, at, ok, err := e.Broker.Log.OffsetOf(e.ctx, id, ts)
			e.must(err)
			if ok != (want >= 0) || ok && (offset != int64(start+want) || at != times[offset]) {
				e.Fatalf("offset of %d with start %d: %d at %d, %v; want %d", ts, start, offset, at, ok, start+want)
			}
		}
	}
}

func completionsInOrder(e *env) {
	id := e.topic("t").Shard(0)
	const n, writers = 200, 4
	var mu sync.Mutex
	var order []int64
	var wg sync.WaitGroup
	wg.Add(n * writers)
	for w := range writers {
		go func() {
			prev := int64(-1)
			for i := range n {
				e.Broker.Log.Append(e.ctx, id, shard.BatchOf(shard.Record{Value: []byte(fmt.Sprint(w, " ", i))}), shard.AppendOptions{},
					shard.CompletionFunc(func(r shard.AppendResult) {
						mu.Lock()
						if r.Err != nil || r.Base <= prev {
							e.Errorf("writer %d append %d: offset %d after %d, %v", w, i, r.Base, prev, r.Err)
						}
						prev = r.Base
						order = append(order, r.Base)
						mu.Unlock()
						wg.Done()
					}))
			}
		}()
	}
	wg.Wait()
	for i, base := range order {
		if base != int64(i) {
			e.Fatalf("completion %d is of offset %d", i, base)
		}
	}
	next := make(map[int]int)
	for _, v := range e.read(id, 0) {
		var w, i int
		if _, err := fmt.Sscan(v, &w, &i); err != nil || i != next[w] {
			e.Fatalf("%q out of order: %v", v, err)
		}
		next[w]++
	}
}

func waitForEnd(e *env) {
	id := e.topic("t").Shard(0)
	first, err := e.Broker.Log.Wait(id, 0)
	e.must(err)
	select {
	case <-first:
		e.Fatal("woken by nothing")
	case <-time.After(silence):
	}
	e.publish("t", "x")
	await := func(ch <-chan struct{}) {
		e.Helper()
		select {
		case <-ch:
		case <-time.After(patience):
			e.Fatal("not woken")
		}
	}
	await(first)
	later, err := e.Broker.Log.Wait(id, 1)
	e.must(err)
	select {
	case <-later:
		e.Fatal("woken at offset 1 by the first record")
	case <-time.After(silence):
	}
	e.publish("t", "y")
	await(later)
	past, err := e.Broker.Log.Wait(id, 1)
	e.must(err)
	await(past)
}

var producerTests = []test{
	{"duplicates", func(e *env) {
		id := e.topic("t").Shard(0)
		make1 := func(seq int32, n int) *shard.Batch { return producerBatch(7, 0, seq, n) }
		for seq := range int32(4) {
			e.append(id, make1(seq*2, 2), shard.AppendOptions{})
		}
		if res := e.append(id, make1(2, 2), shard.AppendOptions{}); !res.Duplicate || res.Base != 2 {
			e.Fatalf("%+v", res)
		}
		_, err := shard.AppendWait(e.ctx, e.Broker.Log, id, make1(9, 1), shard.AppendOptions{})
		if !errors.Is(err, shard.ErrOutOfOrderSequence) {
			e.Fatal(err)
		}
		e.append(id, producerBatch(7, 1, 0, 1), shard.AppendOptions{})
		_, err = shard.AppendWait(e.ctx, e.Broker.Log, id, make1(8, 1), shard.AppendOptions{})
		if !errors.Is(err, shard.ErrProducerFenced) {
			e.Fatal(err)
		}
		e.append(id, producerBatch(8, 0, 55, 1), shard.AppendOptions{}) // unknown: believed
		e.equal(len(e.read(id, 0)), 10)
	}},
	{"dedupe id", func(e *env) {
		id := e.topic("t").Shard(0)
		e.publish("t", "0")
		first := e.append(id, shard.BatchOf(shard.Record{Value: []byte("1")}), shard.AppendOptions{DedupeID: "x"})
		again := e.append(id, shard.BatchOf(shard.Record{Value: []byte("1")}), shard.AppendOptions{DedupeID: "x"})
		other := e.append(id, shard.BatchOf(shard.Record{Value: []byte("2")}), shard.AppendOptions{DedupeID: "y"})
		if first.Duplicate || !again.Duplicate || again.Base != first.Base || other.Duplicate {
			e.Fatalf("%+v %+v %+v", first, again, other)
		}
		e.equal(e.read(id, 0), numbers(0, 3))
	}},
	{"precondition", func(e *env) {
		id := e.topic("t").Shard(0)
		e.append(id, shard.BatchOf(shard.Record{}), shard.AppendOptions{CheckNext: true, ExpectNext: 0})
		_, err := shard.AppendWait(e.ctx, e.Broker.Log, id, shard.BatchOf(shard.Record{}), shard.AppendOptions{CheckNext: true, ExpectNext: 0})
		if !errors.Is(err, shard.ErrPrecondition) {
			e.Fatal(err)
		}
		e.append(id, shard.BatchOf(shard.Record{}), shard.AppendOptions{CheckNext: true, ExpectNext: 1})
	}},
	{"one of many with a precondition wins", func(e *env) {
		id := e.topic("t").Shard(0)
		var wg sync.WaitGroup
		won := make(chan int64, 8)
		for range 8 {
			wg.Go(func() {
				res, err := shard.AppendWait(context.Background(), e.Broker.Log, id, shard.BatchOf(shard.Record{}), shard.AppendOptions{CheckNext: true})
				if err == nil {
					won <- res.Base
				}
			})
		}
		wg.Wait()
		e.equal(len(won), 1)
	}},
}

func producerBatch(id int64, epoch int16, seq int32, n int) *shard.Batch {
	var b shard.Builder
	for range n {
		b.Add(&shard.Record{Timestamp: time.Now().UnixMilli(), Value: []byte("p")})
	}
	return b.BuildProducer(id, epoch, seq)
}
