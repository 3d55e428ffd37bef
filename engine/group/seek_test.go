package group_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

func at(offset int64) shard.SeekTo {
	return func(_ context.Context, _ *shard.Topic, _ shard.ID, b shard.Bounds) (int64, bool, error) {
		if offset < 0 {
			return b.End, true, nil
		}
		return offset, true, nil
	}
}

// TestSeek moves a group to any place, also before its binding was made, over a
// restart too; not while somebody consumes.
func TestSeek(t *testing.T) {
	mem := shardmem.New(shardmem.Options{})
	defer func() { mem.Close() }()
	ctx := context.Background()
	b := mem.Broker()
	publish(t, b, "q", "0", "1", "2", "3", "4")
	g := makeGroup(t, b, shard.GroupConfig{Name: "g", Durable: true}, "q")
	seek := func(offset int64, want ...string) {
		t.Helper()
		if err := g.(shard.GroupSeeker).Seek(ctx, at(offset)); err != nil {
			t.Fatal(err)
		}
		for _, restart := range []bool{false, true} {
			if restart {
				mem = mem.Reopen()
				b = mem.Broker()
				var err error
				if g, err = b.Groups.Get("g"); err != nil {
					t.Fatal(err)
				}
				if err := g.(shard.GroupSeeker).Seek(ctx, at(offset)); err != nil {
					t.Fatal(err)
				}
				mem = mem.Reopen()
				b = mem.Broker()
				if g, err = b.Groups.Get("g"); err != nil {
					t.Fatal(err)
				}
			}
			r := &receiver{}
			c := attach(t, g, shard.ConsumerConfig{}, r)
			ds := r.await(t, len(want))
			var got []string
			for _, d := range ds {
				got = append(got, string(d.Record.Value))
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("from %d, after a restart %v: %v, want %v", offset, restart, got, want)
			}
			if len(want) > 0 {
				if err := g.(shard.GroupSeeker).Seek(ctx, at(0)); shard.KindOf(err) != shard.KindInvalid {
					t.Errorf("moved while it is consumed: %v", err)
				}
			}
			if n := c.Ack(tags(ds)...); n != len(want) {
				t.Errorf("%d acknowledged", n)
			}
			c.Close()
		}
	}
	seek(0, "0", "1", "2", "3", "4")
	seek(3, "3", "4")
	seek(0, "0", "1", "2", "3", "4")
	seek(-1)
	publish(t, b, "q", "5")
	r := &receiver{}
	c := attach(t, g, shard.ConsumerConfig{}, r)
	if ds := r.await(t, 1); string(ds[0].Record.Value) != "5" {
		t.Errorf("after a seek to the end: %q", ds[0].Record.Value)
	}
	c.Close()
	seek(5, "5") // which was delivered and given back
	topic, _ := b.Topics.ByName("q")
	publish(t, b, "q", "6")
	if err := g.(shard.GroupSeeker).Seek(ctx, at(2)); err != nil {
		t.Fatal(err)
	}
	if hs := mem.Groups().Holders(topic.Shard(0), 100); hs["g"] != 2 || len(hs) != 1 {
		t.Errorf("holders %v", hs)
	}
}
