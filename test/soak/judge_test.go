package soak

import (
	"strings"
	"testing"
	"time"
)

// TestJudge: each kind of growth is found, and steady curves are not.
func TestJudge(t *testing.T) {
	p := Scaled(4 * time.Minute)
	steady := func() []Sample {
		var out []Sample
		for i := range 120 {
			at := time.Duration(i) * 2 * time.Second
			out = append(out, Sample{
				At: at, Flushed: int64(i) * 1 << 20, Merged: int64(i) << 19, Store: min(int64(i), 15) << 20, Keyed: int64(p.live()) * 2,
				Segments: 40 + int64(i%10), Etcd: 20 << 20, Heap: 60<<20 + int64(i%7)<<20, Goroutines: 200,
			})
		}
		return out
	}
	if faults := Judge(p, steady()); len(faults) > 0 {
		t.Errorf("steady curves: %v", faults)
	}
	for word, grow := range map[string]func(*Sample, int){
		"store":          func(s *Sample, i int) { s.Store = int64(i) << 20 },
		"compacted":      func(s *Sample, i int) { s.Keyed = int64(i) << 19 },
		"segments":       func(s *Sample, i int) { s.Segments = int64(i) * 2 },
		"etcd":           func(s *Sample, i int) { s.Etcd = int64(i) << 20 },
		"heap":           func(s *Sample, i int) { s.Heap = int64(i) << 20 },
		"goroutines":     func(s *Sample, i int) { s.Goroutines = int64(i) * 5 },
		"nothing merged": func(s *Sample, _ int) { s.Merged = 0 },
	} {
		samples := steady()
		for i := range samples {
			grow(&samples[i], i)
		}
		faults := strings.Join(Judge(p, samples), "; ")
		if !strings.Contains(faults, strings.Fields(word)[0]) {
			t.Errorf("growth of %s is not found: %q", word, faults)
		}
	}
}
