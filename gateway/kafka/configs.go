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
		compressionType(),
		compactionTime(shard.MinCompactionLag, "0", "how long a record of a compacted topic stays, superseded or not, in milliseconds"),
		compactionTime(shard.DeleteRetention, "86400000", "how long a deletion of a compacted topic stays, in milliseconds"),
		durabilitySetting(),
		capturesSetting(),
		retentionHard(),
	}
}

func int64Setting(name, def, doc string, high int64, at func(t *shard.Topic) *int64) setting {
	return setting{
		name: name, kind: kmsg.ConfigTypeLong, doc: doc, def: def,
		get: func(t *shard.Topic) (string, bool) {
			v := *at(t)
			if v == 1 && t.Config.Extra[name] == "0" {
				return "0", true
			}
			return strconv.FormatInt(v, 10), v != 0
		},
		set: func(t *shard.Topic, v string) error {
			n, err := number(name, v, 0, high, true)
			delete(t.Config.Extra, name)
			if n == 0 && err == nil { // 0 is the cluster's default in a topic: 1 keeps as little
				keep(t, name, "0")
				n = 1
			}
			*at(t) = n
			return err
		},
		reset: func(t *shard.Topic) { *at(t) = 0; delete(t.Config.Extra, name) },
	}
}

// keep notes a setting as it was given.
func keep(t *shard.Topic, name, v string) {
	if t.Config.Extra == nil {
		t.Config.Extra = make(map[string]string)
	}
	t.Config.Extra[name] = v
}

func cleanupPolicy() setting {
	const name, deleteCompact = "cleanup.policy", "delete,compact" // shown in the order in which they were given
	return setting{
		name: name, kind: kmsg.ConfigTypeList, doc: "delete: by retention; compact: keep the newest record of each key", def: "delete",
		get: func(t *shard.Topic) (string, bool) {
			c := &t.Config
			switch {
			case c.Compact && c.Delete && c.Extra[name] == deleteCompact:
				return deleteCompact, true
			case c.Compact && c.Delete:
				return "compact,delete", true
			case c.Compact:
				return "compact", true
			}
			return "delete", c.Delete
		},
		set: func(t *shard.Topic, v string) error {
			t.Config.Compact, t.Config.Delete = false, false
			delete(t.Config.Extra, name)
			if v == deleteCompact {
				keep(t, name, v)
			}
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
		reset: func(t *shard.Topic) {
			t.Config.Compact, t.Config.Delete = false, false
			delete(t.Config.Extra, name)
		},
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
			return "CreateTime", t.Config.Extra[name] != ""
		},
		set: func(t *shard.Topic, v string) error {
			if v != "CreateTime" && v != "LogAppendTime" {
				return invalidConfig(name, v, "CreateTime or LogAppendTime")
			}
			t.Config.AppendTime = v == "LogAppendTime"
			keep(t, name, v) // the default, too, is shown as set
			return nil
		},
		reset: func(t *shard.Topic) { t.Config.AppendTime = false; delete(t.Config.Extra, name) },
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
