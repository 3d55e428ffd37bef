package matrix

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/robustmq/robustmq-go/test/e2e/clients"
	"github.com/robustmq/robustmq-go/test/harness"
)

// TestCapturedSubjects has one topic capture many subjects: Kafka reads the topic and finds the
// subject in the key, in order within it; the others read the subjects.
func TestCapturedSubjects(t *testing.T) {
	const topic, devices, each = "telemetry", 5, 10
	p := harness.NewBroker(t, harness.Options{}).Ports
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	c, err := clients.DialKafkaAdmin(p.Kafka)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	captures := "sensors.>"
	if _, err := kadm.NewClient(c).CreateTopic(ctx, 4, 1, map[string]*string{"robustmq.captures": &captures}, topic); err != nil {
		t.Fatalf("create topic: %v", err)
	}
	readers := map[string]clients.Reader{}
	for protocol, filter := range map[string]string{
		clients.MQTT: "sensors/#", clients.NATS: "sensors.>", clients.AMQP: "sensors.#", clients.Kafka: topic,
	} {
		r, err := clients.NewReader(ctx, protocol, p, filter)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		readers[protocol] = r
	}
	want := map[string][]string{} // values by subject
	for _, protocol := range []string{clients.MQTT, clients.NATS, clients.AMQP} {
		w, err := clients.NewWriter(ctx, protocol, p)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		for i := range each {
			for d := range devices {
				subject := fmt.Sprintf("sensors.%s.%d", protocol, d)
				m := clients.Message{Name: subject, Value: fmt.Appendf(nil, "%d", i)}
				switch protocol {
				case clients.MQTT:
					m.Name = fmt.Sprintf("sensors/%s/%d", protocol, d)
				case clients.AMQP:
					m.Exchange = "amq.topic"
				}
				if err := w.Write(ctx, m); err != nil {
					t.Fatal(err)
				}
				want[subject] = append(want[subject], string(m.Value))
			}
		}
	}
	for protocol, r := range readers {
		ms, err := r.Wait(ctx, 3*devices*each)
		if err != nil {
			t.Errorf("%s: %v", protocol, err)
			continue
		}
		got := map[string][]string{}
		for _, m := range ms {
			subject := m.Name
			if protocol == clients.Kafka {
				subject = string(m.Key)
			}
			got[subject] = append(got[subject], string(m.Value))
		}
		for subject, values := range want {
			subject = spell("", protocol, subject)
			if !slices.Equal(got[subject], values) {
				t.Errorf("%s: %s: got %q, want %q", protocol, subject, got[subject], values)
			}
		}
	}
}
