package kafka

import (
	"context"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestKeepGroups: an administrator moves and deletes a group without members.
func TestKeepGroups(t *testing.T) {
	s := newStand(t)
	top := s.topic("t", 1, nil)
	for range 5 {
		if _, err := shard.AppendWait(context.Background(), s.mem.Broker().Log, top.Shard(0), shard.BatchOf(rec("k", "v")), shard.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	read := func(first int64, during func()) {
		t.Helper()
		cl := s.client(kgo.ConsumeTopics("t"), kgo.ConsumerGroup("g"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())
		defer cl.Close()
		got := int64(-1)
		for got < 0 && ctx.Err() == nil {
			cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
				if got < 0 {
					got = r.Offset
				}
			})
		}
		if got != first {
			t.Errorf("the group begins with %d, want %d", got, first)
		}
		if during != nil {
			during()
		}
		if err := cl.CommitUncommittedOffsets(ctx); err != nil {
			t.Error(err)
		}
	}
	at := func(o int64) []gateway.GroupOffset { return []gateway.GroupOffset{{Shard: top.Shard(0), Offset: o}} }
	read(0, func() {
		if err := s.srv.MoveGroup(ctx, "g", at(1)); shard.KindOf(err) != shard.KindInvalid {
			t.Errorf("moved with a member: %v", err)
		}
		if err := s.srv.DeleteGroup(ctx, "g"); shard.KindOf(err) != shard.KindInvalid {
			t.Errorf("deleted with a member: %v", err)
		}
	})
	if err := s.srv.MoveGroup(ctx, "g", at(3)); err != nil {
		t.Fatal(err)
	}
	s.restart()
	read(3, nil)
	if err := s.srv.DeleteGroup(ctx, "g"); err != nil {
		t.Fatal(err)
	}
	if err := s.srv.DeleteGroup(ctx, "g"); shard.KindOf(err) != shard.KindNotFound {
		t.Errorf("deleted twice: %v", err)
	}
	read(0, nil)
}
