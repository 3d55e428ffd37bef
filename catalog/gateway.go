package catalog

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// Gateway is a member of the cluster: gateways/{id}, kept alive by a lease.
//
// Value, version 1: incarnation mark (16 random bytes, length-prefixed), zone,
// version, WAL id, count of addresses, then name and address of each in order
// of the names. Strings are a varint length and the bytes.
type Gateway struct {
	ID string
	// Addresses others reach it by: "rpc", "kafka", "mqtt" ... -> "host:port".
	Addresses map[string]string
	Zone      string
	Version   string
	// WALID names the write-ahead log it writes; empty if it has none.
	WALID string
	// Incarnation tells one run of the process from the next: the revision at
	// which etcd made the key. Set when read, not stored.
	Incarnation int64
	// Default is of the log's record (see WAL), and not stored with the gateway.
	Default shard.Durability

	mark []byte // tells our own Join from another's when an answer is lost
}

const (
	maxAddresses = 256
	maxMarkBytes = 16
)

func encodeGateway(g Gateway) ([]byte, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	e := encoder{b: []byte{version1}}
	e.str(string(g.mark))
	e.str(g.Zone)
	e.str(g.Version)
	e.str(g.WALID)
	e.uvarint(uint64(len(g.Addresses)))
	for _, k := range slices.Sorted(maps.Keys(g.Addresses)) {
		e.str(k)
		e.str(g.Addresses[k])
	}
	return e.b, nil
}

func decodeGateway(name string, b []byte) (Gateway, error) {
	d := newDecoder(b, version1)
	g := Gateway{ID: name}
	g.mark = d.bytes(maxMarkBytes)
	g.Zone = d.str(maxNameBytes)
	g.Version = d.str(maxNameBytes)
	g.WALID = d.str(maxNameBytes)
	n := d.count(maxAddresses, 2)
	if n > 0 {
		g.Addresses = make(map[string]string, n)
	}
	last := ""
	for i := range n {
		k, v := d.str(maxNameBytes), d.str(maxNameBytes)
		if i > 0 && k <= last {
			d.fail("addresses are out of order")
		}
		g.Addresses[k], last = v, k
	}
	if err := d.done(); err != nil {
		return Gateway{}, fmt.Errorf("decode gateway: %w", err)
	}
	return g, nil
}

func (g *Gateway) check() error {
	switch {
	case g.ID == "" || len(g.ID) > maxNameBytes || len(g.mark) > maxMarkBytes || len(g.WALID) > maxWALID:
		return fmt.Errorf("%w: gateway id %q", ErrInvalid, g.ID)
	case len(g.Addresses) > maxAddresses:
		return fmt.Errorf("%w: %d addresses", ErrTooLarge, len(g.Addresses))
	case len(g.Zone) > maxNameBytes || len(g.Version) > maxNameBytes:
		return fmt.Errorf("%w: gateway %q", ErrTooLarge, g.ID)
	}
	for k, v := range g.Addresses {
		if len(k) > maxNameBytes || len(v) > maxNameBytes {
			return fmt.Errorf("%w: address of gateway %q", ErrTooLarge, g.ID)
		}
	}
	return nil
}

// Gateways gives the living members, ordered by id.
func (c *Catalog) Gateways() []Gateway {
	rows := c.gateways.rows()
	out := make([]Gateway, 0, len(rows))
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		g := rows[id].val
		g.Incarnation = rows[id].create
		out = append(out, g)
	}
	return out
}

// GatewaysChanged gives a channel that is closed when a gateway comes or goes.
func (c *Catalog) GatewaysChanged() <-chan struct{} { return c.gateways.note.wait() }

// LeaseTTL is how long a gateway is believed to live without a sign of life.
func (c *Catalog) LeaseTTL() time.Duration { return c.cfg.LeaseTTL }

// alive tells whether an incarnation of a gateway lives, as far as we know.
func (c *Catalog) alive(id string, incarnation int64) bool {
	r, ok := c.gateways.rows()[id]
	return ok && r.create == incarnation
}
