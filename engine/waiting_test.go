package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
)

// starts is a cluster whose gateways come and go, each with a log of its own.
type starts struct {
	*rig
	ids  map[string]shard.ID // a wal, an object and a memory topic
	acks map[string][]string // "offset:value" that were acknowledged, by topic
}

func newStarts(t *testing.T, opts Options) *starts {
	t.Helper()
	if opts.FlushInterval == 0 {
		opts.FlushInterval = time.Hour
	}
	opts.ObjectFlushInterval = time.Millisecond
	s := &starts{rig: newRig(t, opts), ids: map[string]shard.ID{}, acks: map[string][]string{}}
	for name, d := range map[string]shard.Durability{"wal": shard.DurabilityDefault, "object": shard.DurabilityObject, "memory": shard.DurabilityMemory} {
		s.ids[name] = s.topic(name, shard.TopicConfig{Durability: d}).Shard(0)
	}
	return s
}

func (s *starts) publish(topic, value string) {
	s.t.Helper()
	s.acks[topic] = append(s.acks[topic], fmt.Sprintf("%d:%s", s.append(s.ids[topic], value), value))
}

// refused wants an append to be refused in the words of a log that is away.
func (s *starts) refused(topic string) {
	s.t.Helper()
	_, err := shard.AppendWait(context.Background(), s.Engine, s.ids[topic], shard.BatchOf(shard.Record{Value: []byte("no")}), shard.AppendOptions{})
	if !errors.Is(err, shard.ErrLogAway) || shard.KindOf(err) != shard.KindUnavailable {
		s.t.Fatalf("append to %s: %v", topic, err)
	}
}

// have wants what was acknowledged to be there, and nothing else.
func (s *starts) have(topic string) {
	s.t.Helper()
	got := s.values(s.ids[topic], 0)
	for end := time.Now().Add(10 * time.Second); len(got) < len(s.acks[topic]) && time.Now().Before(end); got = s.values(s.ids[topic], 0) {
		time.Sleep(time.Millisecond) // memory: told before it can be read
	}
	want(s.t, got, s.acks[topic]...)
}

// tryOpen opens an engine of that name on that directory.
func (s *starts) tryOpen(name, dir string) error {
	o := s.opts
	o.WALDir, o.WALFileBytes = dir, 1<<20
	o.Node = shard.Node{Name: name}
	o.Logger = slog.New(slog.DiscardHandler)
	e, err := Open(context.Background(), s.cat, s.store, o)
	if err == nil {
		s.Engine = e
	}
	return err
}

func (s *starts) mustOpen(name, dir string) {
	s.t.Helper()
	if err := s.tryOpen(name, dir); err != nil {
		s.t.Fatal(err)
	}
	s.dir = dir
}

// away checks a gateway that waits for the former one's log.
func (s *starts) away(owner string) {
	s.t.Helper()
	s.refused("wal")
	s.refused("memory")
	s.publish("object", "while it waits")
	s.have("object")
	b, err := s.Bounds(context.Background(), s.ids["wal"])
	if err != nil || !errors.Is(b.Waiting, shard.ErrLogAway) {
		s.t.Fatalf("bounds %+v: %v", b, err)
	}
	if b, err := s.Bounds(context.Background(), s.ids["object"]); err != nil || b.Waiting != nil {
		s.t.Fatalf("bounds %+v: %v", b, err)
	}
	if _, _, err := s.Broker().State.Get(context.Background(), "x", "y"); !errors.Is(err, shard.ErrLogAway) {
		s.t.Fatalf("state: %v", err)
	}
	if _, err := s.Broker().Groups.Get("x"); !errors.Is(err, shard.ErrLogAway) {
		s.t.Fatalf("group: %v", err)
	}
	w := s.Waiting()
	if len(w) != 1 || len(w[0].Slots) != Slots || w[0].Owner != owner {
		s.t.Fatalf("waiting %+v", w)
	}
	down, degraded := s.Health()
	if down != nil || degraded == nil || !strings.Contains(degraded.Error(), "slots 0-255 for log "+w[0].ID+" of gateway "+owner) ||
		!strings.Contains(degraded.Error(), "robustmq wal abandon") {
		s.t.Fatalf("health: %v, %v", down, degraded)
	}
}

// startedOver waits until the engine gives up ownership, and ends it.
func (s *starts) startedOver() {
	s.t.Helper()
	select {
	case <-s.Lost():
	case <-time.After(30 * time.Second):
		s.t.Fatal("the engine does not start over")
	}
	s.abandon()
}

