package engine

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/engine/producer"
	"github.com/robustmq/robustmq-go/shard"
)

// fillFlushed gives a shard some flushed batches of no producer.
func (r *rig) fillFlushed(id shard.ID, n int) {
	r.t.Helper()
	for i := range n {
		r.append(id, fmt.Sprint("plain", i))
	}
	if err := r.Flush(context.Background()); err != nil {
		r.t.Fatal(err)
	}
}

// TestFirstProducerReadsNothing: a shard that others have filled takes its first
// idempotent batch without a look at what they wrote, also after restarts.
func TestFirstProducerReadsNothing(t *testing.T) {
	r := newRig(t, quiet())
	id := r.topic("filled", shard.TopicConfig{}).Shard(0)
	r.fillFlushed(id, 100)
	reopen := []func(){func() {}, r.crash, func() { _ = r.Close(context.Background()); r.open() }}
	for i, fn := range reopen {
		fn()
		before := r.counters.producerReads.Load()
		if _, err := r.produce(id, int64(100+i), 0, "first"); err != nil {
			t.Fatal(err)
		}
		read := r.counters.producerReads.Load() - before
		if i == 0 && read > 0 || i > 0 && read > 2 { // then from the note on
			t.Errorf("start %d: %d reads", i, read)
		}
		r.fillFlushed(id, 20)
	}
	for i := range reopen { // all of them are known
		if _, err := r.produce(id, int64(100+i), 5, "gap"); !errors.Is(err, shard.ErrOutOfOrderSequence) {
			t.Errorf("producer %d: %v", 100+i, err)
		}
	}
}

// TestProducersOfOldTopics: of a topic made by a version without notes the shard is
// read once; what was found is kept.
func TestProducersOfOldTopics(t *testing.T) {
	r := newRig(t, quiet())
	id := r.topic("old", shard.TopicConfig{}).Shard(0)
	r.notedSince = id.Topic + 1
	r.fillFlushed(id, 50)
	if _, err := r.produce(id, 7, 0, "a"); err != nil {
		t.Fatal(err)
	}
	first := r.counters.producerReads.Load()
	if first == 0 {
		t.Fatal("nothing was read")
	}
	r.crash()
	r.notedSince = id.Topic + 1
	if _, err := r.produce(id, 7, 2, "c"); !errors.Is(err, shard.ErrOutOfOrderSequence) {
		t.Fatal(err)
	}
	if read := r.counters.producerReads.Load(); read > 1 { // what came after the note
		t.Errorf("%d reads after the restart", read)
	}
}

// TestProducersBeforeTheFlush: what the WAL alone has of a producer is known after a crash.
func TestProducersBeforeTheFlush(t *testing.T) {
	r := newRig(t, quiet())
	id := r.topic("p", shard.TopicConfig{}).Shard(0)
	r.append(id, "plain")
	base, err := r.produce(id, 7, 0, "a")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r.crash()
		if again, err := r.produce(id, 7, 0, "a"); err != nil || again != base {
			t.Fatalf("the retry is at %d, not %d: %v", again, base, err)
		}
	}
}

// TestAppendsParkWhileProducersLoad: Append comes back at once while the shard is
// read; others' appends pass, those of the same origin stay behind, and a context
// that ends ends the wait, in order.
func TestAppendsParkWhileProducersLoad(t *testing.T) {
	r := newRig(t, quiet())
	id := r.topic("parks", shard.TopicConfig{}).Shard(0)
	r.notedSince = id.Topic + 1
	r.fillFlushed(id, 10)
	for range producerReads { // nobody reads
		r.producerReads <- struct{}{}
	}
	results := make(chan string, 10)
	send := func(ctx context.Context, name string, pid int64, seq int32, origin shard.Origin) {
		var b shard.Builder
		b.Add(&shard.Record{Value: []byte(name)})
		batch := b.BuildProducer(pid, 0, seq)
		if pid < 0 {
			batch = shard.BatchOf(shard.Record{Value: []byte(name)})
		}
		r.Append(ctx, id, batch, shard.AppendOptions{Origin: origin}, shard.CompletionFunc(func(res shard.AppendResult) {
			results <- fmt.Sprintf("%s %d %v", name, res.Base, res.Err == nil)
		}))
	}
	ended, cancel := context.WithCancel(context.Background())
	ctx := context.Background()
	send(ctx, "a0", 1, 0, 5)
	send(ended, "b0", 2, 0, 6)
	send(ctx, "b1", 2, 1, 6)
	send(ctx, "plain5", -1, 0, 5)
	send(ctx, "plain7", -1, 0, 7)
	if got := <-results; got != "plain7 10 true" {
		t.Fatal(got)
	}
	cancel()
	want(t, []string{<-results, <-results}, "b0 0 false", "b1 0 false")
	for range producerReads {
		<-r.producerReads
	}
	want(t, []string{<-results, <-results}, "a0 11 true", "plain5 12 true")
	if n := r.loads.Load(); n > 1 {
		t.Errorf("%d loads", n)
	}
}

// TestLoadGoesOn: a load that failed goes on where it was.
func TestLoadGoesOn(t *testing.T) {
	r := newRig(t, quiet())
	id := r.topic("goes", shard.TopicConfig{}).Shard(0)
	r.append(id, "x")
	s, _, err := r.owned(id)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.producers.partial = &scanned{producer.New(producer.Limits{}), s.next}
	s.mu.Unlock()
	if _, err := r.produce(id, 1, 0, "a"); err != nil {
		t.Fatal(err)
	}
	if n := r.counters.producerReads.Load(); n > 0 {
		t.Errorf("%d reads of what was read", n)
	}
}

// TestProducerNotes: a table is saved after so much log or so long, not at each flush, and when the engine closes.
func TestProducerNotes(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	o := quiet()
	o.Now = func() time.Time { return now }
	r := newRig(t, o)
	id := r.topic("notes", shard.TopicConfig{}).Shard(0)
	rev := func() int64 {
		v, _, err := r.state.Get(context.Background(), shardStateOwner(id), shardStateKey("producers", id))
		if err != nil {
			t.Fatal(err)
		}
		return v.Rev
	}
	produce := func(seq int32) {
		t.Helper()
		if _, err := r.produce(id, 1, seq, "v"); err != nil {
			t.Fatal(err)
		}
		for done := false; !done; done = !r.unsettled(context.Background()) { // it notes things itself
			if err := r.Flush(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	produce(0)
	first := rev()
	produce(1)
	if first == 0 || rev() != first {
		t.Fatalf("saved at each flush: %d, %d", first, rev())
	}
	now = now.Add(producerSaveMs * time.Millisecond)
	produce(2)
	second := rev()
	for deadline := time.Now().Add(10 * time.Second); second == first; second = rev() {
		if time.Now().After(deadline) {
			t.Fatal("not saved after its time")
		}
		time.Sleep(time.Millisecond)
	}
	produce(3)
	if err := r.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.open()
	if rev() == second {
		t.Error("not saved at the end")
	}
	if _, err := r.produce(id, 1, 4, "v"); err != nil {
		t.Fatal(err)
	}
	if n := r.counters.producerReads.Load(); n > 0 {
		t.Errorf("%d reads after a clean stop", n)
	}
}
