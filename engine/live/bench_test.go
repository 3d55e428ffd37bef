package live

import (
	"fmt"
	"testing"

	"github.com/robustmq/robustmq-go/shard"
)

func BenchmarkMatch50k(b *testing.B) {
	x := NewIndex(func(vs []int) *[]int { return &vs })
	for i := range 50_000 {
		switch i % 3 {
		case 0:
			x.Add(mustFilter(b, fmt.Sprintf("sensors.d%d.temp", i)), i)
		case 1:
			x.Add(mustFilter(b, fmt.Sprintf("sensors.d%d.*", i)), i)
		default:
			x.Add(mustFilter(b, fmt.Sprintf("mqtt:sensors/d%d/#", i)), i)
		}
	}
	r := &shard.Record{}
	subjects := make([]string, 1000)
	for i := range subjects {
		subjects[i] = fmt.Sprintf("sensors.d%d.temp", i*37)
	}
	b.Run("cached", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			x.Match(subjects[i%len(subjects)], r)
		}
	})
	b.Run("uncached", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			x.find(names{subject: subjects[i%len(subjects)]})
		}
	})
}

type countingSub struct{ n int }

func (c *countingSub) Deliver(ms []shard.Message, _ []shard.SubID) { c.n += len(ms) }

func BenchmarkDeliver100(b *testing.B) {
	for _, subs := range []int{1, 100} {
		b.Run(fmt.Sprintf("1:%d", subs), func(b *testing.B) {
			h := NewHub(nil, nil)
			for range subs {
				_ = h.Subscribe(&countingSub{}).Add(1, mustFilter(b, "t"), shard.LiveOptions{})
			}
			rs := make([]shard.Record, 100)
			for i := range rs {
				rs[i] = shard.Record{Value: make([]byte, 100)}
			}
			batch, topic := shard.BatchOf(rs...), newTopic("t")
			b.ReportAllocs()
			for b.Loop() {
				h.Assigned(topic, 0, batch, 0)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*100*subs), "ns/delivery")
		})
	}
	b.Run("nobody durable", func(b *testing.B) {
		h := NewHub(nil, nil)
		_ = h.Subscribe(&countingSub{}).Add(1, mustFilter(b, "t"), shard.LiveOptions{})
		batch, topic := shard.BatchOf(shard.Record{}), newTopic("t")
		for b.Loop() {
			h.Durable(topic, 0, batch, 0)
		}
	})
}
