package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/robustmq/robustmq-go/tier"
	"github.com/robustmq/robustmq-go/tier/store"
)

// The marker of a store that is in use is looked at again before something is put,
// and by each retention pass: a bucket may be deleted and made anew under a gateway
// that runs. Such a store takes nothing, although the catalog may name an object
// that was put in the moment before: what else it names is gone.

// markerTrust is how long a marker that was seen is believed to be there.
const markerTrust = 5 * time.Second

// stillOurs makes sure that the marker, which was there, still is. claimed.mu is held.
func (e *Engine) stillOurs(ctx context.Context) error {
	if !e.claimed.yes.Load() {
		return nil
	}
	_, err := e.store.Head(ctx, tier.MarkerKey(e.cat.ClusterID()))
	switch {
	case err == nil:
		e.claimed.seen.Store(time.Now().UnixNano())
		return nil
	case !errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("find out whether the object store is still this cluster's: %w", err)
	}
	gone, err := e.goneObject(ctx)
	switch {
	case err != nil:
		return err
	case gone != "" && !e.opts.AcceptForeign:
		return fmt.Errorf("%w, as %s, and this cluster's marker, which was there", ErrObjectsGone, gone)
	}
	e.log.Warn("this cluster's marker is gone from the object store, and its objects are there: it is put again")
	e.claimed.yes.Store(false)
	return nil
}

// goneObject looks for objects that the catalog names, some of them, and gives one
// that is not there; "" when all are.
func (e *Engine) goneObject(ctx context.Context) (string, error) {
	n := 0
	for s := range e.cat.Segments() {
		if n++; n > headsOfNamed {
			break
		}
		_, err := e.store.Head(ctx, s.Key)
		if errors.Is(err, store.ErrNotFound) {
			if _, ok := e.cat.Segment(s.ULID); ok { // else it was merged meanwhile
				return s.Key, nil
			}
			continue
		}
		if err != nil {
			return "", fmt.Errorf("look for a segment of the catalog: %w", err)
		}
	}
	return "", nil
}

// checkStore is claim by the clock, for a gateway that puts nothing: what is wrong
// is told by Health until it is right again.
func (e *Engine) checkStore(ctx context.Context) error {
	err := e.claim(ctx)
	if err != nil && ctx.Err() == nil {
		e.claimed.wrong.Store(&err)
		return fmt.Errorf("look at the object store: %w", err)
	}
	e.claimed.wrong.Store(nil)
	return nil
}

// health tells what checkStore has found.
func (c *claimed) health() error {
	if err := c.wrong.Load(); err != nil {
		return *err
	}
	return nil
}
