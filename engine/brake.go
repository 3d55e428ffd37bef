package engine

import (
	"context"
	"time"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
)

// Each flush writes a row to etcd, which refuses everything once its quota is used up:
// then retention could free nothing any more. These are the shares of the quota from
// which on the engine is degraded, flushes come half as often (and half as often again
// with each further step), and appends are refused. What is left then is for the
// engine's own commits, of state and of what is freed.
const (
	catalogDegraded = 0.60
	catalogBrake    = 0.80
	catalogStep     = 0.05
	catalogRefuse   = 0.95
)

// brakeInterval is the time between looks at etcd's size.
const brakeInterval = 10 * time.Second

// catalogUse is what was seen last.
type catalogUse struct {
	catalog.Usage
	full float64
}

func (e *Engine) brakeLoop(ctx context.Context) {
	tick := time.NewTicker(brakeInterval)
	defer tick.Stop()
	for {
		e.lookAtCatalog(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// lookAtCatalog asks etcd what it takes. Where it does not say, what was seen last
// holds: it is as large as it was, and commits fail by themselves.
func (e *Engine) lookAtCatalog(ctx context.Context) {
	ask := e.cat.Usage
	if e.hooks.usage != nil {
		ask = e.hooks.usage
	}
	u, err := ask(ctx)
	if err != nil {
		return
	}
	now := &catalogUse{u, u.Full()}
	was := e.use.Swap(now)
	level := func(u *catalogUse) int {
		switch {
		case u == nil || u.full < catalogDegraded:
			return 0
		case u.full < catalogBrake:
			return 1
		case u.full < catalogRefuse:
			return 2
		}
		return 3
	}
	if before, after := level(was), level(now); after > before {
		e.log.Warn("etcd fills up", "used", u.InUse, "file", u.DB, "quota", u.Quota, "flushes_braked", after >= 2, "appends_refused", after >= 3)
	} else if after < before {
		e.log.Info("etcd has room again", "used", u.InUse, "file", u.DB, "quota", u.Quota, "flushes_braked", after >= 2, "appends_refused", after >= 3)
	}
	if did, err := e.cat.Relieve(ctx); err != nil && ctx.Err() == nil {
		e.log.Warn("embedded etcd cannot be packed", "error", err)
	} else if did {
		e.log.Info("embedded etcd was packed")
	}
}

// catalogFull is how much of etcd's quota is used up.
func (e *Engine) catalogFull() float64 {
	if u := e.use.Load(); u != nil {
		return u.full
	}
	return 0
}

// braked tells by what factor flushes wait longer, and take more at a time, so that
// fewer rows are written.
func (e *Engine) braked() int64 {
	full := e.catalogFull()
	if full < catalogBrake {
		return 1
	}
	const rounding = 1e-9
	return 2 << min(int64((full-catalogBrake)/catalogStep+rounding), 3)
}

// refusal tells why no records are taken while etcd is all but full. State is taken:
// what frees something is among it.
func (e *Engine) refusal() error {
	full := e.catalogFull()
	if full < catalogRefuse {
		return nil
	}
	return &shard.Error{Kind: shard.KindUnavailable, Op: "append batch",
		Err:  shard.Errorf(shard.KindUnavailable, "appends are refused: etcd is %.0f %% full", 100*full),
		Hint: "delete topics or shorten their retention, or raise etcd's quota"}
}

// catalogPressure tells that etcd fills up.
func (e *Engine) catalogPressure() error {
	full := e.catalogFull()
	switch {
	case full < catalogDegraded || full >= catalogRefuse: // that is told as down
		return nil
	case full < catalogBrake:
		return shard.Errorf(shard.KindUnavailable, "etcd is %.0f %% full", 100*full)
	}
	return shard.Errorf(shard.KindUnavailable, "etcd is %.0f %% full: flushes are slowed down, and appends are refused from %.0f %% on", 100*full, 100*catalogRefuse)
}
