// Package s3 is a Store in an Amazon S3 bucket, or in that of a server with the
// same protocol, through the AWS SDK.
//
// Credentials come from the SDK's default chain (environment, shared files, web
// identity, container and instance roles) unless Options has some. Put is one
// PutObject with If-None-Match: *; a 412 is ErrExists, a 409
// ConditionalRequestConflict (S3 was busy with the same key) is sent again a few
// times. The SDK's own retries are off: an object that a first, unanswered PUT
// created must not be taken for another's. Package retry knows that case.
//
// For endpoints other than Amazon's, the SDK's extra checksums are sent only
// where the operation demands them: several servers refuse them. Segments carry
// their own.
package s3

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/tier/store/internal/s3code"
)

// Options say which bucket, where, and as whom.
type Options struct {
	Bucket               string
	Region               string // empty: the default chain's, else us-east-1
	Endpoint             string // URL; empty: Amazon's of the region
	PathStyle            bool   // bucket in the path, not in the host name; most other servers want it
	AccessKey, SecretKey string // empty: the default credential chain
	SessionToken         string
	MaxConns             int          // idle connections kept; default 64
	TLS                  *tls.Config  // nil: the system's CAs
	Clock                *store.Clock // sees the server's time; nil: nobody does
}

// Store is a store.Store in a bucket. All methods may be called concurrently.
type Store struct {
	client *awss3.Client
	bucket string
}

// New returns a Store. It loads configuration and credentials, and sends no
// request to the bucket.
func New(ctx context.Context, o Options) (*Store, error) {
	if o.Bucket == "" {
		return nil, errors.New("open s3 store: no bucket")
	}
	if o.MaxConns <= 0 {
		o.MaxConns = 64
	}
	client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns, t.MaxIdleConnsPerHost = o.MaxConns, o.MaxConns
		if o.TLS != nil {
			t.TLSClientConfig = o.TLS.Clone()
		}
	})
	load := []func(*config.LoadOptions) error{config.WithHTTPClient(client)}
	if o.Region != "" {
		load = append(load, config.WithRegion(o.Region))
	}
	if o.AccessKey != "" {
		load = append(load, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(o.AccessKey, o.SecretKey, o.SessionToken)))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, fmt.Errorf("open s3 store: load configuration: %w", err)
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	cfg.HTTPClient = o.Clock.WatchDoer(cfg.HTTPClient)
	return &Store{bucket: o.Bucket, client: awss3.NewFromConfig(cfg, func(so *awss3.Options) {
		so.Retryer = aws.NopRetryer{}
		so.UsePathStyle = o.PathStyle
		so.DisableLogOutputChecksumValidationSkipped = true
		if o.Endpoint != "" {
			so.BaseEndpoint = aws.String(o.Endpoint)
			so.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
			so.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		}
	})}, nil
}

// EnsureBucket creates the bucket unless it is there.
func (s *Store) EnsureBucket(ctx context.Context) error {
	_, err := s.client.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: &s.bucket})
	var api smithy.APIError
	if errors.As(err, &api) && (api.ErrorCode() == "BucketAlreadyOwnedByYou" || api.ErrorCode() == "BucketAlreadyExists") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("create bucket %s: %w", s.bucket, err)
	}
	return nil
}

// wrap gives an error of the SDK its kind.
func wrap(ctx context.Context, op, key string, err error) error {
	if cerr := store.ContextError(ctx, op, key); cerr != nil {
		return cerr
	}
	status := 0
	var re *awshttp.ResponseError
	if errors.As(err, &re) {
		status = re.HTTPStatusCode()
	}
	return store.Wrap(op, key, s3code.Kind(status, code(err)), err)
}

// code is what the server calls an error.
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
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
	in := &awss3.GetObjectInput{Bucket: &s.bucket, Key: &key}
	switch {
	case n > 0:
		in.Range = aws.String("bytes=" + strconv.FormatInt(off, 10) + "-" + strconv.FormatInt(off+n-1, 10))
	case off > 0:
		in.Range = aws.String("bytes=" + strconv.FormatInt(off, 10) + "-")
	}
	out, err := s.client.GetObject(ctx, in)
	if err != nil {
		return wrap(ctx, "get", key, err)
	}
	defer func() { _ = out.Body.Close() }() // read to its end or given up
	return read(store.Body{Reader: out.Body, Length: aws.ToInt64(out.ContentLength), Ranged: in.Range != nil, Range: aws.ToString(out.ContentRange)})
}

