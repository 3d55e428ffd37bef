package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/catalog/catalogtest"
	"github.com/robustmq/robustmq-go/internal/vfs"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/tier/store/fault"
	"github.com/robustmq/robustmq-go/tier/store/mem"
	"github.com/robustmq/robustmq-go/tier/store/retry"
)

// quiet are options under which nothing happens by itself.
func quiet() Options {
	return Options{FlushInterval: time.Hour, ObjectFlushInterval: time.Hour, RetentionInterval: time.Hour, MergeInterval: time.Hour, RetentionMs: -1,
		DeleteGrace: time.Nanosecond}
}

// try appends one record and gives the outcome.
func (r *rig) try(id shard.ID, value string) (int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	b := shard.BatchOf(shard.Record{Timestamp: 1, Value: []byte(value)})
	res, err := shard.AppendWait(ctx, r.Engine, id, b, shard.AppendOptions{})
	return res.Base, err
}

// fill appends n values and gives what a reader must find.
func (r *rig) fill(id shard.ID, name string, n int) (want []string) {
	r.t.Helper()
	for i := range n {
		v := fmt.Sprintf("%s-%d", name, i)
		want = append(want, fmt.Sprintf("%d:%s", r.append(id, v), v))
	}
	return want
}

func wantKind(t *testing.T, err error, k shard.Kind) {
	t.Helper()
	if err == nil || shard.KindOf(err) != k {
		t.Fatalf("got error %v, want one that is %q", err, k)
	}
}

// TestStoreFaults: whatever the store does to a PUT, writes go on, nothing is
// lost, health tells, and when the store is well again everything gets there.
func TestStoreFaults(t *testing.T) {
	for name, f := range map[string]fault.Fault{"503": fault.Unavailable, "timeout": fault.Timeout, "answer lost": fault.LostAnswer,
		"torn": fault.TornPut, "slow": fault.Slow, "denied": fault.Denied} {
		for _, retried := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s retried %v", name, retried), func(t *testing.T) {
				ctx := context.Background()
				faulty := fault.New(mem.New(nil), fault.Options{Slowness: 20 * time.Millisecond, Choose: func(c fault.Call) fault.Fault {
					if c.Op == "put" {
						return f
					}
					return fault.None
				}})
				var st store.Store = faulty
				if retried {
					st = retry.New(faulty, retry.Options{Tries: 3, Base: time.Millisecond})
				}
				r := newRigOn(t, quiet(), catalogtest.OpenEmbedded(t), st)
				id := r.topic("a", shard.TopicConfig{}).Shard(0)
				exp := r.fill(id, "before", 5)
				err := r.Flush(ctx)
				well := f == fault.Slow || retried && f == fault.LostAnswer
				if (err == nil) != well {
					t.Fatalf("flush: %v", err)
				}
				if down, h := r.Health(); down != nil || (h == nil) != well {
					t.Fatalf("health: down %v, degraded %v", down, h)
				}
				exp = append(exp, r.fill(id, "while", 5)...)
				want(t, r.values(id, 0), exp...)
				r.crash()
				want(t, r.values(id, 0), exp...)
				faulty.Off(true)
				if err := r.Flush(ctx); err != nil {
					t.Fatal(err)
				}
				if down, h := r.Health(); down != nil || h != nil {
					t.Fatalf("health after: down %v, degraded %v", down, h)
				}
				if n := r.Stats().UnflushedBytes; n != 0 {
					t.Fatalf("%d bytes not flushed", n)
				}
				r.crash()
				want(t, r.values(id, 0), exp...)
				if base, err := r.try(id, "after"); err != nil || base != 10 {
					t.Fatalf("append after: offset %d, %v", base, err)
				}
			})
		}
	}
}

