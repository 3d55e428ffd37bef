package kafka

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// setting is one topic configuration that clients may set. What is set is
// enforced, by the engine or by this gateway; the rest is refused, but for the
// settings of otherSettings.
type setting struct {
	name string
	kind kmsg.ConfigType
	doc  string
	def  string
	// get gives the value, ok false where the topic has none of its own.
	get func(t *shard.Topic) (v string, ok bool)
	// set changes it; reset puts the default back.
	set   func(t *shard.Topic, v string) error
	reset func(t *shard.Topic)
}

func invalidConfig(name, v, want string) error {
	return &coded{codeInvalidConfig, "invalid value " + strconv.Quote(clip(v)) + " for " + name + ": " + want}
}

func clip(s string) string { return s[:min(len(s), 100)] }

func number(name, v string, low, high int64, alsoMinusOne bool) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
	if err == nil && (n >= low && n <= high || alsoMinusOne && n == -1) {
		return n, nil
	}
	want := "a number from " + strconv.FormatInt(low, 10) + " to " + strconv.FormatInt(high, 10)
	if alsoMinusOne {
		want += ", or -1"
	}
	return 0, invalidConfig(name, v, want)
}

// settings are what is enforced.
func (s *Server) settings() []setting {
	return []setting{
		cleanupPolicy(),
		int64Setting("retention.ms", "604800000", "age past which records are freed, in milliseconds; -1: never", math.MaxInt64,
			func(t *shard.Topic) *int64 { return &t.Config.RetentionMs }),
		int64Setting("retention.bytes", "-1", "size of a partition past which its oldest records are freed; -1: no bound", math.MaxInt64,
			func(t *shard.Topic) *int64 { return &t.Config.RetentionBytes }),
		s.maxMessageSetting(),
		timestampType(),
		durabilitySetting(),
		capturesSetting(),
		retentionHard(),
	}
}

func int64Setting(name, def, doc string, high int64, at func(t *shard.Topic) *int64) setting {
	return setting{
		name: name, kind: kmsg.ConfigTypeLong, doc: doc, def: def,
		get: func(t *shard.Topic) (string, bool) { v := *at(t); return strconv.FormatInt(v, 10), v != 0 },
		set: func(t *shard.Topic, v string) (err error) {
			*at(t), err = number(name, v, 1, high, true)
			return err
		},
		reset: func(t *shard.Topic) { *at(t) = 0 },
	}
}

func cleanupPolicy() setting {
	const name = "cleanup.policy"
	return setting{
		name: name, kind: kmsg.ConfigTypeList, doc: "delete: by retention; compact: keep the newest record of each key", def: "delete",
		get: func(t *shard.Topic) (string, bool) {
			c := &t.Config
			switch {
			case c.Compact && c.Delete:
				return "compact,delete", true
			case c.Compact:
				return "compact", true
			}
			return "delete", c.Delete
		},
		set: func(t *shard.Topic, v string) error {
			t.Config.Compact, t.Config.Delete = false, false
			for p := range strings.SplitSeq(v, ",") {
				switch strings.TrimSpace(p) {
				case "compact":
					t.Config.Compact = true
				case "delete":
					t.Config.Delete = true
				default:
					return invalidConfig(name, v, "compact, delete or both")
				}
			}
			return nil
		},
		reset: func(t *shard.Topic) { t.Config.Compact, t.Config.Delete = false, false },
	}
}

func (s *Server) maxMessageSetting() setting {
	const name = "max.message.bytes"
	return setting{
		name: name, kind: kmsg.ConfigTypeInt, doc: "largest record batch, in bytes", def: strconv.Itoa(s.env.Limits.MaxMessageBytes),
		get: func(t *shard.Topic) (string, bool) {
			n := t.Config.MaxMessageBytes
			return strconv.Itoa(int(n)), n != 0
		},
		set: func(t *shard.Topic, v string) error {
			n, err := number(name, v, shard.BatchHeaderBytes, shard.MaxBatchBytes, false)
			t.Config.MaxMessageBytes = int32(n)
			return err
		},
		reset: func(t *shard.Topic) { t.Config.MaxMessageBytes = 0 },
	}
}

func timestampType() setting {
	const name = "message.timestamp.type"
	return setting{
		name: name, kind: kmsg.ConfigTypeString, doc: "CreateTime: the producer's; LogAppendTime: the time of the append", def: "CreateTime",
		get: func(t *shard.Topic) (string, bool) {
			if t.Config.AppendTime {
				return "LogAppendTime", true
			}
			return "CreateTime", false
		},
		set: func(t *shard.Topic, v string) error {
			if v != "CreateTime" && v != "LogAppendTime" {
				return invalidConfig(name, v, "CreateTime or LogAppendTime")
			}
			t.Config.AppendTime = v == "LogAppendTime"
			return nil
		},
		reset: func(t *shard.Topic) { t.Config.AppendTime = false },
	}
}

