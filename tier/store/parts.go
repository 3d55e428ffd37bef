package store

import (
	"bytes"
	"context"
)

// PartGetter is what a Store may offer besides Get: a range in pieces, each with
// memory of its own, so that keeping one does not keep them all.
type PartGetter interface {
	// GetParts is Get of n > 0 bytes, cut at multiples of part bytes from off on;
	// all but the last have part bytes.
	GetParts(ctx context.Context, key string, off, n, part int64) ([][]byte, error)
}

// GetParts is PartGetter.GetParts of any Store: where it does not offer that, the
// bytes are copied once.
func GetParts(ctx context.Context, s Store, key string, off, n, part int64) ([][]byte, error) {
	if p, ok := s.(PartGetter); ok {
		return p.GetParts(ctx, key, off, n, part)
	}
	data, err := s.Get(ctx, key, off, n)
	if err != nil {
		return nil, err
	}
	if int64(len(data)) <= part {
		return [][]byte{data}, nil
	}
	out := make([][]byte, 0, (int64(len(data))+part-1)/part)
	for at := int64(0); at < int64(len(data)); at += part {
		out = append(out, bytes.Clone(data[at:min(at+part, int64(len(data)))]))
	}
	return out, nil
}
