package crash

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/robustmq/robustmq-go/test/e2e/clients"
	"github.com/robustmq/robustmq-go/test/harness"
)

var (
	kills = flag.Int("kills", 20, "rounds that end in SIGKILL")
	seed  = flag.Uint64("seed", 0, "of the moments to kill at; 0: one by the clock")
)

// A broker that flushes, merges and trims all the time.
var busy = []string{
	"--set", "flush.interval=300ms", "--set", "flush.bytes=1048576",
	"--set", "background.merge_interval=1s", "--set", "background.merge_segments=4", "--set", "background.delete_grace=1s",
}

// stepWithin bounds each step of a round.
const stepWithin = 60 * time.Second

type run struct {
	t        *testing.T
	b        *harness.Broker
	rnd      *rand.Rand
	ledgers  []*Ledger
	writers  []Writer
	producer *KafkaProducer
	end      func() error // of the broker, in the middle of a round
	ends     []time.Duration
	starts   []time.Duration
	lost     map[string]int
}

// TestKill is the test of the package comment.
func TestKill(t *testing.T) {
	r := newRun(t)
	r.end = func() error { r.b.Kill(); return nil }
	r.play(*kills)
}

// TestDrain ends the broker in good order instead, under the same load: it must be done in time,
// though its clients go on, and what a client of it repeats is what it could not acknowledge.
func TestDrain(t *testing.T) {
	r := newRun(t)
	r.end = r.b.Stop
	r.play(3)
}

func newRun(t *testing.T) *run {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed=%d", *seed)
	r := &run{t: t, b: harness.NewBroker(t, harness.Options{Args: busy}), rnd: rand.New(rand.NewPCG(*seed, 0)), lost: map[string]int{}}
	for _, protocol := range clients.Protocols {
		l := NewLedger(protocol, subjects+"."+protocol)
		l.Once, l.Acks = protocol == clients.Kafka, protocol != clients.NATS
		r.ledgers = append(r.ledgers, l)
	}
	return r
}

// play runs the rounds and checks everything.
func (r *run) play(rounds int) {
	t := r.t
	var err error
	if r.producer, err = NewKafkaProducer(r.b.Ports); err != nil {
		t.Fatal(err)
	}
	r.writers = []Writer{WriteMQTT, r.producer.Write, WriteNATS, WriteAMQP}

	sinks := []*Sink{NewSink("amqp queue", r.ledgers), NewSink("mqtt session", r.ledgers)}
	stop := r.start(sinks)
	for i := range rounds {
		if err := r.round(); err != nil {
			t.Fatalf("round %d: %v", i+1, err)
		}
	}
	r.settle()
	for _, s := range sinks {
		r.complete(s)
	}
	stop()
	r.report(sinks)
	r.fromObjects()
	r.quiet(sinks)
}

// start runs the sinks and waits until both stand; the function it returns ends them.
func (r *run) start(sinks []*Sink) (stop func()) {
	ctx, cancel := context.WithCancel(r.t.Context())
	var wg sync.WaitGroup
	before := make([]int, len(sinks))
	for i, s := range sinks {
		_, _, before[i], _ = s.Figures()
	}
	wg.Go(func() { sinks[0].RunAMQP(ctx, r.b.Ports) })
	wg.Go(func() { sinks[1].RunMQTT(ctx, r.b.Ports) })
	stop = func() { cancel(); wg.Wait() }
	r.t.Cleanup(stop)
	deadline := time.Now().Add(stepWithin)
	for i, s := range sinks {
		for {
			if _, _, n, _ := s.Figures(); n > before[i] {
				break
			}
			if time.Now().After(deadline) {
				r.t.Fatalf("%s does not connect", s.Name)
			}
			time.Sleep(retryEvery)
		}
	}
	return stop
}

