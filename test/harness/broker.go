package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// User and Password are what a broker has out of the box, from loopback.
const (
	User     = "admin"
	Password = "robustmq"
)

// StopGrace is how long a broker may take to end after SIGTERM.
const StopGrace = 20 * time.Second

// ReadyWithin is the default bound on the time from start to readiness. A cold start is promised
// within 2 s; the bound is wide because test machines are busy.
const ReadyWithin = 30 * time.Second

// Ports are the TCP ports of one broker, all on 127.0.0.1.
type Ports struct {
	MQTT, MQTTWS, Kafka, NATS, NATSWS, NATSMonitor, AMQP, Admin int
}

// StandardPorts are the ports a broker listens on without configuration.
var StandardPorts = Ports{MQTT: 1883, MQTTWS: 8083, Kafka: 9092, NATS: 4222, NATSWS: 9222, NATSMonitor: 8222, AMQP: 5672, Admin: 8080}

func (p *Ports) each() []*int {
	return []*int{&p.MQTT, &p.MQTTWS, &p.Kafka, &p.NATS, &p.NATSWS, &p.NATSMonitor, &p.AMQP, &p.Admin}
}

// RandomPorts returns free ports.
func RandomPorts() (Ports, error) {
	var p Ports
	for _, port := range p.each() {
		free, err := FreePort()
		if err != nil {
			return Ports{}, err
		}
		*port = free
	}
	return p, nil
}

// Free tells whether every port can be listened on now.
func (p Ports) Free() bool {
	for _, port := range p.each() {
		if !PortFree(*port) {
			return false
		}
	}
	return true
}

// serveArgs is the one place that knows how `robustmq serve` is told its data directory, its
// addresses and its configuration file.
func serveArgs(dataDir string, p Ports, configFile string) []string {
	args := []string{
		"serve",
		"--data-dir", dataDir,
		"--mqtt.listen", Addr(p.MQTT),
		"--mqtt.ws-listen", Addr(p.MQTTWS),
		"--kafka.listen", Addr(p.Kafka),
		"--nats.listen", Addr(p.NATS),
		"--nats.ws-listen", Addr(p.NATSWS),
		"--nats.monitor-listen", Addr(p.NATSMonitor),
		"--amqp.listen", Addr(p.AMQP),
		"--admin.listen", Addr(p.Admin),
	}
	if configFile != "" {
		args = append(args, "--config", configFile)
	}
	return args
}

// Options of a Broker. The zero value is a broker of its own on random ports with embedded etcd
// and a directory as object store, in a temporary data directory.
type Options struct {
	DataDir string        // kept at the end when given; otherwise temporary and removed by Close
	Ports   Ports         // all zero: random ones
	Config  string        // the text of a configuration file (YAML), none when empty
	Args    []string      // appended to the command line, so they win
	Env     []string      // added to the environment, for instance ROBUSTMQ_STORE_KIND=s3
	Within  time.Duration // bound on readiness; ReadyWithin when zero
	Log     io.Writer     // gets a copy of the broker's output
	Race    bool          // build with the race detector
	Wrap    []string      // a command line that runs the broker's, which is appended to it
}

// Broker is one `robustmq serve`.
type Broker struct {
	Ports   Ports
	DataDir string

	opts    Options
	binary  string
	config  string // path of the configuration file, or ""
	scratch string // temporary folder, removed by Close

	proc    *Proc
	startup time.Duration
}

