package crash

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/nats-io/nats.go"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/robustmq-go/test/e2e/clients"
	"github.com/robustmq/robustmq-go/test/harness"
)

// window is how many messages of a writer may be unacknowledged; pace is how many it sends a
// second at most, so that 200 rounds fit on a disk.
const (
	window = 256
	pace   = 2000
)

// Writer publishes into its ledger until the context ends or its connection is gone; being killed
// is not an error.
type Writer func(ctx context.Context, p harness.Ports, l *Ledger) error

// paced calls send until it fails or the context ends.
func paced(ctx context.Context, send func() error) error {
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for {
		for range pace / 100 {
			if err := send(); err != nil {
				return err
			}
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// KafkaProducer is one idempotent producer that lives through all kills, so that what was under
// way is sent again.
type KafkaProducer struct {
	c    *kgo.Client
	slot chan struct{}
	mu   sync.Mutex
	errs []error
}

// NewKafkaProducer connects with acks=all; lost data is an error, not passed over.
func NewKafkaProducer(p harness.Ports) (*KafkaProducer, error) {
	c, err := clients.DialKafka(p.Kafka, kgo.StopProducerOnDataLossDetected(), kgo.ProducerLinger(time.Millisecond), kgo.MetadataMinAge(50*time.Millisecond),
		kgo.ProduceRequestTimeout(5*time.Second), kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }))
	if err != nil {
		return nil, err
	}
	return &KafkaProducer{c: c, slot: make(chan struct{}, window)}, nil
}

// Write implements Writer.
func (k *KafkaProducer) Write(ctx context.Context, _ harness.Ports, l *Ledger) error {
	return paced(ctx, func() error {
		select {
		case k.slot <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		n, v := l.Next()
		k.c.Produce(context.WithoutCancel(ctx), &kgo.Record{Topic: l.Subject, Value: v}, func(_ *kgo.Record, err error) {
			<-k.slot
			if err == nil {
				l.Acknowledged(n)
				return
			}
			k.mu.Lock()
			k.errs = append(k.errs, fmt.Errorf("produce message %d: %w", n, err))
			k.mu.Unlock()
		})
		return nil
	})
}

// Close waits until everything is acknowledged. Nothing may have failed for good.
func (k *KafkaProducer) Close(ctx context.Context) error {
	err := k.c.Flush(ctx)
	k.c.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	return errors.Join(append(k.errs, err)...)
}

// WriteMQTT publishes with QoS 1, many at a time, which the library's own client does not.
func WriteMQTT(ctx context.Context, p harness.Ports, l *Ledger) error {
	nc, err := net.Dial("tcp", harness.Addr(p.MQTT))
	if err != nil {
		return fmt.Errorf("connect by mqtt: %w", err)
	}
	defer nc.Close()
	connect := packets.NewControlPacket(packets.CONNECT)
	c := connect.Content.(*packets.Connect)
	c.ProtocolName, c.ProtocolVersion, c.CleanStart, c.KeepAlive, c.ClientID = "MQTT", 5, true, 30, "crash-writer"
	c.UsernameFlag, c.Username, c.PasswordFlag, c.Password = true, harness.User, true, []byte(harness.Password)
	if _, err := connect.WriteTo(nc); err != nil {
		return fmt.Errorf("connect by mqtt: %w", err)
	}
	ack, err := packets.ReadPacket(nc)
	if err != nil || ack.Type != packets.CONNACK || ack.Content.(*packets.Connack).ReasonCode != 0 {
		return fmt.Errorf("connect by mqtt: %v: %w", ack, err)
	}
	w := &mqttWindow{free: make(chan uint16, window), open: map[uint16]int{}, gone: make(chan struct{})}
	for id := range uint16(window) {
		w.free <- id + 1
	}
	go w.acks(nc, l)
	if err := paced(ctx, func() error { return w.publish(ctx, nc, l) }); err != nil {
		return err
	}
	return w.drain()
}

var errGone = errors.New("the connection is gone")

type mqttWindow struct {
	free chan uint16
	gone chan struct{}
	mu   sync.Mutex
	open map[uint16]int // message by packet identifier
}

func (w *mqttWindow) publish(ctx context.Context, nc net.Conn, l *Ledger) error {
	var id uint16
	select {
	case id = <-w.free:
	case <-w.gone:
		return errGone
	case <-ctx.Done():
		return nil
	}
	n, v := l.Next()
	w.mu.Lock()
	w.open[id] = n
	w.mu.Unlock()
	cp := packets.NewControlPacket(packets.PUBLISH)
	pub := cp.Content.(*packets.Publish)
	pub.Topic, pub.QoS, pub.PacketID, pub.Payload = mqttTopic(l.Subject), 1, id, v
	cp.Flags = 1 << 1
	_, err := cp.WriteTo(nc)
	return err
}

func (w *mqttWindow) acks(nc net.Conn, l *Ledger) {
	defer close(w.gone)
	for {
		cp, err := packets.ReadPacket(nc)
		if err != nil {
			return
		}
		a, ok := cp.Content.(*packets.Puback)
		if !ok {
			continue
		}
		w.mu.Lock()
		n := w.open[a.PacketID]
		delete(w.open, a.PacketID)
		w.mu.Unlock()
		if a.ReasonCode == 0 || a.ReasonCode == 0x10 {
			l.Acknowledged(n)
		}
		w.free <- a.PacketID
	}
}

// drain waits for the last acknowledgements.
func (w *mqttWindow) drain() error {
	for range window {
		select {
		case <-w.free:
		case <-w.gone:
			return errGone
		case <-time.After(drainWithin):
			return errors.New("mqtt: not everything was acknowledged")
		}
	}
	return nil
}

// drainWithin bounds the wait for the acknowledgements of what was sent.
const drainWithin = 10 * time.Second

// WriteAMQP publishes persistent messages to amq.topic with confirms.
func WriteAMQP(ctx context.Context, p harness.Ports, l *Ledger) error {
	c, ch, err := clients.DialAMQP(p.AMQP)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := ch.Confirm(false); err != nil {
		return fmt.Errorf("select confirms: %w", err)
	}
	slots := make(chan struct{}, window)
	sent := make(chan int, window)
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, window))
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for cf := range confirms { // in the order of publishing
			if n := <-sent; cf.Ack {
				l.Acknowledged(n)
			}
			<-slots
		}
	}()
	err = paced(ctx, func() error {
		select {
		case slots <- struct{}{}:
		case <-gone:
			return errGone
		case <-ctx.Done():
			return nil
		}
		n, v := l.Next()
		sent <- n
		return ch.PublishWithContext(ctx, "amq.topic", l.Subject, false, false, amqp.Publishing{Body: v, DeliveryMode: amqp.Persistent})
	})
	if err != nil {
		return err
	}
	for range window {
		select {
		case slots <- struct{}{}:
		case <-gone:
			return errGone
		case <-time.After(drainWithin):
			return errors.New("amqp: not everything was confirmed")
		}
	}
	return nil
}

// WriteNATS publishes as load: NATS core has no acknowledgement.
func WriteNATS(ctx context.Context, p harness.Ports, l *Ledger) error {
	nc, err := clients.DialNATS(p.NATS, nats.NoReconnect())
	if err != nil {
		return err
	}
	defer nc.Close()
	err = paced(ctx, func() error {
		if !nc.IsConnected() {
			return errGone
		}
		_, v := l.Next()
		return nc.Publish(l.Subject, v)
	})
	if err != nil {
		return err
	}
	return nc.FlushTimeout(drainWithin)
}
