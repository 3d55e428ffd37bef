package main

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// wireClients connects n clients of the frugal driver, 64 at a time.
func wireClients(ctx context.Context, r *running, prefix string, n, buffer int) ([]*mqttWire, func(), error) {
	cs := make([]*mqttWire, n)
	err := atOnce(n, 64, func(i int) (err error) {
		cs[i], err = dialMQTTWire(ctx, r, prefix+"-"+strconv.Itoa(i), i, buffer)
		return err
	})
	return cs, func() {
		for _, c := range cs {
			if c != nil {
				c.Close()
			}
		}
	}, err
}

// atOnce calls do for 0 to n-1, some at once, until one fails.
func atOnce(n, some int, do func(i int) error) error {
	var next atomic.Int64
	var all sync.WaitGroup
	var failed atomic.Bool
	errs := make([]error, min(n, some))
	for w := range errs {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && !failed.Load(); i = int(next.Add(1)) - 1 {
				if errs[w] = do(i); errs[w] != nil {
					failed.Store(true)
					return
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (b *bench) wireConnects(n int) func(context.Context, *running) (figure, error) {
	n = b.n(n)
	return func(ctx context.Context, r *running) (figure, error) {
		prefix := b.name("connect")
		began := time.Now()
		err := atOnce(n, 64, func(i int) error {
			c, err := dialMQTTWire(ctx, r, prefix+"-"+strconv.Itoa(i), i, 256)
			if err != nil {
				return err
			}
			_, err = c.Write([]byte{0xe0, 0})
			return errors.Join(err, c.Close())
		})
		return figure{value: float64(n) / time.Since(began).Seconds(), messages: n}, err
	}
}

func (b *bench) wirePublish(qos byte, clients, each, window int) func(context.Context, *running) (figure, error) {
	each = b.n(each)
	return func(ctx context.Context, r *running) (figure, error) {
		return publishWire(ctx, r, b.name("pub"), qos, clients, each, window)
	}
}

func publishWire(ctx context.Context, r *running, prefix string, qos byte, clients, each, window int) (figure, error) {
	cs, end, err := wireClients(ctx, r, prefix, clients, 4<<10)
	defer end()
	if err != nil {
		return figure{}, err
	}
	err = atOnce(clients, 64, func(i int) error { // the topics exist
		return cs[i].publishAcked(prefix+"/"+strconv.Itoa(i), 128, 1, 1)
	})
	if err != nil {
		return figure{}, err
	}
	began := time.Now()
	err = atOnce(clients, clients, func(i int) error {
		topic := prefix + "/" + strconv.Itoa(i)
		if qos == 0 {
			return cs[i].publishAtMostOnce(topic, 128, each, window)
		}
		return cs[i].publishAcked(topic, 128, each, window)
	})
	n := clients * each
	return figure{value: float64(n) / time.Since(began).Seconds(), messages: n}, err
}

// wirePublishKept publishes with an offline session that gets it all.
func (b *bench) wirePublishKept(clients, each int) func(context.Context, *running) (figure, error) {
	each = b.n(each)
	return func(ctx context.Context, r *running) (figure, error) {
		prefix := b.name("kept")
		end, err := offlineSession(ctx, r, prefix)
		if err != nil {
			return figure{}, err
		}
		f, err := publishWire(ctx, r, prefix, 1, clients, each, mqttWindow)
		return f, errors.Join(err, end())
	}
}

// wireFanOut publishes no further ahead than window messages of what was delivered to all.
func (b *bench) wireFanOut(subs, n int) func(context.Context, *running) (figure, error) {
	n = b.n(n)
	const window, chunk = 100, 20
	return func(ctx context.Context, r *running) (figure, error) {
		prefix := b.name("fan")
		cs, end, err := wireClients(ctx, r, prefix, subs, 16<<10)
		defer end()
		if err != nil {
			return figure{}, err
		}
		if err := atOnce(subs, 64, func(i int) error { return cs[i].subscribe(prefix, 0) }); err != nil {
			return figure{}, err
		}
		pub, err := dialMQTTWire(ctx, r, prefix+"-pub", 0, 256)
		if err != nil {
			return figure{}, err
		}
		defer pub.Close()
		var got, last atomic.Int64
		whole, want := make(chan struct{}), int64(n*subs)
		for _, c := range cs {
			go func() {
				_ = c.count(func(k int) {
					last.Store(time.Now().UnixNano())
					if got.Add(int64(k)) == want {
						close(whole)
					}
				})
			}()
		}
		batch := newMQTTBatch(prefix, 64, chunk, 0)
		began := time.Now()
		last.Store(began.UnixNano())
		for sent := 0; sent < n; sent += chunk {
			if err := caughtUp(ctx, &got, &last, int64((sent-window)*subs)); err != nil {
				return figure{}, err
			}
			if _, err := pub.Write(batch.take(min(chunk, n-sent))); err != nil {
				return figure{}, err
			}
		}
		if err := quiet(ctx, whole, &last); err != nil {
			return figure{}, err
		}
		took := time.Unix(0, last.Load()).Sub(began)
		if got.Load() == 0 {
			return figure{}, errors.New("nothing was delivered")
		}
		return figure{value: float64(got.Load()) / took.Seconds(), messages: int(got.Load()),
			extra: map[string]float64{"% delivered": 100 * float64(got.Load()) / float64(want)}}, nil
	}
}

// caughtUp waits until as many were delivered, or none for half a second: what QoS 0 loses never comes.
func caughtUp(ctx context.Context, got, last *atomic.Int64, want int64) error {
	for got.Load() < want && time.Since(time.Unix(0, last.Load())) < time.Second/2 {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		time.Sleep(100 * time.Microsecond) // the deliveries come from a thousand goroutines: a look is cheaper than a signal
	}
	return nil
}
