// Package minio is a Store in a bucket of a MinIO server, or of another S3
// compatible one, through minio-go. It does what package s3 does with fewer
// dependencies on Amazon's ways: no region look-up, no SDK checksums, one
// endpoint. The retries of minio-go are off, for the reason package s3 gives.
package minio

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/url"

	miniogo "github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/tier/store/internal/s3code"
)

// Options say which bucket, where, and as whom.
type Options struct {
	Bucket               string
	Endpoint             string // URL: http://host:port or https://host
	Region               string // empty: us-east-1
	PathStyle            bool
	AccessKey, SecretKey string // empty: from the environment (AWS_, then MINIO_), shared files, the instance
	SessionToken         string
	MaxConns             int          // idle connections kept; default 64
	TLS                  *tls.Config  // nil: the system's CAs
	Clock                *store.Clock // sees the server's time; nil: nobody does
}

// Store is a store.Store in a bucket. All methods may be called concurrently.
type Store struct {
	core   *miniogo.Core
	bucket string
	region string
}

// New returns a Store. It sends no request.
func New(o Options) (*Store, error) {
	u, err := url.Parse(o.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("open minio store: endpoint: %w", err)
	}
	if len(o.Bucket) < 3 || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.Path != "" && u.Path != "/" {
		return nil, fmt.Errorf("open minio store: endpoint %q, bucket %q: want http(s)://host[:port] and 3 characters or more", o.Endpoint, o.Bucket)
	}
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.MaxConns <= 0 {
		o.MaxConns = 64
	}
	creds := credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{}, &credentials.EnvMinio{}, &credentials.FileAWSCredentials{}, &credentials.IAM{},
	})
	if o.AccessKey != "" {
		creds = credentials.NewStaticV4(o.AccessKey, o.SecretKey, o.SessionToken)
	}
	lookup := miniogo.BucketLookupDNS
	if o.PathStyle {
		lookup = miniogo.BucketLookupPath
	}
	transport, err := miniogo.DefaultTransport(u.Scheme == "https")
	if err != nil {
		return nil, fmt.Errorf("open minio store: %w", err)
	}
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = o.MaxConns, o.MaxConns
	if o.TLS != nil && u.Scheme == "https" {
		transport.TLSClientConfig = o.TLS.Clone()
	}
	if transport.TLSClientConfig != nil {
		transport.TLSClientConfig.MinVersion = tls.VersionTLS12
	}
	core, err := miniogo.NewCore(u.Host, &miniogo.Options{
		Creds: creds, Secure: u.Scheme == "https", Transport: o.Clock.WatchTransport(transport), Region: o.Region, BucketLookup: lookup, MaxRetries: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("open minio store: %w", err)
	}
	return &Store{core: core, bucket: o.Bucket, region: o.Region}, nil
}

// EnsureBucket creates the bucket unless it is there.
func (s *Store) EnsureBucket(ctx context.Context) error {
	err := s.core.MakeBucket(ctx, s.bucket, miniogo.MakeBucketOptions{Region: s.region})
	if code := miniogo.ToErrorResponse(err).Code; err == nil || code == "BucketAlreadyOwnedByYou" || code == "BucketAlreadyExists" {
		return nil
	}
	return fmt.Errorf("create bucket %s: %w", s.bucket, err)
}

// wrap gives an error of minio-go its kind.
func wrap(ctx context.Context, op, key string, err error) error {
	if cerr := store.ContextError(ctx, op, key); cerr != nil {
		return cerr
	}
	var r miniogo.ErrorResponse
	if !errors.As(err, &r) {
		return store.Wrap(op, key, store.ErrTemporary, err) // no answer
	}
	return store.Wrap(op, key, s3code.Kind(r.StatusCode, r.Code), err)
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string, off, n int64) (data []byte, err error) {
	err = s.get(ctx, key, off, n, func(b store.Body) (err error) {
		data, err = store.ReadBody(ctx, key, b, off, n)
		return err
	})
	return data, err
}

// GetParts implements store.PartGetter.
func (s *Store) GetParts(ctx context.Context, key string, off, n, part int64) (parts [][]byte, err error) {
	err = s.get(ctx, key, off, n, func(b store.Body) (err error) {
		parts, err = store.ReadParts(ctx, key, b, off, n, part)
		return err
	})
	return parts, err
}

