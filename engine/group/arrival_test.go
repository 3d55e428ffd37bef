package group_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/engine/group"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// A message's time counts from its arrival: that its writer's clock is an hour back or
// an hour ahead changes nothing, whether it is fed or read back.
func TestTimeCountsFromArrival(t *testing.T) {
	for _, own := range []bool{false, true} {
		for _, readBack := range []bool{false, true} {
			t.Run("own "+strconv.FormatBool(own)+", read back "+strconv.FormatBool(readBack), func(t *testing.T) {
				start := time.Now().Truncate(time.Second)
				now := newClock(start)
				mem := shardmem.New(shardmem.Options{Now: now.now, Groups: group.Options{IdleMessages: 1}})
				t.Cleanup(mem.Close)
				g := makeGroup(t, mem.Broker(), shard.GroupConfig{Name: "g", Durable: true}, "q")
				if !own {
					g.(shard.LimitedGroup).Limit(shard.GroupLimits{TTL: time.Minute, HasTTL: true})
				}
				if readBack { // what comes behind it is read from the log later
					put(t, mem, shard.Record{Timestamp: start.UnixMilli(), Value: []byte("first")})
				}
				for _, ts := range []time.Time{start.Add(-time.Hour), start, start.Add(time.Hour)} {
					r := shard.Record{Timestamp: ts.UnixMilli(), Value: []byte(ts.Sub(start).String())}
					if own {
						r.Headers = []shard.Header{{Name: shard.HeaderExpiration, Value: []byte("60000")}}
					}
					put(t, mem, r)
				}
				now.set(start.Add(59 * time.Second))
				c, err := g.Attach(shard.ConsumerConfig{Pull: true}, &receiver{})
				if err != nil {
					t.Fatal(err)
				}
				var tags []shard.DeliveryTag
				for d, ok := c.Get(); ok; d, ok = c.Get() {
					tags = append(tags, d.Tag)
				}
				want := 3
				if readBack {
					want = 4
				}
				if len(tags) != want {
					t.Fatalf("after 59 s there are %d messages, want %d", len(tags), want)
				}
				c.Nack(shard.NackOptions{}, tags...)
				now.set(start.Add(61 * time.Second))
				for d, ok := c.Get(); ok; d, ok = c.Get() {
					if string(d.Record.Value) != "first" || !own {
						t.Errorf("after 61 s there is %q", d.Record.Value)
					}
				}
			})
		}
	}
}

// A consumer that is ready has a message whose time is over as it comes, as with
// RabbitMQ's TTL of 0; without one it is gone.
func TestNoTimeAtAll(t *testing.T) {
	for _, own := range []bool{false, true} {
		mem := shardmem.New(shardmem.Options{})
		t.Cleanup(mem.Close)
		g := makeGroup(t, mem.Broker(), shard.GroupConfig{Name: "g"}, "q")
		r := shard.Record{Timestamp: time.Now().Add(-time.Hour).UnixMilli(), Value: []byte("x")}
		if own {
			r.Headers = []shard.Header{{Name: shard.HeaderExpiration, Value: []byte("0")}}
		} else {
			g.(shard.LimitedGroup).Limit(shard.GroupLimits{HasTTL: true})
		}
		put(t, mem, r)
		if n := g.Stats().Ready; n != 0 {
			t.Errorf("%d messages are ready", n)
		}
		got := &receiver{}
		w := shard.NewWindow(50)
		c, err := g.Attach(shard.ConsumerConfig{Windows: []*shard.Window{w}}, got)
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			put(t, mem, r)
		}
		ds := got.await(t, 50)
		put(t, mem, r) // the consumer is not ready now
		for end := time.Now().Add(30 * time.Second); g.Stats().Ready > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("a message without a consumer that is ready stays")
			}
			if own {
				break // it leaves when it comes up
			}
		}
		c.Ack(tags(ds)...)
		put(t, mem, r)
		got.await(t, 1)
		if more := got.take(); len(more) > 0 {
			t.Errorf("%d more deliveries", len(more))
		}
	}
}

// clock is one that tests set.
type clock struct{ ns atomic.Int64 }

func newClock(at time.Time) *clock {
	c := new(clock)
	c.set(at)
	return c
}

func (c *clock) set(at time.Time) { c.ns.Store(at.UnixNano()) }
func (c *clock) now() time.Time   { return time.Unix(0, c.ns.Load()) }

func put(t *testing.T, mem *shardmem.Broker, r shard.Record) {
	t.Helper()
	topic, err := mem.Broker().Topics.Resolve(context.Background(), "q", true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := shard.AppendWait(context.Background(), mem, topic.Shard(0), shard.BatchOf(r), shard.AppendOptions{}); err != nil {
		t.Fatal(err)
	}
}
