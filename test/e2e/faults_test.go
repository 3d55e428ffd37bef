package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/test/e2e/clients"
	"github.com/robustmq/robustmq-go/test/harness"
)

// eager settings flush what there is every 200 ms.
var eager = []string{"--set", "flush.interval=200ms"}

// writeAll writes n messages with each protocol to subjects of its own, and fails when one is not
// acknowledged.
func writeAll(ctx context.Context, p harness.Ports, prefix string, from, n int) error {
	errs := make([]error, len(clients.Protocols))
	var wg sync.WaitGroup
	for i, protocol := range clients.Protocols {
		wg.Go(func() {
			w, err := clients.NewWriter(ctx, protocol, p)
			if err != nil {
				errs[i] = err
				return
			}
			defer w.Close()
			for k := range n {
				name := prefix + "." + protocol
				if protocol == clients.MQTT {
					name = strings.ReplaceAll(name, ".", "/")
				}
				if err := w.Write(ctx, clients.Message{Name: name, Value: fmt.Appendf(nil, "%s %d", protocol, from+k)}); err != nil {
					errs[i] = fmt.Errorf("%s, message %d: %w", protocol, from+k, err)
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// readAll wants messages 0 to n of each protocol, by Kafka.
func readAll(ctx context.Context, p harness.Ports, prefix string, n int) error {
	for _, protocol := range clients.Protocols {
		rs, err := clients.ReadRange(ctx, p.Kafka, prefix+"."+protocol, 0, 0, int64(n))
		if err != nil {
			return err
		}
		for i, r := range rs {
			if want := fmt.Sprintf("%s %d", protocol, i); string(r.Value) != want {
				return fmt.Errorf("%s: offset %d holds %q, want %q", r.Topic, i, r.Value, want)
			}
		}
	}
	return nil
}

// health is what the broker says of itself.
func health(t *testing.T, b *harness.Broker) (status int, text string) {
	t.Helper()
	resp, err := http.Get(b.AdminURL() + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(body))
}

// degraded tells whether the broker says so; it has to be ready.
func degraded(t *testing.T, b *harness.Broker) bool {
	t.Helper()
	status, text := health(t, b)
	if status != http.StatusOK {
		t.Fatalf("the broker is not ready: %d %s", status, text)
	}
	return strings.HasPrefix(text, "degraded: ")
}

// eventually waits for something outside that cannot announce itself.
func eventually(t *testing.T, what string, within time.Duration, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, within)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestStoreGone kills MinIO under a broker: writes and reads go on, the broker stays ready and says
// that it is degraded and why, and once the store is back everything ends up there.
func TestStoreGone(t *testing.T) {
	s3 := harness.Must(t)(harness.StartMinIO(t.Context(), bucket))
	etcd := harness.Must(t)(harness.StartEtcd(t.Context()))
	b := harness.NewBroker(t, harness.Options{Args: append(onServers("minio", s3, etcd), eager...)})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	must(t, writeAll(ctx, b.Ports, "store", 0, 100))
	eventually(t, "a first object", 30*time.Second, func() bool { n, _ := objects(t, s3); return n > 0 })
	before, _ := objects(t, s3)

	s3.Kill()
	began := time.Now()
	must(t, writeAll(ctx, b.Ports, "store", 100, 200))
	took := time.Since(began)
	must(t, readAll(ctx, b.Ports, "store", 300))
	eventually(t, "health that says degraded", 60*time.Second, func() bool { return degraded(t, b) })
	_, text := health(t, b)
	t.Logf("without the store: 4 x 200 messages written in %v and read; health says: %s", took.Round(time.Millisecond), text)
	bin, err := harness.Binary(ctx, false)
	must(t, err)
	if out, err := exec.CommandContext(ctx, bin, "health", "--server", b.AdminURL()).CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "degraded: ") {
		t.Errorf("robustmq health: %v, %s", err, out)
	}
	must(t, writeAll(ctx, b.Ports, "store", 300, 100))

	must(t, s3.Start(ctx))
	began = time.Now()
	eventually(t, "health that turns green", 60*time.Second, func() bool { return !degraded(t, b) })
	eventually(t, "more objects", 60*time.Second, func() bool { n, _ := objects(t, s3); return n > before })
	t.Logf("flushed again %v after the store was back", time.Since(began).Round(time.Millisecond))
	must(t, b.Stop())
	must(t, os.RemoveAll(b.DataDir))
	must(t, b.Start(ctx))
	must(t, readAll(ctx, b.Ports, "store", 400))
}

// TestEtcdRestarts restarts etcd within the lease, then holds it for longer than that: the broker
// goes on in the first case; in the second it gives up ownership and comes back with etcd, and
// nothing that it acknowledged is lost.
func TestEtcdRestarts(t *testing.T) {
	s3 := harness.Must(t)(harness.StartMinIO(t.Context(), bucket))
	etcd := harness.Must(t)(harness.StartEtcd(t.Context()))
	b := harness.NewBroker(t, harness.Options{Args: append(onServers("s3", s3, etcd), eager...)})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	must(t, writeAll(ctx, b.Ports, "etcd", 0, 100))
	etcd.Kill()
	must(t, writeAll(ctx, b.Ports, "etcd", 100, 100))
	must(t, etcd.Start(ctx))
	must(t, writeAll(ctx, b.Ports, "etcd", 200, 100))
	before, _ := objects(t, s3)
	eventually(t, "a flush after etcd is back", 30*time.Second, func() bool { n, _ := objects(t, s3); return n > before })
	eventually(t, "health that is green", 30*time.Second, func() bool { status, _ := health(t, b); return status == http.StatusOK })
	must(t, readAll(ctx, b.Ports, "etcd", 300))

	asked := keepAsking(ctx, t, b)
	etcd.Pause()
	eventually(t, "ownership given up with etcd held for longer than the lease", 30*time.Second, func() bool {
		once, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		return produce(once, b.Ports.Kafka, []byte("nobody may take this")) != nil
	})
	eventually(t, "health that says what is missing", 30*time.Second, func() bool { return !healthy(b) })
	etcd.Resume()
	eventually(t, "the broker to come back by itself", 60*time.Second, func() bool {
		if !alive(b) {
			t.Fatalf("the broker ended:\n%s", b.Proc().Tail(5))
		}
		return healthy(b)
	})
	asked()
	must(t, writeAll(ctx, b.Ports, "etcd", 300, 50))
	must(t, readAll(ctx, b.Ports, "etcd", 350))
}

// keepAsking asks for health and metrics as a kubelet and a monitor do, which must never be refused
// a connection while the process lives; what it gives ends that.
func keepAsking(ctx context.Context, t *testing.T, b *harness.Broker) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			for _, path := range []string{"/healthz", "/metrics"} {
				resp, err := http.Get(b.AdminURL() + path)
				if err != nil {
					t.Errorf("%s: %v", path, err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Errorf("%s: %s", path, resp.Status)
					return
				}
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}()
	return func() { cancel(); <-done }
}

// healthy asks a broker that may not be listening.
func healthy(b *harness.Broker) bool {
	resp, err := http.Get(b.AdminURL() + "/readyz")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func alive(b *harness.Broker) bool {
	select {
	case <-b.Proc().Done():
		return false
	default:
		return true
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
