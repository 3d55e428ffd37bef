package catalog

import (
	"testing"

	"github.com/robustmq/robustmq-go/internal/codectest"
	"github.com/robustmq/robustmq-go/shard"
)

// TestEncodersAndDecodersAgree: no value is written that cannot be read again.
func TestEncodersAndDecodersAgree(t *testing.T) {
	const rounds = 2000
	t.Run("gateway", func(t *testing.T) {
		codectest.Run(t, rounds, codectest.Codec[Gateway]{Encode: encodeGateway, Decode: func(b []byte) (Gateway, error) {
			g, err := decodeGateway("g", b)
			return g, err
		}})
	})
	t.Run("slot", func(t *testing.T) {
		codectest.Run(t, rounds, codectest.Codec[Slot]{Encode: encodeSlot, Decode: decodeSlot})
	})
	t.Run("wal", func(t *testing.T) {
		make := func(s *codectest.Source) (w WAL) {
			s.Hostile(&w)
			if s.IntN(2) == 0 { // or hardly one is of a known state
				w.State, w.Default = WALState(1+s.IntN(5)), shard.Durability(s.IntN(5))
				w.Mark = w.Mark[:min(len(w.Mark), maxMarkBytes+s.IntN(2))]
			}
			return w
		}
		codectest.Run(t, rounds, codectest.Codec[WAL]{Make: make, Encode: encodeWAL, Decode: func(b []byte) (WAL, error) { return decodeWAL("w", b) }})
	})
	t.Run("topic", func(t *testing.T) {
		make := func(s *codectest.Source) *shard.Topic {
			x := &shard.Topic{}
			s.Hostile(x)
			if s.IntN(2) == 0 {
				x.Name, x.Captures, x.Shards, x.Config.Durability = "t", nil, uint32(1+s.IntN(100)), shard.Durability(s.IntN(4))
			}
			return x
		}
		codectest.Run(t, rounds, codectest.Codec[*shard.Topic]{Make: make,
			Encode: func(x *shard.Topic) ([]byte, error) { return encodeChecked(x, "12345678") },
			Decode: func(b []byte) (*shard.Topic, error) {
				x, _, err := decodeTopic("t", b)
				return x, err
			}})
	})
	t.Run("segment", func(t *testing.T) {
		make := func(s *codectest.Source) (x Segment) {
			s.Hostile(&x)
			x.ULID = testID
			if s.IntN(4) > 0 { // in order
				x.Key, x.Size = "k", 1
				var at shard.ID
				for i := range x.Extents {
					e := &x.Extents[i]
					at.Topic += shard.TopicNum(1 + s.IntN(3))
					e.Shard.Topic = at.Topic
					e.Base, e.Pos, e.Len, e.Records = max(e.Base, 0), max(e.Pos, 0), max(e.Len, 0), max(e.Records, 0)
					e.Last = max(e.Last, e.Base)
				}
			}
			return x
		}
		codectest.Run(t, rounds, codectest.Codec[Segment]{Make: make,
			Encode: func(x Segment) ([]byte, error) {
				values, err := encodeSegment(&x)
				if err != nil {
					return nil, err
				}
				return joinParts(values)
			},
			Decode: func(b []byte) (Segment, error) { return decodeSegment(testID, b) }})
	})
	t.Run("deletion", func(t *testing.T) { // of segments that were taken
		make := func(s *codectest.Source) (d Deletion) {
			s.Hostile(&d)
			d.ULID, d.Size, d.Key = testID, max(d.Size, 0), d.Key[:min(len(d.Key), maxObjectKey)]
			return d
		}
		codectest.Run(t, rounds, codectest.Codec[Deletion]{Make: make, Encode: func(d Deletion) ([]byte, error) { return encodeDeletion(d), nil },
			Decode: func(b []byte) (Deletion, error) { return decodeDeletion(testID.String(), b) }})
	})
	t.Run("user", func(t *testing.T) {
		codectest.Run(t, rounds, codectest.Codec[*shard.User]{Make: func(s *codectest.Source) *shard.User { u := &shard.User{}; s.Hostile(u); u.Name = "n"; return u },
			Encode: func(u *shard.User) ([]byte, error) { return encodeJSON(u) }, Decode: func(b []byte) (*shard.User, error) { return decodeUser("n", b) }})
	})
	t.Run("acl", func(t *testing.T) {
		codectest.Run(t, rounds, codectest.Codec[shard.ACL]{Encode: func(a shard.ACL) ([]byte, error) { return encodeJSON(a) },
			Decode: func(b []byte) (shard.ACL, error) { return decodeACL("n", b) }})
	})
	t.Run("quota", func(t *testing.T) {
		codectest.Run(t, rounds, codectest.Codec[Quota]{Make: func(s *codectest.Source) (q Quota) { s.Hostile(&q); q.Name = "n"; return q },
			Encode: func(q Quota) ([]byte, error) { return encodeJSON(q) }, Decode: func(b []byte) (Quota, error) { return decodeQuota("n", b) }})
	})
	t.Run("feature", func(t *testing.T) {
		codectest.Run(t, rounds, codectest.Codec[Feature]{Make: func(s *codectest.Source) (f Feature) { s.Hostile(&f); f.Name = "n"; return f },
			Encode: func(f Feature) ([]byte, error) { return encodeJSON(f) }, Decode: func(b []byte) (Feature, error) { return decodeFeature("n", b) }})
	})
}
