package harness

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Client is a native tool that consumes. Its standard output is the messages, one a line, unless
// message says otherwise.
type Client struct {
	*Proc
	// Tool is the short name of the program, for tables.
	Tool string
	// Shown is the command line as a person would type it.
	Shown string

	ready   func(context.Context) error
	message func(Line) (string, bool)
	end     syscall.Signal
}

// clientGrace is how long a client may take to end when asked.
const clientGrace = 10 * time.Second

// Ready waits until the tool is subscribed at the broker, as far as the tool lets anyone know; the
// functions that start clients say how that is seen.
func (c *Client) Ready(ctx context.Context) error { return c.ready(ctx) }

// Message is one message that a Client printed.
type Message struct {
	At   time.Time
	Text string
}

// Messages returns what was received so far.
func (c *Client) Messages() []Message { return c.messagesOf(c.Lines()) }

func (c *Client) messagesOf(lines []Line) []Message {
	var out []Message
	for _, l := range lines {
		if text, ok := c.message(l); ok {
			out = append(out, Message{l.At, text})
		}
	}
	return out
}

// WaitMessages waits until at least n messages were received.
func (c *Client) WaitMessages(ctx context.Context, n int) ([]Message, error) {
	err := c.WaitFor(ctx, fmt.Sprintf("%d messages", n), func(lines []Line) bool {
		return len(c.messagesOf(lines)) >= n
	})
	return c.Messages(), err
}

// Stop ends the tool the way a person would (Ctrl-C), so that it can say good-bye.
func (c *Client) Stop() error { return c.End(c.end, clientGrace) }

func stdoutLine(l Line) (string, bool) { return l.Text, l.From == Stdout }

// start runs a tool as a client.
func start(tool string, c Client, env []string, args ...string) (*Client, error) {
	path, err := Tool(tool)
	if err != nil {
		return nil, err
	}
	c.Proc, err = StartProc(Command{Name: c.Tool, Path: path, Args: args, Env: env})
	if err != nil {
		return nil, err
	}
	if c.message == nil {
		c.message = stdoutLine
	}
	if c.end == 0 {
		c.end = syscall.SIGINT
	}
	if c.Shown == "" {
		c.Shown = tool + " " + strings.Join(args, " ")
	}
	return &c, nil
}

// MQTTSub subscribes with MQTT.js (`mqtt sub`) at the given QoS. Ready means that the tool's own
// trace showed the SUBACK.
func MQTTSub(port int, topic string, qos int, extra ...string) (*Client, error) {
	args := append([]string{"sub", "-t", topic, "-h", "127.0.0.1", "-p", strconv.Itoa(port), "-q", strconv.Itoa(qos), "-u", User, "-P", Password}, extra...)
	c, err := start("mqtt", Client{Tool: "MQTT.js", Shown: "npx mqtt " + strings.Join(args, " ")},
		[]string{"DEBUG=mqttjs:client", "DEBUG_COLORS=no"}, args...)
	if err != nil {
		return nil, err
	}
	c.ready = func(ctx context.Context) error { return c.WaitLine(ctx, "_handleAck :: packet type suback") }
	return c, nil
}

// MQTTPub publishes one message with MQTT.js (`mqtt pub`) and waits for its end, which at QoS 1
// and 2 comes after the acknowledgement.
func MQTTPub(ctx context.Context, port int, topic string, qos int, value string, extra ...string) error {
	path, err := Tool("mqtt")
	if err != nil {
		return err
	}
	args := append([]string{"pub", "-t", topic, "-h", "127.0.0.1", "-p", strconv.Itoa(port), "-q", strconv.Itoa(qos), "-u", User, "-P", Password, "-m", value}, extra...)
	_, err = Run(ctx, Command{Name: "mqtt pub", Path: path, Args: args})
	return err
}

const mosquittoMark = "MESSAGE "

