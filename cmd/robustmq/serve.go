package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/admin"
)

func serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the broker: every gateway, embedded etcd and a directory as object store unless configured otherwise",
		Args:  cobra.NoArgs,
		RunE:  serve,
	}
	configFlags(cmd)
	for _, p := range protocols() {
		for _, l := range p.Listeners {
			cmd.Flags().String(flagName(p, l), "", fmt.Sprintf("address of the %s listener (default 127.0.0.1:%d)", p.Name, l.Port))
		}
	}
	cmd.Flags().String("admin.listen", "", "address of the admin HTTP listener (default 127.0.0.1:8080)")
	return cmd
}

// configFlags are those of every verb that reads the configuration.
func configFlags(cmd *cobra.Command) {
	cmd.Flags().String("config", "", "configuration file (YAML, TOML or JSON)")
	cmd.Flags().String("data-dir", "data", "directory of WAL, embedded etcd and the directory store")
	cmd.Flags().StringArray("set", nil, "one setting, as store.kind=s3; may be repeated")
}

func flagName(p gateway.Protocol, l gateway.ListenerSpec) string {
	return p.Name + "." + strings.ReplaceAll(l.Key, "_", "-")
}

// listenerFlags turns the listeners' own flags into settings.
func listenerFlags(cmd *cobra.Command) {
	set := func(name string) {
		if f := cmd.Flags().Lookup(name); f != nil && f.Changed {
			_ = cmd.Flags().Set("set", name+"="+f.Value.String())
		}
	}
	for _, p := range protocols() {
		for _, l := range p.Listeners {
			set(flagName(p, l))
		}
	}
	set("admin.listen")
}

// gcPercent is how much garbage there may be for what lives, unless GOGC says.
func serve(cmd *cobra.Command, _ []string) error {
	listenerFlags(cmd)
	cfg, err := loadUsed(cmd.Flags())
	if err != nil {
		return err
	}
	log, level, err := cfg.logger()
	if err != nil {
		return err
	}
	var all []endpoint
	own := make(map[string]map[string]any)
	addresses := make(map[string]string)
	for _, p := range protocols() {
		es, rest, err := cfg.endpoints(p)
		if err != nil {
			return err
		}
		all, own[p.Name] = append(all, es...), rest
		if len(es) > 0 {
			addresses[p.Name] = cfg.advertised(es[0])
		}
	}
	tlsConfig, certificate, err := cfg.tlsConfig(log)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	front := admin.NewFront(log.With("protocol", "admin"))
	defer front.Close()
	if cfg.live, err = newLive(&cfg, log, level, func() (Config, error) { return loadUsed(cmd.Flags()) }); err != nil {
		return err
	}
	cfg.boundMemory(log) // after newLive: what is fitted is no change that a reload finds
	cfg.live.tls = certificate
	go cfg.live.watch(ctx, hangups(ctx))
	insist(ctx, log)
	for again := false; ; {
		err := serveOnce(ctx, &cfg, log, front, all, own, addresses, tlsConfig)
		switch {
		case errors.Is(err, errSessionLost):
			again = true
		case err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled):
			log.Info("stopped during the start")
			return nil
		case err == nil || !again || ctx.Err() != nil:
			return err
		}
		// Once it has served, it comes back when what it needs does.
		log.Warn("starting over", "error", err)
		front.Away(fmt.Errorf("starting over: %w", err))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(restartPause):
		}
	}
}

// restartPause is the time between attempts to start over.
const restartPause = time.Second

// errSessionLost ends an incarnation: it has to stop acknowledging and start over.
var errSessionLost = errors.New("ownership is given up")

// errStopping is why nothing is served by a process that ends, or starts over.
var errStopping = errors.New("the storage engine is being closed")

// serveOnce runs one incarnation until ctx ends or its session is lost.
func serveOnce(ctx context.Context, cfg *Config, log *slog.Logger, front *admin.Front, all []endpoint, own map[string]map[string]any,
	addresses map[string]string, tlsConfig *tls.Config) error {
	begun := time.Now()
	st, err := openStorage(ctx, cfg, log, addresses)
	if err != nil {
		return err
	}
	s := &server{cfg: cfg, log: log, front: front, storage: st, servers: map[string]gateway.Server{}, stats: map[string]*gateway.Stats{}}
	defer s.stop()
	defaultPassword, err := ensureAdmin(ctx, st.engine.Broker().Users)
	if err != nil {
		return err
	}
	if err := cfg.checkExposure(slices.Concat(all, cfg.adminEndpoints()), defaultPassword); err != nil {
		return err
	}
	if err := s.startGateways(context.WithoutCancel(ctx), all, own, tlsConfig); err != nil {
		return err
	}
	if err := s.startAdmin(tlsConfig); err != nil {
		return err
	}
	log.Info("ready", "after", time.Since(begun).Round(time.Millisecond).String(), "data_dir", cfg.DataDir, "store", cfg.Store.Kind)
	select {
	case <-ctx.Done():
		log.Info("stopping")
	case <-st.engine.Lost():
		return fmt.Errorf("%w: %w", errSessionLost, st.engine.Reason())
	}
	return nil
}
