package shardtest

import (
	"errors"
	"fmt"
	"sync"

	"github.com/robustmq/robustmq-go/shard"
)

func (e *env) apply(owner string, ops ...shard.StateOp) error {
	return shard.ApplyWait(e.ctx, e.Broker.State, owner, ops...)
}

func (e *env) dump(owner, prefix string) (out []string) {
	e.must(e.Broker.State.Range(e.ctx, owner, prefix, func(key string, v shard.StateValue) bool {
		out = append(out, key+"="+string(v.Data))
		return true
	}))
	return out
}

var stateTests = []test{
	{"put, get, delete", func(e *env) {
		e.must(e.apply("o", shard.StateOp{Key: "k", Value: []byte("1")}, shard.StateOp{Key: "e", Value: []byte{}}))
		v, ok, err := e.Broker.State.Get(e.ctx, "o", "k")
		e.must(err)
		if !ok || string(v.Data) != "1" || v.Rev <= 0 {
			e.Fatal(v, ok)
		}
		if x, ok, _ := e.Broker.State.Get(e.ctx, "o", "e"); !ok || x.Data == nil || len(x.Data) != 0 {
			e.Fatal("an empty value is not kept", x, ok)
		}
		e.must(e.apply("o", shard.StateOp{Key: "k", Value: []byte("2")}))
		if n, _, _ := e.Broker.State.Get(e.ctx, "o", "k"); n.Rev <= v.Rev {
			e.Fatal("the revision did not rise")
		}
		e.must(e.apply("o", shard.StateOp{Key: "k"}, shard.StateOp{Key: "never"}))
		if _, ok, _ := e.Broker.State.Get(e.ctx, "o", "k"); ok {
			e.Fatal("still there")
		}
		if _, ok, _ := e.Broker.State.Get(e.ctx, "other", "e"); ok {
			e.Fatal("there for another owner")
		}
	}},
	{"conditions are all or none", func(e *env) {
		e.must(e.apply("o", shard.StateOp{Key: "a", Value: []byte("1"), If: shard.NoRev}))
		v, _, _ := e.Broker.State.Get(e.ctx, "o", "a")
		for i, ops := range [][]shard.StateOp{
			{{Key: "b", Value: []byte("x")}, {Key: "a", Value: []byte("x"), If: shard.NoRev}},
			{{Key: "b", Value: []byte("x")}, {Key: "a", Value: []byte("x"), If: v.Rev + 1000}},
			{{Key: "b", Value: []byte("x")}, {Key: "c", If: 1}},
		} {
			if err := e.apply("o", ops...); !errors.Is(err, shard.ErrRevision) {
				e.Errorf("case %d: %v", i, err)
			}
		}
		e.equal(e.dump("o", ""), []string{"a=1"})
		e.must(e.apply("o", shard.StateOp{Key: "a", Value: []byte("2"), If: v.Rev}))
		if err := e.apply("o", shard.StateOp{Key: "a", Value: []byte("3"), If: v.Rev}); !errors.Is(err, shard.ErrRevision) {
			e.Error(err)
		}
	}},
	{"range and owners", func(e *env) {
		for _, k := range []string{"b/2", "a", "b/1", "b/10", "c"} {
			e.must(e.apply("x/1", shard.StateOp{Key: k, Value: []byte(k)}))
		}
		e.must(e.apply("x/2", shard.StateOp{Key: "k", Value: []byte("v")}))
		e.equal(e.dump("x/1", "b/"), []string{"b/1=b/1", "b/10=b/10", "b/2=b/2"})
		n := 0
		e.must(e.Broker.State.Range(e.ctx, "x/1", "", func(string, shard.StateValue) bool { n++; return n < 2 }))
		e.equal(n, 2)
		owners, err := e.Broker.State.Owners(e.ctx, "x/")
		e.must(err)
		e.equal(owners, []string{"x/1", "x/2"})
		e.must(e.apply("x/2", shard.StateOp{Key: "k"}))
		owners, err = e.Broker.State.Owners(e.ctx, "x/")
		e.must(err)
		e.equal(owners, []string{"x/1"})
	}},
	{"order and counters", func(e *env) {
		var wg sync.WaitGroup
		wg.Add(200)
		prev := -1
		for i := range 200 {
			e.Broker.State.Apply(e.ctx, "o", []shard.StateOp{{Key: "k", Value: fmt.Append(nil, i)}}, func(err error) {
				if err != nil || i != prev+1 {
					e.Errorf("%d after %d: %v", i, prev, err)
				}
				prev = i
				wg.Done()
			})
		}
		wg.Wait()
		e.equal(e.dump("o", ""), []string{"k=199"})
		for range 4 {
			wg.Go(func() {
				for range 25 {
					e.increment("n")
				}
			})
		}
		wg.Wait()
		e.equal(e.dump("o", "n"), []string{"n=100"})
	}},
	{"too large", func(e *env) {
		e.kind(e.apply("o", shard.StateOp{Key: "k", Value: make([]byte, shard.MaxStateValue+1)}), shard.KindTooLarge)
	}},
}

// increment adds one to a counter by compare-and-set.
func (e *env) increment(key string) {
	for {
		v, ok, err := e.Broker.State.Get(e.ctx, "o", key)
		if err != nil {
			e.Error(err)
			return
		}
		n, cond := 0, shard.NoRev
		if ok {
			cond = v.Rev
			if _, err := fmt.Sscan(string(v.Data), &n); err != nil {
				e.Error(err)
				return
			}
		}
		err = e.apply("o", shard.StateOp{Key: key, Value: fmt.Append(nil, n+1), If: cond})
		if err == nil {
			return
		}
		if !errors.Is(err, shard.ErrRevision) {
			e.Error(err)
			return
		}
	}
}
