package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/robustmq-go/test/e2e/clients"
	"github.com/robustmq/robustmq-go/test/harness"
)

// What the tests of this file publish.
const (
	copies     = 2000
	copyBytes  = 4096
	published  = copies * copyBytes
	copyWithin = 2 * time.Minute
)

// still is a broker that flushes when it stops, and not before, so that its write-ahead log holds
// all that was ever written to it.
var still = []string{
	"--set", "flush.interval=1h", "--set", "flush.bytes=1073741824", "--set", "wal.file_bytes=268435456", "--set", "background.merge_interval=1h",
}

// written is how many bytes a run wrote.
type written struct{ wal, objects int64 }

func (w written) String() string {
	return fmt.Sprintf("WAL %d (%.3f of what was published), objects %d (%.3f)",
		w.wal, float64(w.wal)/published, w.objects, float64(w.objects)/published)
}

// measure runs a load on a fresh broker and tells what it wrote.
func measure(t *testing.T, load func(ctx context.Context, p harness.Ports) error) written {
	t.Helper()
	b := harness.NewBroker(t, harness.Options{Args: still})
	ctx, cancel := context.WithTimeout(t.Context(), copyWithin)
	defer cancel()
	if err := load(ctx, b.Ports); err != nil {
		t.Fatal(err)
	}
	var w written
	b.Kill() // nothing is flushed: the log is as it was written
	w.wal = logBytes(t, filepath.Join(b.DataDir, "wal"))
	if err := b.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	w.objects = treeBytes(t, filepath.Join(b.DataDir, "objects"))
	return w
}

// logBytes is what was written to files that begin as zeros: up to the last byte that is none.
func logBytes(t *testing.T, dir string) (n int64) {
	t.Helper()
	eachFile(t, dir, func(path string, _ int64) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		n += int64(len(bytes.TrimRight(b, "\x00")))
	})
	return n
}

func treeBytes(t *testing.T, dir string) (n int64) {
	t.Helper()
	eachFile(t, dir, func(_ string, size int64) { n += size })
	return n
}

func eachFile(t *testing.T, dir string, f func(path string, size int64)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			f(path, info.Size())
		}
		return err
	})
	if err != nil {
		t.Fatalf("look through %s: %v", dir, err)
	}
}

// payloads are the values published, which do not compress.
func payloads() [][]byte {
	all := make([][]byte, copies)
	r := rand.NewChaCha8([32]byte{2})
	for i := range all {
		all[i] = make([]byte, copyBytes)
		_, _ = r.Read(all[i])
	}
	return all
}

// allOf waits until every reader has all messages, in order.
func allOf(ctx context.Context, readers map[string]clients.Reader, want [][]byte) error {
	for name, r := range readers {
		got, err := r.Wait(ctx, len(want))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if len(got) != len(want) {
			return fmt.Errorf("%s: got %d messages, want %d", name, len(got), len(want))
		}
		for i := range want {
			if !bytes.Equal(got[i].Value, want[i]) {
				return fmt.Errorf("%s: message %d is not the one published", name, i)
			}
		}
	}
	return nil
}

// TestOneCopyForAllReaders writes the same messages with one reader and with 40.
func TestOneCopyForAllReaders(t *testing.T) {
	one := measure(t, func(ctx context.Context, p harness.Ports) error { return readWith(ctx, p, 1) })
	forty := measure(t, func(ctx context.Context, p harness.Ports) error { return readWith(ctx, p, 40) })
	t.Logf("%d messages of %d bytes", copies, copyBytes)
	t.Logf(" 1 reader:  %v", one)
	t.Logf("40 readers: %v", forty)
	for _, w := range []written{one, forty} {
		if w.wal < published || w.objects < published {
			t.Errorf("%v: less than was published: the measure is wrong", w)
		}
		if w.wal > published*11/10 || w.objects > published*11/10 {
			t.Errorf("%v: more than 1.1 of what was published", w)
		}
	}
}

// readWith publishes by Kafka to n readers, of the four protocols in turn.
func readWith(ctx context.Context, p harness.Ports, n int) error {
	const subject = "one.copy"
	readers := map[string]clients.Reader{}
	defer func() {
		for _, r := range readers {
			r.Close()
		}
	}()
	for i := range n {
		protocol := clients.Protocols[(i+1)%len(clients.Protocols)] // the first is Kafka
		filter := subject
		switch protocol {
		case clients.MQTT:
			filter = "one/copy"
		case clients.AMQP:
			filter = "one.*" // a queue of its own
		}
		r, err := clients.NewReader(ctx, protocol, p, filter)
		if err != nil {
			return err
		}
		readers[fmt.Sprintf("%s %d", protocol, i)] = r
	}
	c, err := clients.DialKafka(p.Kafka, kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return err
	}
	defer c.Close()
	values := payloads()
	var rs []*kgo.Record
	for _, v := range values {
		rs = append(rs, &kgo.Record{Topic: subject, Value: v})
	}
	if err := c.ProduceSync(ctx, rs...).FirstErr(); err != nil {
		return fmt.Errorf("produce: %w", err)
	}
	return allOf(ctx, readers, values)
}

// TestOneCopyForAllQueues publishes to a fanout exchange with 20 durable queues, each read to its
// end.
func TestOneCopyForAllQueues(t *testing.T) {
	const queues = 20
	w := measure(t, func(ctx context.Context, p harness.Ports) error { return fanout(ctx, p, queues) })
	t.Logf("%d messages of %d bytes, %d queues: %v", copies, copyBytes, queues, w)
	if w.wal < published || w.wal > published*11/10 {
		t.Errorf("the write-ahead log has %d bytes: not once what was published, %d", w.wal, published)
	}
}

func fanout(ctx context.Context, p harness.Ports, queues int) error {
	c, ch, err := clients.DialAMQP(p.AMQP)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := ch.ExchangeDeclare("fan", "fanout", true, false, false, false, nil); err != nil {
		return fmt.Errorf("declare exchange: %w", err)
	}
	for i := range queues {
		q, err := ch.QueueDeclare(fmt.Sprintf("fan-%d", i), true, false, false, false, nil)
		if err != nil {
			return fmt.Errorf("declare queue: %w", err)
		}
		if err := ch.QueueBind(q.Name, "", "fan", false, nil); err != nil {
			return fmt.Errorf("bind queue: %w", err)
		}
	}
	values := payloads()
	if err := publishConfirmed(ctx, ch, "fan", values); err != nil {
		return err
	}
	errs := make(chan error, queues)
	var wg sync.WaitGroup
	for i := range queues {
		wg.Go(func() {
			got, err := clients.ReadQueue(ctx, p.AMQP, fmt.Sprintf("fan-%d", i), len(values))
			if err == nil {
				for j := range got {
					if !bytes.Equal(got[j], values[j]) {
						err = fmt.Errorf("queue %d: message %d is not the one published", i, j)
						break
					}
				}
			}
			errs <- err
		})
	}
	wg.Wait()
	for range queues {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

func publishConfirmed(ctx context.Context, ch *amqp.Channel, exchange string, values [][]byte) error {
	if err := ch.Confirm(false); err != nil {
		return fmt.Errorf("select confirms: %w", err)
	}
	var last *amqp.DeferredConfirmation
	for _, v := range values {
		var err error
		last, err = ch.PublishWithDeferredConfirmWithContext(ctx, exchange, "", false, false, amqp.Publishing{Body: v, DeliveryMode: amqp.Persistent})
		if err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	ok, err := last.WaitContext(ctx)
	if err != nil || !ok {
		return fmt.Errorf("wait for the last confirm: %v: %w", ok, err)
	}
	return nil
}
