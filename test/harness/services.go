package harness

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Credentials that S3 services of this package accept.
const (
	S3AccessKey = "robustmq-test"
	S3SecretKey = "robustmq-test-secret"
	S3Region    = "us-east-1"
)

// serviceWithin bounds the start of a service.
const serviceWithin = 30 * time.Second

// Service is a running server that a broker can stand on.
type Service struct {
	// Endpoint is host:port of the S3 API, or of etcd's client API.
	Endpoint string
	// URL is the endpoint with its scheme, http.
	URL string

	proc  *Proc
	dir   string
	start func() (*Proc, error)
	ready func(context.Context) error
}

// StartMinIO starts an empty MinIO with the given buckets.
func StartMinIO(ctx context.Context, buckets ...string) (*Service, error) {
	return startS3(ctx, "minio", buckets, func(path, dir, addr string) Command {
		return Command{
			Path: path, Args: []string{"server", "--quiet", "--address", addr, dir},
			Env: []string{"MINIO_ROOT_USER=" + S3AccessKey, "MINIO_ROOT_PASSWORD=" + S3SecretKey, "MINIO_BROWSER=off", "MINIO_UPDATE=off"},
		}
	})
}

// StartVersityGW starts an empty versitygw over a directory, with the given buckets.
func StartVersityGW(ctx context.Context, buckets ...string) (*Service, error) {
	return startS3(ctx, "versitygw", buckets, func(path, dir, addr string) Command {
		return Command{
			Path: path, Args: []string{"--quiet", "--port", addr, "--region", S3Region, "posix", dir},
			Env: []string{"ROOT_ACCESS_KEY=" + S3AccessKey, "ROOT_SECRET_KEY=" + S3SecretKey},
		}
	})
}

func startS3(ctx context.Context, tool string, buckets []string, command func(path, dir, addr string) Command) (*Service, error) {
	s, err := startService(ctx, tool, 1, func(path, dir string, ports []int) (Command, string) {
		return command(path, dir, Addr(ports[0])), Addr(ports[0])
	}, func(ctx context.Context, endpoint string) error {
		c, err := s3Client(endpoint)
		if err != nil {
			return err
		}
		_, err = c.ListBuckets(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, bucket := range buckets {
		c, err := s3Client(s.Endpoint)
		if err == nil {
			err = c.MakeBucket(ctx, bucket, minio.MakeBucketOptions{Region: S3Region})
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("make bucket %s in %s: %w", bucket, tool, err), s.Close())
		}
	}
	return s, nil
}

func s3Client(endpoint string) (*minio.Client, error) {
	return minio.New(endpoint, &minio.Options{
		Creds:  credentials.NewStaticV4(S3AccessKey, S3SecretKey, ""),
		Region: S3Region,
	})
}

// S3 returns a client of an S3 service of this package.
func (s *Service) S3() (*minio.Client, error) { return s3Client(s.Endpoint) }

// StartEtcd starts one empty etcd member.
func StartEtcd(ctx context.Context) (*Service, error) {
	return startService(ctx, "etcd", 2, func(path, dir string, ports []int) (Command, string) {
		client, peer := "http://"+Addr(ports[0]), "http://"+Addr(ports[1])
		return Command{Path: path, Args: []string{
			"--name", "test", "--data-dir", dir, "--log-level", "warn",
			"--listen-client-urls", client, "--advertise-client-urls", client,
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
			"--initial-cluster", "test=" + peer,
		}}, Addr(ports[0])
	}, func(ctx context.Context, endpoint string) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+endpoint+"/health", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("GET /health: %s", resp.Status)
		}
		return nil
	})
}

func startService(ctx context.Context, tool string, nports int,
	command func(path, dir string, ports []int) (Command, string),
	ready func(ctx context.Context, endpoint string) error,
) (*Service, error) {
	path, err := Tool(tool)
	if err != nil {
		return nil, err
	}
	ports := make([]int, nports)
	for i := range ports {
		if ports[i], err = FreePort(); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp("", "robustmq-"+tool+"-")
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", tool, err)
	}
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		return nil, fmt.Errorf("start %s: %w", tool, err)
	}
	cmd, endpoint := command(path, data, ports)
	cmd.Name, cmd.Dir = tool, dir
	s := &Service{
		Endpoint: endpoint, URL: "http://" + endpoint, dir: dir,
		start: func() (*Proc, error) { return StartProc(cmd) },
		ready: func(ctx context.Context) error { return ready(ctx, endpoint) },
	}
	if err := s.Start(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// Start starts the service again on its port and data after Stop or Kill, and waits until it is
// ready.
func (s *Service) Start(ctx context.Context) error {
	p, err := s.start()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, serviceWithin)
	defer cancel()
	if err := poll(ctx, p.Done(), s.ready); err != nil {
		p.Kill()
		return fmt.Errorf("wait for %s to be ready: %w\n%s", p.Name(), err, p.Tail(30))
	}
	s.proc = p
	return nil
}

// Proc is the current process.
func (s *Service) Proc() *Proc { return s.proc }

// Stop ends the service in good order.
func (s *Service) Stop() error { return s.proc.End(syscall.SIGTERM, StopGrace) }

// Kill ends the service with SIGKILL.
func (s *Service) Kill() { s.proc.Kill() }

// Pause freezes the service (SIGSTOP) until Resume: connections stay open and nothing answers.
func (s *Service) Pause() { s.proc.Signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (s *Service) Resume() { s.proc.Signal(syscall.SIGCONT) }

// Close kills the service and removes its data.
func (s *Service) Close() error {
	if s.proc != nil {
		s.proc.Kill()
	}
	return os.RemoveAll(s.dir)
}

// Must is for tests: a service that could not be started is fatal, a started one is closed at the
// end of the test.
//
//	s3 := harness.Must(t)(harness.StartMinIO(t.Context(), "robustmq"))
func Must(t testing.TB) func(*Service, error) *Service {
	return func(s *Service, err error) *Service {
		t.Helper()
		if err != nil {
			t.Fatalf("start service: %v", err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Errorf("close service: %v", err)
			}
		})
		return s
	}
}