// get sends a GET and has the answer read.
func (s *Store) get(ctx context.Context, key string, off, n int64, read func(store.Body) error) error {
	if err := store.CheckRange(off, n); err != nil {
		return store.Wrap("get", key, err, nil)
	}
	if err := store.Check(ctx, "get", key); err != nil {
		return err
	}
	var opts miniogo.GetObjectOptions
	ranged := n > 0 || off > 0
	if ranged {
		end := int64(0) // to the end, for SetRange
		if n > 0 {
			end = off + n - 1
		}
		if err := opts.SetRange(off, end); err != nil {
			return store.Wrap("get", key, store.ErrRange, err)
		}
	}
	body, info, header, err := s.core.GetObject(ctx, s.bucket, key, opts)
	if err != nil {
		return wrap(ctx, "get", key, err)
	}
	defer func() { _ = body.Close() }() // read to its end or given up
	return read(store.Body{Reader: body, Length: info.Size, Ranged: ranged, Range: header.Get("Content-Range")})
}

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, key string, data []byte) error {
	return s3code.Put(ctx, key, data, s.send(ctx, key))
}

// PutFrom implements store.FromPutter.
func (s *Store) PutFrom(ctx context.Context, key string, body io.ReaderAt, size int64, sum uint32) error {
	return s3code.PutFrom(ctx, key, body, size, sum, s.send(ctx, key))
}

func (s *Store) send(ctx context.Context, key string) s3code.Send {
	return func(body io.Reader, size int64, crc string) (string, error) {
		// The body is not part of the signature: SHA-256 was a quarter of the processor's time of a flush,
		// over TLS nobody signs it either, and the server checks the CRC.
		opts := miniogo.PutObjectOptions{
			ContentType: "application/octet-stream", DisableMultipart: true, DisableContentSha256: true,
			UserMetadata: map[string]string{store.CRCHeader: crc},
		}
		opts.SetMatchETagExcept("*")
		_, err := s.core.Client.PutObject(ctx, s.bucket, key, body, size, opts)
		if err == nil {
			return "", nil
		}
		return miniogo.ToErrorResponse(err).Code, wrap(ctx, "put", key, err)
	}
}

// Head implements store.Store.
func (s *Store) Head(ctx context.Context, key string) (store.Info, error) {
	if err := store.Check(ctx, "head", key); err != nil {
		return store.Info{}, err
	}
	info, err := s.core.StatObject(ctx, s.bucket, key, miniogo.StatObjectOptions{})
	if err != nil {
		return store.Info{}, wrap(ctx, "head", key, err)
	}
	return store.Info{Key: key, Size: info.Size, Modified: info.LastModified}, nil
}

// Delete implements store.Store. It sends up to 1000 keys in one request.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	var errs []error
	good := make([]string, 0, len(keys))
	for _, key := range keys {
		if err := store.Check(ctx, "delete", key); err != nil {
			errs = append(errs, err)
			continue
		}
		good = append(good, key)
	}
	if len(good) == 1 {
		err := s.core.RemoveObject(ctx, s.bucket, good[0], miniogo.RemoveObjectOptions{})
		if err != nil {
			if err = wrap(ctx, "delete", good[0], err); !errors.Is(err, store.ErrNotFound) {
				errs = append(errs, err)
			}
		}
		return errors.Join(errs...)
	}
	for len(good) > 0 {
		n := min(len(good), 1000)
		errs = append(errs, s.deleteSome(ctx, good[:n])...)
		good = good[n:]
	}
	return errors.Join(errs...)
}

func (s *Store) deleteSome(ctx context.Context, keys []string) []error {
	objects := make(chan miniogo.ObjectInfo, len(keys))
	for _, key := range keys {
		objects <- miniogo.ObjectInfo{Key: key}
	}
	close(objects)
	var errs []error
	for e := range s.core.RemoveObjects(ctx, s.bucket, objects, miniogo.RemoveObjectsOptions{}) {
		if err := wrap(ctx, "delete", e.ObjectName, e.Err); !errors.Is(err, store.ErrNotFound) {
			errs = append(errs, err)
		}
	}
	return errs
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix, after string, max int) ([]store.Info, error) {
	if err := store.ContextError(ctx, "list", prefix); err != nil {
		return nil, err
	}
	if err := store.CheckPrefix(prefix); err != nil {
		return nil, store.Wrap("list", prefix, err, nil)
	}
	max = store.ListMax(max)
	var out []store.Info
	opts := miniogo.ListObjectsOptions{Prefix: prefix, Recursive: true, StartAfter: after, MaxKeys: max}
	for o := range s.core.ListObjectsIter(ctx, s.bucket, opts) {
		if o.Err != nil {
			return nil, wrap(ctx, "list", prefix, o.Err)
		}
		if store.CheckKey(o.Key) != nil || o.Key <= after {
			continue
		}
		out = append(out, store.Info{Key: o.Key, Size: o.Size, Modified: o.LastModified})
		if len(out) == max {
			break
		}
	}
	if err := store.ContextError(ctx, "list", prefix); err != nil {
		return nil, err // or what a list that was cut short has found would pass for all
	}
	return out, nil
}
