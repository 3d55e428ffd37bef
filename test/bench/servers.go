package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/robustmq/robustmq-go/test/harness"
)

// What an acknowledgement means, as the rows say it.
const (
	synced   = "fdatasync before the acknowledgement"
	notSync  = "written to the page cache, not synced before the acknowledgement"
	nothing  = "stores nothing"
	oursNATS = "stored (write-ahead log, then objects), not awaited: the protocol has no acknowledgement"
)

// buildWithin bounds the build of a small peer, which has a clock of its own: it is done once.
const buildWithin = 5 * time.Minute

// robustmq is our server with no configuration, seen at one of its ports.
func robustmq(port func(harness.Ports) int) server {
	return server{
		name: "RobustMQ", version: "this checkout, " + revision(), settings: "no configuration: embedded etcd, objects in a directory, WAL with fdatasync",
		start: func(ctx context.Context, b *bench, dir string) (*running, error) {
			br, err := harness.StartBroker(ctx, harness.Options{DataDir: filepath.Join(dir, "data"), Within: startWithin})
			if err != nil {
				return nil, err
			}
			return &running{port: port(br.Ports), ours: br.Ports, user: harness.User, pass: harness.Password, proc: br.Proc()}, nil
		},
	}
}

// revision is the commit of the checkout, when git knows.
func revision() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "commit unknown"
	}
	return "commit " + strings.TrimSpace(string(out))
}

