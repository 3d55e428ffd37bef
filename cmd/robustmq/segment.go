package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/robustmq/robustmq-go/tier"
	"github.com/robustmq/robustmq-go/tier/store"
)

func segmentCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "segment", Short: "Look at segment objects", Args: cobra.NoArgs}
	dump := offlineCommand("dump KEY...", "Print what is in segment objects", cobra.MinimumNArgs(1), func(cmd *cobra.Command, keys []string) error {
		ctx := cmd.Context()
		st, _, err := openOffline(ctx, cmd, offlineNeeds{store: true})
		if err != nil {
			return err
		}
		defer st.close(ctx, offlineLog())
		batches, _ := cmd.Flags().GetBool("batches")
		for _, k := range keys {
			if err := tier.Dump(ctx, st.store, k, batches, cmd.OutOrStdout()); err != nil {
				return err
			}
		}
		return nil
	})
	dump.Flags().Bool("batches", false, "each batch, too")
	verify := offlineCommand("verify [KEY...]", "Check every checksum of segment objects; of all, when none is named", cobra.ArbitraryArgs, func(cmd *cobra.Command, keys []string) error {
		ctx := cmd.Context()
		st, _, err := openOffline(ctx, cmd, offlineNeeds{store: true})
		if err != nil {
			return err
		}
		defer st.close(ctx, offlineLog())
		n, bad := 0, 0
		var unread error
		check := func(key string) error {
			rep, err := tier.Verify(ctx, st.store, key)
			if err != nil && ctx.Err() != nil {
				return fmt.Errorf("verify %s: %w", key, err)
			}
			n++
			if err != nil { // the next one may be readable
				unread = errors.Join(unread, fmt.Errorf("verify %s: %w", key, err))
				return nil
			}
			bad += len(rep.Problems)
			for _, p := range rep.Problems {
				fmt.Fprintln(cmd.OutOrStdout(), p.Error())
			}
			return nil
		}
		if len(keys) == 0 {
			err = eachKey(ctx, st.store, tier.KeyPrefix, check)
		}
		for _, k := range keys {
			if err == nil {
				err = check(k)
			}
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%d objects, %d problems\n", n, bad)
		if bad > 0 {
			err = fmt.Errorf("%d problems: %w", bad, errDamage)
		}
		return errors.Join(err, unread)
	})
	cmd.AddCommand(dump, verify)
	return cmd
}

// eachKey calls fn for the key of each object.
func eachKey(ctx context.Context, st store.Store, prefix string, fn func(string) error) error {
	for after := ""; ; {
		page, err := st.List(ctx, prefix, after, 0)
		if err != nil {
			return fmt.Errorf("list objects: %w", err)
		}
		for _, o := range page {
			if err := fn(o.Key); err != nil {
				return err
			}
			after = o.Key
		}
		if len(page) == 0 {
			return nil
		}
	}
}