// fill writes to all topics, some of it flushed, and crashes.
func (s *starts) fill() {
	s.t.Helper()
	for _, v := range []string{"a", "b"} {
		for name := range s.ids {
			s.publish(name, v)
		}
	}
	if err := s.Flush(context.Background()); err != nil {
		s.t.Fatal(err)
	}
	for _, name := range []string{"object", "wal", "memory"} { // that of the first flushes all before it
		s.publish(name, "c")
	}
	if err := shard.ApplyWait(context.Background(), s.state, "owner", shard.StateOp{Key: "k", Value: []byte("v")}); err != nil {
		s.t.Fatal(err)
	}
	s.abandon()
}

// TestLogGone: a start without the former log serves what is object-durable and
// nothing else, until the log is brought back.
func TestLogGone(t *testing.T) {
	for _, name := range []string{"test-1", "other"} { // the same gateway without its directory, and another one
		t.Run(name, func(t *testing.T) {
			s := newStarts(t, Options{})
			first := s.dir
			s.fill()
			s.mustOpen(name, t.TempDir())
			s.away("test-1")
			s.abandon()
			s.mustOpen(name, t.TempDir()) // a gateway that waits leaves nothing to wait for
			s.away("test-1")
			if err := s.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
			s.mustOpen("test-1", first)
			if len(s.Waiting()) != 0 {
				t.Fatalf("waiting %+v", s.Waiting())
			}
			for topic := range s.ids {
				s.publish(topic, "after")
				s.have(topic)
			}
			if v, ok, err := s.state.Get(context.Background(), "owner", "k"); err != nil || !ok || string(v.Data) != "v" {
				t.Fatalf("state %v %v: %v", v, ok, err)
			}
			s.crash()
			for topic := range s.ids {
				s.have(topic)
			}
		})
	}
}

