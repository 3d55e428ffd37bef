package e2e

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/robustmq-go/test/e2e/clients"
	"github.com/robustmq/robustmq-go/test/harness"
)

var starts = flag.Int("starts", 12, "starts of TestManyStarts: 200 in `make starts`")

// robustmq runs a verb, and gives what it says.
func robustmq(ctx context.Context, args ...string) (string, error) {
	bin, err := harness.Binary(ctx, false)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Env = append(os.Environ(), "ROBUSTMQ_PASSWORD="+harness.Password)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestManyStarts starts gateways with an empty data directory on one etcd and one
// bucket, one after the other and under many names, and ends each in good order or
// by SIGKILL: each serves at once, nothing is waited for, and nothing is lost.
func TestManyStarts(t *testing.T) {
	s3 := harness.Must(t)(harness.StartMinIO(t.Context(), bucket))
	etcd := harness.Must(t)(harness.StartEtcd(t.Context()))
	ports, err := harness.RandomPorts()
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute+time.Duration(*starts)*10*time.Second)
	defer cancel()
	args := append(onServers("s3", s3, etcd), "--set", "topics.durability=object", "--set", "flush.object_interval=20ms", "--set", "etcd.lease_ttl=1s")
	written := 0
	for i := range *starts {
		b, err := harness.StartBroker(ctx, harness.Options{Ports: ports, DataDir: t.TempDir(),
			Args: append(args, "--set", fmt.Sprintf("node.id=node-%d", i%70))})
		if err != nil {
			t.Fatalf("start %d: %v", i, err)
		}
		if _, text := health(t, b); text != "ok" {
			t.Fatalf("start %d: %s", i, text)
		}
		if i%4 == 0 {
			must(t, writeAll(ctx, ports, "starts", written, 3))
			written += 3
		}
		if i%3 == 2 {
			b.Kill()
		}
		must(t, b.Close())
	}
	b := harness.NewBroker(t, harness.Options{Ports: ports, Args: args})
	must(t, readAll(ctx, ports, "starts", written))
	out, err := robustmq(ctx, "wal", "waiting", "--server", b.AdminURL(), "-o", "json")
	if err != nil || strings.TrimSpace(out) != "[]" {
		t.Fatalf("waiting: %v %s", err, out)
	}
}

// TestLogAway takes the log's directory away from a broker that was killed. It says
// what it waits for, to whoever asks, and serves what is object-durable. Salvaged
// from where it is, the log gives everything back; another one is abandoned.
func TestLogAway(t *testing.T) {
	b := harness.NewBroker(t, harness.Options{DataDir: t.TempDir(), Args: []string{"--set", "flush.interval=1h"}})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	takeAway := func() (log string) {
		t.Helper()
		b.Kill()
		moved := filepath.Join(t.TempDir(), "wal")
		must(t, os.Rename(filepath.Join(b.DataDir, "wal"), moved))
		must(t, b.Start(ctx))
		if _, text := health(t, b); !strings.HasPrefix(text, "degraded: slots wait: slots 0-255 for log ") {
			t.Fatalf("health: %s", text)
		}
		return moved
	}
	ask := func(args ...string) string {
		t.Helper()
		out, err := robustmq(ctx, args...)
		if err != nil {
			t.Fatalf("robustmq %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	must(t, writeAll(ctx, b.Ports, "away", 0, 20))
	if out := ask("topic", "create", "safe", "--durability", "object", "--server", b.AdminURL()); !strings.Contains(out, "safe") {
		t.Fatal(out)
	}
	moved := takeAway()
	once, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	if err := produce(once, b.Ports.Kafka, []byte("nobody may take this")); err == nil {
		t.Fatal("a topic of the class wal takes records")
	}
	must(t, readAll(ctx, b.Ports, "away", 0))
	c, err := clients.DialKafka(b.Ports.Kafka) // idempotent, as Java's producers are
	must(t, err)
	must(t, c.ProduceSync(ctx, &kgo.Record{Topic: "safe", Value: []byte("one")}, &kgo.Record{Topic: "safe", Value: []byte("two")}).FirstErr())
	c.Close()
	must(t, b.Stop())
	if out := ask("wal", "recover", moved, "--data-dir", b.DataDir); !strings.Contains(out, "committed in") {
		t.Fatal(out)
	}
	must(t, b.Start(ctx))
	if _, text := health(t, b); text != "ok" {
		t.Fatalf("health: %s", text)
	}
	must(t, readAll(ctx, b.Ports, "away", 20))
	if rs, err := clients.ReadRange(ctx, b.Ports.Kafka, "safe", 0, 0, 2); err != nil || string(rs[1].Value) != "two" {
		t.Fatalf("what was taken while the log was away: %v, %v", rs, err)
	}
	must(t, writeAll(ctx, b.Ports, "away", 20, 20))

	takeAway()
	list := ask("wal", "waiting", "--server", b.AdminURL())
	fields := strings.Fields(strings.Split(strings.TrimSpace(list), "\n")[1])
	if out, err := robustmq(ctx, "wal", "abandon", fields[0], "--server", b.AdminURL()); err == nil || !strings.Contains(out, "away.kafka[0] from offset 20") {
		t.Fatalf("abandoned without the id: %v\n%s", err, out)
	}
	ask("wal", "abandon", fields[0], "--yes", "--server", b.AdminURL())
	eventually(t, "the broker to start over", 60*time.Second, func() bool {
		resp, err := http.Get(b.AdminURL() + "/readyz")
		if err != nil {
			t.Fatalf("health refuses connections: %v", err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode == http.StatusOK && strings.TrimSpace(string(text)) == "ok"
	})
	must(t, readAll(ctx, b.Ports, "away", 20))
	must(t, produce(ctx, b.Ports.Kafka, []byte("taken again")))
}
