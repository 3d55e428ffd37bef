package metrics

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robustmq/robustmq-go/tier/store/fault"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

func TestCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		what := fault.None
		m := New(fault.New(mem.New(nil), fault.Options{Slowness: 150 * time.Millisecond, Choose: func(fault.Call) fault.Fault { return what }}))
		_ = m.Put(ctx, "k", make([]byte, 1000))
		_ = m.Put(ctx, "k", make([]byte, 1000))
		_, _ = m.Get(ctx, "k", 10, 100)
		_, _ = m.Get(ctx, "none", 0, -1)
		_, _ = m.Get(ctx, "k", 5000, 1)
		what = fault.Slow
		_, _ = m.Get(ctx, "k", 0, -1)
		what = fault.Unavailable
		_, _ = m.Head(ctx, "k")
		done, cancel := context.WithCancel(ctx)
		cancel()
		_, _ = m.List(done, "", "", 0)
		s := m.Snapshot()
		get, put := s[Get], s[Put]
		if put.Op != "put" || put.Count != 2 || put.Bytes != 1000 || put.Exists != 1 || put.Failed != 0 || put.InFlight != 0 {
			t.Errorf("%+v", put)
		}
		if get.Count != 4 || get.Bytes != 1100 || get.NotFound != 1 || get.Failed != 1 || get.Latency != 150*time.Millisecond {
			t.Errorf("%+v", get)
		}
		if get.Quantile(0.5) != time.Millisecond || get.Quantile(0.99) != 200*time.Millisecond || s[Delete].Quantile(0.5) != 0 {
			t.Errorf("quantiles %v, %v, %v", get.Quantile(0.5), get.Quantile(0.99), s[Delete].Quantile(0.5))
		}
		if s[Head].Temporary != 1 || s[List].Cancelled != 1 || s[Delete].Count != 0 {
			t.Errorf("%+v", s)
		}
		if Head.String() != "head" || Op(99).String() != "unknown" {
			t.Error("names")
		}
	})
}
