package soak

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/robustmq/robustmq-go/test/e2e/clients"
	"github.com/robustmq/robustmq-go/test/harness"
)

// Sample is what there was at one moment. All but At are bytes or counts.
type Sample struct {
	At         time.Duration
	Run        int // of the broker: it rises with each restart
	Flushed    int64
	Merged     int64
	Store      int64 // objects in the store, those that await deletion too
	Keyed      int64 // of the compacted topic
	Segments   int64
	Etcd       int64
	Heap       int64
	Goroutines int64
	WAL        int64
}

// sampler takes samples; counters of the broker go on over its restarts.
type sampler struct {
	b        *harness.Broker
	began    time.Time
	run      int
	before   map[string]float64 // counters of the runs that are over
	counters map[string]float64 // of this run
}

var counted = []string{"robustmq_flush_bytes_total", "robustmq_merge_bytes_total"}

// take reads everything. A figure that cannot be had is an error: a curve with holes proves nothing.
func (s *sampler) take(ctx context.Context) (Sample, error) {
	m, err := metrics(ctx, s.b)
	if err != nil {
		return Sample{}, err
	}
	for _, name := range counted {
		s.counters[name] = m[name]
	}
	out := Sample{
		At: time.Since(s.began), Run: s.run,
		Flushed: s.total(counted[0]), Merged: s.total(counted[1]),
		Segments: int64(m["robustmq_segments"]), Heap: int64(m["go_memstats_heap_alloc_bytes"]),
		Goroutines: int64(m["go_goroutines"]), WAL: int64(m["robustmq_wal_live_bytes"]),
	}
	if out.Store, err = size(filepath.Join(s.b.DataDir, "objects")); err != nil {
		return out, err
	}
	if out.Etcd, err = size(filepath.Join(s.b.DataDir, "etcd", "member", "snap")); err != nil {
		return out, err
	}
	out.Keyed, err = topicBytes(ctx, s.b.Ports.Kafka, keyedTopic)
	return out, err
}

func (s *sampler) total(name string) int64 { return int64(s.before[name] + s.counters[name]) }

// restarted is to be called when the broker has ended, before it is started again.
func (s *sampler) restarted() {
	for name, n := range s.counters {
		s.before[name] += n
	}
	clear(s.counters)
	s.run++
}

// metrics gives the broker's metrics without labels.
func metrics(ctx context.Context, b *harness.Broker) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.AdminURL()+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(harness.User, harness.Password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET /metrics: %s", resp.Status)
	}
	out := map[string]float64{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		if out[name], err = strconv.ParseFloat(value, 64); err != nil {
			return nil, fmt.Errorf("metric %s: %w", name, err)
		}
	}
	return out, lines.Err()
}

// size adds up the files below a folder, some of which may go meanwhile.
func size(dir string) (int64, error) {
	var n int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}

// topicBytes is what a topic takes, as Kafka's own tools ask for it.
func topicBytes(ctx context.Context, port int, topic string) (int64, error) {
	c, err := clients.DialKafka(port)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	dirs, err := kadm.NewClient(c).DescribeAllLogDirs(ctx, nil)
	if err != nil {
		return 0, fmt.Errorf("describe log directories: %w", err)
	}
	var n int64
	dirs.Each(func(d kadm.DescribedLogDir) {
		d.Topics.Each(func(p kadm.DescribedLogDirPartition) {
			if p.Topic == topic {
				n += p.Size
			}
		})
	})
	return n, nil
}
