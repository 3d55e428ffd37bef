package wal

import (
	"fmt"
	"testing"
)

// null is a Waiter for benchmarks: a slot in flight.
type null struct{ free chan *null }

func (n *null) WALDone(_ Pos, err error) {
	if err != nil {
		panic(err)
	}
	n.free <- n
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{100, 1024} {
		for _, flight := range []int{1, 64, 1024} {
			b.Run(fmt.Sprintf("%dB/%dinflight", size, flight), func(b *testing.B) {
				w, err := Open(Options{Dir: b.TempDir(), MaxBytes: 1 << 40})
				must(b, err)
				_, err = w.Replay(func(Pos, Entry) error { return nil })
				must(b, err)
				free := make(chan *null, flight)
				for range flight {
					free <- &null{free}
				}
				data := batch(shardOf(1), 1, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ResetTimer()
				for i := range b.N {
					if err := w.Append(Entry{Shard: shardOf(1), Data: data}, <-free); err != nil {
						b.Fatal(err)
					}
					if i%100000 == 99999 {
						must(b, w.Trim(w.Position()))
					}
				}
				for range flight {
					<-free
				}
				b.StopTimer()
				s := w.Stats()
				b.ReportMetric(float64(s.Entries)/float64(s.Groups), "entries/sync")
				b.ReportMetric(float64(s.SyncTime.Microseconds())/float64(s.Groups), "us/sync")
				must(b, w.Close())
			})
		}
	}
}

// TestNoAllocation: appending takes no memory per entry.
func TestNoAllocation(t *testing.T) {
	opt := Options{Dir: t.TempDir(), FileBytes: 16 << 20}
	w, _, _ := openReplay(t, opt)
	defer w.Close()
	free := make(chan *null, 64)
	for range 64 {
		free <- &null{free}
	}
	e := Entry{Shard: shardOf(1), Data: batch(shardOf(1), 1, 200)}
	round := func() {
		for range 256 {
			if err := w.Append(e, <-free); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 10 {
		round()
	}
	// A sync costs a few small allocations in the file layer, an entry none.
	if n := testing.AllocsPerRun(20, round); n > 256/4 {
		t.Fatalf("%v allocations for 256 entries", n)
	}
}

// BenchmarkReplay reads a log of 256 MiB.
func BenchmarkReplay(b *testing.B) {
	opt := Options{Dir: b.TempDir()}
	w, _, _ := openReplay(b, opt)
	free := make(chan *null, 256)
	for range 256 {
		free <- &null{free}
	}
	e := Entry{Shard: shardOf(1), Data: batch(shardOf(1), 1, 4096)}
	for range 64 << 10 {
		must(b, w.Append(e, <-free))
	}
	must(b, w.Close())
	b.SetBytes(256 << 20)
	b.ResetTimer()
	for range b.N {
		rec, err := Verify(Source{Dir: opt.Dir})
		if err != nil || rec.Entries != 64<<10 {
			b.Fatal(rec, err)
		}
	}
}
