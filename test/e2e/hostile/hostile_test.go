package hostile

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/robustmq/robustmq-go/test/e2e/clients"
	"github.com/robustmq/robustmq-go/test/harness"
)

const (
	// memoryBound is what the broker may grow by, in bytes: two decompressions at a time of 64 MiB
	// memoryBound is what the broker may grow by, in bytes: requests of 8 MiB in flight, decoders
	// with their windows, and a garbage collector that runs at twice the live heap. A bomb itself
	// is counted, not kept.
	memoryBound = 192 << 20
	// maxConnections of one protocol, loginTimeout as configured.
	maxConnections = 300
	loginTimeout   = 2 * time.Second
	// patience bounds how long a connection may take to end.
	patience = 10 * time.Second
	seed     = 20260101
)

// scene is the broker with its bystanders.
type scene struct {
	t          *testing.T
	b          *harness.Broker
	bystanders []*bystander
	watch      *watch
	base       int
}

func TestHostile(t *testing.T) {
	s := &scene{t: t, b: harness.NewBroker(t, harness.Options{Args: []string{
		"--set", fmt.Sprintf("limits.max_connections=%d", maxConnections), "--set", "limits.login_timeout=" + loginTimeout.String(),
		"--set", "nats.auth_timeout=" + loginTimeout.String(),
	}})}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, p := range clients.Protocols {
		by := newBystander(t, p, s.b.Ports)
		s.bystanders = append(s.bystanders, by)
		wg.Go(func() {
			defer by.w.Close()
			defer by.r.Close()
			by.run(ctx)
		})
	}
	s.watch = &watch{pid: s.b.Proc().Pid()}
	wg.Go(func() { s.watch.run(ctx) })
	s.phase("nothing", func(*testing.T) { time.Sleep(time.Second) })
	s.phase("huge lengths", s.hugeLengths)
	s.phase("every prefix", s.prefixes)
	s.phase("random bytes", s.randomBytes)
	s.phase("slow loris", s.slowLoris)
	s.phase("flood", s.flood)
	s.phase("decompression bombs", s.bombs)
}

// phase runs an attack and holds the broker to its promises.
func (s *scene) phase(name string, attack func(t *testing.T)) {
	s.t.Run(name, func(t *testing.T) {
		s.watch.take()
		for _, by := range s.bystanders {
			by.take()
		}
		began := time.Now()
		attack(t)
		time.Sleep(200 * time.Millisecond)
		peak := s.watch.take()
		if s.base == 0 {
			s.base = peak
		}
		fmt.Printf("%-20s %6v  peak VmRSS %d MiB (before: %d)\n", name, time.Since(began).Round(time.Millisecond), peak>>20, s.base>>20)
		if peak > s.base+memoryBound {
			t.Errorf("memory grew from %d to %d MiB", s.base>>20, peak>>20)
		}
		for _, by := range s.bystanders {
			took, err := by.take()
			fmt.Printf("    %-6s %s\n", by.protocol, summary(took))
			if err != nil {
				t.Errorf("the well-behaved %s client: %v", by.protocol, err)
			}
		}
	})
}

