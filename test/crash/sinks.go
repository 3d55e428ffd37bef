package crash

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/robustmq/robustmq-go/test/e2e/clients"
	"github.com/robustmq/robustmq-go/test/harness"
)

func mqttTopic(subject string) string { return strings.ReplaceAll(subject, ".", "/") }

// retryEvery is the pause between a reader's attempts to connect.
const retryEvery = 20 * time.Millisecond

// Sink counts what a durable reader got of every ledger.
type Sink struct {
	Name string

	mu struct {
		sync.Mutex
		count     map[string][]uint16 // by protocol, by number
		delivered int
		repeated  int
		faults    []string
		connected int
	}
	ledgers []*Ledger
}

// NewSink makes one for the ledgers given.
func NewSink(name string, ledgers []*Ledger) *Sink {
	s := &Sink{Name: name, ledgers: ledgers}
	s.mu.count = map[string][]uint16{}
	return s
}

// got notes a delivery.
func (s *Sink) got(v []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.delivered++
	for _, l := range s.ledgers {
		if !strings.HasPrefix(string(v[:min(len(v), 10)]), l.Protocol+" ") {
			continue
		}
		n, err := l.number(v)
		if err != nil {
			s.mu.faults = append(s.mu.faults, s.Name+": "+err.Error())
			return
		}
		c := s.mu.count[l.Protocol]
		if n >= len(c) {
			c = slices.Grow(c, n+1-len(c))[:n+1]
		}
		if c[n]++; c[n] > 1 {
			s.mu.repeated++
		}
		s.mu.count[l.Protocol] = c
		return
	}
	s.mu.faults = append(s.mu.faults, fmt.Sprintf("%s: %d bytes that nobody sent", s.Name, len(v)))
}

// Missing gives how many of the kept messages of a ledger were not delivered yet.
func (s *Sink) Missing(l *Ledger, kept []bool) (missing []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.mu.count[l.Protocol]
	for n, k := range kept {
		if k && (n >= len(c) || c[n] == 0) {
			missing = append(missing, n)
		}
	}
	return missing
}

// Figures are what a sink counted.
func (s *Sink) Figures() (delivered, repeated, connected int, faults []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.delivered, s.mu.repeated, s.mu.connected, slices.Clone(s.mu.faults)
}

func (s *Sink) connectedNow() {
	s.mu.Lock()
	s.mu.connected++
	s.mu.Unlock()
}

// run keeps a reader going until the context ends; what interrupts it is a kill.
func (s *Sink) run(ctx context.Context, read func(context.Context) error) {
	for ctx.Err() == nil {
		_ = read(ctx) // ends when the broker is killed
		select {
		case <-time.After(retryEvery):
		case <-ctx.Done():
		}
	}
}

const (
	queueName   = "crash-queue"
	sessionName = "crash-session"
	subjects    = "crash"
)

// RunAMQP consumes a durable queue that is bound to all subjects, and acknowledges.
func (s *Sink) RunAMQP(ctx context.Context, p harness.Ports) {
	s.run(ctx, func(ctx context.Context) error {
		c, ch, err := clients.DialAMQP(p.AMQP)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := ch.QueueDeclare(queueName, true, false, false, false, nil); err != nil {
			return err
		}
		if err := ch.QueueBind(queueName, subjects+".#", "amq.topic", false, nil); err != nil {
			return err
		}
		if err := ch.Qos(500, 0, false); err != nil {
			return err
		}
		ds, err := ch.ConsumeWithContext(ctx, queueName, "", false, false, false, false, nil)
		if err != nil {
			return err
		}
		s.connectedNow()
		for d := range ds {
			s.got(d.Body)
			if err := d.Ack(false); err != nil {
				return err
			}
		}
		return nil
	})
}

// RunMQTT is a persistent session, subscribed to all subjects with QoS 1.
func (s *Sink) RunMQTT(ctx context.Context, p harness.Ports) {
	expiry := uint32(24 * 3600)
	s.run(ctx, func(ctx context.Context) error {
		dial, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		receive := uint16(500)
		c, err := clients.DialMQTT(dial, p.MQTT, paho.ClientConfig{
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
				s.got(r.Packet.Payload)
				return true, nil
			}},
		}, paho.Connect{ClientID: sessionName, Properties: &paho.ConnectProperties{SessionExpiryInterval: &expiry, ReceiveMaximum: &receive}})
		if err != nil {
			return err
		}
		if _, err := c.Subscribe(dial, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: subjects + "/#", QoS: 1}}}); err != nil {
			return err
		}
		s.connectedNow()
		select {
		case <-c.Done():
		case <-ctx.Done():
			return c.Disconnect(&paho.Disconnect{})
		}
		return nil
	})
}
