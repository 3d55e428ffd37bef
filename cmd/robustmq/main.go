// Command robustmq is the broker and its tools: one binary.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:           "robustmq",
		Short:         "A message broker on object storage: MQTT, Kafka, NATS and AMQP over one copy",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(verbs()...)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "robustmq:", err)
		os.Exit(1)
	}
}

// verbs lists the subcommands, one file each.
func verbs() []*cobra.Command {
	return []*cobra.Command{serveCommand()}
}
