package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// historyKept is how long etcd keeps what was overwritten or deleted: a watch that
	// falls behind by more lists everything again.
	historyKept = 5 * time.Minute
	// defragLeast is the size from which on an embedded etcd that is half empty is
	// packed at its start, and defragShare the share of the quota from which on it is
	// packed while it runs, which holds up everything for seconds.
	defragLeast = 256 << 20
	defragShare = 0.95
)

// Usage is what etcd takes, in bytes: of several members, the largest.
type Usage struct {
	DB    int64 // its file, with pages that are free
	InUse int64
	Quota int64 // of DB, past which etcd refuses writes; 0: not known
	Rows  int64 // of segments in the view
}

// Full is the share of the quota that is used up: free pages are used before the file
// grows.
func (u Usage) Full() float64 {
	if u.Quota <= 0 {
		return 0
	}
	if u.DB >= u.Quota {
		return 1
	}
	return float64(u.InUse) / float64(u.Quota)
}

// Usage asks etcd what it takes.
func (c *Catalog) Usage(ctx context.Context) (Usage, error) {
	u := Usage{Rows: c.segments.bytes()}
	if c.em != nil {
		be := c.em.server.Server.Backend()
		u.DB, u.InUse, u.Quota = be.Size(), be.SizeInUse(), c.em.quota
		return u, nil
	}
	var errs []error
	asked := false
	for _, ep := range c.cfg.Endpoints {
		actx, cancel := context.WithTimeout(ctx, attemptTimeout)
		st, err := c.client.Status(actx, ep)
		cancel()
		if err != nil {
			errs = append(errs, fmt.Errorf("ask %s for its size: %w", ep, err))
			continue
		}
		asked = true
		quota := st.DbSizeQuota // which etcd tells from 3.6 on
		if c.cfg.QuotaBytes > 0 {
			quota = c.cfg.QuotaBytes
		}
		one := Usage{DB: st.DbSize, InUse: st.DbSizeInUse, Quota: quota, Rows: u.Rows}
		if one.Full() >= u.Full() {
			u = one
		}
	}
	if !asked {
		return u, fmt.Errorf("%w: %w", ErrUnavailable, errors.Join(errs...))
	}
	return u, nil
}

// bytes gives what the rows of all segments take.
func (x *index) bytes() int64 { return x.rowBytes.Load() }

// stored is about what a segment takes in etcd.
func (e *entry) stored() int64 {
	const head = 64 // key, version, numbers
	return int64(len(e.rows) + len(e.seg.Key) + head)
}

// Relieve packs an embedded etcd whose file has all but reached the quota though much
// of it is free, or, where etcd takes no more for that, a tenth. It holds up every call
// meanwhile.
func (c *Catalog) Relieve(ctx context.Context) (did bool, err error) {
	u, err := c.Usage(ctx)
	if err != nil || c.em == nil || float64(u.DB) < defragShare*float64(u.Quota) || 10*u.InUse > 9*u.DB {
		return false, err
	}
	if 2*u.InUse > u.DB { // it gains little: only where nothing can be written else
		full, err := c.em.full(ctx, c.client)
		if err != nil || !full {
			return false, err
		}
	}
	return true, c.em.defrag(ctx, c.client)
}

// defrag packs the file and, if etcd had run out of space, lets it take writes again.
func (e *embedded) defrag(ctx context.Context, client *clientv3.Client) error {
	if err := e.server.Server.Backend().Defrag(); err != nil {
		return fmt.Errorf("defragment embedded etcd: %w", err)
	}
	return e.disarm(ctx, client)
}

// full tells whether etcd has run out of space and refuses writes.
func (e *embedded) full(ctx context.Context, client *clientv3.Client) (bool, error) {
	alarms, err := client.AlarmList(ctx)
	if err != nil {
		return false, fmt.Errorf("list alarms of embedded etcd: %w", err)
	}
	for _, a := range alarms.Alarms {
		if a.Alarm == etcdserverpb.AlarmType_NOSPACE {
			return true, nil
		}
	}
	return false, nil
}

// disarm takes back that etcd ran out of space, where it has some.
func (e *embedded) disarm(ctx context.Context, client *clientv3.Client) error {
	if float64(e.server.Server.Backend().Size()) >= defragShare*float64(e.quota) {
		return nil
	}
	alarms, err := client.AlarmList(ctx)
	if err != nil {
		return fmt.Errorf("list alarms of embedded etcd: %w", err)
	}
	for _, a := range alarms.Alarms {
		if a.Alarm != etcdserverpb.AlarmType_NOSPACE {
			continue
		}
		if _, err := client.AlarmDisarm(ctx, (*clientv3.AlarmMember)(a)); err != nil {
			return fmt.Errorf("disarm alarm of embedded etcd: %w", err)
		}
	}
	return nil
}

// pack makes room at the start: where the file has all but reached the quota, history
// goes at once; where much of it is free it is packed.
func (e *embedded) pack(ctx context.Context, client *clientv3.Client) error {
	be := e.server.Server.Backend()
	if float64(be.Size()) >= defragShare*float64(e.quota) {
		resp, err := client.Get(ctx, "\x00", clientv3.WithCountOnly())
		if err != nil {
			return fmt.Errorf("ask embedded etcd for its revision: %w", err)
		}
		_, err = client.Compact(ctx, resp.Header.Revision, clientv3.WithCompactPhysical())
		if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
			return fmt.Errorf("compact embedded etcd: %w", err)
		}
		return e.defrag(ctx, client)
	}
	if be.Size() >= defragLeast && 2*be.SizeInUse() < be.Size() {
		return e.defrag(ctx, client)
	}
	return e.disarm(ctx, client)
}

// compact has etcd forget its history, but for the last historyKept, until Close. An
// embedded one does so by itself; of another one nobody else may.
func (c *Catalog) compact() {
	defer c.done.Done()
	tick := time.NewTicker(c.cfg.HistoryKept)
	defer tick.Stop()
	last := c.feed.revision()
	said := false
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-tick.C:
		}
		rev := last
		last = c.feed.revision()
		if rev <= 1 || rev == last {
			continue
		}
		ctx, cancel := context.WithTimeout(c.ctx, opTimeout)
		_, err := c.client.Compact(ctx, rev)
		cancel()
		switch {
		case err == nil, errors.Is(err, rpctypes.ErrCompacted), c.ctx.Err() != nil:
			said = false
		case !said:
			said = true
			c.log.Warn("etcd's history cannot be compacted: it grows until somebody else does it", "err", err)
		}
	}
}
