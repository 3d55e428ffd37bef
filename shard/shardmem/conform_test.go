package shardmem_test

import (
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/shard/shardmem"
	"github.com/robustmq/robustmq-go/shard/shardtest"
)

func instance(t *testing.T, b *shardmem.Broker, auto int) shardtest.Instance {
	t.Cleanup(b.Close)
	return shardtest.Instance{
		Broker:     b.Broker(),
		AutoTopics: auto,
		Reopen:     func(t *testing.T) shardtest.Instance { return instance(t, b.Reopen(), 0) },
		Crash:      func(t *testing.T) shardtest.Instance { return instance(t, b.Crash(), 0) },
	}
}

func TestConformance(t *testing.T) {
	shardtest.Run(t, func(t *testing.T) shardtest.Instance {
		return instance(t, shardmem.New(shardmem.Options{AutoTopics: 100}), 100)
	})
}

// TestConformanceWhenCramped has groups hold next to nothing in memory, so that
// they catch up and rejoin all the time.
func TestConformanceWhenCramped(t *testing.T) {
	shardtest.Run(t, func(t *testing.T) shardtest.Instance {
		o := shardmem.Options{AutoTopics: 100}
		o.Groups.ReadyMessages, o.Groups.IdleMessages, o.Groups.UnackedBytes, o.Groups.Fills = 8, 3, 1000, 1
		return instance(t, shardmem.New(o), 100)
	})
}

// TestConformanceWhenSlow has completions come late.
func TestConformanceWhenSlow(t *testing.T) {
	shardtest.Run(t, func(t *testing.T) shardtest.Instance {
		return instance(t, shardmem.New(shardmem.Options{AutoTopics: 10, Delay: 300 * time.Microsecond}), 10)
	})
}
