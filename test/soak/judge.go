package soak

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Judge gives what is wrong with the curves, nothing when all is well.
func Judge(p Plan, samples []Sample) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	if len(samples) < 16 {
		return []string{fmt.Sprintf("%d samples are too few to judge", len(samples))}
	}
	last := samples[len(samples)-1]
	if last.Merged == 0 {
		fault("nothing was merged")
	}
	for _, s := range samples[len(samples)/2:] {
		kept := flushedSince(samples, s.At-p.keeps(), s.At)
		bound := kept*13/10 + int64(p.SegmentBytes) + int64(p.live())*5/2
		if s.Store > bound {
			fault("at %v the store has %s; retention allows %s, so %s at most", s.At.Round(time.Second), bytes(s.Store), bytes(kept), bytes(bound))
			break
		}
	}
	for _, s := range samples[len(samples)/2:] {
		if bound := p.keyedBound(); s.Keyed > bound {
			fault("at %v the compacted topic takes %s; %s are alive, so %s at most", s.At.Round(time.Second), bytes(s.Keyed), bytes(int64(p.live())), bytes(bound))
			break
		}
	}
	for _, c := range []struct {
		name  string
		of    func(Sample) int64
		pick  func([]int64) int64
		slack int64
	}{
		{"segments in the catalog", func(s Sample) int64 { return s.Segments }, median, 40},
		{"bytes of etcd", func(s Sample) int64 { return s.Etcd }, median, 16 << 20},
		{"heap", func(s Sample) int64 { return s.Heap }, slices.Min[[]int64], 32 << 20}, // what a collection leaves
		{"goroutines", func(s Sample) int64 { return s.Goroutines }, median, 64},
	} {
		before, after := c.pick(quarter(samples, 1, c.of)), c.pick(quarter(samples, 3, c.of))
		if after > before*13/10+c.slack {
			fault("%s: %d in the second quarter, %d in the last one", c.name, before, after)
		}
	}
	return faults
}

// flushedSince is how many bytes were flushed between two moments.
func flushedSince(samples []Sample, from, to time.Duration) int64 {
	var first, last int64
	for _, s := range samples {
		if s.At <= from {
			first = s.Flushed
		}
		if s.At <= to {
			last = s.Flushed
		}
	}
	return last - first
}

func quarter(samples []Sample, n int, of func(Sample) int64) []int64 {
	part := samples[len(samples)*n/4 : len(samples)*(n+1)/4]
	out := make([]int64, len(part))
	for i, s := range part {
		out[i] = of(s)
	}
	return out
}

func median(v []int64) int64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

func bytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// Table prints the curves, about 20 lines of them.
func Table(p Plan, samples []Sample) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%8s %4s %10s %10s %10s %10s %10s %9s %9s %9s %6s\n",
		"time", "run", "flushed", "merged", "allowed", "store", "compacted", "segments", "etcd", "heap", "gor.")
	step := max(1, len(samples)/20)
	for i, s := range samples {
		if i%step != 0 && i != len(samples)-1 {
			continue
		}
		mib := func(n int64) string { return fmt.Sprintf("%.1f", float64(n)/(1<<20)) }
		fmt.Fprintf(&b, "%8s %4d %10s %10s %10s %10s %10s %9d %9s %9s %6d\n", s.At.Round(time.Second), s.Run, mib(s.Flushed), mib(s.Merged),
			mib(flushedSince(samples, s.At-p.keeps(), s.At)), mib(s.Store), mib(s.Keyed), s.Segments, mib(s.Etcd), mib(s.Heap), s.Goroutines)
	}
	b.WriteString("sizes in MiB; allowed: flushed within retention and the passes after it\n")
	return b.String()
}