// unsigned leaves the body out of the signature: SHA-256 was a quarter of the processor's time of a flush, and
// the server checks the CRC.
func unsigned(o *awss3.Options) {
	o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
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
		_, err := s.client.PutObject(ctx, &awss3.PutObjectInput{
			Bucket: &s.bucket, Key: &key, Body: body, ContentLength: &size,
			ContentType: aws.String("application/octet-stream"), IfNoneMatch: aws.String("*"), ChecksumCRC32C: &crc,
		}, unsigned)
		if err == nil {
			return "", nil
		}
		return code(err), wrap(ctx, "put", key, err)
	}
}

// Head implements store.Store.
func (s *Store) Head(ctx context.Context, key string) (store.Info, error) {
	if err := store.Check(ctx, "head", key); err != nil {
		return store.Info{}, err
	}
	out, err := s.client.HeadObject(ctx, &awss3.HeadObjectInput{Bucket: &s.bucket, Key: &key})
	if err != nil {
		return store.Info{}, wrap(ctx, "head", key, err)
	}
	return store.Info{Key: key, Size: aws.ToInt64(out.ContentLength), Modified: aws.ToTime(out.LastModified)}, nil
}

// Delete implements store.Store. It sends up to 1000 keys in one request.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	var errs []error
	ids := make([]types.ObjectIdentifier, 0, len(keys))
	for i := range keys {
		if err := store.Check(ctx, "delete", keys[i]); err != nil {
			errs = append(errs, err)
			continue
		}
		ids = append(ids, types.ObjectIdentifier{Key: &keys[i]})
	}
	for len(ids) > 0 {
		n := min(len(ids), 1000)
		errs = append(errs, s.deleteSome(ctx, ids[:n])...)
		ids = ids[n:]
	}
	return errors.Join(errs...)
}

func (s *Store) deleteSome(ctx context.Context, ids []types.ObjectIdentifier) []error {
	first := aws.ToString(ids[0].Key)
	if len(ids) == 1 {
		_, err := s.client.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &s.bucket, Key: &first})
		if err != nil {
			if err = wrap(ctx, "delete", first, err); errors.Is(err, store.ErrNotFound) {
				return nil
			}
			return []error{err}
		}
		return nil
	}
	out, err := s.client.DeleteObjects(ctx, &awss3.DeleteObjectsInput{
		Bucket: &s.bucket, Delete: &types.Delete{Objects: ids, Quiet: aws.Bool(true)},
	})
	if err != nil {
		return []error{wrap(ctx, "delete", first, err)}
	}
	var errs []error
	for _, e := range out.Errors {
		kind := s3code.Kind(0, aws.ToString(e.Code))
		if !errors.Is(kind, store.ErrNotFound) {
			errs = append(errs, store.Wrap("delete", aws.ToString(e.Key), kind, errors.New(aws.ToString(e.Code)+": "+aws.ToString(e.Message))))
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
	var token *string
	for {
		in := &awss3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: &prefix, MaxKeys: aws.Int32(int32(max - len(out))), ContinuationToken: token}
		if after != "" && token == nil {
			in.StartAfter = &after
		}
		page, err := s.client.ListObjectsV2(ctx, in)
		if err != nil {
			return nil, wrap(ctx, "list", prefix, err)
		}
		for _, o := range page.Contents {
			if key := aws.ToString(o.Key); store.CheckKey(key) == nil && key > after && len(out) < max {
				out = append(out, store.Info{Key: key, Size: aws.ToInt64(o.Size), Modified: aws.ToTime(o.LastModified)})
			}
		}
		if token = page.NextContinuationToken; len(out) == max || !aws.ToBool(page.IsTruncated) || aws.ToString(token) == "" {
			return out, nil
		}
	}
}
