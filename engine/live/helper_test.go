package live

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"log/slog"
	"slices"
	"testing"

	"github.com/robustmq/robustmq-go/shard"
)

func newLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// brokenBatch has a right checksum over a record that is not one.
func brokenBatch(t testing.TB) *shard.Batch {
	raw := slices.Clone(shard.BatchOf(shard.Record{Value: []byte("x")}).Raw())
	raw[shard.BatchHeaderBytes] = 0x7f
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	b, err := shard.ParseBatch(raw)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
