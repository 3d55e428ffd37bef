package kafka

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestRefusalsNameRecords: KIP-467, with and without compression.
func TestRefusalsNameRecords(t *testing.T) {
	s := newStand(t)
	s.topic("keys", 1, func(t *shard.Topic) { t.Config.Compact = true })
	w := s.dial()
	b := shard.BatchOf(rec("a", "1"), rec("", "2"), rec("b", "3"), rec("", "4"))
	for name, raw := range map[string][]byte{"plain": slices.Clone(b.Raw()), "zstd": packed(t, b, shard.CodecZstd)} {
		p := w.produce("keys", raw)
		var at []int32
		for _, r := range p.ErrorRecords {
			at = append(at, r.RelativeOffset)
			if r.ErrorMessage == nil || *r.ErrorMessage != keylessRecord {
				t.Errorf("%s: record %d: %v", name, r.RelativeOffset, r.ErrorMessage)
			}
		}
		if p.ErrorCode != codeInvalidRecord || !slices.Equal(at, []int32{1, 3}) {
			t.Errorf("%s: %d, records %v", name, p.ErrorCode, at)
		}
	}
	many := make([]shard.Record, 3*maxRefused)
	if p := w.produce("keys", batchOf(many...)); len(p.ErrorRecords) != maxRefused || !strings.Contains(*p.ErrorMessage, "3000") {
		t.Errorf("%d records named: %v", len(p.ErrorRecords), *p.ErrorMessage)
	}
	if end := s.end("keys", 0); end != 0 {
		t.Errorf("%d records were taken", end)
	}
}

// TestMalformedSequences: seen beside Apache Kafka 4.3.1.
func TestMalformedSequences(t *testing.T) {
	s := newStand(t)
	s.topic("t", 1, nil)
	w := s.dial()
	for _, x := range []struct {
		epoch int16
		seq   int32
	}{{0, -1}, {-1, 0}, {-1, -1}} {
		b := shard.NewBuilder(100)
		r := rec("k", "v")
		b.Add(&r)
		if p := w.produce("t", slices.Clone(b.BuildProducer(77, x.epoch, x.seq).Raw())); p.ErrorCode != codeInvalidRecord {
			t.Errorf("epoch %d, sequence %d: %d", x.epoch, x.seq, p.ErrorCode)
		}
	}
}

// TestCommitToNoGroup: KIP-848 gave it a code of its own.
func TestCommitToNoGroup(t *testing.T) {
	s := newStand(t)
	s.topic("t", 1, nil)
	w := s.dial()
	for version, want := range map[int16]int16{2: codeIllegalGeneration, 8: codeIllegalGeneration, 9: codeGroupIDNotFound} {
		q := kmsg.NewPtrOffsetCommitRequest()
		q.Group, q.MemberID, q.Generation = "nobody", "m", 1
		if p := ask[*kmsg.OffsetCommitResponse](w, commitTopic(q, "t", 1), version).Topics[0].Partitions[0]; p.ErrorCode != want {
			t.Errorf("v%d: %d, want %d", version, p.ErrorCode, want)
		}
	}
}

// TestSessionOverADeletedTopic: what Apache Kafka 4.3.1 answers within a fetch session.
func TestSessionOverADeletedTopic(t *testing.T) {
	s := newStand(t)
	top := s.topic("t", 1, nil)
	w := s.dial()
	open := fetchReq("t", 0, 0)
	open.Topics[0].TopicID, open.SessionEpoch = s.srv.ids.of(top), 0
	epoch, session := int32(0), ask[*kmsg.FetchResponse](w, open, 16).SessionID
	again := func() int16 {
		epoch++
		q := kmsg.NewPtrFetchRequest()
		q.MinBytes, q.MaxBytes, q.SessionID, q.SessionEpoch = 1, 1<<20, session, epoch
		r := ask[*kmsg.FetchResponse](w, q, 16)
		if r.ErrorCode != 0 || len(r.Topics) == 0 {
			return r.ErrorCode
		}
		return r.Topics[0].Partitions[0].ErrorCode
	}
	if code := again(); code != 0 {
		t.Fatal(code)
	}
	if err := s.mem.Broker().Topics.Delete(context.Background(), "t"); err != nil {
		t.Fatal(err)
	}
	if code := again(); code != codeUnknownTopicOrPartition {
		t.Errorf("deleted: %d", code)
	}
	s.topic("t", 1, nil)
	if code := again(); code != codeInconsistentTopicID {
		t.Errorf("made anew: %d", code)
	}
}

// TestBrokerSettingsAreReset: what was never set can be deleted, and nothing can be set.
func TestBrokerSettingsAreReset(t *testing.T) {
	s := newStand(t)
	w := s.dial()
	for op, want := range map[kmsg.IncrementalAlterConfigOp]int16{kmsg.IncrementalAlterConfigOpDelete: 0, kmsg.IncrementalAlterConfigOpSet: codeInvalidConfig} {
		q := kmsg.NewPtrIncrementalAlterConfigsRequest()
		x := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		x.Name, x.Op, x.Value = "leader.replication.throttled.rate", op, ptr("1")
		r := kmsg.NewIncrementalAlterConfigsRequestResource()
		r.ResourceType, r.Configs = kmsg.ConfigResourceTypeBroker, append(r.Configs, x)
		q.Resources = append(q.Resources, r)
		if got := ask[*kmsg.IncrementalAlterConfigsResponse](w, q, 1).Resources[0]; got.ErrorCode != want {
			t.Errorf("operation %d: %d, want %d", op, got.ErrorCode, want)
		}
	}
}

