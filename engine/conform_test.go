package engine

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/shard/shardtest"
)

// TestShard runs the suite of package shard; its crash is a stop without a flush.
func TestShard(t *testing.T) {
	shardtest.Run(t, func(t *testing.T) shardtest.Instance {
		r := newRig(t, Options{AutoTopics: 20, CatchAllShards: 4, ObjectFlushInterval: 5 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
		return r.instance()
	})
}

func (r *rig) instance() shardtest.Instance {
	return shardtest.Instance{
		Broker: r.Broker(), AutoTopics: 20,
		Reopen: func(t *testing.T) shardtest.Instance {
			if err := r.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
			r.open()
			return r.instance()
		},
		Crash: func(*testing.T) shardtest.Instance {
			r.crash()
			return r.instance()
		},
	}
}
