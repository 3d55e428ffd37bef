// Package prefix is a Store that keeps its objects below a folder of another
// Store: so that several clusters may share a bucket.
package prefix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/robustmq/robustmq-go/tier/store"
)

// Store is a store.Store in a part of another. All methods may be called
// concurrently.
type Store struct {
	s      store.Store
	prefix string // ends with a slash
}

// New returns a view of what is in s below the folder prefix: "a" or "a/b". An
// empty prefix is s itself. Keys get shorter by the prefix's length.
func New(s store.Store, prefix string) (store.Store, error) {
	prefix = strings.TrimSuffix(prefix, "/")
	if prefix == "" {
		return s, nil
	}
	if err := store.CheckKey(prefix); err != nil {
		return nil, fmt.Errorf("open store below prefix: %w", err)
	}
	return &Store{s: s, prefix: prefix + "/"}, nil
}

func (p *Store) full(op, key string) (string, error) {
	if err := store.CheckKey(key); err != nil {
		return "", store.Wrap(op, key, err, nil)
	}
	return p.prefix + key, nil
}

// Get implements store.Store.
func (p *Store) Get(ctx context.Context, key string, off, n int64) ([]byte, error) {
	full, err := p.full("get", key)
	if err != nil {
		return nil, err
	}
	b, err := p.s.Get(ctx, full, off, n)
	return b, p.strip(err)
}

// GetParts implements store.PartGetter.
func (p *Store) GetParts(ctx context.Context, key string, off, n, part int64) ([][]byte, error) {
	full, err := p.full("get", key)
	if err != nil {
		return nil, err
	}
	parts, err := store.GetParts(ctx, p.s, full, off, n, part)
	return parts, p.strip(err)
}

// Put implements store.Store.
func (p *Store) Put(ctx context.Context, key string, data []byte) error {
	full, err := p.full("put", key)
	if err != nil {
		return err
	}
	return p.strip(p.s.Put(ctx, full, data))
}

// PutFrom implements store.FromPutter.
func (p *Store) PutFrom(ctx context.Context, key string, body io.ReaderAt, size int64, sum uint32) error {
	full, err := p.full("put", key)
	if err != nil {
		return err
	}
	return p.strip(store.PutFrom(ctx, p.s, full, body, size, sum))
}

// Head implements store.Store.
func (p *Store) Head(ctx context.Context, key string) (store.Info, error) {
	full, err := p.full("head", key)
	if err != nil {
		return store.Info{}, err
	}
	info, err := p.s.Head(ctx, full)
	info.Key = strings.TrimPrefix(info.Key, p.prefix)
	return info, p.strip(err)
}

// Delete implements store.Store.
func (p *Store) Delete(ctx context.Context, keys ...string) error {
	fulls := make([]string, len(keys))
	for i, key := range keys {
		full, err := p.full("delete", key)
		if err != nil {
			return err
		}
		fulls[i] = full
	}
	return p.strip(p.s.Delete(ctx, fulls...))
}

// List implements store.Store.
func (p *Store) List(ctx context.Context, prefix, after string, max int) ([]store.Info, error) {
	if err := store.CheckPrefix(prefix); err != nil {
		return nil, store.Wrap("list", prefix, err, nil)
	}
	if after != "" {
		after = p.prefix + after
	}
	out, err := p.s.List(ctx, p.prefix+prefix, after, max)
	for i := range out {
		out[i].Key = strings.TrimPrefix(out[i].Key, p.prefix)
	}
	return out, p.strip(err)
}

// strip gives an error the key that the caller knows. The cause keeps the full
// one.
func (p *Store) strip(err error) error {
	var e *store.Error
	if err == nil || !errors.As(err, &e) || !strings.HasPrefix(e.Key, p.prefix) {
		return err
	}
	return &store.Error{Op: e.Op, Key: strings.TrimPrefix(e.Key, p.prefix), Kind: e.Kind, Err: err}
}
