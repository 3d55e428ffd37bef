package catalog

import (
	"context"
	"fmt"

	"github.com/oklog/ulid/v2"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// FormatVersion is the newest version of the catalog's layout this code can
// read and write. A cluster that says a higher one is not opened.
const FormatVersion = 1

// clusterName is the name of the one record of its kind.
const clusterName = "id"

// Cluster is the record made by the first gateway ever: cluster/id, persistent.
//
// Value, version 1: format version (varint), id (string), time of making (varint, ms).
type Cluster struct {
	Format  uint32
	ID      string
	Created int64 // milliseconds since the epoch
}

func encodeClusterRecord(r Cluster) []byte {
	e := encoder{b: []byte{version1}}
	e.uvarint(uint64(r.Format))
	e.str(r.ID)
	e.varint(r.Created)
	return e.b
}

func decodeCluster(_ string, b []byte) (Cluster, error) {
	d := newDecoder(b, version1)
	r := Cluster{Format: d.u32(), ID: d.str(maxNameBytes), Created: d.varint()}
	if err := d.done(); err != nil {
		return Cluster{}, fmt.Errorf("decode cluster: %w", err)
	}
	return r, nil
}

// makeCluster writes the cluster's record if there is none.
func (c *Catalog) makeCluster(ctx context.Context) error {
	key := c.key(kindCluster, clusterName)
	value := encodeClusterRecord(Cluster{Format: FormatVersion, ID: ulid.Make().String(), Created: c.cfg.Now().UnixMilli()})
	t := txn{cmps: []clientv3.Cmp{absent(key)}}
	t.put(key, value)
	_, err := c.commit(ctx, "make cluster", t)
	return err
}

// checkCluster refuses a cluster of a newer format, and one with values this
// code cannot read.
func (c *Catalog) checkCluster() error {
	r, ok := c.cluster.rows()[clusterName]
	if ok && r.val.Format > FormatVersion {
		return fmt.Errorf("%w: the cluster has %d, this gateway knows %d", ErrFormat, r.val.Format, FormatVersion)
	}
	if err := c.Health(); err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("read cluster: %w", ErrNotFound)
	}
	return nil
}

// ClusterID gives the cluster's id: a ULID, the same for ever.
func (c *Catalog) ClusterID() string { return c.cluster.rows()[clusterName].val.ID }