// TestCommitAnswerLost: a commit that happened and whose answer never came is
// found out about by the same segment, and committed once.
func TestCommitAnswerLost(t *testing.T) {
	var faults catalogtest.Faults
	cat := catalogtest.Open(t, catalog.Config{Embedded: t.TempDir(), LeaseTTL: 30 * time.Second, WrapKV: faults.Wrap})
	r := newRigOn(t, quiet(), cat, mem.New(nil))
	id := r.topic("a", shard.TopicConfig{}).Shard(0)
	var exp []string
	for _, lose := range []func(int){faults.LoseAnswers, faults.Fail} {
		exp = append(exp, r.fill(id, "x", 5)...)
		lose(1 << 20)
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		err := r.flusher.flush(ctx)
		cancel()
		lose(0)
		wantKind(t, err, shard.KindUnavailable)
		exp = append(exp, r.fill(id, "y", 5)...)
		want(t, r.values(id, 0), exp...)
		if err := r.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
		want(t, r.values(id, 0), exp...)
	}
	exts := r.cat.Extents(id)
	for i := 1; i < len(exts); i++ {
		if exts[i].Extent.Base != exts[i-1].Extent.Last+1 {
			t.Fatalf("extents do not follow each other: %+v", exts)
		}
	}
	r.crash()
	want(t, r.values(id, 0), exp...)
}

// TestEtcdStalled: acknowledgements stop when the lease may be over, and all that
// were given hold.
func TestEtcdStalled(t *testing.T) {
	etcd := catalogtest.StartEtcd(t)
	proxy := catalogtest.StartProxy(t, etcd.Direct())
	cfg := catalog.Config{Endpoints: []string{proxy.Addr()}, LeaseTTL: 2 * time.Second}
	r := newRigOn(t, quiet(), catalogtest.Open(t, cfg), mem.New(nil))
	id := r.topic("a", shard.TopicConfig{}).Shard(0)
	exp := r.fill(id, "flushed", 3)
	if err := r.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	exp = append(exp, r.fill(id, "tail", 3)...)
	proxy.Stall(true)
	stalled := time.Now()
	base, err := r.try(id, "within the lease")
	if err != nil {
		t.Fatalf("append while the lease lasts: %v", err)
	}
	exp = append(exp, fmt.Sprintf("%d:within the lease", base))
	for err == nil {
		if base, err = r.try(id, "x"); err == nil {
			exp = append(exp, fmt.Sprintf("%d:x", base))
		}
		if d := time.Since(stalled); err == nil && d > cfg.LeaseTTL {
			t.Fatalf("acknowledged %s after etcd was cut off, the lease lasts %s", d, cfg.LeaseTTL)
		}
		time.Sleep(5 * time.Millisecond)
	}
	wantKind(t, err, shard.KindUnavailable)
	select {
	case <-r.Lost():
	case <-time.After(30 * time.Second):
		t.Fatal("not told that the session is lost")
	}
	if down, _ := r.Health(); down == nil {
		t.Fatal("health does not say that appends are refused")
	}
	if _, err := r.Read(context.Background(), id, 0, shard.ReadOptions{MaxBytes: 1}); err != nil {
		t.Fatalf("read what is flushed: %v", err)
	}
	_, err = r.Read(context.Background(), id, 4, shard.ReadOptions{})
	wantKind(t, err, shard.KindUnavailable)
	proxy.Stall(false)
	r.crash()
	got := r.values(id, 0)
	want(t, got[:len(exp)], exp...) // what was refused may be there, after it
}

// TestEtcdRestarted: a restart shorter than the lease is not noticed by writers.
func TestEtcdRestarted(t *testing.T) {
	etcd := catalogtest.StartEtcd(t)
	r := newRigOn(t, quiet(), catalogtest.Open(t, catalog.Config{Endpoints: []string{etcd.Endpoint()}, LeaseTTL: 20 * time.Second}), mem.New(nil))
	id := r.topic("a", shard.TopicConfig{}).Shard(0)
	exp := r.fill(id, "before", 3)
	etcd.Stop()
	exp = append(exp, r.fill(id, "while", 3)...)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	wantKind(t, r.flusher.flush(ctx), shard.KindUnavailable)
	cancel()
	ctx, cancel = context.WithTimeout(context.Background(), 200*time.Millisecond)
	if _, err := r.Broker().Cluster.NextIDs(ctx, "x", 1); shard.KindOf(err) != shard.KindUnavailable {
		t.Fatalf("ids without etcd: %v", err)
	}
	cancel()
	etcd.Start()
	exp = append(exp, r.fill(id, "after", 3)...)
	if err := r.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	want(t, r.values(id, 0), exp...)
	r.crash()
	want(t, r.values(id, 0), exp...)
}

