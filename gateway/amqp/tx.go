package amqp

import (
	"context"
	"sync"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// transaction is what a channel in transaction mode keeps until commit (AMQP
// 1.9). It is atomic for the client that sees commit-ok; a crash in the middle of
// a commit may leave a part of it, as in RabbitMQ over several queues.
type transaction struct {
	publishes []publish
	bytes     int
	acks      []func() error
	hold      gateway.Hold // of publishes

	mu struct {
		sync.Mutex
		wait   int
		failed bool
		done   chan struct{}
	}
}

func (tx *transaction) add(c *conn, p *publish) error {
	tx.bytes += len(p.body)
	if limit := c.s.env.Limits.MaxInflightBytes; tx.bytes > limit {
		return refuse(codeResourceError, "transaction is over %d bytes", limit)
	}
	if tx.publishes == nil {
		tx.hold = c.nc.Hold()
	}
	if err := tx.hold.Need(c.ctx, tx.bytes+publishOverhead*len(tx.publishes)); err != nil {
		return refuse(codeResourceError, "transaction of %d bytes: %v", tx.bytes, err)
	}
	tx.publishes = append(tx.publishes, *p)
	return nil
}

// publishOverhead is about what a publish takes besides its body.
const publishOverhead = 512

// maxTxAcks bounds the acknowledgements of one transaction.
const maxTxAcks = 100_000

// settle keeps what settles deliveries for the commit.
func (tx *transaction) settle(fn func() error) error {
	if len(tx.acks) >= maxTxAcks {
		return refuse(codeResourceError, "transaction has over %d acknowledgements", maxTxAcks)
	}
	tx.acks = append(tx.acks, fn)
	return nil
}

// settled counts down; called by completions.
func (tx *transaction) settled(o outcome) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	tx.mu.failed = tx.mu.failed || o == refused
	if tx.mu.wait--; tx.mu.wait == 0 && tx.mu.done != nil {
		close(tx.mu.done)
	}
}

// waitAll waits until all that was published is durable.
func (tx *transaction) waitAll(ctx context.Context, n int) error {
	tx.mu.Lock()
	if tx.mu.wait += n; tx.mu.wait == 0 {
		failed := tx.mu.failed
		tx.mu.Unlock()
		if failed {
			return refuse(codeInternalError, "transaction could not be stored")
		}
		return nil
	}
	tx.mu.done = make(chan struct{})
	tx.mu.Unlock()
	select {
	case <-tx.mu.done:
	case <-ctx.Done():
		return shard.ErrClosed
	}
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.mu.failed {
		return refuse(codeInternalError, "transaction could not be stored")
	}
	return nil
}

// txMethod handles classes tx (AMQP 1.9) and confirm.
func (ch *channel) txMethod(m frame.Method) error {
	switch m := m.(type) {
	case *frame.ConfirmSelect:
		if ch.tx != nil {
			return refuse(codePreconditionFailed, "cannot switch from tx to confirm mode")
		}
		ch.confirm = true
		if !m.NoWait {
			ch.send(&frame.ConfirmSelectOk{})
		}
		return nil
	case *frame.TxSelect:
		if ch.confirm {
			return refuse(codePreconditionFailed, "cannot switch from confirm to tx mode")
		}
		if ch.tx == nil {
			ch.tx = new(transaction)
		}
		ch.send(&frame.TxSelectOk{})
		return nil
	case *frame.TxCommit:
		if ch.tx == nil {
			return refuse(codePreconditionFailed, "channel is not transactional")
		}
		if err := ch.commit(); err != nil {
			return err
		}
		ch.send(&frame.TxCommitOk{})
		return nil
	case *frame.TxRollback:
		if ch.tx == nil {
			return refuse(codePreconditionFailed, "channel is not transactional")
		}
		ch.tx.hold.Free()
		ch.tx = new(transaction)
		ch.send(&frame.TxRollbackOk{})
		return nil
	}
	return refuse(codeCommandInvalid, "%s is the server's to send", m.ID())
}

// commit publishes, waits until all is durable, and settles deliveries.
func (ch *channel) commit() error {
	tx := ch.tx
	tx.hold.Complete() // from now on it is not the client that others wait for
	defer tx.hold.Free()
	before := ch.txRefs
	for i := range tx.publishes {
		if err := ch.publish(&tx.publishes[i]); err != nil {
			ch.tx = new(transaction)
			f := faultOf(err)
			f.method = frame.IDBasicPublish
			return f
		}
	}
	ch.c.flush()
	n := ch.txRefs - before
	ch.tx = new(transaction)
	if err := tx.waitAll(ch.c.ctx, n); err != nil {
		return err
	}
	for _, settle := range tx.acks {
		if err := settle(); err != nil {
			return err
		}
	}
	ch.c.flush()
	return nil
}
