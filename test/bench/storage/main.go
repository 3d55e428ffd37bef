// Command storage measures the storage engine of one gateway, without protocols:
//
//	restart    seconds until a gateway with a WAL of -bytes serves
//	cold       reading -bytes back from a directory store through a cache of 256 MiB
//	cold-s3    the same from a MinIO process, beside what its client library gives
//	shards     -n shards with records: append, flush, restart, retention pass
//	topics     -n topics that make themselves
//	state      a restart with -n changes of small state: cursors, retained messages, sessions
//
// With no name all are run, each in a process of its own, so that peak memory is
// its own. Figures go to standard output, one line each.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/engine"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/tier/store/dir"
)

var (
	dataDir = flag.String("dir", "", "directory for data; default: a temporary one, removed at the end")
	size    = flag.Int64("bytes", 0, "bytes to write; default 1 GiB for restart, 4 GiB for cold")
	count   = flag.Int("n", 0, "number of shards (default 1,000,000), topics (default 20,000) or changes (default 1,000,000)")
)

func main() {
	flag.Parse()
	if err := run(flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "storage:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	d := *dataDir
	if d == "" {
		var err error
		if d, err = os.MkdirTemp("", "robustmq-storage"); err != nil {
			return fmt.Errorf("make data directory: %w", err)
		}
		defer os.RemoveAll(d)
	}
	steps := map[string]func(context.Context, string) error{"restart": restart, "fill": fill, "serve": serve, "cold": cold, "cold-read": coldRead, "cold-s3": coldS3, "cold-s3-read": coldS3Read,
		"shards": shards, "shards-restart": shardsRestart, "topics": topics,
		"state": state, "state-fill": stateFill, "state-wal": stateFromWAL, "state-flush": stateFlush, "state-segments": stateFromSegments}
	if len(args) == 1 && steps[args[0]] != nil {
		return steps[args[0]](context.Background(), d)
	}
	if len(args) > 0 {
		return fmt.Errorf("unknown measurement %q", strings.Join(args, " "))
	}
	for _, name := range []string{"restart", "cold", "cold-s3", "shards", "topics", "state"} {
		sub := filepath.Join(d, name)
		if err := child(sub, name); err != nil {
			return err
		}
		if err := os.RemoveAll(sub); err != nil {
			return fmt.Errorf("clean up: %w", err)
		}
	}
	return nil
}

// child runs a step in a process of its own.
func child(d, step string) error {
	cmd := exec.Command(os.Args[0], "-dir", d, fmt.Sprint("-bytes=", *size), fmt.Sprint("-n=", *count), step)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %s: %w", step, err)
	}
	return nil
}

// node is an open engine with what is below it.
type node struct {
	*engine.Engine
	cat *catalog.Catalog
	st  store.Store
	end io.Closer // of the store
}

func open(ctx context.Context, d string) (*node, error) {
	st, err := dir.Open(filepath.Join(d, "store"), dir.Options{})
	if err != nil {
		return nil, err
	}
	return openOver(ctx, d, st, st)
}

// openOver opens an engine over a store, which the node closes.
func openOver(ctx context.Context, d string, st store.Store, end io.Closer) (*node, error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	began := time.Now()
	cat, err := catalog.Open(ctx, catalog.Config{Embedded: filepath.Join(d, "etcd"), LeaseTTL: 30 * time.Second, Logger: log})
	if err != nil {
		return nil, err
	}
	catalogTime := time.Since(began)
	began = time.Now()
	e, err := engine.Open(ctx, cat, st, engine.Options{WALDir: filepath.Join(d, "wal"), FlushInterval: time.Hour, FlushBytes: 1 << 40,
		MergeInterval: time.Hour, RetentionInterval: time.Hour, RetentionMs: -1, AutoTopics: 1 << 30, Node: shard.Node{Name: "bench-1"}, Logger: log})
	if err != nil {
		return nil, err
	}
	fmt.Printf("open: catalog %s, engine %s, resident %s\n", round(catalogTime), round(time.Since(began)), memory("VmRSS"))
	return &node{e, cat, st, end}, nil
}

