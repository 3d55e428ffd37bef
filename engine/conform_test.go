package engine

import (
	"context"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/shard/shardtest"
)

// TestConformance runs the suite over an engine with an embedded catalog.
func TestConformance(t *testing.T) {
	shardtest.Run(t, func(t *testing.T) shardtest.Instance {
		r := newRig(t, Options{FlushInterval: time.Hour, AutoTopics: 100, CatchAllShards: 2})
		return instance(t, r, 100)
	})
}

func instance(t *testing.T, r *rig, auto int) shardtest.Instance {
	return shardtest.Instance{
		Broker:     r.Engine.Broker(),
		AutoTopics: auto,
		Reopen: func(t *testing.T) shardtest.Instance {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if err := r.Engine.Close(ctx); err != nil {
				t.Fatal(err)
			}
			r.open()
			return instance(t, r, 0)
		},
		Crash: func(t *testing.T) shardtest.Instance {
			r.crash()
			return instance(t, r, 0)
		},
	}
}
