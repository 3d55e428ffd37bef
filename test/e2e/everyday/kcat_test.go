package everyday

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/robustmq-go/test/harness"
)

// codecs are librdkafka's names of the compressions with their number in a batch's attributes.
var codecs = map[string]uint8{"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}

// TestKcat: what kcat compresses is stored compressed (librdkafka leaves compression out where it
// takes a broker for too old), and comes back with headers and keys; also from a broker that
// was killed in between; a topic that does not exist and a message that is too large are told.
// (kcat ends by itself when it loses its last broker.)
func TestKcat(t *testing.T) {
	b := harness.NewBroker(t, harness.Options{Config: "kafka:\n  auto_create_topics: false\n"})
	kcatTopic(t, b, "kcat-small", "--max-message-bytes", "10000")
	var values []string
	for i := range 100 {
		values = append(values, fmt.Sprintf("key%d:%s %d", i, strings.Repeat("the same again, ", 20), i))
	}
	for codec := range codecs {
		kcatTopic(t, b, "kcat-"+codec)
		must(t, harness.KcatProduce(t.Context(), b.Ports.Kafka, "kcat-"+codec, values, "-z", codec, "-K", ":", "-H", "h=1", "-H", "h=2", "-X", "linger.ms=200"))
	}
	b.Kill()
	must(t, b.Start(t.Context()))
	want := strings.Join(values, "|h=1,h=2\n") + "|h=1,h=2\n"
	for codec, number := range codecs {
		if got := kcatRead(t, b, "kcat-"+codec, "%k:%s|%h\n"); got != want {
			t.Errorf("%s: kcat read %d bytes, want %d:\n%.300s", codec, len(got), len(want), got)
		}
		storedAs(t, b, "kcat-"+codec, number, len(values))
	}
	large := strings.Repeat("x", 20_000)
	for topic, want := range map[string]string{"kcat-small": "Message size too large", "kcat-unknown": "Unknown topic"} {
		err := harness.KcatProduce(t.Context(), b.Ports.Kafka, topic, []string{large}, "-X", "message.timeout.ms=3000",
			"-X", "topic.metadata.propagation.max.ms=200")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("produce to %s: %v, want %q", topic, err, want)
		}
	}
}

// kcatTopic creates a topic with the broker's own command line.
func kcatTopic(t *testing.T, b *harness.Broker, topic string, extra ...string) {
	t.Helper()
	binary, err := harness.Binary(t.Context(), false)
	must(t, err)
	_, err = harness.Run(t.Context(), harness.Command{
		Path: binary, Args: append([]string{"topic", "create", topic, "--server", b.AdminURL(), "--user", harness.User}, extra...),
		Env: []string{"ROBUSTMQ_PASSWORD=" + harness.Password},
	})
	must(t, err)
}

// storedAs wants every one of the n records of a topic to be in a batch of the compression given.
func storedAs(t *testing.T, b *harness.Broker, topic string, codec uint8, n int) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(harness.Addr(b.Ports.Kafka)), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	must(t, err)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for seen := 0; seen < n; {
		fs := cl.PollFetches(ctx)
		must(t, fs.Err())
		for _, r := range fs.Records() {
			seen++
			if got := r.Attrs.CompressionType(); got != codec {
				t.Fatalf("%s: record %d is in a batch of compression %d, want %d", topic, r.Offset, got, codec)
			}
		}
	}
}

// kcatRead reads a topic's only partition to its end.
func kcatRead(t *testing.T, b *harness.Broker, topic, format string) string {
	t.Helper()
	tool, err := harness.Tool("kcat")
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	out, err := harness.Run(ctx, harness.Command{Path: tool, Args: []string{"-C", "-q", "-e", "-b", harness.Addr(b.Ports.Kafka), "-t", topic, "-p", "0", "-o", "beginning", "-f", format}})
	must(t, err)
	return out
}
