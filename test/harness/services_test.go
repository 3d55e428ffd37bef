package harness

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
)

func TestS3ServicesKeepDataOverAKill(t *testing.T) {
	for name, startService := range map[string]func(context.Context, ...string) (*Service, error){
		"minio": StartMinIO, "versitygw": StartVersityGW,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			s := Must(t)(startService(ctx, "bucket"))
			c, err := s.S3()
			if err != nil {
				t.Fatalf("new client: %v", err)
			}
			put := func(value string) error {
				opts := minio.PutObjectOptions{}
				opts.SetMatchETagExcept("*")
				_, err := c.PutObject(ctx, "bucket", "a/b", strings.NewReader(value), int64(len(value)), opts)
				return err
			}
			if err := put("first"); err != nil {
				t.Fatalf("put: %v", err)
			}
			if err := put("second"); minio.ToErrorResponse(err).StatusCode != 412 {
				t.Fatalf("put over an existing object: %v, want status 412", err)
			}
			s.Kill()
			if err := s.Start(ctx); err != nil {
				t.Fatalf("start again: %v", err)
			}
			o, err := c.GetObject(ctx, "bucket", "a/b", minio.GetObjectOptions{})
			if err != nil {
				t.Fatalf("get: %v", err)
			}
			got, err := io.ReadAll(o)
			if err != nil || string(got) != "first" {
				t.Fatalf("read %q, %v; want %q", got, err, "first")
			}
		})
	}
}

func TestEtcdRestarts(t *testing.T) {
	s := Must(t)(StartEtcd(t.Context()))
	pid := s.Proc().Pid()
	if err := s.Stop(); err != nil {
		t.Fatalf("stop: %v", err)
	}
	if err := dialable(t.Context(), s.Endpoint); err == nil {
		t.Fatalf("etcd still answers after Stop")
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatalf("start again: %v", err)
	}
	if s.Proc().Pid() == pid {
		t.Fatalf("the process is the same after a restart")
	}
}
