package main

import (
	"bufio"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/wal"
)

func walCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "wal", Short: "Look at a write-ahead log, and at those that are waited for", Args: cobra.NoArgs}
	source := func(cmd *cobra.Command) (wal.Source, error) {
		src := wal.Source{}
		src.All, _ = cmd.Flags().GetBool("all")
		if src.Dir, _ = cmd.Flags().GetString("dir"); src.Dir == "" {
			cfg, err := loadConfig(cmd.Flags())
			if err != nil {
				return src, err
			}
			src.Dir = cfg.walDir()
		}
		if _, err := os.Stat(src.Dir); err != nil {
			return src, fmt.Errorf("open write-ahead log: %w", err)
		}
		return src, nil
	}
	dump := offlineCommand("dump", "Print every entry; run it while the gateway is stopped", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		src, err := source(cmd)
		if err != nil {
			return err
		}
		w := bufio.NewWriter(cmd.OutOrStdout())
		rec, err := wal.Dump(src, func(pos wal.Pos, e wal.Entry) error {
			b, err := shard.ParseBatch(e.Data)
			if err != nil {
				_, err = fmt.Fprintf(w, "%s shard %s epoch %d bytes %d: %s\n", pos, e.Shard, e.Epoch, len(e.Data), err)
				return err
			}
			_, err = fmt.Fprintf(w, "%s shard %s epoch %d offsets %d to %d records %d bytes %d\n",
				pos, e.Shard, e.Epoch, b.BaseOffset(), b.LastOffset(), b.Count(), len(e.Data))
			return err
		})
		if ferr := w.Flush(); err == nil {
			err = ferr
		}
		if err != nil {
			return err
		}
		return printRecovery(cmd, rec)
	})
	verify := offlineCommand("verify", "Read every byte of the log and check it", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		src, err := source(cmd)
		if err != nil {
			return err
		}
		rec, err := wal.Dump(src, nil)
		if err != nil {
			return err
		}
		return printRecovery(cmd, rec)
	})
	for _, c := range []*cobra.Command{dump, verify} {
		c.Flags().String("dir", "", "directory of the log; empty: that of the configuration")
		c.Flags().Bool("all", false, "also what is trimmed and still on disk")
	}
	cmd.AddCommand(dump, verify, waitingCommand(), recoverCommand(), abandonCommand())
	return cmd
}

// printRecovery sums up; it gives an error when anything is damaged.
func printRecovery(cmd *cobra.Command, rec wal.Recovery) error {
	w := cmd.OutOrStdout()
	for _, d := range rec.Damaged {
		fmt.Fprintln(w, d.Error())
	}
	if rec.MarkLost && rec.Files > 0 {
		fmt.Fprintln(w, "the trim mark cannot be read")
	}
	fmt.Fprintf(w, "%d files, %d entries, %d bytes, from %s to %s, %d trimmed entries passed over\n",
		rec.Files, rec.Entries, rec.Bytes, rec.Start, rec.End, rec.Skipped)
	if rec.TornBytes > 0 {
		fmt.Fprintf(w, "%d bytes at %s of a write that was cut off and never acknowledged\n", rec.TornBytes, rec.Torn)
	}
	if len(rec.Damaged) > 0 {
		return fmt.Errorf("%d damaged ranges: %w", len(rec.Damaged), errDamage)
	}
	return nil
}