// all runs do n times, 32 at once, and reports errors.
func all(t *testing.T, n int, do func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	room := make(chan struct{}, 32)
	for i := range n {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			if err := do(i); err != nil && !t.Failed() {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// hugeLengths announces more than is allowed, without sending it; the broker says so at once, in
// the protocol's words.
func (s *scene) hugeLengths(t *testing.T) {
	p := s.b.Ports
	amqp := strings.Join(amqpLogin(), "")
	cases := []struct {
		name string
		port int
		text string
		want string // in what comes back; Kafka has no word before a frame is read
	}{
		{"MQTT remaining length", p.MQTT, mqttConnect() + "\x30\xff\xff\xff\x7f", "\xe0"},
		{"MQTT malformed length", p.MQTT, mqttConnect() + "\x30\xff\xff\xff\xff\xff", "\xe0"},
		{"MQTT before CONNECT", p.MQTT, "\x10\xff\xff\xff\x7f", ""},
		{"MQTT string", p.MQTT, mqttConnect() + "\x30\x04\xff\xffab", "\xe0"},
		{"Kafka size", p.Kafka, "\x7f\xff\xff\xff" + be16(18) + be16(0) + be32(1), ""},
		{"Kafka negative size", p.Kafka, "\xff\xff\xff\xff" + be16(18) + be16(0) + be32(1), ""},
		{"Kafka array", p.Kafka, kafkaFrame(3, 1, "\x7f\xff\xff\xff"), ""},
		{"Kafka string", p.Kafka, kafkaFrame(3, 1, be32(1)+"\x7f\xff"), ""},
		{"NATS payload", p.NATS, natsConnect + "PUB x 999999999\r\n", "-ERR 'Maximum Payload Violation'"},
		{"NATS number", p.NATS, natsConnect + "PUB x 99999999999999999999999\r\n", "-ERR '"},
		{"NATS control line", p.NATS, natsConnect + "SUB " + strings.Repeat("x", 200<<10), "-ERR 'maximum control line exceeded'"},
		{"AMQP frame", p.AMQP, amqp + "\x01\x00\x01\xff\xff\xff\xff", be16(501)},
		{"AMQP frame before login", p.AMQP, amqpHeader + "\x01\x00\x00\xff\xff\xff\xff", ""},
		{"AMQP string", p.AMQP, amqp + amqpFrame(1, 1, "\x00\x32\x00\x0a\x00\x00\xff"), "\x00\x0a\x00\x32"},
		{"admin header", p.Admin, "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 2<<20), "431"},
	}
	all(t, 10*len(cases), func(i int) error {
		c := cases[i%len(cases)]
		got, err := talk(c.port, c.text, strings.HasPrefix(c.want, "\x00\x0a"), patience)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if !strings.Contains(got, c.want) {
			return fmt.Errorf("%s: got %q, want %q in it", c.name, got, c.want)
		}
		return nil
	})
	// Large frames that are allowed, and announced, and do not come: no memory for them.
	var held []net.Conn
	for range 50 {
		c, err := net.Dial("tcp", harness.Addr(p.Kafka))
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
		_, _ = c.Write([]byte(kafkaFrame(18, 0, "") + be32(90<<20) + be16(0) + be16(7) + be32(2) + "\x00\x00"))
	}
	time.Sleep(500 * time.Millisecond)
	for _, c := range held {
		_ = c.Close()
	}
}

// prefixes sends every prefix of a valid conversation.
func (s *scene) prefixes(t *testing.T) {
	for _, g := range everywhere(s.b.Ports) {
		valid := strings.Join(g.valid, "")
		all(t, len(valid), func(n int) error {
			if _, err := talk(g.port, valid[:n], true, patience); err != nil {
				return fmt.Errorf("%s, %d of %d bytes: %w", g.name, n, len(valid), err)
			}
			return nil
		})
	}
}

// randomBytes sends noise, alone and after each step of a valid conversation, and valid
// conversations with some bytes changed.
func (s *scene) randomBytes(t *testing.T) {
	for k, g := range everywhere(s.b.Ports) {
		valid := strings.Join(g.valid, "")
		all(t, 200, func(i int) error {
			r := rand.New(rand.NewPCG(seed, uint64(1000*k+i)))
			noise := make([]byte, 1+r.IntN(8<<10))
			for j := range noise {
				noise[j] = byte(r.Uint32())
			}
			text := strings.Join(g.valid[:i%(len(g.valid)+1)], "") + string(noise)
			if i%2 == 1 {
				b := []byte(valid)
				for range 1 + r.IntN(4) {
					b[r.IntN(len(b))] = byte(r.Uint32())
				}
				text = string(b)
			}
			if _, err := talk(g.port, text, true, patience); err != nil {
				return fmt.Errorf("%s, conversation %d of seed %d: %w", g.name, i, seed, err)
			}
			return nil
		})
	}
}

// slowLoris sends a login byte by byte; the broker does not wait for the end of it.
func (s *scene) slowLoris(t *testing.T) {
	var wg sync.WaitGroup
	for _, g := range everywhere(s.b.Ports) {
		for range 50 {
			wg.Go(func() {
				if err := loris(g); err != nil {
					t.Errorf("%s: %v", g.name, err)
				}
			})
		}
	}
	wg.Wait()
}

func loris(g target) error {
	c, err := net.DialTimeout("tcp", harness.Addr(g.port), patience)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(loginTimeout + patience))
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for _, b := range []byte(g.valid[0][:len(g.valid[0])-1]) { // never the last byte
			if _, err := c.Write([]byte{b}); err != nil {
				return
			}
			select {
			case <-time.After(loginTimeout):
			case <-stop:
				return
			}
		}
	}()
	_, err = drain(c)
	return err
}

// flood opens connections over the cap: those over it end at once, the rest in time, and then there
// is room again.
func (s *scene) flood(t *testing.T) {
	for _, g := range gateways(s.b.Ports) {
		var open []net.Conn
		for range maxConnections + 100 {
			c, err := net.DialTimeout("tcp", harness.Addr(g.port), patience)
			if err != nil {
				t.Fatalf("%s: %v", g.name, err)
			}
			open = append(open, c)
		}
		ended := make(chan int, len(open))
		for i, c := range open {
			go func() {
				_ = c.SetReadDeadline(time.Now().Add(loginTimeout + patience))
				if _, err := drain(c); err != nil {
					i = -1
				}
				ended <- i
			}()
		}
		late := 0
		for range open {
			if <-ended < 0 {
				late++
			}
		}
		if late > 0 {
			t.Errorf("%s: %d of %d silent connections go on", g.name, late, len(open))
		}
		for _, c := range open {
			_ = c.Close()
		}
		w, err := clients.NewWriter(t.Context(), g.name, s.b.Ports)
		if err != nil {
			t.Errorf("%s: connect after the flood: %v", g.name, err)
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := w.Write(ctx, clients.Message{Name: "after-" + g.name, Value: []byte("x")}); err != nil {
			t.Errorf("%s: publish after the flood: %v", g.name, err)
		}
		cancel()
		w.Close()
	}
}

// bombs produces small batches that decompress to much, by each codec, to a topic that a bystander
// of another protocol reads and one that nobody does.
func (s *scene) bombs(t *testing.T) {
	cl, err := clients.DialKafka(s.b.Ports.Kafka, kgo.MaxVersions(kversion.V3_0_0())) // topics by name
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	nc, err := clients.DialNATS(s.b.Ports.NATS)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("bomb-heard")
	if err != nil || nc.Flush() != nil {
		t.Fatal(err)
	}
	for _, topic := range []string{"bomb-heard", "bomb-unheard"} {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte("good")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		codec kgo.CompressionCodec
		size  int // snappy packs 21 to 1 only
	}{{kgo.GzipCompression(), 512 << 20}, {kgo.SnappyCompression(), 150 << 20}, {kgo.Lz4Compression(), 512 << 20}, {kgo.ZstdCompression(), 512 << 20}} {
		batch, codec := bomb(t, c.codec, c.size)
		all(t, 12, func(i int) error {
			code, err := produce(t.Context(), cl, []string{"bomb-heard", "bomb-unheard"}[i%2], batch)
			if err != nil {
				return fmt.Errorf("codec %d: %w", codec, err)
			}
			if e := kerr.ErrorForCode(code); e != kerr.MessageTooLarge {
				return fmt.Errorf("codec %d, %d bytes for %d: %v, want MESSAGE_TOO_LARGE", codec, len(batch), c.size, e)
			}
			return nil
		})
	}
	if m, err := sub.NextMsg(patience); err != nil || string(m.Data) != "good" {
		t.Errorf("the subscriber got %v, %v", m, err)
	}
	if n, _, err := sub.Pending(); err != nil || n != 0 {
		t.Errorf("the subscriber got %d bombs, %v", n, err)
	}
}

// bomb is a record batch (format 2) of one record with size zeros.
func bomb(t *testing.T, codec kgo.CompressionCodec, size int) (batch []byte, kind kgo.CompressionCodecType) {
	t.Helper()
	comp, err := kgo.DefaultCompressor(codec)
	if err != nil {
		t.Fatal(err)
	}
	head := append([]byte{0, 0, 0}, binary.AppendVarint(nil, -1)...) // attributes, deltas, no key
	head = binary.AppendVarint(head, int64(size))
	rec := binary.AppendVarint(nil, int64(len(head)+size+1))
	rec = append(rec, head...)
	rec = append(rec, make([]byte, size+1)...) // the value, no headers
	packed, kind := comp.Compress(new(bytes.Buffer), rec)
	b := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, Attributes: int16(kind), FirstTimestamp: 1, MaxTimestamp: 1,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: 1, Records: packed, Length: int32(49 + len(packed)),
	}
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw, kind
}

func produce(ctx context.Context, cl *kgo.Client, topic string, batch []byte) (int16, error) {
	part := kmsg.NewProduceRequestTopicPartition()
	part.Records = batch
	top := kmsg.NewProduceRequestTopic()
	top.Topic, top.Partitions = topic, []kmsg.ProduceRequestTopicPartition{part}
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis, req.Topics = -1, 10_000, []kmsg.ProduceRequestTopic{top}
	resp, err := cl.Request(ctx, req)
	if err != nil {
		return 0, err
	}
	r := resp.(*kmsg.ProduceResponse)
	if len(r.Topics) != 1 || len(r.Topics[0].Partitions) != 1 {
		return 0, fmt.Errorf("answer %+v", r)
	}
	return r.Topics[0].Partitions[0].ErrorCode, nil
}