// round writes, kills, starts again and reads what is new.
func (r *run) round() error {
	ctx, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	var wg sync.WaitGroup
	early := make(chan error, len(r.writers))
	for i, w := range r.writers {
		wg.Go(func() {
			if err := w(ctx, r.b.Ports, r.ledgers[i]); err != nil {
				early <- fmt.Errorf("%s writer: %w", r.ledgers[i].Protocol, err)
			}
		})
	}
	var err error
	select {
	case <-time.After(time.Duration(150+r.rnd.IntN(750)) * time.Millisecond):
	case err = <-early:
	}
	began := time.Now()
	ended := r.end()
	r.ends = append(r.ends, time.Since(began))
	cancel()
	wg.Wait()
	if err != nil {
		return fmt.Errorf("before the end: %w", err)
	}
	if ended != nil {
		return ended
	}
	var expected [][]bool
	for _, l := range r.ledgers {
		expected = append(expected, l.Expected())
	}
	if err := r.b.Start(r.t.Context()); err != nil {
		return err
	}
	r.starts = append(r.starts, r.b.StartupTime())
	if err := r.readBack(); err != nil {
		return err
	}
	for i, l := range r.ledgers {
		if lost := l.Missing(expected[i]); len(lost) > 0 {
			r.lost[l.Protocol] += len(lost)
			r.t.Errorf("%s: %d acknowledged messages are lost, the first is %d", l.Protocol, len(lost), lost[0])
		}
	}
	return nil
}

