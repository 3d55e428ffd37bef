package main

import (
	"context"
	"sync"
	"time"
)

// counter counts the deliveries of one publish.
type counter struct {
	mu   sync.Mutex
	n    int
	want int
	last time.Time
	done chan struct{}
}

func newCounter() *counter { return &counter{done: make(chan struct{})} }

// expect begins a new count.
func (c *counter) expect(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n, c.want, c.done = 0, n, make(chan struct{})
	if n == 0 {
		c.last = time.Now()
		close(c.done)
	}
}

func (c *counter) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n++; c.n == c.want {
		c.last = time.Now()
		close(c.done)
	}
}

func (c *counter) seen() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// wait gives when the last came.
func (c *counter) wait(ctx context.Context) (time.Time, error) {
	c.mu.Lock()
	done := c.done
	c.mu.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last, nil
}
