package main

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/robustmq-go/gateway/admin"
)

func topicCommand() *cobra.Command {
	ls := verb("list", "List topics", cobra.NoArgs, func(cmd *cobra.Command, c *client, _ []string) error {
		prefix, _ := cmd.Flags().GetString("prefix")
		ts, err := list[admin.Topic](cmd.Context(), c, apiPath("topics"), url.Values{"prefix": {prefix}})
		if err != nil {
			return err
		}
		return showTopics(c, ts, ts...)
	})
	ls.Flags().String("prefix", "", "only names that begin with it")
	get := verb("get NAME", "Show one topic", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client, args []string) error {
		var t admin.Topic
		if err := c.call(cmd.Context(), http.MethodGet, apiPath("topics", args[0]), nil, &t); err != nil {
			return err
		}
		return showTopics(c, t, t)
	})
	create := verb("create NAME", "Create a topic", cobra.ExactArgs(1), createTopic)
	topicFlags(create)
	create.Flags().Uint32("shards", 0, "number of shards; 0: the cluster's default")
	update := verb("update NAME", "Change a topic; what is not named stays", cobra.ExactArgs(1), updateTopic)
	topicFlags(update)
	update.Flags().Uint32("shards", 0, "number of shards; may only grow")
	del := verb("delete NAME", "Delete a topic and its records", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client, args []string) error {
		return c.call(cmd.Context(), http.MethodDelete, apiPath("topics", args[0]), nil, nil)
	})
	return noun("topic", "Administer topics", ls, get, create, update, del)
}

func showTopics(c *client, v any, ts ...admin.Topic) error {
	return c.show(v, "NAME SHARDS DURABILITY RETENTION CLEANUP CAPTURES CREATED", func(row func(...any)) {
		for _, t := range ts {
			row(t.Name, t.Shards, *t.Config.Durability, retention(t.Config), cleanup(t.Config), strings.Join(t.Captures, ","), t.Created)
		}
	})
}

func retention(c admin.TopicConfig) string {
	switch ms := *c.RetentionMs; {
	case ms < 0:
		return "forever"
	case ms == 0:
		return "default"
	default:
		return (time.Duration(ms) * time.Millisecond).String()
	}
}

func cleanup(c admin.TopicConfig) string {
	switch {
	case *c.Compact && *c.Delete:
		return "compact,delete"
	case *c.Compact:
		return "compact"
	}
	return "delete"
}

func topicFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSlice("capture", nil, "subject filter that the topic captures; may be repeated")
	f.String("durability", "", "wal, object, memory or default")
	f.Var(new(durationFlag), "retention", "age past which records are freed, as 7d or 12h; negative: never; 0: the cluster's default")
	f.Var(new(sizeFlag), "retention-bytes", "bound of each shard, as 8GiB; -1: none; 0: the cluster's default")
	f.Bool("retention-hard", false, "free what durable cursors have not acknowledged, too")
	f.Bool("compact", false, "keep the newest record of each key")
	f.Bool("delete", false, "with --compact: free by retention, too")
	f.Var(new(sizeFlag), "max-message-bytes", "bound of a record batch, as 8MiB; 0: the cluster's default")
	f.Bool("append-time", false, "stamp records with the time of their append")
	_ = cmd.RegisterFlagCompletionFunc("durability", cobra.FixedCompletions([]string{"wal", "object", "memory", "default"}, cobra.ShellCompDirectiveNoFileComp))
}

// topicConfig takes the flags that were given.
func topicConfig(cmd *cobra.Command) (cfg admin.TopicConfig) {
	f := cmd.Flags()
	if f.Changed("durability") {
		v, _ := f.GetString("durability")
		cfg.Durability = &v
	}
	if f.Changed("retention") {
		d := flagDuration(f, "retention")
		ms := d.Milliseconds()
		if d < 0 {
			ms = -1
		}
		cfg.RetentionMs = &ms
	}
	if f.Changed("retention-bytes") {
		v := flagSize(f, "retention-bytes")
		cfg.RetentionBytes = &v
	}
	if f.Changed("max-message-bytes") {
		v := int32(min(flagSize(f, "max-message-bytes"), math.MaxInt32)) // the API refuses that much
		cfg.MaxMessageBytes = &v
	}
	for name, to := range map[string]**bool{"retention-hard": &cfg.RetentionHard, "compact": &cfg.Compact,
		"delete": &cfg.Delete, "append-time": &cfg.AppendTime} {
		if f.Changed(name) {
			v, _ := f.GetBool(name)
			*to = &v
		}
	}
	return cfg
}

func createTopic(cmd *cobra.Command, c *client, args []string) error {
	in := admin.TopicCreate{Name: args[0], Config: topicConfig(cmd)}
	in.Shards, _ = cmd.Flags().GetUint32("shards")
	in.Captures, _ = cmd.Flags().GetStringSlice("capture")
	var t admin.Topic
	if err := c.call(cmd.Context(), http.MethodPost, apiPath("topics"), in, &t); err != nil {
		return err
	}
	sayLeftOut(cmd, t)
	return showTopics(c, t, t)
}

func updateTopic(cmd *cobra.Command, c *client, args []string) error {
	cfg := topicConfig(cmd)
	in := admin.TopicUpdate{Config: &cfg}
	if cmd.Flags().Changed("shards") {
		n, _ := cmd.Flags().GetUint32("shards")
		in.Shards = &n
	}
	if cmd.Flags().Changed("capture") {
		cs, _ := cmd.Flags().GetStringSlice("capture")
		in.Captures = &cs
	}
	var t admin.Topic
	if err := c.call(cmd.Context(), http.MethodPatch, apiPath("topics", args[0]), in, &t); err != nil {
		return err
	}
	sayLeftOut(cmd, t)
	return showTopics(c, t, t)
}

// sayLeftOut tells what a capture that was made later does not take.
func sayLeftOut(cmd *cobra.Command, t admin.Topic) {
	if t.LeavesOutCount == 0 {
		return
	}
	names := strings.Join(t.LeavesOut, ", ")
	if more := t.LeavesOutCount - len(t.LeavesOut); more > 0 {
		names += fmt.Sprintf(" and %d more", more)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "note: topics that exist keep what they capture: %s\n", names)
}

func shardCommand() *cobra.Command {
	ls := verb("list TOPIC", "List a topic's shards with their offsets", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client, args []string) error {
		all, err := list[admin.Shard](cmd.Context(), c, apiPath("topics", args[0], "shards"), nil)
		if err != nil {
			return err
		}
		return c.show(all, "SHARD LEADER EPOCH START END RECORDS ERROR", func(row func(...any)) {
			for _, s := range all {
				row(s.Index, s.Leader, s.Epoch, s.Start, s.End, s.End-s.Start, s.Error)
			}
		})
	})
	segs := verb("segments TOPIC SHARD", "List where a shard's flushed records are in object storage", cobra.ExactArgs(2), func(cmd *cobra.Command, c *client, args []string) error {
		all, err := list[admin.Segment](cmd.Context(), c, apiPath("topics", args[0], "shards", args[1], "segments"), nil)
		if err != nil {
			return err
		}
		return c.show(all, "BASE LAST RECORDS BYTES LEVEL TO OBJECT", func(row func(...any)) {
			for _, s := range all {
				row(s.Base, s.Last, s.Records, s.Length, s.Level, s.MaxTime, fmt.Sprintf("%s@%d", s.Object, s.Position))
			}
		})
	})
	return noun("shard", "Look at shards", ls, segs)
}
