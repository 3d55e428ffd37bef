package catalog_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/catalog/catalogtest"
	"github.com/robustmq/robustmq-go/shard"
)

const envCrash = "ROBUSTMQ_TEST_CRASH_DIR"

// TestCrashChild is the process that TestKill9 kills; by itself it does nothing
// but check that it was not started by mistake.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(envCrash)
	if dir == "" {
		return
	}
	c := catalogtest.Open(t, catalog.Config{Embedded: dir, LeaseTTL: 60 * time.Second})
	s, err := c.Join(background, catalog.Gateway{ID: "node", WALID: "w"}, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.ClaimSlots(background, []int{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	for i := int64(0); ; i++ {
		if err := s.CommitSegment(background, catalogtest.Segment(i*10, i*10+9, shard.ID{Topic: 1})); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("acked %d\n", i)
	}
}

// TestKill9 kills the embedded single node in the middle of commits. What was
// acknowledged is there, and the restart waits for no lease.
func TestKill9(t *testing.T) {
	dir := t.TempDir()
	acked := runAndKill(t, dir, 50)
	if acked < 50 {
		t.Fatalf("the child acknowledged up to %d only", acked)
	}
	started := time.Now()
	c := catalogtest.Open(t, catalog.Config{Embedded: dir, LeaseTTL: 60 * time.Second})
	ctx, cancel := context.WithTimeout(background, 30*time.Second)
	defer cancel()
	s, err := c.Join(ctx, catalog.Gateway{ID: "node", WALID: "w"}, true)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.ClaimSlots(ctx, []int{1, 2, 3})
	if err != nil || len(got) != 3 || got[1] != 2 {
		t.Fatalf("claimed %v: %v", got, err)
	}
	t.Logf("open, join and claim after kill -9 took %s", time.Since(started))
	if _, last, ok := c.Bounds(shard.ID{Topic: 1}); !ok || last < acked*10+9 {
		t.Fatalf("segment %d was acknowledged, the last offset is %d", acked, last)
	}
}

// runAndKill runs the child until it has acknowledged n segments, kills it, and
// gives the number of the last one acknowledged.
func runAndKill(t *testing.T, dir string, n int64) int64 {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashChild$")
	cmd.Env = append(os.Environ(), envCrash+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last := int64(-1)
	for sc := bufio.NewScanner(out); sc.Scan(); {
		var i int64
		if _, err := fmt.Sscanf(sc.Text(), "acked %d", &i); err != nil {
			continue
		}
		if last = i; last == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // killed: always an error
	return last
}
