package kafka

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// answers are what a requester got.
type answers chan string

func (a answers) Deliver(ms []shard.Message, _ []shard.SubID) {
	for i := range ms {
		a <- string(ms[i].Record.Value)
	}
}

// TestAnswers: a producer answers a NATS or AMQP requester by the name that the
// request shows, and nothing is stored.
func TestAnswers(t *testing.T) {
	s := newStand(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for i, name := range []string{"_INBOX.abc.1", shard.DirectReply + "T-k_3"} {
		got := make(answers, 8)
		sub := s.mem.Broker().Live.Subscribe(got)
		if err := sub.Add(1, shard.LiteralFilter(name), shard.LiveOptions{}); err != nil {
			t.Fatal(err)
		}
		cl := s.client(kgo.DefaultProduceTopic(name), kgo.RecordDeliveryTimeout(5*time.Second))
		value := fmt.Sprint("answer ", i)
		if err := cl.ProduceSync(ctx, kgo.StringRecord(value)).FirstErr(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if v := <-got; v != value {
			t.Errorf("%s: got %q", name, v)
		}
		w := s.dial()
		raw := shard.BatchOf(shard.Record{Value: []byte("raw")}).Raw()
		q := produceReq(-1, "", 0, raw)
		q.Topics[0].TopicID = s.srv.ids.of(s.srv.inboxes.topic(name))
		if r := ask[*kmsg.ProduceResponse](w, q, 13).Topics[0].Partitions[0]; r.ErrorCode != 0 {
			t.Errorf("%s by id: %v", name, kerr.ErrorForCode(r.ErrorCode))
		}
		if v := <-got; v != "raw" {
			t.Errorf("%s by id: got %q", name, v)
		}
		sub.Close()
		if r := ask[*kmsg.ProduceResponse](w, q, 13).Topics[0].Partitions[0]; r.ErrorCode != codeInvalidTopic || r.ErrorMessage == nil {
			t.Errorf("%s that nobody waits at: %+v", name, r)
		}
		if err := s.client(kgo.DefaultProduceTopic(name)).ProduceSync(ctx, kgo.StringRecord("late")).FirstErr(); err == nil {
			t.Errorf("%s that nobody waits at was acknowledged", name)
		}
	}
	if ts := s.mem.Broker().Topics.List(); len(ts) != 0 {
		t.Errorf("topic %q was made", ts[0].Name)
	}
}

func TestInboxesAreBounded(t *testing.T) {
	var in inboxes
	for i := range 3 * maxInboxes {
		in.topic(fmt.Sprint("_INBOX.", i))
	}
	if len(in.names) != maxInboxes || len(in.order) != maxInboxes {
		t.Errorf("%d names, %d in order", len(in.names), len(in.order))
	}
	if _, ok := in.byNum(in.topic("_INBOX.x").Num); !ok {
		t.Error("the newest is not known")
	}
}
