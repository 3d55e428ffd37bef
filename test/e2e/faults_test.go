package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

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

	etcd.Pause()
	eventually(t, "ownership given up with etcd held for longer than the lease", 30*time.Second, func() bool {
		once, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		return produce(once, b.Ports.Kafka, []byte("nobody may take this")) != nil
	})
	etcd.Resume()
	eventually(t, "the broker to come back by itself", 60*time.Second, func() bool {
		if !alive(b) {
			t.Fatalf("the broker ended:\n%s", b.Proc().Tail(5))
		}
		return healthy(b)
	})
	must(t, writeAll(ctx, b.Ports, "etcd", 300, 50))
	must(t, readAll(ctx, b.Ports, "etcd", 350))
}

// smallDisk makes a disk of the given size (as mount has it) in a mount namespace that lasts until
// the end of the test. It gives its path, the same path as seen from here, and what to put before a
// command line to run it there.
func smallDisk(t *testing.T, size string) (dir, here string, wrap []string) {
	t.Helper()
	var paths [2]string
	for i, tool := range []string{"unshare", "nsenter"} {
		var err error
		if paths[i], err = exec.LookPath(tool); err != nil {
			t.Fatalf("a disk of its own needs user namespaces: %v", err)
		}
	}
	dir = t.TempDir()
	holder, err := harness.StartProc(harness.Command{Path: paths[0], Args: []string{
		"--user", "--map-root-user", "--mount", "sh", "-c", `mount -t tmpfs -o size="$1" tmpfs "$0" && echo mounted && exec sleep 600`, dir, size,
	}})
	must(t, err)
	t.Cleanup(holder.Kill)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	must(t, holder.WaitLine(ctx, "mounted"))
	pid := fmt.Sprint(holder.Pid())
	return dir, filepath.Join("/proc", pid, "root", dir), []string{paths[1], "--target", pid, "--user", "--mount", "--preserve-credentials"}
}

// TestDiskFull fills the disk of a broker: what is refused is refused in so many words, and with
// room again everything acknowledged is there. With its etcd elsewhere the broker goes on by
// itself; its embedded etcd ends the process, as etcd does, and it has to be started again.
func TestDiskFull(t *testing.T) {
	for _, embedded := range []bool{false, true} {
		t.Run(fmt.Sprintf("embedded etcd %v", embedded), func(t *testing.T) { diskFull(t, embedded) })
	}
}

func diskFull(t *testing.T, embedded bool) {
	dir, here, wrap := smallDisk(t, "160m")
	args := []string{"--set", "wal.file_bytes=4194304", "--set", "flush.interval=2s"}
	if !embedded {
		args = append(args, "--set", "etcd.endpoints="+harness.Must(t)(harness.StartEtcd(t.Context())).Endpoint)
	}
	b := harness.NewBroker(t, harness.Options{DataDir: filepath.Join(dir, "data"), Args: args, Wrap: wrap})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	must(t, writeAll(ctx, b.Ports, "disk", 0, 20))
	fill(t, filepath.Join(here, "filler"))

	acked, refused := untilRefused(ctx, t, b.Ports.Kafka)
	t.Logf("disk full after %d more messages of 64 KiB: %v", acked, refused)
	if !alive(b) && !embedded {
		t.Errorf("the broker ended:\n%s", b.Proc().Tail(5))
	}
	if alive(b) {
		status, text := health(t, b)
		t.Logf("health says %d: %s", status, text)
		if status == http.StatusOK || !strings.HasPrefix(text, "not serving: ") {
			t.Error("the broker refuses messages and calls itself ready")
		}
		must(t, readAll(ctx, b.Ports, "disk", 20))
	}

	must(t, os.Remove(filepath.Join(here, "filler")))
	if !alive(b) {
		must(t, b.Start(ctx))
	}
	eventually(t, "writes again", 30*time.Second, func() bool {
		once, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		return produce(once, b.Ports.Kafka, []byte("again")) == nil
	})
	eventually(t, "health that is green again", 30*time.Second, func() bool { status, _ := health(t, b); return status == http.StatusOK })
	must(t, writeAll(ctx, b.Ports, "disk", 20, 20))
	must(t, readAll(ctx, b.Ports, "disk", 40))
	rs, err := clients.ReadRange(ctx, b.Ports.Kafka, "disk.full", 0, 0, int64(acked+1))
	if err != nil || len(rs) < acked+1 {
		t.Errorf("read %d of %d messages acknowledged: %v", len(rs), acked+1, err)
	}
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

// fill writes until nothing more fits.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{1 << 20, 4096} {
		for block := make([]byte, size); err == nil; {
			_, err = f.Write(block)
		}
		err = nil
	}
}

func produce(ctx context.Context, port int, value []byte) error {
	c, err := clients.DialKafka(port, kgo.DisableIdempotentWrite(), kgo.RecordRetries(2),
		kgo.ProduceRequestTimeout(2*time.Second), kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }))
	if err != nil {
		return err
	}
	defer c.Close()
	return c.ProduceSync(ctx, &kgo.Record{Topic: "disk.full", Value: value}).FirstErr()
}

// untilRefused produces until the broker says no, and gives how many it took.
func untilRefused(ctx context.Context, t *testing.T, port int) (acked int, refused error) {
	t.Helper()
	block := make([]byte, 64<<10)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(block)
	for range 4000 {
		once, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := produce(once, port, block)
		cancel()
		if err != nil {
			return acked, err
		}
		acked++
	}
	t.Fatal("250 MiB on a disk of 160 MiB: it is not full")
	return 0, nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
