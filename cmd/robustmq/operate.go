package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sort"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/robustmq-go/gateway/admin"
)

func clusterCommand() *cobra.Command {
	cmd := alone(verb("cluster", "Show the gateways of the cluster", cobra.NoArgs, func(cmd *cobra.Command, c *client, _ []string) error {
		var v admin.Cluster
		if err := c.call(cmd.Context(), http.MethodGet, apiPath("cluster"), nil, &v); err != nil {
			return err
		}
		return c.show(v, "NAME ID ZONE ADDRESSES", func(row func(...any)) {
			for _, n := range v.Nodes {
				var as []string
				for p, a := range n.Addresses {
					as = append(as, p+"="+a)
				}
				sort.Strings(as)
				row(n.Name, n.ID, n.Zone, strings.Join(as, " "))
			}
		})
	}))
	cmd.AddCommand(verb("trust-clock", "Say that the clock is right, though it jumped ahead: records are freed and expire by it again", cobra.NoArgs,
		func(cmd *cobra.Command, c *client, _ []string) error {
			return c.call(cmd.Context(), http.MethodPost, apiPath("cluster", "trust-clock"), nil, nil)
		}))
	return cmd
}

func flushCommand() *cobra.Command {
	return alone(verb("flush", "Write everything the write-ahead log holds to object storage now", cobra.NoArgs, func(cmd *cobra.Command, c *client, _ []string) error {
		return c.call(cmd.Context(), http.MethodPost, apiPath("flush"), nil, nil)
	}))
}

func drainCommand() *cobra.Command {
	return alone(verb("drain", "Make a gateway accept no more connections and send its clients elsewhere, until a restart", cobra.NoArgs, func(cmd *cobra.Command, c *client, _ []string) error {
		return c.call(cmd.Context(), http.MethodPost, apiPath("drain"), nil, nil)
	}))
}

// healthCommand is for container health checks: the exit code is the answer.
func healthCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a running gateway whether it serves; exit code 0 when it does, degraded or not",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			path := "/readyz"
			if live, _ := cmd.Flags().GetBool("live"); live {
				path = "/healthz"
			}
			return c.health(cmd.Context(), path)
		},
	}
	clientFlags(cmd)
	cmd.PersistentFlags().Lookup("timeout").DefValue = "5s"
	_ = cmd.PersistentFlags().Set("timeout", (5 * time.Second).String())
	cmd.Flags().Bool("live", false, "ask only whether the process lives; what is wrong is printed too")
	return cmd
}

func (c *client) health(ctx context.Context, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("call %s: %w", c.base, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("read answer of %s: %w", c.base, err)
	}
	msg := strings.TrimSpace(string(b))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", msg)
	}
	_, err = fmt.Fprintln(c.out, msg)
	return err
}