// TestAbandon: after the log was given up the gateway goes on, at offsets that
// nobody ever had, and the log's directory does not start any more.
func TestAbandon(t *testing.T) {
	s := newStarts(t, Options{})
	first := s.dir
	s.fill()
	s.mustOpen("test-1", t.TempDir())
	s.away("test-1")
	if err := s.cat.AbandonWAL(context.Background(), s.Waiting()[0].ID, false); err != nil {
		t.Fatal(err)
	}
	s.startedOver()
	if err := s.tryOpen("test-1", first); !errors.Is(err, catalog.ErrAbandoned) {
		t.Fatalf("start with the abandoned log: %v", err)
	}
	s.open()
	for _, topic := range []string{"wal", "memory"} {
		s.acks[topic] = s.acks[topic][:2] // the third is lost
		s.have(topic)
		if r, err := s.Read(context.Background(), s.ids[topic], 3, shard.ReadOptions{}); err != nil || len(r.Batches) > 0 {
			t.Fatalf("a reader of what was lost is not at the end: %+v, %v", r, err)
		}
		if at := s.append(s.ids[topic], "d"); at != 2+maxUnflushed {
			t.Fatalf("%s goes on at %d", topic, at)
		}
		s.acks[topic] = append(s.acks[topic], fmt.Sprintf("%d:d", 2+maxUnflushed))
		s.have(topic)
		want(t, s.values(s.ids[topic], 2), s.acks[topic][2])
	}
	s.publish("object", "d")
	s.have("object")
	s.crash()
	for topic := range s.ids {
		s.publish(topic, "e")
		s.have(topic)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	rep, err := Check(context.Background(), s.cat, s.store, CheckOptions{WALDir: s.dir})
	if err != nil || len(rep.Findings) > 0 {
		t.Fatalf("verify: %v, %v", rep.Findings, err)
	}
	s.mustOpen("other", t.TempDir())
	for topic := range s.ids {
		s.publish(topic, "f")
		s.have(topic)
	}
}

// TestTwoLogsLostBeforeAFlush: no offset is given twice when one log after the
// other is lost and abandoned before anything of it was flushed.
func TestTwoLogsLostBeforeAFlush(t *testing.T) {
	s := newStarts(t, Options{})
	given := map[int64]bool{}
	for i := range 4 {
		for range 3 {
			at := s.append(s.ids["wal"], fmt.Sprint("x", i))
			if given[at] {
				t.Fatalf("offset %d is given twice", at)
			}
			given[at] = true
		}
		s.abandon()
		s.mustOpen("test-1", t.TempDir())
		id := s.Waiting()[0].ID
		s.abandon()
		if err := s.cat.AbandonWAL(context.Background(), id, true); err != nil {
			t.Fatal(err)
		}
		s.mustOpen("test-1", t.TempDir())
		if i%2 == 1 { // a crash at once, with the log this time
			s.crash()
		}
	}
}

// TestManyStarts: starts with an empty directory and no records leave nothing
// behind that grows, whether they end in good order or not, under one name or many.
func TestManyStarts(t *testing.T) {
	s := newStarts(t, Options{Durability: shard.DurabilityObject})
	s.abandon()
	for i := range 70 {
		name := "test-1"
		if i%3 == 0 {
			name = fmt.Sprint("node-", i)
		}
		s.mustOpen(name, t.TempDir())
		if len(s.Waiting()) > 0 {
			t.Fatalf("start %d waits for %+v", i, s.Waiting())
		}
		if i%10 == 0 {
			s.publish("object", fmt.Sprint(i))
		}
		if i%2 == 0 {
			s.abandon()
		} else if err := s.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	s.mustOpen("test-1", t.TempDir())
	s.have("object")
	for _, sl := range s.cat.Slots() {
		if len(sl.Pending) > 0 {
			t.Fatalf("slot %+v", sl)
		}
	}
	if n := len(s.cat.WALs()); n > 2 {
		t.Fatalf("the catalog has %d logs", n)
	}
}

// TestLogGoneOfAnObjectCluster: where the class of the cluster is object, state and
// groups are served while a topic of the class wal waits.
func TestLogGoneOfAnObjectCluster(t *testing.T) {
	s := newStarts(t, Options{Durability: shard.DurabilityObject})
	s.ids["only-wal"] = s.topic("only-wal", shard.TopicConfig{Durability: shard.DurabilityWAL}).Shard(0)
	first := s.dir
	s.publish("wal", "a") // of the cluster's class
	if err := shard.ApplyWait(context.Background(), s.state, "owner", shard.StateOp{Key: "k", Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	s.publish("only-wal", "a")
	s.abandon()
	s.mustOpen("test-1", t.TempDir())
	s.refused("only-wal")
	s.publish("wal", "b")
	s.have("wal")
	if v, ok, err := s.Broker().State.Get(context.Background(), "owner", "k"); err != nil || !ok || string(v.Data) != "v" {
		t.Fatalf("state %v %v: %v", v, ok, err)
	}
	if _, err := s.Broker().Groups.Create(context.Background(), shard.GroupConfig{Name: "g", Durable: true}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.mustOpen("test-1", first)
	s.publish("only-wal", "b")
	for _, topic := range []string{"wal", "only-wal"} {
		s.have(topic)
	}
	if _, err := s.Broker().Groups.Get("g"); err != nil {
		t.Fatal(err)
	}
}

// TestCleanStops: after a stop in good order nobody waits, whatever the class.
func TestCleanStops(t *testing.T) {
	s := newStarts(t, Options{})
	for i := range 10 {
		for topic := range s.ids {
			s.publish(topic, fmt.Sprint(i))
		}
		if err := s.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		s.mustOpen(fmt.Sprint("node-", i), t.TempDir())
		for topic := range s.ids {
			s.have(topic)
		}
	}
}

// copyDir copies a log's directory as a backup would, but for its lock.
func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(to, "lock")); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return to
}

// TestOlderLog: a log brought back from a backup over a newer one is noticed,
// whether it is from before the last start or before the last flush.
func TestOlderLog(t *testing.T) {
	t.Run("from before a start", func(t *testing.T) {
		s := newStarts(t, Options{})
		s.publish("wal", "a")
		s.abandon()
		backup := copyDir(t, s.dir)
		s.open()
		s.publish("wal", "b")
		s.abandon()
		if err := s.tryOpen("test-1", backup); !errors.Is(err, ErrLogOlder) {
			t.Fatalf("start: %v", err)
		}
		s.open()
		s.have("wal")
	})
	t.Run("from before a flush", func(t *testing.T) {
		s := newStarts(t, Options{})
		s.publish("wal", "a")
		backup := copyDir(t, s.dir)
		for range 3 {
			s.publish("wal", "b")
			if err := s.Flush(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		s.publish("wal", "c")
		s.abandon()
		if err := s.tryOpen("test-1", backup); !errors.Is(err, ErrLogOlder) {
			t.Fatalf("start: %v", err)
		}
		s.open()
		s.have("wal")
	})
}

// TestSalvage: what a log holds is committed beside a gateway that waits for it,
// from wherever its directory is; that gateway starts over and has everything.
func TestSalvage(t *testing.T) {
	s := newStarts(t, Options{})
	first := s.dir
	s.fill()
	s.mustOpen("other", t.TempDir())
	s.away("test-1")
	id := s.Waiting()[0].ID
	slots, losses, err := Losses(s.cat, id, shard.DurabilityWAL, false)
	if err != nil || len(slots) != Slots || len(losses) != 2+Slots || losses[len(losses)-1].Topic != "wal" || losses[len(losses)-1].From != 2 {
		t.Fatalf("%d slots, losses %+v: %v", len(slots), losses, err)
	}
	moved := copyDir(t, first)
	for range 2 { // the second finds that nobody waits any more
		rep, err := Salvage(context.Background(), s.cat, s.store, SalvageOptions{Dir: moved, Durability: shard.DurabilityWAL})
		if err != nil || rep.Log != id || rep.Overtaken != 0 || !rep.Clean && rep.Batches < 3 {
			t.Fatalf("report %+v: %v", rep, err)
		}
	}
	s.startedOver()
	s.open()
	if len(s.Waiting()) > 0 {
		t.Fatalf("waiting %+v", s.Waiting())
	}
	for topic := range s.ids {
		s.have(topic)
		s.publish(topic, "d")
	}
	if v, ok, err := s.state.Get(context.Background(), "owner", "k"); err != nil || !ok || string(v.Data) != "v" {
		t.Fatalf("state %v %v: %v", v, ok, err)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.mustOpen("test-1", first) // all it holds is in segments
	for topic := range s.ids {
		s.have(topic)
	}
}

// TestComeBackBesideAnother: a gateway that comes back while another one waits for its
// log commits what the log holds; the other one goes on with it.
func TestComeBackBesideAnother(t *testing.T) {
	s := newStarts(t, Options{})
	first := s.dir
	s.fill()
	s.mustOpen("other", t.TempDir())
	s.away("test-1")
	other := s.Engine
	back := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var came *Engine
	go func() {
		o := s.opts
		o.WALDir, o.WALFileBytes, o.Node, o.Logger = first, 1<<20, shard.Node{Name: "test-1"}, slog.New(slog.DiscardHandler)
		var err error
		came, err = Open(ctx, s.cat, s.store, o)
		back <- err
	}()
	select {
	case <-other.Lost():
	case err := <-back:
		t.Fatalf("the gateway that came back: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("the other gateway does not start over")
	}
	cancel()
	if err := <-back; err == nil { // it was first to claim what the other gave up
		came.abandon()
	}
	s.abandon()
	s.open()
	for topic := range s.ids {
		s.have(topic)
		s.publish(topic, "after")
	}
}

// TestSalvageRefuses: a log that is not known, was given up, or is an older one.
func TestSalvageRefuses(t *testing.T) {
	s := newStarts(t, Options{})
	if _, err := Salvage(context.Background(), s.cat, s.store, SalvageOptions{Dir: s.dir}); err == nil {
		t.Fatal("a log that is open was salvaged")
	}
	if _, err := Salvage(context.Background(), s.cat, s.store, SalvageOptions{Dir: t.TempDir()}); shard.KindOf(err) != shard.KindNotFound {
		t.Fatalf("an empty directory: %v", err)
	}
	s.publish("wal", "a")
	backup := copyDir(t, s.dir)
	if err := s.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.publish("wal", "b")
	if err := s.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	first := s.dir
	s.abandon()
	if _, err := Salvage(context.Background(), s.cat, s.store, SalvageOptions{Dir: backup, Alone: true}); !errors.Is(err, ErrLogOlder) {
		t.Fatalf("an older log: %v", err)
	}
	if err := s.cat.AbandonWAL(context.Background(), s.walID(), true); err != nil {
		t.Fatal(err)
	}
	if _, err := Salvage(context.Background(), s.cat, s.store, SalvageOptions{Dir: first, Alone: true}); !errors.Is(err, catalog.ErrAbandoned) {
		t.Fatalf("an abandoned log: %v", err)
	}
}

// TestTopicBecomesObjectDurable: what was acknowledged before is in segments then,
// since nobody waits for a log because of such a topic; and while somebody waits,
// no topic changes its class.
func TestTopicBecomesObjectDurable(t *testing.T) {
	s := newStarts(t, Options{})
	s.publish("wal", "a")
	change := func(d shard.Durability) error {
		_, err := s.topics.Update(context.Background(), "wal", func(x *shard.Topic) error { x.Config.Durability = d; return nil })
		return err
	}
	if err := change(shard.DurabilityObject); err != nil {
		t.Fatal(err)
	}
	s.publish("wal", "b")
	s.abandon()
	s.mustOpen("test-1", t.TempDir())
	if len(s.Waiting()) != 1 {
		t.Fatalf("waiting %+v", s.Waiting())
	}
	s.have("wal")
	s.publish("wal", "c")
	if err := change(shard.DurabilityWAL); !errors.Is(err, shard.ErrLogAway) {
		t.Fatalf("change of class while a log is away: %v", err)
	}
}