// TestWALFull: while the store is away the WAL takes what it may; then appends
// are refused, reads go on, health tells, and it all ends with a flush.
func TestWALFull(t *testing.T) {
	st := fault.New(mem.New(nil), fault.Options{Rates: map[fault.Fault]float64{fault.Unavailable: 1}})
	st.Off(true) // a new cluster needs to see its store
	o := quiet()
	o.WALFileBytes, o.WALMaxBytes, o.TailBytes = 128<<10, 512<<10, 64<<10
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), st)
	st.Off(false)
	id := r.topic("a", shard.TopicConfig{}).Shard(0)
	pad := string(make([]byte, 8<<10))
	acked := 0
	var err error
	for ; err == nil && acked < 1000; acked++ {
		_, err = r.try(id, fmt.Sprint(acked, pad))
	}
	acked--
	if !errors.Is(err, shard.ErrWALFull) || acked < 40 {
		t.Fatalf("after %d appends: %v", acked, err)
	}
	if down, _ := r.Health(); down == nil {
		t.Fatal("appends are refused, and health says they are not")
	}
	if n := len(r.values(id, 0)); n != acked {
		t.Fatalf("%d of %d can be read", n, acked)
	}
	if n := r.Stats().TailBytes; n > o.TailBytes {
		t.Fatalf("%d bytes in memory", n)
	}
	r.crash()
	st.Off(true)
	if err := r.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if base, err := r.try(id, "again"); err != nil || base != int64(acked) {
		t.Fatalf("append after: offset %d, %v", base, err)
	}
	if n := len(r.values(id, 0)); n != acked+1 {
		t.Fatalf("%d of %d can be read", n, acked+1)
	}
	if down, h := r.Health(); down != nil || h != nil {
		t.Fatal(down, h)
	}
}

// TestSlowFlushIsTold: a store that does not answer degrades before it fails.
func TestSlowFlushIsTold(t *testing.T) {
	r := newRigOn(t, quiet(), catalogtest.OpenEmbedded(t), mem.New(nil))
	r.flusher.mu.Lock()
	r.flusher.mu.began = time.Now().Add(-slowFlush)
	r.flusher.mu.Unlock()
	if down, h := r.Health(); down != nil || h == nil || !strings.Contains(h.Error(), "slow") {
		t.Fatalf("health: down %v, degraded %v", down, h)
	}
	if err := r.Engine.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if down, h := r.Health(); down != nil || h != nil {
		t.Fatalf("health after: down %v, degraded %v", down, h)
	}
}

// TestObjectAppendsAreBounded: appends that wait for an object block on a budget
// of their own, which WAL-durable ones do not notice.
func TestObjectAppendsAreBounded(t *testing.T) {
	st := fault.New(mem.New(nil), fault.Options{Rates: map[fault.Fault]float64{fault.Unavailable: 1}})
	st.Off(true) // a new cluster needs to see its store
	o := quiet()
	o.AppendBytes = 64 << 10
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), st)
	st.Off(false)
	slow := r.topic("o", shard.TopicConfig{Durability: shard.DurabilityObject}).Shard(0)
	fast := r.topic("w", shard.TopicConfig{}).Shard(0)
	var done, refused atomic.Int64
	for i := range 20 {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		r.Append(ctx, slow, shard.BatchOf(shard.Record{Value: make([]byte, 10<<10)}), shard.AppendOptions{}, shard.CompletionFunc(func(res shard.AppendResult) {
			if done.Add(1); res.Err != nil {
				refused.Add(1)
			}
		}))
		cancel()
		if refused.Load() > 0 {
			if i < 5 {
				t.Fatalf("refused after %d", i)
			}
			break
		}
	}
	if refused.Load() == 0 {
		t.Fatal("20 appends of 10 KiB fit 64 KiB")
	}
	if _, err := r.try(fast, "x"); err != nil {
		t.Fatal(err)
	}
	r.abandon() // all are told
	if n := done.Load(); n != 7 {
		t.Fatalf("%d of 7 completed", n)
	}
	r.open()
}

