package engine

import "github.com/robustmq/robustmq-go/shard"

// Health tells what is wrong, nil when nothing is.
func (e *Engine) Health() error {
	if err := e.down(); err != nil {
		return err
	}
	e.flusher.mu.Lock()
	failing := e.flusher.mu.failing
	e.flusher.mu.Unlock()
	if failing != nil {
		return shard.Errorf(shard.KindUnavailable, "the object store or the catalog does not take segments: %w", failing)
	}
	return e.cat.Health()
}

// Lost is closed when the catalog session has ended.
func (e *Engine) Lost() <-chan struct{} { return e.session.Lost() }
