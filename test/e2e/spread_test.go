package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/robustmq-go/test/e2e/clients"
	"github.com/robustmq/robustmq-go/test/harness"
)

const (
	spreadTopic      = "telemetry"
	spreadPartitions = 16
	spreadDevices    = 64
)

// TestSpreadBySubject: a topic of several shards that captures many subjects has each subject in
// one of them, the same whoever writes, and the subjects in all of them. Kafka reaches a device
// by a header, and devices and Kafka see that they speak of the same subject.
func TestSpreadBySubject(t *testing.T) {
	b := harness.NewBroker(t, harness.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), copyWithin)
	defer cancel()
	createCapturing(ctx, t, b.Ports, spreadTopic, spreadPartitions, "dev.>")
	c, err := clients.DialKafka(b.Ports.Kafka, kgo.ConsumeTopics(spreadTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	writeToDevices(ctx, t, b.Ports)
	for i := range spreadDevices {
		s := fmt.Sprintf("dev.%d", i)
		r := &kgo.Record{Topic: spreadTopic, Key: []byte(s), Value: []byte(s), Headers: []kgo.RecordHeader{{Key: "robustmq-subject", Value: []byte(s)}}}
		if err := c.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	where, seen := map[string]int32{}, map[int32]int{}
	for n := 0; n < len(clients.Protocols)*spreadDevices; {
		fs := c.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatalf("%d records: %v", n, err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			n++
			device := string(r.Value)
			if p, ok := where[device]; ok && p != r.Partition {
				t.Errorf("%s is in partitions %d and %d", device, p, r.Partition)
			}
			if string(r.Key) != device {
				t.Errorf("%s has the key %q", device, r.Key)
			}
			where[device] = r.Partition
			seen[r.Partition]++
		})
	}
	if len(seen) < spreadPartitions/2 {
		t.Errorf("%d devices are in %d of %d partitions", spreadDevices, len(seen), spreadPartitions)
	}
}

// createCapturing makes a topic as Kafka's tools do.
func createCapturing(ctx context.Context, t *testing.T, p harness.Ports, name string, partitions int32, captures string) {
	t.Helper()
	c, err := clients.DialKafkaAdmin(p.Kafka)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r, err := kadm.NewClient(c).CreateTopic(ctx, partitions, 1, map[string]*string{"robustmq.captures": &captures}, name)
	if err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
}

// writeToDevices publishes to each device by the three protocols that have no partitions.
func writeToDevices(ctx context.Context, t *testing.T, p harness.Ports) {
	t.Helper()
	for _, protocol := range []string{clients.MQTT, clients.NATS, clients.AMQP} {
		w, err := clients.NewWriter(ctx, protocol, p)
		if err != nil {
			t.Fatal(err)
		}
		for i := range spreadDevices {
			s := fmt.Sprintf("dev.%d", i)
			name := s
			if protocol == clients.MQTT {
				name = strings.ReplaceAll(s, ".", "/")
			}
			m := clients.Message{Name: name, Value: []byte(s)}
			if protocol == clients.AMQP {
				m.Exchange = "amq.topic"
			}
			if err := w.Write(ctx, m); err != nil {
				t.Fatalf("%s: %v", protocol, err)
			}
		}
		w.Close()
	}
}

// TestCloudToDevice: what Kafka addresses to a device reaches that device alone.
func TestCloudToDevice(t *testing.T) {
	b := harness.NewBroker(t, harness.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), copyWithin)
	defer cancel()
	c, err := clients.DialKafka(b.Ports.Kafka)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	createCapturing(ctx, t, b.Ports, "commands", 4, "cmd.>")
	readers := map[string]clients.Reader{}
	for _, x := range []struct{ protocol, filter string }{{clients.MQTT, "cmd/7"}, {clients.NATS, "cmd.7"}, {clients.AMQP, "cmd.7"}, {clients.MQTT, "cmd/8"}} {
		r, err := clients.NewReader(ctx, x.protocol, b.Ports, x.filter)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		readers[x.protocol+" "+x.filter] = r
	}
	for _, device := range []string{"cmd.7", "cmd.8"} {
		r := &kgo.Record{Topic: "commands", Key: []byte(device), Value: []byte("to " + device), Headers: []kgo.RecordHeader{{Key: "robustmq-subject", Value: []byte(device)}}}
		if err := c.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for name, r := range readers {
		got, err := r.Wait(ctx, 1)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := "to cmd." + name[len(name)-1:]
		if len(got) != 1 || string(got[0].Value) != want {
			t.Errorf("%s got %q, want %q", name, got, want)
		}
	}
}
