package main

import (
	"fmt"
	"net/http"
	"net/url"

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
	return noun("group", "Look at consumer groups: queues, sessions, shared subscriptions, Kafka groups", ls, get)
}

func showGroups(c *client, v any, gs ...admin.Group) error {
	return c.show(v, "NAME KIND STATE CONSUMERS LAG READY UNACKED DURABLE", func(row func(...any)) {
		for _, g := range gs {
			row(g.Name, g.Kind, g.State, g.Consumers, g.Lag, g.Ready, g.Unacked, g.Durable)
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
		return c.show(all, "ID PROTOCOL CONNECTED SUBSCRIPTIONS EXPIRES", func(row func(...any)) {
			for _, s := range all {
				var expires any = ""
				if s.Expires != nil {
					expires = *s.Expires
				}
				row(s.ID, s.Protocol, s.Connected, s.Subscriptions, expires)
			}
		})
	})
	return noun("session", "Look at clients' sessions", ls)
}
