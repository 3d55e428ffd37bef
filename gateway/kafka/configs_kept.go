package kafka

import (
	"slices"
	"strconv"
	"strings"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// codecNames are the values of compression.type but for "producer", by codec.
var codecNames = []string{"uncompressed", "gzip", "snappy", "lz4", "zstd"}

const compressionTypeName = "compression.type"

// compressionType is how what Kafka clients produce is kept; see recode.
func compressionType() setting {
	ok := func(v string) bool { return v == "producer" || slices.Contains(codecNames, v) }
	st := extra(compressionTypeName, "producer", kmsg.ConfigTypeString, ok, "producer, uncompressed, gzip, snappy, lz4 or zstd")
	st.doc = "compression of the batches that Kafka clients produce; producer: as they come"
	return st
}

// storedCodec gives the codec in which a topic keeps a batch that comes in codec.
func storedCodec(t *shard.Topic, codec shard.Codec) shard.Codec {
	if len(t.Config.Extra) == 0 {
		return codec
	}
	if i := slices.Index(codecNames, t.Config.Extra[compressionTypeName]); i >= 0 {
		return shard.Codec(i)
	}
	return codec
}

// compactionTime is one of the times that compaction goes by.
func compactionTime(name, def, doc string) setting {
	st := extra(name, def, kmsg.ConfigTypeLong, isNumber, "a number from 0 on")
	st.doc = doc
	return st
}

// otherSettings speak of files, replicas and old clients, which there are none of
// here: what they ask for holds, or concerns nothing a client can see. They are
// taken, kept and shown, so that tools find what they set. kafka.md lists them.
func otherSettings() []setting {
	size := func(name, def string) setting {
		return extra(name, def, kmsg.ConfigTypeLong, isNumber, "a number from 0 on")
	}
	boolean := func(name, def string) setting {
		return extra(name, def, kmsg.ConfigTypeBoolean, isBool, "true or false")
	}
	return []setting{
		extra("min.insync.replicas", "1", kmsg.ConfigTypeInt, isPositive, "a number from 1 to 32767"),
		boolean("unclean.leader.election.enable", "false"),
		boolean("preallocate", "false"),
		boolean("message.downconversion.enable", "true"),
		extra("min.cleanable.dirty.ratio", "0.5", kmsg.ConfigTypeDouble, isRatio, "a number from 0 to 1"),
		size("segment.bytes", "1073741824"),
		size("segment.ms", "604800000"),
		size("segment.jitter.ms", "0"),
		size("segment.index.bytes", "10485760"),
		size("index.interval.bytes", "4096"),
		size("flush.messages", "9223372036854775807"),
		size("flush.ms", "9223372036854775807"),
		size("file.delete.delay.ms", "60000"),
		extra("compression.gzip.level", "-1", kmsg.ConfigTypeInt, isLevel(-1, 9), "a number from -1 to 9"),
		extra("compression.lz4.level", "9", kmsg.ConfigTypeInt, isLevel(1, 17), "a number from 1 to 17"),
		extra("compression.zstd.level", "3", kmsg.ConfigTypeInt, isLevel(-131072, 22), "a number from -131072 to 22"),
		replicaList("leader.replication.throttled.replicas"),
		replicaList("follower.replication.throttled.replicas"),
		unbounded("max.compaction.lag.ms", "compaction has no time by which it is done"),
		unbounded("message.timestamp.before.max.ms", "a record may bear any time"),
		unbounded("message.timestamp.after.max.ms", "a record may bear any time"),
	}
}

func replicaList(name string) setting {
	return extra(name, "", kmsg.ConfigTypeList, func(v string) bool { return len(v) <= 1000 }, "at most 1000 bytes")
}

// unbounded is a bound that nothing keeps here: only no bound at all is taken.
func unbounded(name, why string) setting {
	const most = "9223372036854775807"
	return extra(name, most, kmsg.ConfigTypeLong, func(v string) bool { return v == most }, "only "+most+": "+why)
}

func isNumber(v string) bool {
	n, err := strconv.ParseInt(v, 10, 64)
	return err == nil && n >= 0
}

func isLevel(low, high int64) func(string) bool {
	return func(v string) bool {
		n, err := strconv.ParseInt(v, 10, 32)
		return err == nil && n >= low && n <= high
	}
}

func isPositive(v string) bool {
	n, err := strconv.ParseInt(v, 10, 16)
	return err == nil && n >= 1
}

func isBool(v string) bool { return v == "true" || v == "false" }

func isRatio(v string) bool {
	f, err := strconv.ParseFloat(v, 64)
	return err == nil && f >= 0 && f <= 1
}

func extra(name, def string, kind kmsg.ConfigType, ok func(string) bool, want string) setting {
	return setting{
		name: name, kind: kind, doc: "has no meaning here; kept as it was set", def: def,
		get: func(t *shard.Topic) (string, bool) { v, ok := t.Config.Extra[name]; return v, ok },
		set: func(t *shard.Topic, v string) error {
			v = strings.TrimSpace(v)
			if !ok(v) {
				return invalidConfig(name, v, want)
			}
			keep(t, name, v)
			return nil
		},
		reset: func(t *shard.Topic) { delete(t.Config.Extra, name) },
	}
}