// TestRefusalsHaveAPause: a client that comes again at once comes four times a second.
func TestRefusalsHaveAPause(t *testing.T) {
	var full atomic.Bool
	s := newStand(t, withMem(func(o *shardmem.Options) {
		o.FailState = func(string) error {
			if full.Load() {
				return shard.ErrWALFull
			}
			return nil
		}
	}))
	s.topic("t", 1, nil)
	f := s.fellow("g")
	full.Store(true)
	rounds := 0
	for until := time.Now().Add(time.Second); time.Now().Before(until); rounds++ {
		if code := f.join(); code != 0 && code != codeCoordinatorNotAvailable {
			t.Fatalf("join: %d", code)
		}
		if _, code := f.sync(); code != codeCoordinatorNotAvailable {
			t.Fatalf("sync: %d", code)
		}
	}
	if most := int(time.Second/refusalPause) + 1; rounds > most {
		t.Errorf("%d rounds in a second, at most %d", rounds, most)
	}
	full.Store(false)
	together(t, f)
}

// TestPassingRefusalsOfEachRequest: no request that clients repeat is forgotten.
func TestPassingRefusalsOfEachRequest(t *testing.T) {
	const no = codeCoordinatorNotAvailable
	for name, resp := range map[string]kmsg.Response{
		"find coordinator": &kmsg.FindCoordinatorResponse{ErrorCode: no},
		"coordinators":     &kmsg.FindCoordinatorResponse{Coordinators: []kmsg.FindCoordinatorResponseCoordinator{{ErrorCode: no}}},
		"join":             &kmsg.JoinGroupResponse{ErrorCode: no},
		"sync":             &kmsg.SyncGroupResponse{ErrorCode: no},
		"heartbeat":        &kmsg.HeartbeatResponse{ErrorCode: no},
		"producer id":      &kmsg.InitProducerIDResponse{ErrorCode: no},
		"commit":           &kmsg.OffsetCommitResponse{Topics: []kmsg.OffsetCommitResponseTopic{{Partitions: []kmsg.OffsetCommitResponseTopicPartition{{}, {ErrorCode: no}}}}},
		"committed":        &kmsg.OffsetFetchResponse{Groups: []kmsg.OffsetFetchResponseGroup{{ErrorCode: no}}},
		"list offsets":     &kmsg.ListOffsetsResponse{Topics: []kmsg.ListOffsetsResponseTopic{{Partitions: []kmsg.ListOffsetsResponseTopicPartition{{ErrorCode: codeRequestTimedOut}}}}},
	} {
		if pauseOf(resp) == 0 {
			t.Errorf("%s: no pause", name)
		}
	}
	for _, quick := range []kmsg.Response{
		&kmsg.JoinGroupResponse{}, &kmsg.HeartbeatResponse{ErrorCode: codeRebalanceInProgress}, &kmsg.SyncGroupResponse{ErrorCode: codeNotCoordinator},
	} {
		if pauseOf(quick) != 0 {
			t.Errorf("%T has a pause", quick)
		}
	}
}

// TestAddressedRecords: a Kafka producer reaches a captured subject by the header, if
// the topic captures it and the producer may publish to it.
func TestAddressedRecords(t *testing.T) {
	s := newStand(t)
	s.topic("devices", 2, func(t *shard.Topic) { t.Captures = []string{"dev.>"} })
	s.topic("plain", 1, nil)
	for _, a := range []shard.ACL{
		{Principal: "*", Operation: shard.OpAll, Resource: "*", Filter: "*"},
		{Principal: "*", Operation: shard.OpPublish, Resource: gateway.ResourceSubject, Filter: "dev.secret", Deny: true},
	} {
		if err := s.mem.Broker().ACLs.Put(context.Background(), a); err != nil {
			t.Fatal(err)
		}
	}
	w := s.dial()
	to := func(subject string) shard.Record {
		return rec("k", "v", shard.Header{Name: shard.HeaderSubject, Value: []byte(subject)})
	}
	for _, x := range []struct {
		topic, subject string
		code           int16
	}{
		{"devices", "dev.7", 0},
		{"devices", "devices", 0},
		{"devices", "dev.secret", codeTopicAuthorizationFailed},
		{"devices", "other.7", codeInvalidRecord},
		{"devices", "plain", codeInvalidRecord},
		{"devices", "", codeInvalidRecord},
		{"plain", "dev.7", codeInvalidRecord},
		{"plain", "_INBOX.x", codeInvalidRecord},
	} {
		b := shard.BatchOf(rec("k", "first"), to(x.subject))
		for name, raw := range map[string][]byte{"plain": slices.Clone(b.Raw()), "zstd": packed(t, b, shard.CodecZstd)} {
			if p := w.produce(x.topic, raw); p.ErrorCode != x.code {
				t.Errorf("%s, %s to %q: %d, want %d", name, x.topic, x.subject, p.ErrorCode, x.code)
			}
		}
	}
	other := rec("k", "v", shard.Header{Name: shard.HeaderOrigin, Value: []byte("x")})
	if p := w.produce("devices", batchOf(other)); p.ErrorCode != codeInvalidRecord {
		t.Errorf("another reserved header: %d", p.ErrorCode)
	}
}
