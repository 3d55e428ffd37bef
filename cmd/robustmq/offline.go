package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/engine"
)

// offlineLog tells warnings only, on standard error.
func offlineLog() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// offlineNeeds says what a verb that looks at stored data opens.
type offlineNeeds struct {
	catalog, store bool
	write          bool // the store
	stopped        bool // the gateway of this data directory must not run
}

// openOffline opens what a stopped gateway left. It makes nothing that is not
// there.
func openOffline(ctx context.Context, cmd *cobra.Command, need offlineNeeds) (_ *storage, _ *Config, err error) {
	cfg, err := loadUsed(cmd.Flags())
	if err != nil {
		return nil, nil, err
	}
	s := &storage{}
	defer func() {
		if err != nil {
			s.close(ctx, offlineLog())
		}
	}()
	embedded := len(cfg.Etcd.Endpoints) == 0
	if need.stopped || need.catalog && embedded || need.write && cfg.Store.Kind == "dir" {
		if _, err := os.Stat(cfg.DataDir); err != nil {
			return nil, nil, fmt.Errorf("open data directory: %w; --data-dir names it", err)
		}
		if s.lock, err = lockDir(cfg.DataDir); err != nil {
			return nil, nil, fmt.Errorf("%w; stop the gateway first", err)
		}
	}
	if need.catalog {
		c := cfg.catalogConfig(offlineLog())
		if embedded {
			if err := cfg.catalogGone(); err != nil {
				return nil, nil, err
			}
			if _, err := os.Stat(filepath.Join(c.Embedded, "member")); err != nil {
				return nil, nil, fmt.Errorf("open catalog: %w; is --data-dir right?", err)
			}
		}
		c.Existing = true
		s.cat, err = catalog.Open(ctx, c)
		none := errors.Is(err, catalog.ErrNotFound)
		if err != nil && !none {
			return nil, nil, err
		}
		if need.stopped && (none || s.cat.Topics().Len() == 0) {
			if err := cfg.recordsWithout(cfg.etcdText()+" holds no catalog", false); err != nil {
				return nil, nil, err
			}
		}
		if none {
			return nil, nil, fmt.Errorf("%w: %s is empty: check etcd.endpoints and etcd.prefix, or bring etcd back from a backup", errNoCatalog, cfg.etcdText())
		}
	}
	if need.store {
		sc := cfg.storeConfig()
		sc.ReadOnly = !need.write
		if sc.Kind == "dir" {
			if _, err := os.Stat(sc.Dir); err != nil {
				return nil, nil, fmt.Errorf("open object store: %w", err)
			}
		}
		if err = s.openStore(ctx, &cfg, sc, slog.New(slog.DiscardHandler)); err != nil {
			return nil, nil, err
		}
	}
	return s, &cfg, nil
}

func printJSON(w io.Writer, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode output: %w", err)
	}
	_, err = fmt.Fprintln(w, string(b))
	return err
}

func offlineCommand(use, short string, args cobra.PositionalArgs, run func(*cobra.Command, []string) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: args, RunE: run}
	configFlags(cmd)
	return cmd
}

func verifyCommand() *cobra.Command {
	cmd := offlineCommand("verify", "Check that WAL, catalog and objects of a stopped gateway agree, and every checksum in them", cobra.NoArgs,
		func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			st, cfg, err := openOffline(ctx, cmd, offlineNeeds{catalog: true, store: true, stopped: true})
			if err != nil {
				return err
			}
			defer st.close(ctx, offlineLog())
			o := engine.CheckOptions{WALDir: cfg.walDir()}
			o.Quick, _ = cmd.Flags().GetBool("quick")
			rep, err := engine.Check(ctx, st.cat, st.store, o)
			asJSON, _ := cmd.Flags().GetString("output")
			if perr := printReport(cmd.OutOrStdout(), rep, asJSON == "json"); perr != nil {
				return perr
			}
			if err != nil {
				return err
			}
			if len(rep.Findings) > 0 {
				return fmt.Errorf("%s: %w", counted(len(rep.Findings), "finding"), errDamage)
			}
			return nil
		})
	cmd.Flags().Bool("quick", false, "look at the existence and size of objects only, not at their bytes")
	cmd.Flags().StringP("output", "o", "text", "text or json")
	return cmd
}

var errDamage = errors.New("what is stored is damaged")

// findingView is a finding as JSON.
type findingView struct {
	Part    string `json:"part"`
	Where   string `json:"where"`
	Shard   string `json:"shard,omitempty"`
	Topic   string `json:"topic,omitempty"`
	From    *int64 `json:"from,omitempty"`
	To      *int64 `json:"to,omitempty"` // absent where the end is not known
	Problem string `json:"problem"`
	Hint    string `json:"hint"`
}