// readBack reads every ledger's shard on to its end, by Kafka.
func (r *run) readBack() error {
	ctx, cancel := context.WithTimeout(r.t.Context(), stepWithin)
	defer cancel()
	errs := make([]error, len(r.ledgers))
	var wg sync.WaitGroup
	for i, l := range r.ledgers {
		wg.Go(func() { errs[i] = readOn(ctx, r.b.Ports.Kafka, l) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func readOn(ctx context.Context, port int, l *Ledger) error {
	c, err := clients.DialKafka(port)
	if err != nil {
		return err
	}
	ends, err := kadm.NewClient(c).ListEndOffsets(ctx, l.Subject)
	c.Close()
	if err != nil {
		return fmt.Errorf("list offsets of %s: %w", l.Subject, err)
	}
	end, ok := ends.Lookup(l.Subject, 0)
	if !ok || errors.Is(end.Err, kerr.UnknownTopicOrPartition) {
		return nil // no message of it was stored yet
	}
	if end.Err != nil {
		return fmt.Errorf("list offsets of %s: %w", l.Subject, end.Err)
	}
	rs, err := clients.ReadRange(ctx, port, l.Subject, 0, l.At(), end.Offset)
	for _, rec := range rs {
		l.Read(rec.Offset, rec.Value)
	}
	return err
}

// settle lets the Kafka producer finish: then all it sent is there, once.
func (r *run) settle() {
	ctx, cancel := context.WithTimeout(r.t.Context(), stepWithin)
	defer cancel()
	if err := r.producer.Close(ctx); err != nil {
		r.t.Errorf("close the producer: %v", err)
	}
	if err := r.readBack(); err != nil {
		r.t.Fatal(err)
	}
	for _, l := range r.ledgers {
		c := l.Counts()
		if l.Once && (c.Records != c.Sent || c.Acked != c.Sent) {
			r.t.Errorf("%s: %d sent, %d acknowledged, %d records: want all three the same", l.Protocol, c.Sent, c.Acked, c.Records)
		}
		if c.Records == 0 || l.Acks && c.Acked == 0 {
			r.t.Errorf("%s: %d records, %d acknowledged: nothing was tested", l.Protocol, c.Records, c.Acked)
		}
		for _, f := range c.Faults {
			r.t.Error(f)
		}
	}
}

// complete waits until a sink has all that is in the log.
func (r *run) complete(s *Sink) {
	deadline := time.Now().Add(stepWithin)
	for {
		missing := 0
		var which []string
		for _, l := range r.ledgers {
			if m := s.Missing(l, l.Kept()); len(m) > 0 {
				missing += len(m)
				which = append(which, fmt.Sprintf("%s %d to %d (%d)", l.Protocol, m[0], m[len(m)-1], len(m)))
			}
		}
		if missing == 0 {
			return
		}
		if time.Now().After(deadline) {
			r.t.Errorf("%s: %d messages never came: %s", s.Name, missing, strings.Join(which, ", "))
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (r *run) report(sinks []*Sink) {
	r.t.Logf("%-14s %9s %12s %9s %6s %10s %10s", "writer", "sent", "acknowledged", "in log", "lost", "duplicated", "reordered")
	for _, l := range r.ledgers {
		c := l.Counts()
		acked := fmt.Sprint(c.Acked)
		if !l.Acks {
			acked = "-"
		}
		r.t.Logf("%-14s %9d %12s %9d %6d %10d %10d", l.Protocol, c.Sent, acked, c.Records, r.lost[l.Protocol], c.Duplicates, len(c.Faults))
	}
	for _, s := range sinks {
		delivered, repeated, connected, faults := s.Figures()
		r.t.Logf("%-14s %9d deliveries, of these %d repeated, over %d connections", s.Name, delivered, repeated, connected)
		for _, f := range faults {
			r.t.Error(f)
		}
	}
	r.t.Logf("%d rounds; ended within %v on average, %v at most; ready again after %v on average, %v at most", len(r.starts),
		mean(r.ends), slices.Max(r.ends).Round(time.Millisecond), mean(r.starts), slices.Max(r.starts).Round(time.Millisecond))
}

func mean(ds []time.Duration) time.Duration {
	var sum time.Duration
	for _, d := range ds {
		sum += d
	}
	return (sum / time.Duration(len(ds))).Round(time.Millisecond)
}

// fromObjects stops the broker in good order, takes its write-ahead log away, and reads everything
// again by Kafka and by AMQP: it can only come from the object store.
func (r *run) fromObjects() {
	if err := r.b.Stop(); err != nil {
		r.t.Fatal(err)
	}
	objects, bytes := du(r.t, filepath.Join(r.b.DataDir, "objects"))
	if err := os.RemoveAll(filepath.Join(r.b.DataDir, "wal")); err != nil {
		r.t.Fatal(err)
	}
	if err := r.b.Start(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), 5*stepWithin)
	defer cancel()
	for _, l := range r.ledgers {
		want := l.At()
		rs, err := clients.ReadRange(ctx, r.b.Ports.Kafka, l.Subject, 0, 0, want)
		if err != nil || int64(len(rs)) != want {
			r.t.Errorf("%s: %d records read from object storage, want %d: %v", l.Protocol, len(rs), want, err)
			continue
		}
		values, err := clients.ReadQueue(ctx, r.b.Ports.AMQP, l.Subject, len(rs))
		if err != nil {
			r.t.Errorf("%s: read by amqp: %v", l.Protocol, err)
		}
		for i, rec := range rs {
			if _, err := l.number(rec.Value); err != nil {
				r.t.Fatalf("%s: offset %d: %v", l.Protocol, rec.Offset, err)
			}
			if i < len(values) && string(values[i]) != string(rec.Value) {
				r.t.Fatalf("%s: amqp's message %d is not kafka's", l.Protocol, i)
			}
		}
	}
	r.t.Logf("read again by kafka and by amqp without the write-ahead log: all, from %d objects of %d bytes in all", objects, bytes)
}

// quiet wants the durable readers to get nothing again after the clean stop: all is acknowledged.
func (r *run) quiet(sinks []*Sink) {
	var before []int
	for _, s := range sinks {
		n, _, _, _ := s.Figures()
		before = append(before, n)
	}
	stop := r.start(sinks)
	time.Sleep(time.Second)
	stop()
	for i, s := range sinks {
		if n, _, _, _ := s.Figures(); n != before[i] {
			r.t.Errorf("%s: %d deliveries after a clean stop, though all was acknowledged", s.Name, n-before[i])
		}
	}
}

// du counts the files below a folder and their bytes.
func du(t *testing.T, dir string) (files int, bytes int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		files, bytes = files+1, bytes+info.Size()
		return nil
	})
	if err != nil {
		t.Fatalf("look through %s: %v", dir, err)
	}
	return files, bytes
}