// MosquittoSub subscribes with mosquitto_sub (-V 5 by default; extra can say otherwise). Ready
// means that it printed that it received the SUBACK. (Its debug lines stay in a buffer on a pipe,
// hence stdbuf.)
func MosquittoSub(port int, topic string, qos int, extra ...string) (*Client, error) {
	path, err := Tool("mosquitto_sub")
	if err != nil {
		return nil, err
	}
	args := append([]string{"-oL", path, "-d", "-F", mosquittoMark + "%p", "-V", "5", "-h", "127.0.0.1", "-p", strconv.Itoa(port), "-u", User, "-P", Password, "-t", topic, "-q", strconv.Itoa(qos)}, extra...)
	c, err := start("stdbuf", Client{Tool: "mosquitto_sub", message: func(l Line) (string, bool) {
		return strings.CutPrefix(l.Text, mosquittoMark)
	}}, nil, args...)
	if err != nil {
		return nil, err
	}
	c.ready = func(ctx context.Context) error { return c.WaitLine(ctx, "received SUBACK") }
	return c, nil
}

// MosquittoPub publishes one message with mosquitto_pub.
func MosquittoPub(ctx context.Context, port int, topic string, qos int, value string, extra ...string) error {
	path, err := Tool("mosquitto_pub")
	if err != nil {
		return err
	}
	args := append([]string{"-V", "5", "-h", "127.0.0.1", "-p", strconv.Itoa(port), "-u", User, "-P", Password, "-t", topic, "-q", strconv.Itoa(qos), "-m", value}, extra...)
	_, err = Run(ctx, Command{Path: path, Args: args})
	return err
}

// KafkaConsole consumes with Kafka's console consumer; extra is for instance "--partition", "0",
// "--from-beginning", or "--group", "g". Ready means that its log told the position that it
// starts from in every partition it was assigned.
func KafkaConsole(port int, topic string, extra ...string) (*Client, error) {
	args := append([]string{"--bootstrap-server", Addr(port), "--topic", topic}, extra...)
	c, err := start("kafka-console-consumer.sh", Client{Tool: "kafka-console-consumer"},
		[]string{"KAFKA_LOG_LEVEL=info"}, args...)
	if err != nil {
		return nil, err
	}
	c.ready = func(ctx context.Context) error {
		return c.WaitFor(ctx, "a start position", func(lines []Line) bool {
			for _, l := range lines {
				if l.From == Stderr && (strings.Contains(l.Text, "Resetting offset for partition") ||
					strings.Contains(l.Text, "to the committed offset")) {
					return true
				}
			}
			return false
		})
	}
	return c, nil
}

// KafkaProduce writes each value as one record with Kafka's console producer (acks=all) and waits
// for its end.
func KafkaProduce(ctx context.Context, port int, topic string, values []string, extra ...string) error {
	path, err := Tool("kafka-console-producer.sh")
	if err != nil {
		return err
	}
	args := append([]string{"--bootstrap-server", Addr(port), "--topic", topic, "--sync", "--timeout", "0"}, extra...)
	p, err := StartProc(Command{
		Name: "kafka-console-producer", Path: path, Args: args,
		Stdin: strings.NewReader(strings.Join(values, "\n") + "\n"),
	})
	if err != nil {
		return err
	}
	if err := p.Wait(ctx); err != nil {
		p.Kill()
		return err
	}
	// The tool exits with 0 when a record could not be sent; it logs that.
	if out := p.Output(Stderr); strings.Contains(out, "ERROR") || strings.Contains(out, "Exception") {
		return fmt.Errorf("kafka-console-producer reports a failure:\n%s", p.Tail(20))
	}
	return nil
}

// KcatConsume reads a topic from its start with kcat (librdkafka) and goes on; extra is for
// instance "-p", "0". Ready means that it reported the end of a partition.
func KcatConsume(port int, topic string, extra ...string) (*Client, error) {
	args := append([]string{"-C", "-b", Addr(port), "-t", topic, "-o", "beginning", "-u", "-f", "%s\n"}, extra...)
	c, err := start("kcat", Client{Tool: "kcat"}, nil, args...)
	if err != nil {
		return nil, err
	}
	c.ready = func(ctx context.Context) error { return c.WaitLine(ctx, "Reached end of topic") }
	return c, nil
}

