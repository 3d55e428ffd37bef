// Package open makes a Store from configuration: it is the one place that knows
// all implementations.
package open

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"

	"github.com/robustmq/robustmq-go/internal/vfs"
	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/tier/store/dir"
	"github.com/robustmq/robustmq-go/tier/store/mem"
	"github.com/robustmq/robustmq-go/tier/store/minio"
	"github.com/robustmq/robustmq-go/tier/store/prefix"
	"github.com/robustmq/robustmq-go/tier/store/s3"
)

// Config says which store, where, and as whom.
type Config struct {
	Kind string // "dir", "s3", "minio" or "mem"
	Dir  string // dir: the directory
	Keep int64  // dir: bytes of its disk that are left free

	Endpoint     string // s3: empty for Amazon's; minio: http(s)://host[:port]
	Bucket       string
	Region       string
	PathStyle    bool // the bucket in the path, not in the host name
	AccessKey    string
	SecretKey    string
	SessionToken string
	CreateBucket bool         // create the bucket when it is missing
	MaxConns     int          // idle connections kept; default 64
	TLS          *tls.Config  // s3, minio: nil: the system's CAs
	Clock        *store.Clock // s3, minio: sees the server's time; nil: nobody does

	Prefix   string // objects are below this folder
	ReadOnly bool   // dir: open beside a running broker; for the verbs that only look
}

// ErrKind: Config.Kind is no store.
var ErrKind = errors.New(`unknown kind of object store (want "dir", "s3", "minio" or "mem")`)

type nothing struct{}

func (nothing) Close() error { return nil }

// Open opens a Store, bare of retries and limits. Close the Closer when it is no
// longer used.
func Open(ctx context.Context, c Config) (store.Store, io.Closer, error) {
	s, closer, err := openBare(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	p, err := prefix.New(s, c.Prefix)
	if err != nil {
		return nil, nil, errors.Join(err, closer.Close())
	}
	return p, closer, nil
}

func openBare(ctx context.Context, c Config) (store.Store, io.Closer, error) {
	switch c.Kind {
	case "mem":
		return mem.New(nil), nothing{}, nil
	case "dir":
		if c.Dir == "" {
			return nil, nil, errors.New("open dir store: no directory")
		}
		s, err := dir.Open(c.Dir, dir.Options{ReadOnly: c.ReadOnly, FS: vfs.KeepFree(vfs.OS{}, c.Keep)})
		if err != nil {
			return nil, nil, err
		}
		return s, s, nil
	case "s3":
		s, err := s3.New(ctx, s3.Options{
			Bucket: c.Bucket, Region: c.Region, Endpoint: c.Endpoint, PathStyle: c.PathStyle,
			AccessKey: c.AccessKey, SecretKey: c.SecretKey, SessionToken: c.SessionToken, MaxConns: c.MaxConns, TLS: c.TLS, Clock: c.Clock,
		})
		if err != nil {
			return nil, nil, err
		}
		return bucket(ctx, c, s)
	case "minio":
		s, err := minio.New(minio.Options{
			Bucket: c.Bucket, Region: c.Region, Endpoint: c.Endpoint, PathStyle: c.PathStyle,
			AccessKey: c.AccessKey, SecretKey: c.SecretKey, SessionToken: c.SessionToken, MaxConns: c.MaxConns, TLS: c.TLS, Clock: c.Clock,
		})
		if err != nil {
			return nil, nil, err
		}
		return bucket(ctx, c, s)
	}
	return nil, nil, fmt.Errorf("open object store %q: %w", c.Kind, ErrKind)
}

// bucketStore is a Store that can create its bucket.
type bucketStore interface {
	store.Store
	EnsureBucket(ctx context.Context) error
}

func bucket(ctx context.Context, c Config, s bucketStore) (store.Store, io.Closer, error) {
	if c.CreateBucket {
		if err := s.EnsureBucket(ctx); err != nil {
			return nil, nil, err
		}
	}
	return s, nothing{}, nil
}
