package wal

import (
	"math/bits"
	"time"
)

// LatencyBuckets is the number of buckets of Stats.SyncLatency.
const LatencyBuckets = 24

// Stats are counters since Open and gauges of now.
type Stats struct {
	Entries      int64 // synced
	DataBytes    int64 // of Entry.Data in them
	LogBytes     int64 // written for them: data, headers of entries, groups and files, alignment
	PadBytes     int64 // zeros written after groups to fill the page; the next group overwrites them
	Groups       int64 // = writes = syncs of groups
	SyncMarks    int64 // 8-byte marks written when the queue ran empty
	Stalls       int64 // times the writer waited for a file to be ready
	Refused      int64 // Appends that got ErrFull
	LastGroup    int   // entries in the last group
	MaxGroup     int
	SyncTime     time.Duration         // total
	SyncLatency  [LatencyBuckets]int64 // bucket i counts syncs that took less than 2^i microseconds (and not less than the bucket before)
	LiveBytes    int64                 // log between trim mark and end
	QueuedBytes  int64                 // in entries not yet synced
	Queued       int                   // entries not yet taken by the writer
	Unreported   int                   // entries whose Waiter has not been told yet, Queued included
	Files        int                   // holding the log
	FreeFiles    int                   // ready for reuse
	Trim, Synced Pos
	Quiet        bool  // a sync mark stands at the end: nothing is written until the next Append
	DiskFull     bool  // no next file can be made for lack of space
	Full         bool  // an Append like the largest one refused would be refused now
	Failed       error // why the WAL failed, nil while it has not
}

func (s *Stats) group(n int, log, pad int64, took time.Duration) {
	s.Groups++
	s.Entries += int64(n)
	s.LogBytes += log
	s.PadBytes += pad
	s.LastGroup = n
	s.MaxGroup = max(s.MaxGroup, n)
	s.SyncTime += took
	us := max(took.Microseconds(), 0)
	s.SyncLatency[min(bits.Len64(uint64(us)), LatencyBuckets-1)]++
}

// Stats returns a snapshot.
func (w *WAL) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.stats
	s.LiveBytes, s.QueuedBytes, s.Queued, s.Unreported = w.live, w.queued, len(w.queue), len(w.queue)+w.inflight
	s.Files, s.FreeFiles = len(w.files), len(w.pool)
	if w.next != nil {
		s.FreeFiles++
	}
	s.Trim, s.Synced = w.trim, w.synced
	s.DiskFull = w.prepErr != nil
	s.Full = w.fullFor(max(w.refused, entrySize(0)))
	s.Failed = w.err
	return s
}