// KcatProduce writes each value as one record with kcat (acks=all) and waits for its end.
func KcatProduce(ctx context.Context, port int, topic string, values []string, extra ...string) error {
	path, err := Tool("kcat")
	if err != nil {
		return err
	}
	args := append([]string{"-P", "-b", Addr(port), "-t", topic, "-X", "acks=all"}, extra...)
	_, err = Run(ctx, Command{Path: path, Args: args, Stdin: strings.NewReader(strings.Join(values, "\n") + "\n")})
	return err
}

// NATSSub subscribes with the nats CLI. Ready means that it said it is subscribing, which it does
// within microseconds of sending SUB on its open connection, but before the server has answered;
// where that is too weak (no other client takes longer to start), use a Go client and Flush.
func NATSSub(port int, subject string, extra ...string) (*Client, error) {
	args := append([]string{"sub", subject, "--server", "nats://" + User + ":" + Password + "@" + Addr(port)}, extra...)
	c, err := start("nats", Client{Tool: "nats", message: natsMessage()}, natsEnv(), args...)
	if err != nil {
		return nil, err
	}
	c.ready = func(ctx context.Context) error { return c.WaitLine(ctx, "Subscribing on "+subject) }
	return c, nil
}

// natsMessage leaves out the tool's frame around messages: a head line for each, and empty lines.
// (So it does not tell empty messages; use --raw and a Go client for these.)
func natsMessage() func(Line) (string, bool) {
	return func(l Line) (string, bool) {
		framed := l.Text == "" || (strings.HasPrefix(l.Text, "[#") && strings.Contains(l.Text, "] Received on "))
		return l.Text, l.From == Stdout && !framed
	}
}

// natsEnv keeps the tool from reading or writing a person's contexts.
func natsEnv() []string { return []string{"XDG_CONFIG_HOME=/nonexistent", "NO_COLOR=1"} }

// NATSPub publishes one message with the nats CLI and waits for its end.
func NATSPub(ctx context.Context, port int, subject, value string, extra ...string) error {
	path, err := Tool("nats")
	if err != nil {
		return err
	}
	args := append([]string{"pub", subject, value, "--server", "nats://" + User + ":" + Password + "@" + Addr(port)}, extra...)
	_, err = Run(ctx, Command{Name: "nats pub", Path: path, Args: args, Env: natsEnv()})
	return err
}

// PikaConsumer runs scripts/amqp_consumer.py. Ready means that it got its consume-ok.
func PikaConsumer(port int) (*Client, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	script := filepath.Join(root, "scripts", "amqp_consumer.py")
	c, err := start("python3", Client{Tool: "pika", Shown: fmt.Sprintf("python3 scripts/amqp_consumer.py 127.0.0.1 %d", port)},
		nil, script, "127.0.0.1", strconv.Itoa(port))
	if err != nil {
		return nil, err
	}
	c.ready = func(ctx context.Context) error { return c.WaitLine(ctx, "waiting for messages of") }
	return c, nil
}

// pikaPublish publishes to the default exchange and waits for the confirm.
const pikaPublish = `
import sys, pika
c = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", int(sys.argv[1]), "/", pika.PlainCredentials("admin", "robustmq")))
ch = c.channel()
ch.confirm_delivery()
ch.basic_publish("", sys.argv[2], sys.argv[3].encode(), pika.BasicProperties(delivery_mode=2))
c.close()
`

// PikaPublish publishes one persistent message to the default exchange with pika and waits for the
// confirm.
func PikaPublish(ctx context.Context, port int, key, value string) error {
	path, err := Tool("python3")
	if err != nil {
		return err
	}
	_, err = Run(ctx, Command{Name: "pika publish", Path: path, Args: []string{"-c", pikaPublish, strconv.Itoa(port), key, value}})
	return err
}
