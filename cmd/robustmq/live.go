package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
)

// live is what of the configuration can change while the process runs. It outlives
// the engine: a gateway that starts over takes what is in force.
type live struct {
	log   *slog.Logger
	level *slog.LevelVar
	tls   *reloader // nil: no certificate is configured
	load  func() (Config, error)

	mu        sync.Mutex
	settings  []setting // in force
	limits    listenerLimits
	listeners []*gateway.Listener
	reloads   int64
	failures  int64
	failed    error // why the last reload failed
}

// listenerLimits are those of listeners.
type listenerLimits struct {
	connections int
	login       time.Duration
}

// takenAlive tells whether a changed setting is taken without a restart.
func takenAlive(key string) bool {
	return slices.Contains([]string{"log.level", "limits.max_connections", "limits.login_timeout"}, key) || strings.HasPrefix(key, "tls.")
}

func newLive(cfg *Config, log *slog.Logger, level *slog.LevelVar, load func() (Config, error)) (*live, error) {
	all, err := settings(cfg)
	if err != nil {
		return nil, err
	}
	return &live{log: log, level: level, load: load, settings: all, limits: listenerLimits{cfg.Limits.MaxConnections, cfg.Limits.LoginTimeout}}, nil
}

// attach gives listeners the limits in force, and every later change.
func (l *live) attach(ls []*gateway.Listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listeners = ls
	l.applyLimits()
}

func (l *live) applyLimits() {
	for _, ln := range l.listeners {
		ln.SetLimits(l.limits.connections, l.limits.login)
	}
}

// reload reads the configuration again, takes what can be taken and says what was
// and what was not. What is wrong changes nothing.
func (l *live) reload() {
	err := l.take()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = err
	if err == nil {
		l.reloads++
		return
	}
	l.failures++
	l.log.Error("the configuration was not reloaded: the old one goes on", "error", err)
}

func (l *live) take() error {
	cfg, err := l.load()
	if err != nil {
		return err
	}
	all, err := settings(&cfg)
	if err != nil {
		return err
	}
	level, err := cfg.level()
	if err != nil {
		return err
	}
	if l.tls != nil {
		if err := l.tls.reload(cfg.TLS); err != nil {
			return fmt.Errorf("tls: %w", err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var taken, later []string
	for i := range all {
		if i >= len(l.settings) || l.settings[i].secret == all[i].secret && l.settings[i].Value == all[i].Value {
			continue
		}
		key := all[i].Key
		if takenAlive(key) && (l.tls != nil || !strings.HasPrefix(key, "tls.")) {
			taken = append(taken, key)
			l.settings[i] = all[i]
		} else {
			later = append(later, key)
		}
	}
	l.level.Set(level)
	l.limits = listenerLimits{cfg.Limits.MaxConnections, cfg.Limits.LoginTimeout}
	l.applyLimits()
	l.log.Info("configuration reloaded", "taken", taken, "need_a_restart", later, "certificate", l.tls != nil)
	if len(later) > 0 {
		l.log.Warn("settings changed that need a restart", "settings", later)
	}
	return nil
}

// health tells what of the configuration is not in force.
func (l *live) health() error {
	if l == nil {
		return nil
	}
	_, _, _, trouble := l.tls.state()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		trouble = errors.Join(trouble, fmt.Errorf("the configuration could not be reloaded, the old one goes on: %w", l.failed))
	}
	return trouble
}

// watch reloads on each signal, and looks after the certificate by the clock, until
// ctx ends.
func (l *live) watch(ctx context.Context, hangups <-chan os.Signal) {
	tick := time.NewTicker(reloadInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			l.log.Info("SIGHUP: reading the configuration again")
			l.reload()
		case <-tick.C:
			if l.tls != nil {
				l.tls.look()
			}
		}
	}
}

type hangupsKey struct{}

// takeSignals takes the signals that would end the process for nothing. SIGHUP
// reloads: one that comes during the start waits. SIGPIPE, of a log that nobody
// reads any more, is an error of that write alone.
func takeSignals(ctx context.Context) context.Context {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return context.WithValue(ctx, hangupsKey{}, hangups)
}

// hangups gives the channel of takeSignals; one that gives nothing without it.
func hangups(ctx context.Context) <-chan os.Signal {
	ch, _ := ctx.Value(hangupsKey{}).(chan os.Signal)
	return ch
}

// insist ends the process on a second SIGINT: somebody sits there and does not
// want to wait. A second SIGTERM is an impatient supervisor, which has SIGKILL.
func insist(ctx context.Context, log *slog.Logger) {
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGINT, syscall.SIGTERM)
	during := ctx.Err() != nil
	go func() {
		<-ctx.Done()
		for first := !during; ; {
			switch s := <-again; {
			case first: // the one that ended ctx
				first = false
			case s == syscall.SIGINT:
				log.Warn("stopped at once by a second SIGINT: nothing acknowledged is lost, the next start replays the write-ahead log")
				os.Exit(130)
			default:
				log.Info("already stopping", "signal", s.String())
			}
		}
	}()
}