// TestDiskFull: the WAL's disk being full is like the WAL being full.
func TestDiskFull(t *testing.T) {
	var full atomic.Bool
	o := quiet()
	o.WALFileBytes = 64 << 10
	o.FS = vfs.Inject(vfs.NewMem(), func(op vfs.Op) error {
		if full.Load() && op.Kind == vfs.OpPreallocate {
			return syscall.ENOSPC
		}
		return nil
	})
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), mem.New(nil))
	id := r.topic("a", shard.TopicConfig{}).Shard(0)
	pad := string(make([]byte, 4<<10))
	acked := 0
	var err error
	full.Store(true)
	for ; err == nil && acked < 1000; acked++ {
		_, err = r.try(id, fmt.Sprint(acked, pad))
	}
	acked--
	waiting := 0
	if errors.Is(err, context.DeadlineExceeded) { // taken before the disk was known to be full: it waits for room
		waiting = 1
		_, err = r.try(id, "refused")
	}
	if !errors.Is(err, shard.ErrWALFull) {
		t.Fatalf("after %d appends: %v", acked, err)
	}
	if down, _ := r.Health(); down == nil {
		t.Fatal("health does not say that appends are refused")
	}
	full.Store(false)
	if err := r.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err = r.try(id, "again"); err == nil || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if n := len(r.values(id, 0)); n != acked+waiting+1 {
		t.Fatalf("%d of %d can be read", n, acked+waiting+1)
	}
}

// TestSyncFails: after EIO nothing is acknowledged, ownership is given up, and
// what was acknowledged before is brought to the store.
func TestSyncFails(t *testing.T) {
	var broken atomic.Bool
	o := quiet()
	o.WALFileBytes = 1 << 20
	o.FS = vfs.Inject(vfs.NewMem(), func(op vfs.Op) error {
		if broken.Load() && op.Kind == vfs.OpSync {
			return syscall.EIO
		}
		return nil
	})
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), mem.New(nil))
	id := r.topic("a", shard.TopicConfig{}).Shard(0)
	exp := r.fill(id, "x", 5)
	broken.Store(true)
	for range 3 {
		_, err := r.try(id, "lost")
		wantKind(t, err, shard.KindUnavailable)
	}
	select {
	case <-r.Lost():
	case <-time.After(30 * time.Second):
		t.Fatal("not told")
	}
	if down, _ := r.Health(); down == nil {
		t.Fatal("health does not say that appends are refused")
	}
	catalogtest.Eventually(t, "what was acknowledged is in the store", func() bool {
		_, last, ok := r.cat.Bounds(id)
		return ok && last == 4
	})
	catalogtest.Eventually(t, "ownership is given up", func() bool { return len(r.cat.Gateways()) == 0 })
	broken.Store(false)
	r.crash()
	got := r.values(id, 0)
	want(t, got[:5], exp...)
}

// TestWaitingAppendsAreAnswered: deleting a topic and closing the engine leave no
// append without an answer.
func TestWaitingAppendsAreAnswered(t *testing.T) {
	r := newRig(t, quiet())
	ctx := context.Background()
	answers := make(chan error, 10)
	push := func(id shard.ID, d shard.Durability, seq int32) {
		var b shard.Builder
		b.Add(&shard.Record{Value: []byte("x")})
		r.Append(ctx, id, b.BuildProducer(7, 0, seq), shard.AppendOptions{Durability: d}, shard.CompletionFunc(func(res shard.AppendResult) { answers <- res.Err }))
	}
	answer := func(k shard.Kind) {
		t.Helper()
		select {
		case err := <-answers:
			wantKind(t, err, k)
		case <-time.After(30 * time.Second):
			t.Fatal("no answer")
		}
	}
	gone := r.topic("o", shard.TopicConfig{Durability: shard.DurabilityObject}).Shard(0)
	push(gone, shard.DurabilityMemory, 0)
	if err := <-answers; err != nil {
		t.Fatal(err)
	}
	push(gone, 0, 1)
	push(gone, 0, 1) // a duplicate waits for the first
	for r.wal.Stats().QueuedBytes > 0 {
		time.Sleep(time.Millisecond)
	}
	if err := r.topics.Delete(ctx, "o"); err != nil {
		t.Fatal(err)
	}
	answer(shard.KindNotFound)
	answer(shard.KindNotFound)
	again := r.topic("o", shard.TopicConfig{Durability: shard.DurabilityObject}).Shard(0)
	if again.Topic == gone.Topic {
		t.Fatal("the same number again")
	}
	push(again, 0, 0)
	push(again, 0, 0)
	r.abandon()
	answer(shard.KindClosed)
	answer(shard.KindClosed)
	r.open()
	if err := r.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	want(t, r.values(again, 0), "0:x") // it was not acknowledged, but it is there
}
