package e2e

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/test/harness"
)

// runSuite runs the product's tests of some packages with an environment that sends their
// conformance suites to the server behind a proxy, and wants them to have gone there.
func runSuite(t *testing.T, s *harness.Service, env func(addr string) []string, packages ...string) {
	t.Helper()
	proxy, err := harness.NewProxy(s.Endpoint)
	if err != nil {
		t.Fatalf("start proxy: %v", err)
	}
	defer proxy.Close()
	root, err := harness.Root()
	if err != nil {
		t.Fatalf("find repository: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	out, err := harness.Run(ctx, harness.Command{
		Name: "go test", Path: "go", Dir: root,
		Args: append([]string{"test", "-count=1"}, packages...), Env: env(proxy.Addr),
	})
	if err != nil {
		t.Fatalf("run the suite: %v\n%s", err, out)
	}
	if !strings.Contains(out, "ok  \t") {
		t.Fatalf("no package has tests:\n%s", out)
	}
	up, down := proxy.Bytes()
	t.Logf("%d connections, %d bytes to the server, %d back\n%s", proxy.Conns(), up, down, out)
	if proxy.Conns() == 0 {
		t.Fatal("no test went to the server: is the environment variable still the right one?")
	}
}

func s3Env(addr string) []string {
	u := url.URL{Scheme: "http", Host: addr}
	return []string{
		"ROBUSTMQ_TEST_S3_ENDPOINT=" + u.String(), "ROBUSTMQ_TEST_S3_BUCKET=suite",
		"ROBUSTMQ_TEST_S3_ACCESS_KEY=" + harness.S3AccessKey, "ROBUSTMQ_TEST_S3_SECRET_KEY=" + harness.S3SecretKey,
	}
}

func TestStoreSuiteOnMinIO(t *testing.T) {
	runSuite(t, harness.Must(t)(harness.StartMinIO(t.Context(), "suite")), s3Env, "./tier/store/...")
}

func TestStoreSuiteOnVersityGW(t *testing.T) {
	runSuite(t, harness.Must(t)(harness.StartVersityGW(t.Context(), "suite")), s3Env, "./tier/store/...")
}

func TestCatalogSuiteOnEtcd(t *testing.T) {
	runSuite(t, harness.Must(t)(harness.StartEtcd(t.Context())), func(addr string) []string {
		return []string{"ROBUSTMQ_TEST_ETCD=" + addr}
	}, "./catalog/...")
}
