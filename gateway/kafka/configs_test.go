package kafka

import (
	"bytes"
	"context"
	"math"
	"slices"
	"strconv"
	"testing"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestTopicsOfApplications: what Kafka's own applications and the tools around
// them ask for when they make their topics.
func TestTopicsOfApplications(t *testing.T) {
	s := newStand(t)
	w := s.dial()
	const forever = "9223372036854775807"
	for name, configs := range map[string][]string{
		"streams-changelog":    {"cleanup.policy", "compact"},
		"streams-window":       {"cleanup.policy", "compact,delete", "retention.ms", "86700000"},
		"streams-versioned":    {"cleanup.policy", "compact", "min.compaction.lag.ms", "86700000"},
		"streams-repartition":  {"cleanup.policy", "delete", "segment.bytes", "52428800", "retention.ms", "-1", "message.timestamp.type", "CreateTime"},
		"connect-offsets":      {"cleanup.policy", "compact", "min.insync.replicas", "2", "unclean.leader.election.enable", "false"},
		"connect-compressed":   {"cleanup.policy", "compact", "compression.type", "lz4", "delete.retention.ms", "1000"},
		"debezium-history":     {"cleanup.policy", "delete", "retention.ms", forever, "retention.bytes", "-1"},
		"mirror":               {"compression.type", "zstd", "max.compaction.lag.ms", forever, "message.timestamp.after.max.ms", forever, "follower.replication.throttled.replicas", ""},
		"purged":               {"retention.ms", "0", "retention.bytes", "0"},
		"unbounded":            {"retention.ms", "-1", "retention.bytes", "-1"},
		"terraform":            {"compression.type", "gzip", "compression.gzip.level", "9", "message.downconversion.enable", "false", "unclean.leader.election.enable", "true"},
		"in-their-order":       {"cleanup.policy", "delete,compact"},
		"uncompressed":         {"compression.type", "uncompressed", "min.cleanable.dirty.ratio", "0.01", "segment.ms", "100"},
		"spaces-as-kafka-does": {"compression.type", " snappy "},
	} {
		if r := w.create(name, 1, configs...); r.ErrorCode != 0 {
			t.Errorf("%s with %q: %d %s", name, configs, r.ErrorCode, *r.ErrorMessage)
			continue
		}
		got := w.configs(name)
		for i := 0; i < len(configs); i += 2 {
			if want := string(bytes.TrimSpace([]byte(configs[i+1]))); got[configs[i]] != want {
				t.Errorf("%s: %s is shown as %q, want %q", name, configs[i], got[configs[i]], want)
			}
		}
	}
	top, _ := s.mem.Broker().Topics.ByName("purged")
	if top.Config.RetentionMs != 1 || top.Config.RetentionBytes != 1 {
		t.Errorf("nothing is to be kept, and the topic is %+v", top.Config)
	}
	if top, _ = s.mem.Broker().Topics.ByName("debezium-history"); top.Config.RetentionMs != math.MaxInt64 {
		t.Errorf("all is to be kept, and the topic is %+v", top.Config)
	}
}

// TestSettingsGoBackToTheirDefault: MirrorMaker deletes every setting that its
// source has at the default, those that are not known here, too.
func TestSettingsGoBackToTheirDefault(t *testing.T) {
	s := newStand(t)
	w := s.dial()
	w.create("t", 1, "retention.ms", "0", "compression.type", "zstd")
	q := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, "t"
	for _, name := range []string{"retention.ms", "compression.type", "remote.log.copy.disable", "no.such.setting"} {
		r.Configs = append(r.Configs, kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: name, Op: kmsg.IncrementalAlterConfigOpDelete})
	}
	q.Resources = append(q.Resources, r)
	if r := ask[*kmsg.IncrementalAlterConfigsResponse](w, q, 1).Resources[0]; r.ErrorCode != 0 {
		t.Errorf("deleting gets %d %s", r.ErrorCode, *r.ErrorMessage)
	}
	if got := w.configs("t"); len(got) != 0 {
		t.Errorf("%v is left", got)
	}
}

func TestCompressionType(t *testing.T) {
	s := newStand(t)
	w := s.dial()
	sent := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	for want, name := range slices.Concat(codecNames, []string{"producer"}) {
		w.create(name, 1, "compression.type", name)
		for came, codec := range sent {
			cl := s.client(kgo.ProducerBatchCompression(codec), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{name: {0: kgo.NewOffset().At(int64(came))}}))
			rec := &kgo.Record{Topic: name, Key: []byte(strconv.Itoa(came)), Value: bytes.Repeat([]byte("compressible "), 100), Headers: []kgo.RecordHeader{{Key: "h", Value: nil}}}
			if err := cl.ProduceSync(context.Background(), rec).FirstErr(); err != nil {
				t.Fatal(err)
			}
			got := poll(t, cl).Records()[0]
			if got.Offset != int64(came) || !bytes.Equal(got.Value, rec.Value) || !bytes.Equal(got.Key, rec.Key) || len(got.Headers) != 1 || got.Timestamp.UnixMilli() != rec.Timestamp.UnixMilli() {
				t.Errorf("%s, sent in codec %d: %+v came back", name, came, got)
			}
			top, _ := s.mem.Broker().Topics.ByName(name)
			res, err := s.mem.Broker().Log.Read(context.Background(), top.Shard(0), int64(came), shard.ReadOptions{})
			if err != nil || name != "producer" && int(res.Batches[0].Codec()) != want || name == "producer" && int(res.Batches[0].Codec()) != came {
				t.Errorf("%s, sent in codec %d, is stored in codec %d: %v", name, came, res.Batches[0].Codec(), err)
			}
		}
	}
	w.create("small", 1, "compression.type", "uncompressed", "max.message.bytes", "1000")
	big := packed(t, shard.BatchOf(rec("k", string(bytes.Repeat([]byte("x"), 2000)))), shard.CodecSnappy)
	if r := w.produce("small", big); r.ErrorCode != codeMessageTooLarge {
		t.Errorf("a batch that is too large once it is decompressed gets %d", r.ErrorCode)
	}
}
