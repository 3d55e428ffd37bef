package soak

import (
	"fmt"
	"time"
)

// Plan says how long and how hard a broker is worked.
type Plan struct {
	For        time.Duration
	Every      time.Duration // between samples
	Rate       int           // bytes a second of plain messages, all protocols together
	Message    int           // bytes of one message
	Keys       int           // of the compacted topic
	KeyedBytes int           // of one of its values
	KeyedRate  int           // bytes a second put into it
	Restarts   int

	FlushBytes, SegmentBytes, WALFile int
	FlushInterval                     time.Duration
	Retention, RetentionInterval      time.Duration
	MergeInterval, DeleteGrace        time.Duration
	Sessions                          time.Duration // between sessions that come and go
}

// Full is an hour with the sizes that a broker has out of the box, and a retention of minutes.
func Full(d time.Duration) Plan {
	return Plan{
		For: d, Every: d / 120, Rate: 4 << 20, Message: 1 << 10,
		Keys: 10_000, KeyedBytes: 2 << 10, KeyedRate: 1 << 20, Restarts: 4,
		FlushBytes: 8 << 20, SegmentBytes: 64 << 20, WALFile: 64 << 20, FlushInterval: 10 * time.Second,
		Retention: 5 * time.Minute, RetentionInterval: 30 * time.Second,
		MergeInterval: 10 * time.Second, DeleteGrace: 10 * time.Second, Sessions: 2 * time.Second,
	}
}

// Scaled is Full in minutes: sizes are a 64th, times a 15th.
func Scaled(d time.Duration) Plan {
	p := Full(d)
	p.Rate, p.KeyedRate = 512<<10, 128<<10
	p.Keys, p.KeyedBytes = 2_000, 1<<10
	p.FlushBytes, p.SegmentBytes, p.WALFile = p.FlushBytes/64, p.SegmentBytes/64, p.WALFile/64
	p.FlushInterval /= 15
	p.Retention /= 15
	p.RetentionInterval /= 15
	p.MergeInterval /= 15
	p.DeleteGrace /= 10
	p.Sessions /= 10
	return p
}

// args are the plan's sizes as the broker takes them.
func (p Plan) args() []string {
	var out []string
	for _, s := range []struct {
		key string
		val any
	}{
		{"flush.bytes", p.FlushBytes},
		{"flush.segment_bytes", p.SegmentBytes},
		{"flush.interval", p.FlushInterval},
		{"wal.file_bytes", p.WALFile},
		{"topics.retention", p.Retention},
		{"background.retention_interval", p.RetentionInterval},
		{"background.merge_interval", p.MergeInterval},
		{"background.delete_grace", p.DeleteGrace},
	} {
		out = append(out, "--set", fmt.Sprintf("%s=%v", s.key, s.val))
	}
	return out
}

// keeps is how long a record may be found in the store: its retention, a pass of retention, two
// merges that it may wait for, and the time that a deleted object stays.
func (p Plan) keeps() time.Duration {
	return p.Retention + p.RetentionInterval + 2*p.MergeInterval + p.DeleteGrace + p.FlushInterval
}

// keyedBound is what the compacted topic may take: 2.5 times what is alive, a flush, and what
// comes while a pass of merging is waited for and runs.
func (p Plan) keyedBound() int64 {
	return int64(p.live())*5/2 + int64(p.FlushBytes) + int64(float64(p.KeyedRate)*2*p.MergeInterval.Seconds())
}

// live is what the newest value of each key takes.
func (p Plan) live() int { return p.Keys * (p.KeyedBytes + 24) }
