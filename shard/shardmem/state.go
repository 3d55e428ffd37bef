package shardmem

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/robustmq/robustmq-go/shard"
)

// state implements shard.State.
type state struct {
	b *Broker

	mu     sync.Mutex
	owners map[string]*owner
	rev    int64
}

type owner struct {
	keys   []string // sorted
	values map[string]shard.StateValue
}

func newState(b *Broker) *state { return &state{b: b, owners: make(map[string]*owner)} }

// Get implements shard.State.
func (s *state) Get(ctx context.Context, name, key string) (shard.StateValue, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.owners[name]; o != nil {
		v, ok := o.values[key]
		return v, ok, ctx.Err()
	}
	return shard.StateValue{}, false, ctx.Err()
}

// Range implements shard.State.
func (s *state) Range(ctx context.Context, name, prefix string, fn func(string, shard.StateValue) bool) error {
	type kv struct {
		key string
		v   shard.StateValue
	}
	var found []kv
	s.mu.Lock()
	if o := s.owners[name]; o != nil {
		i, _ := slices.BinarySearch(o.keys, prefix)
		for ; i < len(o.keys) && strings.HasPrefix(o.keys[i], prefix); i++ {
			found = append(found, kv{o.keys[i], o.values[o.keys[i]]})
		}
	}
	s.mu.Unlock()
	for _, f := range found {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !fn(f.key, f.v) {
			break
		}
	}
	return ctx.Err()
}

// Owners implements shard.State.
func (s *state) Owners(ctx context.Context, prefix string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name := range s.owners {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, ctx.Err()
}

// Apply implements shard.State.
func (s *state) Apply(_ context.Context, name string, ops []shard.StateOp, done func(error)) {
	ops = slices.Clone(ops)
	for i := range ops {
		ops[i].Value = cloneValue(ops[i].Value)
	}
	s.b.push(pending{done: shard.CompletionFunc(func(r shard.AppendResult) {
		err := r.Err
		if err == nil {
			err = s.apply(name, ops)
		}
		if done != nil {
			done(err)
		}
	})})
}

// cloneValue keeps the difference between nil and empty.
func cloneValue(v []byte) []byte {
	if v == nil {
		return nil
	}
	return append([]byte{}, v...)
}

func (s *state) apply(name string, ops []shard.StateOp) error {
	if f := s.b.opts.FailState; f != nil {
		if err := f(name); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.owners[name]
	if o == nil {
		o = &owner{values: make(map[string]shard.StateValue)}
	}
	for i := range ops {
		if len(ops[i].Value) > shard.MaxStateValue {
			return shard.Errorf(shard.KindTooLarge, "apply state: value of %d bytes", len(ops[i].Value))
		}
		v, ok := o.values[ops[i].Key]
		switch cond := ops[i].If; {
		case cond == shard.AnyRev:
		case cond == shard.NoRev && ok, cond > 0 && (!ok || v.Rev != cond):
			return shard.ErrRevision
		}
	}
	for i := range ops {
		s.rev++
		o.set(ops[i].Key, ops[i].Value, s.rev)
	}
	if len(o.keys) > 0 {
		s.owners[name] = o
	} else {
		delete(s.owners, name)
	}
	return nil
}

func (o *owner) set(key string, value []byte, rev int64) {
	i, found := slices.BinarySearch(o.keys, key)
	switch {
	case value == nil:
		if found {
			o.keys = slices.Delete(o.keys, i, i+1)
			delete(o.values, key)
		}
		return
	case !found:
		o.keys = slices.Insert(o.keys, i, key)
	}
	o.values[key] = shard.StateValue{Data: value, Rev: rev}
}
