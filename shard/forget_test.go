package shard

import (
	"sync"
	"testing"
)

// TestForgetWhileDecoding: what one forgets, another who decodes has all the same.
func TestForgetWhileDecoding(t *testing.T) {
	b := BatchOf(Record{Value: []byte("a")}, Record{Value: []byte("b")})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20_000 {
				recs, err := b.Records()
				if err != nil || len(recs) != 2 {
					t.Errorf("%d records: %v", len(recs), err)
					return
				}
				b.Forget()
			}
		})
	}
	wg.Wait()
}
