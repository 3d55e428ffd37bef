package group_test

import (
	"fmt"
	"testing"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// BenchmarkCurveGroupChange: a group of a subject comes and goes among so many of it. The
// next message of the subject, which looks at each of them, takes twice its time once.
func BenchmarkCurveGroupChange(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1_000, 10_000} {
		mem := shardmem.New(shardmem.Options{})
		for i := range n {
			makeGroup(b, mem.Broker(), shard.GroupConfig{Name: fmt.Sprint(i)}, "q")
		}
		change := func() {
			makeGroup(b, mem.Broker(), shard.GroupConfig{Name: "new"}, "q")
			_ = mem.Broker().Groups.Delete(b.Context(), "new")
		}
		b.Run(fmt.Sprintf("groups=%d", n), func(b *testing.B) {
			for b.Loop() {
				change()
			}
		})
		mem.Close()
	}
}
