package main

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/robustmq-go/gateway/admin"
)

func groupCommand() *cobra.Command {
	ls := verb("list", "List the consumer groups of all protocols with their lag", cobra.NoArgs, func(cmd *cobra.Command, c *client, _ []string) error {
		prefix, _ := cmd.Flags().GetString("prefix")
		protocol, _ := cmd.Flags().GetString("protocol")
		all, err := list[admin.Group](cmd.Context(), c, apiPath("groups"), url.Values{"prefix": {prefix}, "protocol": {protocol}})
		if err != nil {
			return err
		}
		return showGroups(c, all, all...)
	})
	ls.Flags().String("prefix", "", "only names that begin with it")
	ls.Flags().String("protocol", "", "only groups of this protocol")
	get := verb("get NAME", "Show one group with its positions or bindings", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client, args []string) error {
		var g admin.Group
		if err := c.call(cmd.Context(), http.MethodGet, apiPath("groups", args[0]), nil, &g); err != nil {
			return err
		}
		if err := showGroups(c, g, g); err != nil || c.json {
			return err
		}
		for _, b := range g.Bindings {
			fmt.Fprintln(c.out, "binding", printable(b))
		}
		if len(g.Offsets) == 0 {
			return nil
		}
		return c.show(nil, "TOPIC SHARD COMMITTED END LAG", func(row func(...any)) {
			for _, o := range g.Offsets {
				row(o.Topic, o.Shard, o.Committed, o.End, o.Lag)
			}
		})
	})
	del := verb("delete NAME...", "Delete groups with all they hold: queues, sessions, shared subscriptions, Kafka groups", cobra.MinimumNArgs(1), func(cmd *cobra.Command, c *client, args []string) error {
		force, _ := cmd.Flags().GetBool("force")
		for _, name := range args {
			path := apiPath("groups", name)
			if force {
				path += "?force=true"
			}
			if err := c.call(cmd.Context(), http.MethodDelete, path, nil, nil); err != nil {
				return err
			}
		}
		return nil
	})
	del.Flags().Bool("force", false, "also those that are in use; not Kafka's, whose members have to stop")
	return noun("group", "Look at and change consumer groups: queues, sessions, shared subscriptions, Kafka groups", ls, get, del, resetGroup(), seekGroup())
}

// resetGroup moves a group as a whole, seekGroup in one shard.
func resetGroup() *cobra.Command {
	cmd := verb("reset NAME", "Let a group begin again: with the oldest records, with new ones only, or from a time on; while it has no consumers", cobra.ExactArgs(1),
		func(cmd *cobra.Command, c *client, args []string) error {
			m := admin.GroupMove{}
			m.Topic, _ = cmd.Flags().GetString("topic")
			to, _ := cmd.Flags().GetString("to")
			if err := parsePlace(&m, to, time.Now()); err != nil {
				return err
			}
			return c.call(cmd.Context(), http.MethodPost, apiPath("groups", args[0], "seek"), m, nil)
		})
	cmd.Flags().String("to", "", "earliest, latest, a time (2026-11-30T10:00:00Z) or how long ago (2h, 7d)")
	_ = cmd.MarkFlagRequired("to")
	cmd.Flags().String("topic", "", "only in this topic")
	cmd.Example = "  robustmq group reset kafka/group/billing --to 2h\n  robustmq group reset amqp///tasks --to latest"
	return cmd
}

func seekGroup() *cobra.Command {
	cmd := verb("seek NAME --topic TOPIC --shard SHARD --offset OFFSET", "Let a group go on at an offset of one shard; while it has no consumers", cobra.ExactArgs(1),
		func(cmd *cobra.Command, c *client, args []string) error {
			m := admin.GroupMove{To: "offset"}
			m.Topic, _ = cmd.Flags().GetString("topic")
			m.Offset, _ = cmd.Flags().GetInt64("offset")
			index, _ := cmd.Flags().GetUint32("shard")
			m.Shard = &index
			return c.call(cmd.Context(), http.MethodPost, apiPath("groups", args[0], "seek"), m, nil)
		})
	cmd.Flags().String("topic", "", "the topic")
	cmd.Flags().Uint32("shard", 0, "the shard of it")
	cmd.Flags().Int64("offset", 0, "the next offset to be read")
	for _, f := range []string{"topic", "offset"} {
		_ = cmd.MarkFlagRequired(f)
	}
	return cmd
}

