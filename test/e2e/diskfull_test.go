package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/robustmq/robustmq-go/test/e2e/clients"
	"github.com/robustmq/robustmq-go/test/harness"
)

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

	acked, refused := untilRefused(ctx, t, b.Ports.Kafka, 64<<10)
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

// TestDiskFullByItself lets a broker fill its own disk, with nobody else writing there. It
// refuses while its embedded etcd still has room, so that it can be told to delete a topic,
// and goes on by itself.
func TestDiskFullByItself(t *testing.T) {
	dir, here, wrap := smallDisk(t, "320m")
	const keep = 96 << 20
	b := harness.NewBroker(t, harness.Options{DataDir: filepath.Join(dir, "data"), Wrap: wrap, Args: []string{
		"--set", "wal.file_bytes=4194304", "--set", fmt.Sprintf("wal.keep_free_bytes=%d", keep),
		"--set", "flush.interval=500ms", "--set", "background.delete_grace=1s",
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	must(t, writeAll(ctx, b.Ports, "disk", 0, 20))
	acked, refused := untilRefused(ctx, t, b.Ports.Kafka, 512<<10)
	t.Logf("refuses after %d messages of 512 KiB: %v", acked, refused)
	if !alive(b) {
		t.Fatalf("the broker ended:\n%s", b.Proc().Tail(5))
	}
	var st syscall.Statfs_t
	must(t, syscall.Statfs(here, &st))
	if free := int64(st.Bavail) * st.Bsize; free < keep/4 || free > keep {
		t.Errorf("%d MiB are left", free>>20)
	}
	if status, text := health(t, b); status == http.StatusOK {
		t.Errorf("the broker refuses messages and calls itself ready: %s", text)
	}
	must(t, readAll(ctx, b.Ports, "disk", 20))
	rs, err := clients.ReadRange(ctx, b.Ports.Kafka, "disk.full", 0, 0, int64(acked))
	if err != nil || len(rs) < acked {
		t.Errorf("read %d of %d messages acknowledged: %v", len(rs), acked, err)
	}

	must(t, deleteTopic(ctx, b.Ports.Kafka, "disk.full"))
	eventually(t, "writes again", time.Minute, func() bool {
		once, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		return writeAll(once, b.Ports, "again", 0, 1) == nil
	})
	eventually(t, "health that is green again", 30*time.Second, func() bool { status, _ := health(t, b); return status == http.StatusOK })
	must(t, readAll(ctx, b.Ports, "disk", 20))
}

func deleteTopic(ctx context.Context, port int, name string) error {
	c, err := clients.DialKafkaAdmin(port)
	if err != nil {
		return err
	}
	defer c.Close()
	req := kmsg.NewPtrDeleteTopicsRequest()
	topic := kmsg.NewDeleteTopicsRequestTopic()
	topic.Topic = kmsg.StringPtr(name)
	req.Topics, req.TopicNames = append(req.Topics, topic), []string{name}
	resp, err := req.RequestWith(ctx, c)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.Topics[0].ErrorCode)
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
func untilRefused(ctx context.Context, t *testing.T, port, size int) (acked int, refused error) {
	t.Helper()
	block := make([]byte, size)
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
	t.Fatalf("4,000 messages of %d KiB on a small disk: it is not full", size>>10)
	return 0, nil
}
