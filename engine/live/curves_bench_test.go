package live

import (
	"fmt"
	"testing"

	"github.com/robustmq/robustmq-go/shard"
)

// BenchmarkCurveMatch: the subscriptions of one subject among so many: a third exact, a third with
// a wildcard, a third MQTT filters. Cold subjects were never asked for, warm ones come again.
func BenchmarkCurveMatch(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1_000, 10_000, 100_000, 1_000_000} {
		x := NewIndex(func(vs []int) *[]int { return &vs })
		for i := range n {
			switch i % 3 {
			case 0:
				x.Add(mustFilter(b, fmt.Sprintf("sensors.d%d.temp", i)), i)
			case 1:
				x.Add(mustFilter(b, fmt.Sprintf("sensors.d%d.*", i)), i)
			default:
				x.Add(mustFilter(b, fmt.Sprintf("mqtt:sensors/d%d/#", i)), i)
			}
		}
		subjects := make([]string, 1000)
		for i := range subjects {
			subjects[i] = fmt.Sprintf("sensors.d%d.temp", i*7919%n)
		}
		r := &shard.Record{}
		b.Run(fmt.Sprintf("warm/subscriptions=%d", n), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				x.Match(subjects[i%len(subjects)], r)
			}
		})
		b.Run(fmt.Sprintf("cold/subscriptions=%d", n), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				x.find(names{subject: subjects[i%len(subjects)]})
			}
		})
	}
}