// StartBroker builds the binary where needed, starts a broker and waits until it is ready.
func StartBroker(ctx context.Context, o Options) (*Broker, error) {
	binary, err := Binary(ctx, o.Race)
	if err != nil {
		return nil, err
	}
	b := &Broker{Ports: o.Ports, DataDir: o.DataDir, opts: o, binary: binary}
	if b.Ports == (Ports{}) {
		if b.Ports, err = RandomPorts(); err != nil {
			return nil, err
		}
	}
	if b.scratch, err = os.MkdirTemp("", "robustmq-"); err != nil {
		return nil, fmt.Errorf("start broker: %w", err)
	}
	if b.DataDir == "" {
		b.DataDir = filepath.Join(b.scratch, "data")
	}
	if o.Config != "" {
		b.config = filepath.Join(b.scratch, "robustmq.yaml")
		if err := os.WriteFile(b.config, []byte(o.Config), 0o600); err != nil {
			return nil, errors.Join(fmt.Errorf("start broker: %w", err), b.Close())
		}
	}
	if err := b.Start(ctx); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// NewBroker is StartBroker for a test: a failure to start is fatal, the broker is closed at the
// end, and its last lines are logged when the test failed.
func NewBroker(t testing.TB, o Options) *Broker {
	t.Helper()
	b, err := StartBroker(t.Context(), o)
	if err != nil {
		t.Fatalf("start broker: %v", err)
	}
	t.Cleanup(func() {
		tail := b.proc.Tail(200)
		if err := b.Close(); err != nil {
			t.Errorf("close broker: %v", err)
		}
		if t.Failed() {
			t.Logf("the broker's last lines:\n%s", tail)
		}
	})
	return b
}

// Start starts the process again on the same ports and data, and waits until it is ready.
func (b *Broker) Start(ctx context.Context) error {
	within := b.opts.Within
	if within == 0 {
		within = ReadyWithin
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	started := time.Now()
	line := append([]string{b.binary}, serveArgs(b.DataDir, b.Ports, b.config)...)
	line = append(append(slices.Clone(b.opts.Wrap), line...), b.opts.Args...)
	p, err := StartProc(Command{Name: "robustmq", Path: line[0], Args: line[1:], Env: b.opts.Env, Tee: b.opts.Log})
	if err != nil {
		return err
	}
	b.proc = p
	if err := poll(ctx, p.Done(), b.ready); err != nil {
		p.Kill()
		return fmt.Errorf("wait for the broker to be ready: %w\n%s", err, p.Tail(50))
	}
	b.startup = time.Since(started)
	return nil
}

// ready is nil when every port accepts connections and the admin API says that it is ready.
func (b *Broker) ready(ctx context.Context) error {
	for _, port := range b.Ports.each() {
		if err := dialable(ctx, Addr(*port)); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.AdminURL()+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET /readyz: %s", resp.Status)
	}
	return nil
}

// StartupTime is how long the last start took from exec to ready.
func (b *Broker) StartupTime() time.Duration { return b.startup }

// AdminURL is the base of the admin API, without a final slash.
func (b *Broker) AdminURL() string { return "http://" + Addr(b.Ports.Admin) }

// Proc is the current process: its output, its pid.
func (b *Broker) Proc() *Proc { return b.proc }

// Stop asks the broker to end (SIGTERM) and waits; needing more than StopGrace, or a status other
// than 0, is an error.
func (b *Broker) Stop() error {
	if err := b.proc.End(syscall.SIGTERM, StopGrace); err != nil {
		return err
	}
	if err := b.proc.exitError(); !errors.Is(err, errExitZero) {
		return fmt.Errorf("stop broker: %w\n%s", err, b.proc.Tail(50))
	}
	return nil
}

// Kill ends the broker with SIGKILL, as a crash would.
func (b *Broker) Kill() { b.proc.Kill() }

// Restart stops the broker and starts it again on the same ports and data.
func (b *Broker) Restart(ctx context.Context) error {
	if err := b.Stop(); err != nil {
		return err
	}
	return b.Start(ctx)
}

// Close stops the broker if it runs and removes what was temporary.
func (b *Broker) Close() error {
	var err error
	if b.proc != nil {
		select {
		case <-b.proc.Done():
		default:
			err = b.Stop()
		}
	}
	return errors.Join(err, os.RemoveAll(b.scratch))
}

// buildWithin bounds the build of the broker: a cold build compiles etcd and gRPC too.
const buildWithin = 10 * time.Minute

// built is a finished build: its path or why it failed.
type built struct {
	path string
	err  error
}

var builds struct {
	sync.Mutex
	done map[bool]built // by whether the race detector is in
}

// Binary returns the path of the broker's executable: $ROBUSTMQ_BIN, or one built from this
// checkout once per process, with or without the race detector.
func Binary(ctx context.Context, race bool) (string, error) {
	if path := os.Getenv("ROBUSTMQ_BIN"); path != "" && !race {
		return filepath.Abs(path)
	}
	builds.Lock()
	defer builds.Unlock()
	if b, ok := builds.done[race]; ok {
		return b.path, b.err
	}
	if builds.done == nil {
		builds.done = map[bool]built{}
	}
	path, err := build(ctx, race)
	builds.done[race] = built{path, err}
	return path, err
}

func build(ctx context.Context, race bool) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	name := "robustmq"
	args := []string{"build", "-buildvcs=false"}
	if race {
		name, args = "robustmq-race", append(args, "-race")
	}
	out := filepath.Join(root, "bin", name)
	args = append(args, "-o", out, "./cmd/robustmq")
	ctx, cancel := context.WithTimeout(ctx, buildWithin)
	defer cancel()
	if _, err := Run(ctx, Command{Name: "go build", Path: "go", Args: args, Dir: root}); err != nil {
		return "", fmt.Errorf("build the broker: %w", err)
	}
	return out, nil
}
