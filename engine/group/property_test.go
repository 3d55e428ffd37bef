package group

import (
	"math"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/internal/codectest"
	"github.com/robustmq/robustmq-go/shard"
)

// TestEncodersAndDecodersAgree: nothing of a group is written that cannot be restored.
func TestEncodersAndDecodersAgree(t *testing.T) {
	const rounds = 3000
	type config struct {
		C    shard.GroupConfig
		Idle int64
	}
	codectest.Run(t, rounds, codectest.Codec[config]{
		Encode: func(c config) ([]byte, error) {
			if err := checkConfig(&c.C); err != nil {
				return nil, err
			}
			since := time.Time{}
			if c.Idle > 0 {
				since = time.UnixMilli(c.Idle)
			}
			return encodeConfig(&c.C, since), nil
		},
		Decode: func(b []byte) (c config, err error) {
			c.C, c.Idle, err = decodeConfig(b)
			return c, err
		},
	})
	places := func(s *codectest.Source) map[shard.ID]int64 {
		m := map[shard.ID]int64{}
		for range s.IntN(5) {
			m[shard.ID{Topic: shard.TopicNum(s.Int() & math.MaxInt64), Index: s.Uint32()}] = s.Int() & math.MaxInt64
		}
		return m
	}
	codectest.Run(t, rounds, codectest.Codec[*binding]{
		Make: func(s *codectest.Source) *binding {
			x := &shard.Binding{}
			s.Hostile(x)
			x.Start = shard.Start(s.IntN(2))
			x.Filter = shard.Filter{}
			parse := []func(string) (shard.Filter, error){shard.ParseSubjectFilter, shard.ParseMQTTFilter,
				func(p string) (shard.Filter, error) { return shard.ParseAMQPFilter("a.b", p) }}[s.IntN(3)]
			if f, err := parse([]string{"a.b", "a.*", ">", "#", "+/x", "*.#", s.Text(), "/" + s.Text() + "/"}[s.IntN(8)]); err == nil {
				x.Filter = f
			}
			b := newBinding(nil, 0, x)
			if b.starts = places(s); s.IntN(2) == 0 {
				b.removed, b.ends = true, places(s)
			}
			return b
		},
		Encode: func(b *binding) ([]byte, error) {
			if err := checkBinding(b.pub); err != nil {
				return nil, err
			}
			p := encodeBinding(b)
			if len(p) > shard.MaxStateValue {
				return nil, shard.ErrBatchTooLarge // State refuses it
			}
			return p, nil
		},
		Decode: decodeBinding,
	})
	codectest.Run(t, rounds, codectest.Codec[savedCursor]{
		Make: func(s *codectest.Source) savedCursor {
			c := savedCursor{floor: int64(s.IntN(1000)), high: int64(s.IntN(2000))}
			at := c.floor
			for range s.Len() {
				at += 1 + int64(s.IntN(5))
				r := run{at, at + int64(s.IntN(3))}
				c.runs, at = append(c.runs, r), r.hi+1
			}
			at = c.floor
			for range s.Len() % 300 {
				at += 1 + int64(s.IntN(5))
				c.counts = append(c.counts, savedCount{at, 2 + int32(s.IntN(math.MaxInt32-2))})
			}
			return c
		},
		Encode: func(c savedCursor) ([]byte, error) { return encodeCursor(&c), nil },
		Decode: decodeCursor,
	})
}
