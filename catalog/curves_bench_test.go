package catalog

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/robustmq/robustmq-go/shard"
)

// BenchmarkCurveOpen: opening a catalog with an embedded etcd of so many segments of 20 extents
// each, until its view is whole: what a gateway's start spends on segments. The last ones
// were committed one by one, so that etcd has to replay what it has to after real work.
func BenchmarkCurveOpen(b *testing.B) {
	const per, atOnce, single = 20, 100, 2000
	for _, n := range []int{100, 1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("segments=%d", n), func(b *testing.B) {
			config := Config{Embedded: b.TempDir(), LeaseTTL: 30 * time.Second, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
			c, err := Open(context.Background(), config)
			if err != nil {
				b.Fatal(err)
			}
			ops := make([]clientv3.Op, 0, atOnce)
			for i := range n {
				s := Segment{ULID: ulid.Make(), Key: fmt.Sprintf("segments/%026d", i), Created: 1_700_000_000_000 + int64(i)}
				for j := range per {
					s.Extents = append(s.Extents, Extent{Shard: shard.ID{Topic: shard.TopicNum(j + 1)}, Base: int64(i) * 100, Last: int64(i)*100 + 99,
						Pos: int64(j) * 160_000, Len: 160_000, Records: 100, MinTime: s.Created - 9000, MaxTime: s.Created})
				}
				values, err := encodeSegment(&s)
				if err != nil {
					b.Fatal(err)
				}
				if ops = append(ops, clientv3.OpPut(c.key(kindSegment, partName(s.ULID, 0)), string(values[0]))); len(ops) == atOnce || i >= n-single {
					if _, err := c.client.Txn(context.Background()).Then(ops...).Commit(); err != nil {
						b.Fatal(err)
					}
					ops = ops[:0]
				}
			}
			if err := c.Close(); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				c, err := Open(context.Background(), config)
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := c.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}