func (n *node) close(ctx context.Context) error {
	if err := n.Close(ctx); err != nil {
		return err
	}
	if err := n.cat.Close(); err != nil {
		return err
	}
	return n.end.Close()
}

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// memory gives a line of /proc/self/status: VmRSS now, VmHWM at its peak.
func memory(line string) string {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "unknown"
	}
	for l := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(l, line+":"); ok {
			var kb int64
			if _, err := fmt.Sscan(v, &kb); err == nil {
				return fmt.Sprintf("%d MiB", kb>>10)
			}
		}
	}
	return "unknown"
}

// appender keeps appends in flight and collects their errors.
type appender struct {
	n    *node
	wg   sync.WaitGroup
	mu   sync.Mutex
	err  error
	slot chan struct{}
}

func newAppender(n *node) *appender { return &appender{n: n, slot: make(chan struct{}, 2000)} }

// Appended implements shard.Completion.
func (a *appender) Appended(r shard.AppendResult) {
	if r.Err != nil {
		a.mu.Lock()
		a.err = r.Err
		a.mu.Unlock()
	}
	<-a.slot
	a.wg.Done()
}

func (a *appender) append(ctx context.Context, id shard.ID, value []byte, records int) {
	b := shard.NewBuilder(records * (len(value) + 32))
	now := time.Now().UnixMilli()
	for range records {
		b.Add(&shard.Record{Timestamp: now, Value: value})
	}
	a.slot <- struct{}{}
	a.wg.Add(1)
	a.n.Append(ctx, id, b.Build(), shard.AppendOptions{}, a)
}

func (a *appender) wait() error { a.wg.Wait(); return a.err }

// write appends so many bytes to a number of shards, 10 records of 1 KiB to a batch.
func write(ctx context.Context, n *node, total, flushEach int64, shards uint32) error {
	t, err := n.Broker().Topics.Resolve(ctx, "bench", true)
	if err != nil {
		return err
	}
	if t.Shards < shards {
		if t, err = n.Broker().Topics.Update(ctx, "bench", func(x *shard.Topic) error { x.Shards = shards; return nil }); err != nil {
			return err
		}
	}
	value := make([]byte, 1024)
	a, began, since := newAppender(n), time.Now(), int64(0)
	for done := int64(0); done < total; done += 10 << 10 {
		a.append(ctx, t.Shard(uint32(done/(10<<10)%int64(shards))), value, 10)
		if since += 10 << 10; flushEach > 0 && since >= flushEach {
			since = 0
			if err := n.Flush(ctx); err != nil {
				return err
			}
		}
	}
	if err := a.wait(); err != nil {
		return err
	}
	took := time.Since(began)
	fmt.Printf("wrote %d MiB in %s: %.0f MB/s, flushes included: %v\n", total>>20, round(took), float64(total)/1e6/took.Seconds(), flushEach > 0)
	return nil
}

func bytesOr(def int64) int64 {
	if *size > 0 {
		return *size
	}
	return def
}

func restart(_ context.Context, d string) error {
	if err := child(d, "fill"); err != nil {
		return err
	}
	return child(d, "serve")
}

// fill leaves a WAL behind, as a crash does.
func fill(ctx context.Context, d string) error {
	n, err := open(ctx, d)
	if err != nil {
		return err
	}
	if err := write(ctx, n, bytesOr(1<<30), 0, 100); err != nil {
		return err
	}
	os.Exit(0)
	return nil
}

func serve(ctx context.Context, d string) error {
	began := time.Now()
	n, err := open(ctx, d)
	if err != nil {
		return err
	}
	t, _ := n.Broker().Topics.ByName("bench")
	a := newAppender(n)
	a.append(ctx, t.Shard(0), []byte("first"), 1)
	if err := a.wait(); err != nil {
		return err
	}
	fmt.Printf("restart: WAL of %d MiB, first append acknowledged after %s, peak memory %s\n", n.Stats().WAL.LiveBytes>>20, round(time.Since(began)), memory("VmHWM"))
	began = time.Now()
	if err := n.Flush(ctx); err != nil {
		return err
	}
	fmt.Printf("restart: flush of all of it %s, peak memory %s\n", round(time.Since(began)), memory("VmHWM"))
	return n.close(ctx)
}