func durabilitySetting() setting {
	const name = "robustmq.durability"
	return setting{
		name: name, kind: kmsg.ConfigTypeString, doc: "what an acknowledgement means: wal, object or memory", def: "default",
		get: func(t *shard.Topic) (string, bool) {
			d := t.Config.Durability
			return d.String(), d != shard.DurabilityDefault
		},
		set: func(t *shard.Topic, v string) error {
			d, err := shard.ParseDurability(v)
			if err != nil {
				return invalidConfig(name, v, "wal, object or memory")
			}
			t.Config.Durability = d
			return nil
		},
		reset: func(t *shard.Topic) { t.Config.Durability = shard.DurabilityDefault },
	}
}

func capturesSetting() setting {
	const name = "robustmq.captures"
	return setting{
		name: name, kind: kmsg.ConfigTypeList, doc: "subject filters whose messages the topic holds, as sensors.>", def: "",
		get: func(t *shard.Topic) (string, bool) { return strings.Join(t.Captures, ","), len(t.Captures) > 0 },
		set: func(t *shard.Topic, v string) error {
			t.Captures = nil
			for p := range strings.SplitSeq(v, ",") {
				p = strings.TrimSpace(p)
				if p == "" {
					continue
				}
				if _, err := shard.ParseSubjectFilter(p); err != nil {
					return invalidConfig(name, v, err.Error())
				}
				t.Captures = append(t.Captures, p)
			}
			return nil
		},
		reset: func(t *shard.Topic) { t.Captures = nil },
	}
}

func retentionHard() setting {
	const name = "robustmq.retention.hard"
	return setting{
		name: name, kind: kmsg.ConfigTypeBoolean, doc: "retention frees what durable cursors have not acknowledged yet, too", def: "false",
		get: func(t *shard.Topic) (string, bool) {
			return strconv.FormatBool(t.Config.RetentionHard), t.Config.RetentionHard
		},
		set: func(t *shard.Topic, v string) error {
			b, err := strconv.ParseBool(v)
			if err != nil {
				return invalidConfig(name, v, "true or false")
			}
			t.Config.RetentionHard = b
			return nil
		},
		reset: func(t *shard.Topic) { t.Config.RetentionHard = false },
	}
}

// otherSettings speak of files and replicas, which there are none of here: what
// they ask for holds, or concerns nothing a client can see. They are taken, kept
// and shown, so that tools find what they set. kafka.md lists them.
func otherSettings() []setting {
	size := func(name, def string) setting {
		return extra(name, def, kmsg.ConfigTypeLong, isNumber, "a number from 0 on")
	}
	return []setting{
		extra("compression.type", "producer", kmsg.ConfigTypeString, func(v string) bool { return v == "producer" }, "only producer: batches are kept as they are sent"),
		extra("min.insync.replicas", "1", kmsg.ConfigTypeInt, isPositive, "a number from 1 to 32767"),
		extra("unclean.leader.election.enable", "false", kmsg.ConfigTypeBoolean, func(v string) bool { return v == "false" }, "only false: there are no replicas to choose from"),
		extra("preallocate", "false", kmsg.ConfigTypeBoolean, isBool, "true or false"),
		extra("min.cleanable.dirty.ratio", "0.5", kmsg.ConfigTypeDouble, isRatio, "a number from 0 to 1"),
		size("segment.bytes", "1073741824"),
		size("segment.ms", "604800000"),
		size("segment.jitter.ms", "0"),
		size("segment.index.bytes", "10485760"),
		size("index.interval.bytes", "4096"),
		size("flush.messages", "9223372036854775807"),
		size("flush.ms", "9223372036854775807"),
		size("file.delete.delay.ms", "60000"),
	}
}

func isNumber(v string) bool {
	n, err := strconv.ParseInt(v, 10, 64)
	return err == nil && n >= 0
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
			if !ok(v) {
				return invalidConfig(name, v, want)
			}
			if t.Config.Extra == nil {
				t.Config.Extra = make(map[string]string)
			}
			t.Config.Extra[name] = v
			return nil
		},
		reset: func(t *shard.Topic) { delete(t.Config.Extra, name) },
	}
}

// allSettings gives every setting by name.
func (s *Server) allSettings() []setting {
	all := append(s.settings(), otherSettings()...)
	slices.SortFunc(all, func(a, b setting) int { return strings.Compare(a.name, b.name) })
	return all
}

func (s *Server) setting(name string) (setting, error) {
	for _, st := range s.allSettings() {
		if st.name == name {
			return st, nil
		}
	}
	return setting{}, &coded{codeInvalidConfig, "topic configuration " + strconv.Quote(clip(name)) + " is not supported"}
}

// setConfig sets one configuration of a topic.
func (s *Server) setConfig(t *shard.Topic, name string, value *string) error {
	st, err := s.setting(name)
	if err != nil {
		return err
	}
	if value == nil {
		return &coded{codeInvalidConfig, "configuration " + strconv.Quote(clip(name)) + " has no value"}
	}
	return st.set(t, *value)
}