func viewFinding(f engine.Finding) findingView {
	v := findingView{Part: f.Part, Where: f.Where, Topic: f.Topic, Problem: f.Problem, Hint: advice(f)}
	if f.Shard != nil {
		v.Shard, v.From = f.Shard.String(), &f.From
		if f.To != engine.OpenEnd {
			v.To = &f.To
		}
	}
	return v
}

func printReport(w io.Writer, r engine.CheckReport, asJSON bool) error {
	if asJSON {
		fs := make([]findingView, len(r.Findings))
		for i, f := range r.Findings {
			fs[i] = viewFinding(f)
		}
		return printJSON(w, map[string]any{"findings": fs, "topics": r.Topics, "shards": r.Shards, "segments": r.Segments,
			"objects": r.Objects, "object_bytes": r.ObjectBytes, "batches": r.Batches, "records": r.Records, "unnamed_objects": r.Unnamed, "unnamed_bytes": r.UnnamedBytes,
			"wal_entries": r.WALEntries, "wal_bytes": r.WALBytes, "wal_torn_bytes": r.TornBytes})
	}
	for _, f := range r.Findings {
		fmt.Fprintln(w, printable(f.String()))
	}
	fmt.Fprintf(w, "catalog: %d topics, %d shards with records, %d segments\n", r.Topics, r.Shards, r.Segments)
	fmt.Fprintf(w, "store: %d objects, %d bytes, %d batches, %d records\n", r.Objects, r.ObjectBytes, r.Batches, r.Records)
	if r.Unnamed > 0 {
		harm := "no harm"
		if slices.ContainsFunc(r.Findings, func(f engine.Finding) bool { return f.Unnamed }) {
			harm = "the findings tell which have records"
		}
		fmt.Fprintf(w, "store: %s, %d bytes, that the catalog does not name: %s; robustmq orphans lists those that are older than an hour\n", counted(r.Unnamed, "object"), r.UnnamedBytes, harm)
	}
	fmt.Fprintf(w, "wal: %d entries, %d bytes\n", r.WALEntries, r.WALBytes)
	if r.TornBytes > 0 {
		fmt.Fprintf(w, "wal: %d bytes of a write that was cut off and never acknowledged\n", r.TornBytes)
	}
	for _, a := range advices(r.Findings) {
		fmt.Fprintln(w, "->", a)
	}
	_, err := fmt.Fprintln(w, counted(len(r.Findings), "finding"))
	return err
}

func orphansCommand() *cobra.Command {
	cmd := offlineCommand("orphans", "List objects that the catalog does not name and that are older than an hour; a dry run unless --delete", cobra.NoArgs,
		func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			remove, _ := cmd.Flags().GetBool("delete")
			st, cfg, err := openOffline(ctx, cmd, offlineNeeds{catalog: true, store: true, write: remove})
			if err != nil {
				return err
			}
			defer st.close(ctx, offlineLog())
			all, err := engine.Orphans(ctx, st.cat, st.store, time.Now, remove, len(cfg.Etcd.Endpoints) == 0)
			printOrphans(cmd.OutOrStdout(), all, remove, err)
			return err
		})
	cmd.Flags().Bool("delete", false, "delete them")
	return cmd
}

// printOrphans prints each orphan, and what was done, or would be.
func printOrphans(w io.Writer, all []engine.Orphan, remove bool, err error) {
	var size, keptSize int64
	kept, only := 0, 0
	for _, o := range all {
		note := ""
		if o.Kept {
			kept, keptSize, note = kept+1, keptSize+o.Size, "\tkept"
			if o.Only {
				only, note = only+1, "\tkept: records that the catalog does not have"
			}
		} else {
			size += o.Size
		}
		fmt.Fprintf(w, "%s\t%d bytes\t%s old%s\n", o.Key, o.Size, o.Age.Round(time.Second), note)
	}
	if only > 0 {
		fmt.Fprintf(w, "%s with records that the catalog does not have, and that may be their only copy: was etcd restored from an older snapshot?\n", counted(only, "object"))
	}
	if err != nil {
		return
	}
	done := "would be deleted by --delete"
	if remove {
		done = "deleted"
	}
	fmt.Fprintf(w, "%d objects, %d bytes %s\n", len(all)-kept, size, done)
	if kept > 0 {
		fmt.Fprintf(w, "%d objects, %d bytes kept: they hold records that the catalog does not have, were there before this cluster marked the store as its own, or it has not\n", kept, keptSize)
	}
}

func catalogCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "catalog", Short: "Look at the catalog", Args: cobra.NoArgs}
	cmd.AddCommand(offlineCommand("dump", "Print every record of the catalog, a line of JSON each, without credentials", cobra.NoArgs,
		func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			st, _, err := openOffline(ctx, cmd, offlineNeeds{catalog: true})
			if err != nil {
				return err
			}
			defer st.close(ctx, offlineLog())
			return st.cat.Dump(ctx, cmd.OutOrStdout())
		}))
	return cmd
}
