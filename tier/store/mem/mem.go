// Package mem is a Store in memory, for tests and for brokers whose data may
// vanish with the process. "Durable" means here: as long as the process lives.
package mem

import (
	"bytes"
	"context"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/robustmq/robustmq-go/tier/store"
)

// Store is a store.Store in a map. Its zero value is not usable; call New. All
// methods may be called concurrently.
type Store struct {
	now func() time.Time
	mu  struct {
		sync.RWMutex
		objects map[string]object
	}
}

type object struct {
	data     []byte
	modified time.Time
}

// New returns an empty store. now gives the modification times; nil means
// time.Now.
func New(now func() time.Time) *Store {
	if now == nil {
		now = time.Now
	}
	s := &Store{now: now}
	s.mu.objects = make(map[string]object)
	return s
}

func (s *Store) lookup(ctx context.Context, op, key string) (object, error) {
	if err := store.ContextError(ctx, op, key); err != nil {
		return object{}, err
	}
	if err := store.CheckKey(key); err != nil {
		return object{}, store.Wrap(op, key, err, nil)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	o, ok := s.mu.objects[key]
	if !ok {
		return object{}, store.Wrap(op, key, store.ErrNotFound, nil)
	}
	return o, nil
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string, off, n int64) ([]byte, error) {
	if err := store.CheckRange(off, n); err != nil {
		return nil, store.Wrap("get", key, err, nil)
	}
	o, err := s.lookup(ctx, "get", key)
	if err != nil {
		return nil, err
	}
	size := int64(len(o.data))
	if off >= size && (off > 0 || n > 0) {
		return nil, store.Wrap("get", key, store.ErrRange, nil)
	}
	if n < 0 || n > size-off {
		n = size - off
	}
	return bytes.Clone(o.data[off : off+n : off+n]), nil
}

// Put implements store.Store. It copies data.
func (s *Store) Put(ctx context.Context, key string, data []byte) error {
	if err := store.ContextError(ctx, "put", key); err != nil {
		return err
	}
	if err := store.CheckKey(key); err != nil {
		return store.Wrap("put", key, err, nil)
	}
	if len(data) > store.MaxObject {
		return store.Wrap("put", key, store.ErrTooLarge, nil)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.mu.objects[key]; ok {
		return store.Wrap("put", key, store.ErrExists, nil)
	}
	s.mu.objects[key] = object{data: append([]byte{}, data...), modified: s.now()}
	return nil
}

// Head implements store.Store.
func (s *Store) Head(ctx context.Context, key string) (store.Info, error) {
	o, err := s.lookup(ctx, "head", key)
	if err != nil {
		return store.Info{}, err
	}
	return store.Info{Key: key, Size: int64(len(o.data)), Modified: o.modified}, nil
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := store.ContextError(ctx, "delete", key); err != nil {
			return err
		}
		if err := store.CheckKey(key); err != nil {
			return store.Wrap("delete", key, err, nil)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		delete(s.mu.objects, key)
	}
	return nil
}

// List implements store.Store. It sorts all keys that match, each time.
func (s *Store) List(ctx context.Context, prefix, after string, max int) ([]store.Info, error) {
	if err := store.ContextError(ctx, "list", prefix); err != nil {
		return nil, err
	}
	if err := store.CheckPrefix(prefix); err != nil {
		return nil, store.Wrap("list", prefix, err, nil)
	}
	s.mu.RLock()
	var out []store.Info
	for key, o := range s.mu.objects {
		if strings.HasPrefix(key, prefix) && key > after {
			out = append(out, store.Info{Key: key, Size: int64(len(o.data)), Modified: o.modified})
		}
	}
	s.mu.RUnlock()
	sort.Slice(out, func(i, j int) bool { return out[i].Key < out[j].Key })
	if max = store.ListMax(max); len(out) > max {
		out = out[:max]
	}
	return out, nil
}
