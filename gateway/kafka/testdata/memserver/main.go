// Command memserver runs the Kafka gateway over the in-memory broker, so that
// clients and tools of other projects can be tried on the gateway alone.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	_ "net/http/pprof"
	"os"
	"os/signal"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/kafka"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

func main() {
	addr := flag.String("listen", "127.0.0.1:19092", "address")
	debug := flag.Bool("debug", false, "log debug")
	sasl := flag.Bool("sasl", false, "require a login (admin/robustmq)")
	prof := flag.String("pprof", "", "address of the profiler")
	flag.Parse()
	level := slog.LevelInfo
	if *debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	if *prof != "" {
		go func() { log.Error("pprof", "error", http.ListenAndServe(*prof, nil)) }()
	}
	if err := run(*addr, *sasl, log); err != nil {
		log.Error("memserver", "error", err)
		os.Exit(1)
	}
}

func run(addr string, sasl bool, log *slog.Logger) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	admin, err := gateway.NewUser("admin", "robustmq")
	if err != nil {
		return err
	}
	admin.Superuser = true
	mem := shardmem.New(shardmem.Options{Users: []shard.User{admin}, MaxMessageBytes: 8 << 20, AppendBudget: 256 << 20, Logger: log})
	defer mem.Close()
	b := mem.Broker()
	env := gateway.Env{
		Broker: b, Log: log, Limits: gateway.DefaultLimits(), Stats: new(gateway.Stats),
		Auth: gateway.NewAuth(b.Users, b.ACLs, gateway.AuthConfig{}),
		Decode: func(dst any) error {
			dst.(*kafka.Config).SASLRequired = sasl
			return nil
		},
	}
	srv, err := kafka.New(env)
	if err != nil {
		return err
	}
	l := &gateway.Listener{Protocol: "kafka", Addr: addr, Server: srv, Log: log, Stats: env.Stats}
	if err := l.Start(context.Background()); err != nil {
		return err
	}
	fmt.Println("listening on", l.Address())
	<-ctx.Done()
	l.StopAccepting()
	drain, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	srv.Drain(drain)
	l.Close()
	return nil
}
