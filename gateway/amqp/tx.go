package amqp

import (
	"context"
	"sync"
	"time"

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
	settles   []settlement
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

// settlement is what a transaction will do with deliveries, which it holds until
// then: who settles one again is told at once, and recover leaves them alone.
type settlement struct {
	held []unacked
	nack bool
	opts shard.NackOptions
}

// maxTxAcks bounds the acknowledgements of one transaction.
const maxTxAcks = 100_000

// settleLater takes deliveries for the commit.
func (ch *channel) settleLater(tag uint64, multiple bool, s settlement) error {
	if len(ch.tx.settles) >= maxTxAcks {
		return refuse(codeResourceError, "transaction has over %d acknowledgements", maxTxAcks)
	}
	ch.mu.Lock()
	ok := ch.mu.unacked.take(tag, multiple, func(e unacked) { s.held = append(s.held, e) })
	ch.mu.Unlock()
	if !ok {
		return unknownTag(tag)
	}
	ch.tx.settles = append(ch.tx.settles, s)
	return nil
}

// rollback forgets what was published and gives deliveries back to the channel.
func (ch *channel) rollback() {
	ch.mu.Lock()
	for _, s := range ch.tx.settles {
		ch.mu.unacked.restore(s.held)
	}
	ch.mu.Unlock()
	ch.tx.hold.Free()
	ch.tx = new(transaction)
}

// syncRetry is how long an acknowledgement that could not be stored rests.
const syncRetry = 50 * time.Millisecond

// settle does what the transaction says of deliveries, and waits until no crash
// undoes it.
func (tx *transaction) settle(c *conn) error {
	groups := make(map[shard.Group]bool)
	for _, s := range tx.settles {
		for _, e := range s.held {
			groups[e.k.group] = true
			if !s.nack {
				c.acks.add(e)
			}
		}
		if s.nack {
			c.acks.flush() // in the order of the client
			giveUp(s.held, s.opts)
		}
	}
	c.flush()
	for g := range groups {
		synced, ok := g.(shard.SyncedGroup)
		if !ok {
			continue
		}
		err := synced.Sync(c.ctx)
		for err != nil && retriable(err) && c.blockedWait(syncRetry) {
			err = synced.Sync(c.ctx)
		}
		c.unblocked()
		if err != nil && shard.KindOf(err) != shard.KindNotFound { // the queue was deleted
			return err
		}
	}
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
		ch.rollback()
		ch.send(&frame.TxRollbackOk{})
		return nil
	}
	return refuse(codeCommandInvalid, "%s is the server's to send", m.ID())
}

// commit publishes, settles deliveries when all that is durable, and waits until that is.
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
	return tx.settle(ch.c)
}
