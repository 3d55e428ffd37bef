package producer

import (
	"errors"
	"testing"

	"github.com/robustmq/robustmq-go/internal/codectest"
	"github.com/robustmq/robustmq-go/shard"
)

// TestSnapshotsCanBeRestored: whatever producers send, taken or not, the table's
// snapshot is one that a restart takes.
func TestSnapshotsCanBeRestored(t *testing.T) {
	limits := Limits{Producers: 5, IDs: 5}
	codectest.Run(t, 2000, codectest.Codec[*Table]{
		Make: func(s *codectest.Source) *Table {
			x, now := New(limits), int64(1)
			for i := range s.IntN(40) {
				bl := shard.NewBuilder(64)
				bl.Add(&shard.Record{Timestamp: s.Int(), Value: []byte("x")})
				b := bl.BuildProducer(s.Int()>>s.IntN(64), int16(s.Int()), int32(s.Int()))
				b.Assign(int64(i), 1)
				if v, err := x.Check(b, now); err == nil && !v.Duplicate {
					x.Add(b, now)
				} else if s.IntN(4) == 0 { // what is in the log was taken, by a former version perhaps
					x.Replay(b, now)
				}
				id := s.Text()
				if v, err := x.CheckID(id, now); err == nil && !v.Duplicate {
					x.AddID(id, b, now)
				}
				now += s.Int() >> (20 + s.IntN(40))
			}
			return x
		},
		Encode: func(x *Table) ([]byte, error) {
			if x == nil {
				return nil, errors.New("none")
			}
			return x.Snapshot(), nil
		},
		Decode: func(b []byte) (*Table, error) { return Restore(limits, b) },
	})
}
