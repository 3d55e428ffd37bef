package engine

import (
	"log/slog"
	"time"

	"github.com/robustmq/robustmq-go/internal/vfs"
	"github.com/robustmq/robustmq-go/shard"
)

// Options configure an Engine. Zero values take the defaults of setDefaults.
type Options struct {
	// WALDir holds the write-ahead log; FS is the file system below it.
	WALDir string
	FS     vfs.FS
	// WALMaxBytes bounds the log; past it appends are refused until flushes
	// catch up.
	WALMaxBytes  int64
	WALFileBytes int64

	// FlushBytes and FlushInterval trigger a flush; ObjectFlushInterval does
	// while appends wait for object durability.
	FlushBytes          int64
	FlushInterval       time.Duration
	ObjectFlushInterval time.Duration
	// SegmentBytes bounds one segment object; FlushParallel is how many of a
	// flush are sent at once when it is far behind.
	SegmentBytes  int64
	FlushParallel int

	// TailBytes is the memory for batches that readers at the end find without
	// any I/O; of what was flushed half a second ago it keeps a quarter. AppendBytes bounds appends that are not complete, CacheBytes the
	// blocks of segments that are kept.
	TailBytes   int64
	AppendBytes int64
	CacheBytes  int64
	// GroupBytes bounds what all groups have ready, StateBytes the large values
	// of State that are kept in memory.
	GroupBytes, StateBytes int64

	// Defaults of topics.
	Durability      shard.Durability
	RetentionMs     int64
	RetentionBytes  int64
	MaxMessageBytes int32
	AutoShards      uint32
	AutoTopics      int
	CatchAllShards  uint32

	// RetentionInterval and MergeInterval pace the background work;
	// DeleteGrace is how long a segment outlives its last reference.
	RetentionInterval time.Duration
	MergeInterval     time.Duration
	DeleteGrace       time.Duration
	// SnapshotInterval is how old a snapshot of state may be while state changes.
	SnapshotInterval time.Duration
	// MergeSegments of one level are merged into one of the next.
	MergeSegments int

	// AcceptDamage serves slots of the state log of which records are lost, with
	// what is left; else they are refused.
	AcceptDamage bool

	// AcceptForeign uses a store that holds segments of another catalog, beside
	// them; else it is refused. They are neither read nor deleted. It uses one that
	// has lost all segments of this catalog, too.
	AcceptForeign bool

	Node   shard.Node
	Logger *slog.Logger
	// Now is the wall clock, Elapsed the monotonic one; where Now alone is given,
	// its steps are taken for time that passed. Witnesses are other machines'
	// clocks, that say whether a jump of this one's is to be believed.
	Now       func() time.Time
	Elapsed   func() time.Duration
	Witnesses []Witness
}

func (o *Options) setDefaults() {
	def := func(p *int64, v int64) {
		if *p == 0 {
			*p = v
		}
	}
	dur := func(p *time.Duration, v time.Duration) {
		if *p == 0 {
			*p = v
		}
	}
	def(&o.WALMaxBytes, 8<<30)
	def(&o.WALFileBytes, 64<<20)
	def(&o.FlushBytes, 8<<20)
	def(&o.SegmentBytes, 64<<20)
	if o.FlushParallel <= 0 {
		o.FlushParallel = 4
	}
	def(&o.TailBytes, 64<<20)
	def(&o.AppendBytes, 64<<20)
	def(&o.CacheBytes, 64<<20)
	def(&o.GroupBytes, 256<<20)
	def(&o.StateBytes, 64<<20)
	def(&o.RetentionMs, 7*24*3600*1000)
	def(&o.RetentionBytes, -1)
	dur(&o.FlushInterval, 10*time.Second)
	dur(&o.ObjectFlushInterval, 250*time.Millisecond)
	dur(&o.RetentionInterval, time.Minute)
	dur(&o.MergeInterval, 10*time.Second)
	dur(&o.DeleteGrace, 10*time.Minute)
	dur(&o.SnapshotInterval, 5*time.Minute)
	if o.MaxMessageBytes == 0 {
		o.MaxMessageBytes = 16 << 20
	}
	if o.AutoShards == 0 {
		o.AutoShards = 1
	}
	if o.AutoTopics == 0 {
		o.AutoTopics = 100_000
	}
	if o.CatchAllShards == 0 {
		o.CatchAllShards = 16
	}
	if o.MergeSegments == 0 {
		o.MergeSegments = 16
	}
	if o.Durability == shard.DurabilityDefault {
		o.Durability = shard.DurabilityWAL
	}
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
		if o.Elapsed == nil {
			begun := time.Now()
			o.Elapsed = func() time.Duration { return time.Since(begun) }
		}
	}
}
