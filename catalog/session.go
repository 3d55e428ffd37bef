package catalog

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Session is this process's membership. Every commit made through it compares,
// in its own transaction, that the incarnation still exists: after the lease
// is gone nothing commits any more, whatever this process believes.
type Session struct {
	c           *Catalog
	gateway     Gateway
	incarnation int64
	lease       clientv3.LeaseID
	ttl         time.Duration
	key         string
	renewed     atomic.Pointer[time.Time] // when the last renewal that was answered was sent
	flushed     atomic.Pointer[WALPos]
	former      struct {
		sync.Mutex
		slots map[int]Slot
	}

	lost chan struct{}
	once sync.Once
	ctx  context.Context // ends with the session
	stop context.CancelFunc
	done sync.WaitGroup
}

// Join makes this process the gateway g.ID. While another incarnation of that
// id lives, Join waits for its lease to run out, up to the context's deadline
// (three lease times where it has none), and then gives ErrExists. takeover
// skips the wait: to be set only by a caller that knows the old process to be
// dead, as the holder of its data directory's lock does. It has no effect on an
// incarnation with another log, which lives elsewhere, unless etcd itself is in
// the data directory. g.WALID is recorded as idle, unless it is open: ErrAbandoned
// when it was given up for lost.
func (c *Catalog) Join(ctx context.Context, g Gateway, takeover bool) (*Session, error) {
	if err := g.check(); err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 3*c.cfg.LeaseTTL+opTimeout)
		defer cancel()
	}
	ctx, cancel := c.opContext(ctx)
	defer cancel()
	g.mark = make([]byte, maxMarkBytes)
	rand.Read(g.mark)
	granted := time.Now()
	lease, err := c.grant(ctx)
	if err != nil {
		return nil, fmt.Errorf("join %q: %w", g.ID, err)
	}
	s := &Session{c: c, gateway: g, lease: lease, ttl: c.cfg.LeaseTTL, key: c.key(kindGateway, g.ID), lost: make(chan struct{})}
	if err := s.create(ctx, takeover); err != nil {
		c.revoke(lease)
		return nil, fmt.Errorf("join %q: %w", g.ID, err)
	}
	s.renewed.Store(&granted)
	s.ctx, s.stop = context.WithCancel(c.ctx)
	s.done.Add(2)
	go s.keepAlive()
	go s.watchKey()
	return s, nil
}

// NewMark gives random bytes for MarkWAL.
func NewMark() []byte {
	b := make([]byte, maxMarkBytes)
	rand.Read(b)
	return b
}

func (c *Catalog) grant(ctx context.Context) (clientv3.LeaseID, error) {
	for wait := retryMin; ; wait = min(2*wait, retryMax) {
		actx, cancel := context.WithTimeout(ctx, attemptTimeout)
		resp, err := c.client.Grant(actx, int64(c.cfg.LeaseTTL/time.Second))
		cancel()
		if err == nil {
			return resp.ID, nil
		}
		if refusal, no := refused(err); no {
			return 0, fmt.Errorf("grant lease: %w", refusal)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return 0, c.unavailable("grant lease", err)
		}
	}
}

// revoke ends a lease, as a courtesy: it would run out by itself.
func (c *Catalog) revoke(id clientv3.LeaseID) error {
	ctx, cancel := context.WithTimeout(context.Background(), attemptTimeout)
	defer cancel()
	_, err := c.client.Revoke(ctx, id)
	if err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return fmt.Errorf("revoke lease: %w", err)
	}
	return nil
}

