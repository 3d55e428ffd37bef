package group_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

// TestNewExpiryDoesNotReachBack: a group that was idle for long and is given a
// shorter expiry lives for the whole of it, whoever asks.
func TestNewExpiryDoesNotReachBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := shardmem.New(shardmem.Options{})
		defer mem.Close()
		groups, ctx := mem.Broker().Groups, context.Background()
		for _, before := range []time.Duration{0, time.Hour} {
			g, err := groups.Create(ctx, shard.GroupConfig{Name: "g", Durable: true, ExpireAfter: before})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(30 * time.Minute)
			if err := g.SetData(ctx, nil, time.Minute); err != nil {
				t.Fatal(err)
			}
			time.Sleep(59 * time.Second)
			if _, err := groups.Get("g"); err != nil {
				t.Fatalf("before %v: gone after 59 s of a minute: %v", before, err)
			}
			// The same bound again is no use of the group.
			if err := g.SetData(ctx, []byte("x"), time.Minute); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			if _, err := groups.Get("g"); !errors.Is(err, shard.ErrGroupNotFound) {
				t.Fatalf("before %v: it goes on after its time: %v", before, err)
			}
		}
	})
}
