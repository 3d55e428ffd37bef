package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// dumpLine is one record as Dump writes it.
type dumpLine struct {
	Key      string `json:"key"`
	Revision int64  `json:"revision"`
	Value    any    `json:"value,omitempty"`
	Error    string `json:"error,omitempty"`
}

// Dump writes every record as etcd holds it at one revision, a line of JSON
// each, in order of the keys. What cannot be decoded is written with its error.
// Credentials are left out.
func (c *Catalog) Dump(ctx context.Context, w io.Writer) error {
	enc := json.NewEncoder(w)
	var head *dumpLine
	var pieces [][]byte
	flush := func() error {
		if head == nil {
			return nil
		}
		line := head
		head = nil
		v, err := dumpSegment(line.Key[len(c.cfg.Prefix+kindSegment)+1:], pieces)
		if line.Value = v; err != nil {
			line.Value, line.Error = nil, err.Error()
		}
		return enc.Encode(line)
	}
	err := c.scan(ctx, c.cfg.Prefix, func(_ int64, kvs []*mvccpb.KeyValue) error {
		for _, kv := range kvs {
			kind, name := c.split(kv.Key)
			line := &dumpLine{Key: string(kv.Key), Revision: kv.ModRevision}
			if kind == kindSegment {
				if _, part, err := parsePart(name); err == nil && part > 0 && head != nil {
					pieces = append(pieces, kv.Value)
					continue
				}
			}
			if err := flush(); err != nil {
				return err
			}
			if kind == kindSegment {
				head, pieces = line, [][]byte{kv.Value}
				continue
			}
			v, err := dumpValue(kind, name, kv.Value)
			if line.Value = v; err != nil {
				line.Value, line.Error = nil, err.Error()
			}
			if err := enc.Encode(line); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return fmt.Errorf("dump catalog: %w", err)
	}
	return nil
}

func dumpSegment(name string, pieces [][]byte) (any, error) {
	id, part, err := parsePart(name)
	if err != nil || part > 0 {
		return nil, fmt.Errorf("%w: part %q without its head", ErrCorrupt, name)
	}
	b, err := joinParts(pieces)
	if err != nil {
		return nil, err
	}
	return decodeSegment(id, b)
}

func dumpValue(kind, name string, b []byte) (any, error) {
	switch kind {
	case kindCluster:
		return decodeCluster(name, b)
	case kindGateway:
		return decodeGateway(name, b)
	case kindSlot:
		return decodeSlotAt(name, b)
	case kindWAL:
		return decodeWAL(name, b)
	case kindCounter:
		return decodeCounter(b)
	case kindDeletion:
		return decodeDeletion(name, b)
	case kindQuota:
		return decodeQuota(name, b)
	case kindFeature:
		return decodeFeature(name, b)
	case kindACL:
		return decodeACL(name, b)
	case kindTopic:
		t, _, err := decodeTopic(name, b)
		return t, err
	case kindUser:
		u, err := decodeUser(name, b)
		if err != nil {
			return nil, err
		}
		u.SCRAM256, u.SCRAM512, u.TokenHash = nil, nil, ""
		return u, nil
	}
	return nil, fmt.Errorf("%w: unknown kind %q", ErrFormat, kind)
}