// parsePlace reads where a group is to begin again.
func parsePlace(m *admin.GroupMove, s string, now time.Time) error {
	if s == "earliest" || s == "latest" {
		m.To = s
		return nil
	}
	m.To = "time"
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		m.Time = t
		return nil
	}
	d, err := parseDuration(s)
	if err != nil || d <= 0 {
		return fmt.Errorf("--to %q is neither earliest, latest, a time as 2026-11-30T10:00:00Z, nor how long ago as 2h or 7d", s)
	}
	m.Time = now.Add(-d)
	return nil
}

func showGroups(c *client, v any, gs ...admin.Group) error {
	return c.show(v, "NAME KIND STATE CONSUMERS LAG READY UNACKED PINNED DURABLE", func(row func(...any)) {
		for _, g := range gs {
			row(g.Name, g.Kind, g.State, g.Consumers, g.Lag, g.Ready, g.Unacked, g.PinnedBytes, g.Durable)
		}
	})
}

func connectionCommand() *cobra.Command {
	ls := verb("list", "List open connections to this gateway", cobra.NoArgs, func(cmd *cobra.Command, c *client, _ []string) error {
		q := url.Values{}
		for flag, key := range map[string]string{"protocol": "protocol", "of-user": "user", "client-id": "client_id"} {
			v, _ := cmd.Flags().GetString(flag)
			q.Set(key, v)
		}
		all, err := list[admin.Connection](cmd.Context(), c, apiPath("connections"), q)
		if err != nil {
			return err
		}
		return c.show(all, "ID PROTOCOL CLIENT USER REMOTE TLS SINCE", func(row func(...any)) {
			for _, x := range all {
				row(x.ID, x.Protocol, x.ClientID, x.User, x.Remote, x.TLS, x.Since)
			}
		})
	})
	ls.Flags().String("protocol", "", "only those of this protocol")
	ls.Flags().String("of-user", "", "only those of this user")
	ls.Flags().String("client-id", "", "only those of this client")
	cl := verb("close ID...", "Close connections", cobra.MinimumNArgs(1), func(cmd *cobra.Command, c *client, args []string) error {
		for _, id := range args {
			if err := c.call(cmd.Context(), http.MethodDelete, apiPath("connections", id), nil, nil); err != nil {
				return err
			}
		}
		return nil
	})
	return noun("connection", "Look at and close client connections", ls, cl)
}

func sessionCommand() *cobra.Command {
	ls := verb("list", "List sessions that outlive their connections", cobra.NoArgs, func(cmd *cobra.Command, c *client, _ []string) error {
		all, err := list[admin.Session](cmd.Context(), c, apiPath("sessions"), nil)
		if err != nil {
			return err
		}
		return showSessions(c, all, all...)
	})
	show := verb("show ID", "Show one session with what waits for it", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client, args []string) error {
		protocol, _ := cmd.Flags().GetString("protocol")
		var s admin.Session
		if err := c.call(cmd.Context(), http.MethodGet, apiPath("sessions", protocol, args[0]), nil, &s); err != nil {
			return err
		}
		return showSessions(c, s, s)
	})
	del := verb("delete ID...", "End sessions with all they hold; a connection is closed first", cobra.MinimumNArgs(1), func(cmd *cobra.Command, c *client, args []string) error {
		protocol, _ := cmd.Flags().GetString("protocol")
		for _, id := range args {
			if err := c.call(cmd.Context(), http.MethodDelete, apiPath("sessions", protocol, id), nil, nil); err != nil {
				return err
			}
		}
		return nil
	})
	for _, cmd := range []*cobra.Command{show, del} {
		cmd.Flags().String("protocol", "mqtt", "whose session it is")
	}
	return noun("session", "Look at and end clients' sessions", ls, show, del)
}

func showSessions(c *client, v any, all ...admin.Session) error {
	return c.show(v, "ID PROTOCOL CONNECTED SUBSCRIPTIONS READY UNACKED PINNED EXPIRES", func(row func(...any)) {
		for _, s := range all {
			var expires any = ""
			if s.Expires != nil {
				expires = *s.Expires
			}
			row(s.ID, s.Protocol, s.Connected, s.Subscriptions, s.Ready, s.Unacked, s.PinnedBytes, expires)
		}
	})
}