// joinWAL adds the record of the gateway's log to the transaction of its join.
// One that is open stays so: it may hold what no segment has.
func (s *Session) joinWAL(t *txn) (change, error) {
	id := s.gateway.WALID
	r := s.c.wals.rows()[id]
	w := r.val
	switch w.State {
	case WALAbandoned:
		return change{}, fmt.Errorf("%w: log %s", ErrAbandoned, id)
	case WALOpen:
	default:
		w.State = WALIdle
	}
	w.ID, w.Owner, w.Default = id, s.gateway.ID, s.gateway.Default
	value, err := encodeWAL(w)
	if err != nil {
		return change{}, err
	}
	t.iff(modifiedAt(s.c.key(kindWAL, id), r.mod))
	t.put(s.c.key(kindWAL, id), value)
	t.orGet(s.c.key(kindWAL, id))
	return ownUpdate(kindWAL, id, value, r.create, r.version), nil
}

// create makes the gateway's key, and with it the incarnation.
func (s *Session) create(ctx context.Context, takeover bool) error {
	c := s.c
	value, err := encodeGateway(s.gateway)
	if err != nil {
		return err
	}
	for {
		t := txn{cmps: []clientv3.Cmp{absent(s.key)}}
		t.put(s.key, value, clientv3.WithLease(s.lease))
		chs := []change{own(kindGateway, s.gateway.ID, value)}
		if s.gateway.WALID != "" {
			ch, err := s.joinWAL(&t)
			if err != nil {
				return err
			}
			chs = append(chs, ch)
		}
		t.orGet(s.key)
		out, err := c.commit(ctx, "create gateway", t)
		if err != nil {
			return err
		}
		if out.ok {
			s.incarnation = out.rev
			c.applyOwn(out.rev, chs...)
			return c.waitApplied(ctx, out.rev)
		}
		if err := s.catchUp(ctx, kindWAL, out); err != nil {
			return err
		}
		kv := out.found[s.key]
		switch {
		case kv == nil:
			continue
		case bytes.Equal(kv.Value, value): // the mark: an attempt of ours whose answer was lost
			s.incarnation = kv.CreateRevision
			return c.waitApplied(ctx, kv.CreateRevision)
		case takeover && s.mayEvict(kv.Value):
			err = s.evict(ctx, kv.CreateRevision, clientv3.LeaseID(kv.Lease))
		default:
			c.log.Warn("a gateway of that name lives: waiting for the end of its lease", "gateway", s.gateway.ID, "incarnation", kv.CreateRevision)
			err = s.awaitEnd(ctx, kv.CreateRevision)
		}
		if err != nil {
			return err
		}
	}
}

// mayEvict tells whether the data directory's lock, which the caller holds, speaks
// for the incarnation with that record.
func (s *Session) mayEvict(record []byte) bool {
	if s.c.cfg.Embedded != "" {
		return true
	}
	g, err := decodeGateway(s.gateway.ID, record)
	return err == nil && g.WALID == s.gateway.WALID
}

// evict ends an earlier incarnation of our id. Its key cannot be overwritten,
// since the incarnation is the revision at which the key was made.
func (s *Session) evict(ctx context.Context, incarnation int64, lease clientv3.LeaseID) error {
	t := txn{cmps: []clientv3.Cmp{createdAt(s.key, incarnation)}}
	t.do(clientv3.OpDelete(s.key))
	if _, err := s.c.commit(ctx, "evict former incarnation", t); err != nil {
		return err
	}
	if lease != 0 {
		go s.c.revoke(lease)
	}
	return nil
}

// awaitEnd waits until an earlier incarnation of our id is gone.
func (s *Session) awaitEnd(ctx context.Context, incarnation int64) error {
	if err := s.c.waitApplied(ctx, incarnation); err != nil {
		return err
	}
	for {
		ch := s.c.GatewaysChanged()
		if !s.c.alive(s.gateway.ID, incarnation) {
			return nil
		}
		select {
		case <-ch:
		case <-ctx.Done():
			return fmt.Errorf("%w: gateway %q lives elsewhere (incarnation %d)", ErrExists, s.gateway.ID, incarnation)
		}
	}
}