func cold(ctx context.Context, d string) error {
	n, err := open(ctx, d)
	if err != nil {
		return err
	}
	if err := write(ctx, n, bytesOr(4<<30), 64<<20, 100); err != nil {
		return err
	}
	if err := n.close(ctx); err != nil {
		return err
	}
	return child(d, "cold-read")
}

func coldRead(ctx context.Context, d string) error {
	n, err := open(ctx, d)
	if err != nil {
		return err
	}
	t, _ := n.Broker().Topics.ByName("bench")
	began, total := time.Now(), int64(0)
	for i := range t.Shards {
		for from := int64(0); ; {
			r, err := n.Read(ctx, t.Shard(i), from, shard.ReadOptions{MaxBytes: 4 << 20})
			if err != nil {
				return err
			}
			if len(r.Batches) == 0 {
				break
			}
			for _, b := range r.Batches {
				total += int64(b.Size())
				from = b.LastOffset() + 1
			}
		}
	}
	took := time.Since(began)
	fmt.Printf("cold: read %d MiB in %s: %.0f MB/s one shard after the other, %d segments, peak memory %s\n",
		total>>20, round(took), float64(total)/1e6/took.Seconds(), n.Stats().Segments, memory("VmHWM"))
	return n.close(ctx)
}

const topicShards = 100_000

func shards(ctx context.Context, d string) error {
	n, err := open(ctx, d)
	if err != nil {
		return err
	}
	total := *count
	if total == 0 {
		total = 1_000_000
	}
	a, began := newAppender(n), time.Now()
	for done := 0; done < total; {
		t, err := n.Broker().Topics.Create(ctx, shard.Topic{Name: fmt.Sprint("many.", done), Shards: uint32(min(topicShards, total-done))})
		if err != nil {
			return err
		}
		for i := range t.Shards {
			a.append(ctx, t.Shard(i), []byte("x"), 1)
		}
		done += int(t.Shards)
	}
	if err := a.wait(); err != nil {
		return err
	}
	fmt.Printf("shards: one append to each of %d: %s, resident %s\n", total, round(time.Since(began)), memory("VmRSS"))
	began = time.Now()
	if err := n.Flush(ctx); err != nil {
		return err
	}
	fmt.Printf("shards: flush of %d: %s, %d segments, peak memory %s\n", total, round(time.Since(began)), n.Stats().Segments, memory("VmHWM"))
	if err := n.close(ctx); err != nil {
		return err
	}
	return child(d, "shards-restart")
}

func shardsRestart(ctx context.Context, d string) error {
	n, err := open(ctx, d)
	if err != nil {
		return err
	}
	s := n.Stats()
	began := time.Now()
	if err := n.Retain(ctx); err != nil {
		return err
	}
	fmt.Printf("shards: %d extents, %d shards in memory, retention pass %s, peak memory %s\n", s.Extents, s.Shards, round(time.Since(began)), memory("VmHWM"))
	return n.close(ctx)
}

func topics(ctx context.Context, d string) error {
	n, err := open(ctx, d)
	if err != nil {
		return err
	}
	total := *count
	if total == 0 {
		total = 20_000
	}
	a, began := newAppender(n), time.Now()
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < total; i += 8 {
				t, err := n.Broker().Topics.Resolve(ctx, fmt.Sprintf("auto.device.%d", i), true)
				if err != nil {
					errs <- err
					return
				}
				a.append(ctx, t.Shard(0), []byte("x"), 1)
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
	}
	if err := a.wait(); err != nil {
		return err
	}
	took := time.Since(began)
	fmt.Printf("topics: %d made by their first message in %s (%.0f a second), resident %s, peak %s\n", total, round(took), float64(total)/took.Seconds(), memory("VmRSS"), memory("VmHWM"))
	return n.close(ctx)
}