// printed is the first line that a command prints, for versions.
func printed(tool string, args ...string) string {
	path, err := harness.Tool(tool)
	if err != nil {
		return "not installed"
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	line, _, _ := strings.Cut(string(out), "\n")
	if line == "" && err != nil {
		return "unknown: " + err.Error()
	}
	return line
}

// launch starts a peer and waits until its port accepts connections.
func launch(ctx context.Context, tool string, port int, env []string, dir string, args ...string) (*running, error) {
	path, err := harness.Tool(tool)
	if err != nil {
		return nil, err
	}
	return launchPath(ctx, path, port, env, dir, args...)
}

func launchPath(ctx context.Context, path string, port int, env []string, dir string, args ...string) (*running, error) {
	p, err := harness.StartProc(harness.Command{Path: path, Args: args, Env: env, Dir: dir})
	if err != nil {
		return nil, err
	}
	r := &running{port: port, proc: p}
	if err := awaitPort(ctx, r); err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

func awaitPort(ctx context.Context, r *running) error {
	var d net.Dialer
	return again(ctx, r.proc, func() error {
		c, err := d.DialContext(ctx, "tcp", harness.Addr(r.port))
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// again calls try until it succeeds, the process ends or ctx does. A server that starts cannot
// announce that it is ready, hence the pause between tries.
func again(ctx context.Context, p *harness.Proc, try func() error) error {
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-t.C:
		case <-p.Done():
			return fmt.Errorf("process ended: %w\n%s", err, p.Tail(20))
		case <-ctx.Done():
			return fmt.Errorf("%w: %w\n%s", ctx.Err(), err, p.Tail(20))
		}
	}
}

// natsServer is nats-server; js is the body of its jetstream block, empty for none.
func natsServer(name, settings, js string) server {
	return server{
		name: name, version: printed("nats-server", "--version"), settings: settings,
		start: func(ctx context.Context, _ *bench, dir string) (*running, error) {
			port, err := harness.FreePort()
			if err != nil {
				return nil, err
			}
			conf := fmt.Sprintf("host: 127.0.0.1\nport: %d\n", port)
			if js != "" {
				conf += fmt.Sprintf("jetstream { store_dir: %q, %s }\n", filepath.Join(dir, "js"), js)
			}
			file := filepath.Join(dir, "nats.conf")
			if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
				return nil, err
			}
			return launch(ctx, "nats-server", port, nil, dir, "-c", file)
		},
	}
}

// kafkaServer is one Apache Kafka node in KRaft mode with further lines of configuration.
func kafkaServer(name, settings string, lines ...string) server {
	return server{
		name: name, keep: true, version: "Apache Kafka " + kafkaVersion(), settings: settings,
		start: func(ctx context.Context, _ *bench, dir string) (*running, error) {
			port, err := harness.FreePort()
			if err != nil {
				return nil, err
			}
			controller, err := harness.FreePort()
			if err != nil {
				return nil, err
			}
			conf := append([]string{
				"process.roles=broker,controller", "node.id=1", fmt.Sprintf("controller.quorum.voters=1@127.0.0.1:%d", controller),
				fmt.Sprintf("listeners=PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d", port, controller),
				fmt.Sprintf("advertised.listeners=PLAINTEXT://127.0.0.1:%d", port),
				"controller.listener.names=CONTROLLER", "inter.broker.listener.name=PLAINTEXT",
				"listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
				"log.dirs=" + filepath.Join(dir, "log"), "offsets.topic.replication.factor=1", "offsets.topic.num.partitions=1",
				"transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1", "group.initial.rebalance.delay.ms=0",
			}, lines...)
			file := filepath.Join(dir, "server.properties")
			if err := os.WriteFile(file, []byte(strings.Join(conf, "\n")+"\n"), 0o600); err != nil {
				return nil, err
			}
			storage, err := harness.Tool("kafka-storage.sh")
			if err != nil {
				return nil, err
			}
			id := make([]byte, 16)
			if _, err := rand.Read(id); err != nil {
				return nil, err
			}
			cluster := "A" + base64.RawURLEncoding.EncodeToString(id)[1:] // a leading dash would be a flag
			if _, err := harness.Run(ctx, harness.Command{Path: storage, Args: []string{"format", "-t", cluster, "-c", file}}); err != nil {
				return nil, err
			}
			return launch(ctx, "kafka-server-start.sh", port, nil, dir, file)
		},
	}
}

// kafkaVersion is that of the installed jars.
func kafkaVersion() string {
	dir, err := harness.ToolsDir()
	if err != nil {
		return "unknown"
	}
	jars, err := filepath.Glob(filepath.Join(dir, "kafka", "libs", "kafka-server-[0-9]*.jar"))
	if err != nil || len(jars) == 0 {
		return "unknown"
	}
	return strings.TrimSuffix(strings.TrimPrefix(filepath.Base(jars[0]), "kafka-server-"), ".jar") + ", " + printed("java", "-version")
}

// mosquitto with persistence, and with further lines of configuration.
func mosquitto(lines ...string) server {
	return server{
		name: "mosquitto", version: printed("mosquitto", "-h"),
		settings: "persistence true, autosave_interval at its default of 1800 s, allow_anonymous true, max_queued_messages 0 (no bound)",
		start: func(ctx context.Context, _ *bench, dir string) (*running, error) {
			port, err := harness.FreePort()
			if err != nil {
				return nil, err
			}
			conf := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location %s/\nmax_queued_messages 0\nlog_type error\n", port, dir)
			for _, l := range lines {
				conf += l + "\n"
			}
			if os.Geteuid() == 0 {
				conf += "user root\n" // otherwise it becomes a user that may not write to dir
			}
			file := filepath.Join(dir, "mosquitto.conf")
			if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
				return nil, err
			}
			return launch(ctx, "mosquitto", port, nil, dir, "-c", file)
		},
	}
}

// mochi is the broker of the module mochi-mqtt, built from the program beside this one.
func mochi() server {
	return server{
		name: "mochi", version: "mochi-mqtt " + moduleVersion("github.com/mochi-mqtt/server/v2"), settings: "its default capabilities, nothing persistent, no authentication",
		start: func(ctx context.Context, b *bench, dir string) (*running, error) {
			port, err := harness.FreePort()
			if err != nil {
				return nil, err
			}
			binary := filepath.Join(b.scratch, "mochi")
			if fileSize(binary) == 0 {
				root, err := harness.Root()
				if err != nil {
					return nil, err
				}
				goTool, err := exec.LookPath("go")
				if err != nil {
					return nil, err
				}
				build, cancel := context.WithTimeout(context.WithoutCancel(ctx), buildWithin)
				defer cancel()
				if _, err := harness.Run(build, harness.Command{Path: goTool, Dir: filepath.Join(root, "test"), Args: []string{"build", "-trimpath", "-o", binary, "./bench/mochi"}}); err != nil {
					return nil, err
				}
			}
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startWithin)
			defer cancel()
			return launchPath(ctx, binary, port, nil, dir, harness.Addr(port))
		},
	}
}