// keepAlive renews the lease three times in its life. When a whole life passes
// after the sending of the last renewal that was answered, or etcd does not
// know the lease, the session is lost: by our clock no later than by etcd's.
func (s *Session) keepAlive() {
	defer s.done.Done()
	pause := s.ttl / 3
	for {
		select {
		case <-time.After(pause):
		case <-s.ctx.Done():
			return
		}
		sent := time.Now()
		left := s.left(sent)
		if left <= 0 {
			s.lose("no renewal was answered in time")
			return
		}
		kctx, cancel := context.WithTimeout(s.ctx, min(left, s.ttl/3))
		_, err := s.c.client.KeepAliveOnce(kctx, s.lease)
		cancel()
		switch {
		case err == nil:
			s.renewed.Store(&sent)
			pause = s.ttl / 3
		case errors.Is(err, rpctypes.ErrLeaseNotFound):
			s.lose("etcd does not know its lease")
			return
		default:
			pause = min(s.ttl/20, max(s.left(time.Now()), 0))
		}
	}
}

// watchKey ends the session as soon as the watch tells that its key is gone.
func (s *Session) watchKey() {
	defer s.done.Done()
	for {
		ch := s.c.GatewaysChanged()
		if !s.c.alive(s.gateway.ID, s.incarnation) {
			s.lose("its key is gone")
			return
		}
		select {
		case <-ch:
		case <-s.ctx.Done():
			return
		}
	}
}

func (s *Session) lose(why string) {
	s.once.Do(func() {
		s.c.log.Error("gateway lost its catalog session", "gateway", s.gateway.ID, "incarnation", s.incarnation, "why", why)
		close(s.lost)
		s.stop()
	})
}

// Lost gives a channel that is closed when the lease may be gone: stop
// acknowledging at once. Nothing commits through the session after that.
func (s *Session) Lost() <-chan struct{} { return s.lost }

// left gives how much of the lease is left by our own clock.
func (s *Session) left(now time.Time) time.Duration { return s.ttl - now.Sub(*s.renewed.Load()) }

// Alive tells whether the lease holds by this process's own clock. After a pause
// of the whole process it is the first to know that time has passed: to be
// asked before an acknowledgement that no commit stands behind.
func (s *Session) Alive() bool { return !s.fenced() && s.left(time.Now()) > 0 }

// Incarnation tells this run of the gateway from all others, before and after.
func (s *Session) Incarnation() int64 { return s.incarnation }

// Gateway gives the record that was joined with.
func (s *Session) Gateway() Gateway {
	g := s.gateway
	g.Incarnation = s.incarnation
	return g
}

// Leave ends the session in good order; slots are to be released before.
func (s *Session) Leave() error {
	s.stop()
	s.done.Wait()
	s.once.Do(func() { close(s.lost) })
	return s.c.revoke(s.lease)
}

// fenced tells whether the session is lost already.
func (s *Session) fenced() bool {
	select {
	case <-s.lost:
		return true
	default:
		return false
	}
}

// context bounds an operation of the session: it ends with the session, too.
func (s *Session) context(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := s.c.opContext(ctx)
	stop := context.AfterFunc(s.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// run adds the fence to a transaction and runs it. A refusal by the fence, or a
// session that is lost before the answer is known, is ErrFenced; any other
// failed compare is the caller's to read from the outcome.
func (s *Session) run(ctx context.Context, what string, t txn) (outcome, error) {
	if s.fenced() {
		return outcome{}, fmt.Errorf("%s: %w", what, ErrFenced)
	}
	t.iff(createdAt(s.key, s.incarnation))
	t.orGet(s.key)
	out, err := s.c.commit(ctx, what, t)
	switch {
	case err != nil && s.fenced():
		return out, fmt.Errorf("%s: %w", what, ErrFenced)
	case err != nil:
		return out, err
	case out.ok:
		return out, nil
	}
	if kv := out.found[s.key]; kv == nil || kv.CreateRevision != s.incarnation {
		s.lose("a commit was fenced")
		return out, fmt.Errorf("%s: %w", what, ErrFenced)
	}
	return out, nil
}
