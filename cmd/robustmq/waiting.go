package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/engine"
	"github.com/robustmq/robustmq-go/gateway/admin"
	"github.com/robustmq/robustmq-go/shard"
)

// logs is what the verbs about logs that are waited for ask: a running gateway, or
// the catalog itself.
type logs interface {
	list(ctx context.Context) ([]admin.Log, error)
	losses(ctx context.Context, id string) ([]admin.LogRange, error)
	abandon(ctx context.Context, id string) error
}

// gatewayLogs asks a running gateway.
type gatewayLogs struct{ c *client }

func (g gatewayLogs) list(ctx context.Context) ([]admin.Log, error) {
	return list[admin.Log](ctx, g.c, apiPath("logs"), nil)
}

func (g gatewayLogs) losses(ctx context.Context, id string) ([]admin.LogRange, error) {
	return list[admin.LogRange](ctx, g.c, apiPath("logs", id, "ranges"), nil)
}

func (g gatewayLogs) abandon(ctx context.Context, id string) error {
	return g.c.call(ctx, http.MethodPost, apiPath("logs", id, "abandon"), admin.LogAbandon{Confirm: id}, nil)
}

// catalogLogs asks the catalog. alone says that no gateway of it can be running.
type catalogLogs struct {
	cat   *catalog.Catalog
	def   shard.Durability
	alone bool
}

func (k catalogLogs) list(context.Context) ([]admin.Log, error) {
	out := []admin.Log{}
	for _, w := range k.cat.WALs() {
		if slots := k.cat.Holders(w.ID, k.alone); w.State == catalog.WALOpen && len(slots) > 0 {
			out = append(out, admin.Log{ID: w.ID, Owner: w.Owner, Slots: slots})
		}
	}
	return out, nil
}

func (k catalogLogs) losses(_ context.Context, id string) ([]admin.LogRange, error) {
	return logRanges(k.cat, id, k.def, k.alone)
}

func (k catalogLogs) abandon(ctx context.Context, id string) error {
	return k.cat.AbandonWAL(ctx, id, k.alone)
}

func logRanges(cat *catalog.Catalog, id string, def shard.Durability, alone bool) ([]admin.LogRange, error) {
	_, all, err := engine.Losses(cat, id, def, alone)
	out := make([]admin.LogRange, len(all))
	for i, l := range all {
		out[i] = admin.LogRange{Topic: l.Topic, Index: l.Shard.Index, From: l.From, Most: engine.MaxLost}
	}
	return out, err
}

// Logs implements admin.LogKeeper.
func (a adminEngine) Logs() []admin.Log {
	var out []admin.Log
	for _, l := range a.st.engine.Waiting() {
		out = append(out, admin.Log{ID: l.ID, Owner: l.Owner, Slots: l.Slots})
	}
	return out
}

// Losses implements admin.LogKeeper.
func (a adminEngine) Losses(id string) ([]admin.LogRange, error) {
	return logRanges(a.st.cat, id, a.st.durability, false)
}

// Abandon implements admin.LogKeeper.
func (a adminEngine) Abandon(ctx context.Context, id string) error {
	return a.st.cat.AbandonWAL(ctx, id, false)
}

// withLogs calls fn with the running gateway that --server names or, where a flag
// says whose configuration to read, with the catalog of that.
func withLogs(cmd *cobra.Command, fn func(context.Context, logs) error) error {
	ctx, f := cmd.Context(), cmd.Flags()
	if !f.Changed("config") && !f.Changed("data-dir") && !f.Changed("set") {
		c, err := newClient(cmd)
		if err != nil {
			return err
		}
		if err = fn(ctx, gatewayLogs{c}); err != nil && strings.Contains(err.Error(), "is the gateway running") {
			return fmt.Errorf("%w; --config or --data-dir asks the catalog of one that does not run", err)
		}
		return err
	}
	st, cfg, err := openOffline(ctx, cmd, offlineNeeds{catalog: true})
	if err != nil {
		return err
	}
	defer st.close(ctx, offlineLog())
	def, _ := shard.ParseDurability(cfg.Topics.Durability)
	return fn(ctx, catalogLogs{cat: st.cat, def: def, alone: len(cfg.Etcd.Endpoints) == 0})
}

func waitingCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "waiting", Short: "List the logs of former owners that slots wait for", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withLogs(cmd, func(ctx context.Context, l logs) error {
				all, err := l.list(ctx)
				if err != nil {
					return err
				}
				c := &client{out: cmd.OutOrStdout()}
				o, _ := cmd.Flags().GetString("output")
				c.json = o == "json"
				return c.show(all, "LOG GATEWAY SLOTS", func(row func(...any)) {
					for _, x := range all {
						row(x.ID, x.Owner, len(x.Slots))
					}
				})
			})
		}}
	configFlags(cmd)
	clientFlags(cmd)
	return cmd
}

func abandonCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "abandon ID", Args: cobra.ExactArgs(1),
		Short: "Give up for lost what a log holds that slots wait for: they serve again, and offsets go on above all it may have given out",
		RunE: func(cmd *cobra.Command, args []string) error {
			yes, _ := cmd.Flags().GetBool("yes")
			return withLogs(cmd, func(ctx context.Context, l logs) error { return abandonLog(ctx, cmd, l, args[0], yes) })
		}}
	configFlags(cmd)
	clientFlags(cmd)
	cmd.Flags().Bool("yes", false, "do not ask")
	return cmd
}

func abandonLog(ctx context.Context, cmd *cobra.Command, l logs, id string, yes bool) error {
	w := cmd.OutOrStdout()
	ranges, err := l.losses(ctx, id)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "What only log %s has is lost for good when it is abandoned: of each shard, records from this offset on,\n"+
		"and changes of sessions, consumer offsets and queues of its last seconds. Its directory cannot be started any more.\n", id)
	for _, r := range ranges {
		if r.Topic != stateTopicName {
			fmt.Fprintf(w, "%s[%d] from offset %d (at most %d records)\n", printable(r.Topic), r.Index, r.From, r.Most)
		}
	}
	if !yes {
		fmt.Fprint(w, "Type the id of the log to abandon it: ")
		line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read answer: %w", err)
		}
		if strings.TrimSpace(line) != id {
			return errors.New("that is not the id: nothing was done")
		}
	}
	if err := l.abandon(ctx, id); err != nil {
		return err
	}
	fmt.Fprintf(w, "abandoned: a gateway that waits for it starts over\n")
	return nil
}

// stateTopicName is the broker's own topic: what of it is lost is said in words.
const stateTopicName = "robustmq.state"

func recoverCommand() *cobra.Command {
	cmd := offlineCommand("recover DIR", "Commit what the log in a directory holds and no segment has: the gateway that wrote it must not run, others may",
		cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			st, cfg, err := openOffline(ctx, cmd, offlineNeeds{catalog: true, store: true, write: true})
			if err != nil {
				return err
			}
			defer st.close(ctx, offlineLog())
			o := engine.SalvageOptions{Dir: args[0], Alone: len(cfg.Etcd.Endpoints) == 0, Logger: offlineLog()}
			o.Durability, _ = shard.ParseDurability(cfg.Topics.Durability)
			o.AcceptDamage, _ = cmd.Flags().GetBool("accept-damage")
			rep, err := engine.Salvage(ctx, st.cat, st.store, o)
			printSalvage(cmd.OutOrStdout(), rep)
			return err
		})
	cmd.Flags().Bool("accept-damage", false, "commit what is sound of a damaged log, without the rest")
	return cmd
}

func printSalvage(w io.Writer, r engine.SalvageReport) {
	if r.Log == "" {
		return
	}
	if r.Clean {
		fmt.Fprintf(w, "log %s: nobody waits for it, nothing is to be done\n", r.Log)
		return
	}
	fmt.Fprintf(w, "log %s: %d batches, %d bytes committed in %s; %d batches were in segments before, %d were never acknowledged\n",
		r.Log, r.Batches, r.Bytes, counted(r.Segments, "segment"), r.Flushed, r.Dropped)
	if r.Overtaken > 0 {
		fmt.Fprintf(w, "%d batches have offsets that were given to others, and are in this directory only: %s\n", r.Overtaken, r.Ranges)
	}
	if r.Damaged > 0 {
		fmt.Fprintf(w, "%s: robustmq wal verify --dir shows them\n", counted(r.Damaged, "damaged range"))
	}
}
