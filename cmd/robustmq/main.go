// Command robustmq is the broker and its tools: one binary.
package main

import (
	"context"
	"errors"
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
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		ctx = takeSignals(ctx)
	}
	root := &cobra.Command{
		Use:           "robustmq",
		Short:         "A message broker on object storage: MQTT, Kafka, NATS and AMQP over one copy",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(verbs()...)
	if err := root.ExecuteContext(ctx); err != nil {
		if !errors.Is(err, errSaid) {
			fmt.Fprintln(os.Stderr, "robustmq:", err)
		}
		os.Exit(1)
	}
}

// errSaid ends the process with exit code 1 when the output says why already.
var errSaid = errors.New("see above")

// verbs lists the subcommands, one file each.
func verbs() []*cobra.Command {
	all := []*cobra.Command{
		serveCommand(), configCommand(), healthCommand(), // run
		topicCommand(), shardCommand(), groupCommand(), connectionCommand(), sessionCommand(), userCommand(), aclCommand(),
		clusterCommand(), flushCommand(), drainCommand(), // administer a running gateway
		doctorCommand(), verifyCommand(), orphansCommand(), walCommand(), segmentCommand(), catalogCommand(), // look at what is stored
	}
	for _, c := range all {
		if !c.Runnable() { // cobra would answer a mistyped verb with help and exit code 0
			c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
		}
	}
	return all
}