// moduleVersion is that of a module in the go.mod of this program.
func moduleVersion(module string) string {
	root, err := harness.Root()
	if err != nil {
		return "unknown"
	}
	text, err := os.ReadFile(filepath.Join(root, "test", "go.mod"))
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == module {
			return f[1]
		}
	}
	return "unknown"
}

// rabbitHome is where Debian's package has its scripts, one exec away from the Erlang machine.
const rabbitHome = "/usr/lib/rabbitmq/bin/rabbitmq-server"

func rabbitmq() server {
	version := "RabbitMQ, not installed"
	if dirs, err := filepath.Glob("/usr/lib/rabbitmq/lib/rabbitmq_server-*"); err == nil && len(dirs) > 0 {
		version = "RabbitMQ " + strings.TrimPrefix(filepath.Base(dirs[0]), "rabbitmq_server-")
	}
	if otp, err := filepath.Glob("/usr/lib/erlang/releases/*/OTP_VERSION"); err == nil && len(otp) > 0 {
		version += ", Erlang/OTP " + firstLine(otp[0])
	}
	return server{name: "RabbitMQ", keep: true, version: version, settings: "Debian's package, no plugins, default configuration", start: startRabbit}
}

func startRabbit(ctx context.Context, _ *bench, dir string) (*running, error) {
	var ports [3]int // AMQP, Erlang's distribution, its name server
	for i := range ports {
		var err error
		if ports[i], err = harness.FreePort(); err != nil {
			return nil, err
		}
	}
	conf := filepath.Join(dir, "rabbitmq.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, "listeners.tcp.1 = 127.0.0.1:%d\nlog.console.level = warning\n", ports[0]), 0o600); err != nil {
		return nil, err
	}
	epmdPath, err := harness.Tool("epmd")
	if err != nil {
		return nil, err
	}
	epmd, err := harness.StartProc(harness.Command{Path: epmdPath, Args: []string{"-port", fmt.Sprint(ports[2]), "-address", "127.0.0.1"}})
	if err != nil {
		return nil, err
	}
	env := []string{
		"RUNNING_UNDER_SYSTEMD=1", // the script replaces itself by the server: one pid
		"HOME=" + dir, "RABBITMQ_CONF_ENV_FILE=" + filepath.Join(dir, "none"), "RABBITMQ_CONFIG_FILE=" + conf,
		"RABBITMQ_MNESIA_BASE=" + filepath.Join(dir, "mnesia"), "RABBITMQ_LOG_BASE=" + filepath.Join(dir, "log"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + filepath.Join(dir, "plugins"), fmt.Sprintf("RABBITMQ_NODENAME=bench%d@localhost", ports[0]),
		fmt.Sprintf("RABBITMQ_DIST_PORT=%d", ports[1]), fmt.Sprintf("ERL_EPMD_PORT=%d", ports[2]), "ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
	}
	r, err := launch(ctx, rabbitHome, ports[0], env, dir)
	if err != nil {
		epmd.Kill()
		return nil, err
	}
	r.user, r.pass, r.more = "guest", "guest", []*harness.Proc{epmd}
	// The port is open before the virtual host is up.
	err = again(ctx, r.proc, func() error {
		c, err := amqp.Dial(r.url("amqp") + "/")
		if err != nil {
			return err
		}
		return c.Close()
	})
	if err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}
