package e2e

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/packets"

	"github.com/robustmq/robustmq-go/test/harness"
)

// attempt is one run of a native tool that must fail, and what it must then say.
type attempt struct {
	name string
	tool string
	args []string
	in   string
	want string // in either output
}

func (a attempt) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), toolWithin)
	defer cancel()
	path, err := harness.Tool(a.tool)
	if err != nil {
		t.Fatal(err)
	}
	p, err := harness.StartProc(harness.Command{
		Name: a.name, Path: path, Args: a.args, Stdin: strings.NewReader(a.in), Env: []string{"XDG_CONFIG_HOME=/nonexistent", "NO_COLOR=1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	if err := p.Wait(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("%s: %v, want it to fail\n%s", a.name, err, p.Tail(20))
		return
	}
	for _, l := range p.Lines() {
		if strings.Contains(l.Text, a.want) {
			t.Logf("%s: %s", a.name, l.Text)
			return
		}
	}
	t.Errorf("%s does not say %q:\n%s", a.name, a.want, p.Tail(20))
}

const pikaAs = `
import sys, pika
c = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", int(sys.argv[1]), "/", pika.PlainCredentials("admin", sys.argv[2])))
ch = c.channel()
ch.confirm_delivery()
ch.basic_publish("", "refused", open(sys.argv[3]).read() if len(sys.argv) > 3 else "hello")
c.close()
`

// TestWrongPassword wants the refusal of each protocol, as its own tool shows it.
func TestWrongPassword(t *testing.T) {
	p := harness.NewBroker(t, harness.Options{}).Ports
	mqtt := func(version string) []string {
		return []string{"-V", version, "-h", "127.0.0.1", "-p", strconv.Itoa(p.MQTT), "-u", "admin", "-P", "wrong", "-t", "refused", "-m", "x"}
	}
	sasl := func(mechanism string) []string {
		return []string{
			"-P", "-b", harness.Addr(p.Kafka), "-t", "refused", "-X", "security.protocol=SASL_PLAINTEXT", "-X", "sasl.mechanisms=" + mechanism,
			"-X", "sasl.username=admin", "-X", "sasl.password=wrong", "-X", "message.timeout.ms=5000",
		}
	}
	for _, a := range []attempt{
		{name: "mqtt 5", tool: "mosquitto_pub", args: mqtt("5"), want: "Bad User Name or Password"},
		{name: "mqtt 3.1.1", tool: "mosquitto_pub", args: mqtt("311"), want: "bad user name or password"},
		{name: "kafka, PLAIN", tool: "kcat", args: sasl("PLAIN"), in: "x", want: "SASL authentication error"},
		{name: "kafka, SCRAM", tool: "kcat", args: sasl("SCRAM-SHA-256"), in: "x", want: "SASL authentication error"},
		{name: "nats", tool: "nats", args: []string{"pub", "refused", "x", "--server", "nats://admin:wrong@" + harness.Addr(p.NATS)}, want: "Authorization Violation"},
		{name: "amqp", tool: "python3", args: []string{"-c", pikaAs, strconv.Itoa(p.AMQP), "wrong"}, want: "(403) 'ACCESS_REFUSED"},
	} {
		a.run(t)
	}
}

// TestRightPassword is the other half: the same tools are let in with the right one.
func TestRightPassword(t *testing.T) {
	p := harness.NewBroker(t, harness.Options{}).Ports
	ctx, cancel := context.WithTimeout(t.Context(), toolWithin)
	defer cancel()
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		err := harness.KcatProduce(ctx, p.Kafka, "let.in", []string{"x"}, "-X", "security.protocol=SASL_PLAINTEXT", "-X", "sasl.mechanisms="+mechanism,
			"-X", "sasl.username=admin", "-X", "sasl.password=robustmq")
		if err != nil {
			t.Errorf("%s: %v", mechanism, err)
		}
	}
}

// TestTooLarge wants each protocol's own refusal of a message that is too large, and the
// connection's peers to be served on.
func TestTooLarge(t *testing.T) {
	const limit = 100_000
	p := harness.NewBroker(t, harness.Options{Args: []string{
		"--set", "limits.max_message_bytes=" + strconv.Itoa(limit), "--set", "topics.max_message_bytes=" + strconv.Itoa(limit),
	}}).Ports
	file := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(file, []byte(strings.Repeat("0123456789", limit/5)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, a := range []attempt{
		{
			name: "mqtt 3.1.1", tool: "mosquitto_pub", want: "The connection was lost",
			args: []string{"-V", "311", "-h", "127.0.0.1", "-p", strconv.Itoa(p.MQTT), "-u", "admin", "-P", "robustmq", "-q", "1", "-t", "large", "-f", file},
		},
		{
			name: "kafka", tool: "kcat", want: "Message size too large",
			args: []string{"-P", "-b", harness.Addr(p.Kafka), "-t", "large", "-z", "none", file},
		},
		{
			name: "nats", tool: "nats", want: "maximum payload exceeded", in: strings.Repeat("x", 2*limit),
			args: []string{"pub", "large", "--force-stdin", "--server", "nats://admin:robustmq@" + harness.Addr(p.NATS)},
		},
		{name: "amqp", tool: "python3", want: "311, 'CONTENT_TOO_LARGE", args: []string{"-c", pikaAs, strconv.Itoa(p.AMQP), "robustmq", file}},
	} {
		a.run(t)
	}
	// An MQTT 5 client is told the limit; one that does not care is told the reason.
	if max, code := mqttTooLarge(t, p.MQTT, 2*limit); max == 0 || max > 2*limit || code != 0x95 {
		t.Errorf("mqtt 5: maximum packet size %d, disconnected with %#x; want a size and 0x95", max, code)
	}
	ctx, cancel := context.WithTimeout(t.Context(), toolWithin)
	defer cancel()
	playDemo(ctx, t, p)
}

// mqttTooLarge publishes more than allowed and gives what the server said before and after.
func mqttTooLarge(t *testing.T, port, size int) (maximum uint32, reason byte) {
	t.Helper()
	nc, err := net.Dial("tcp", harness.Addr(port))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	connect := packets.NewControlPacket(packets.CONNECT)
	c := connect.Content.(*packets.Connect)
	c.ProtocolName, c.ProtocolVersion, c.CleanStart, c.ClientID = "MQTT", 5, true, "too-large"
	if _, err := connect.WriteTo(nc); err != nil {
		t.Fatal(err)
	}
	cp, err := packets.ReadPacket(nc)
	if err != nil {
		t.Fatal(err)
	}
	ack, ok := cp.Content.(*packets.Connack)
	if !ok || ack.Properties.MaximumPacketSize == nil {
		t.Fatalf("no maximum packet size in %v", cp)
	}
	publish := packets.NewControlPacket(packets.PUBLISH)
	publish.Flags = 1 << 1
	pub := publish.Content.(*packets.Publish)
	pub.Topic, pub.QoS, pub.PacketID, pub.Payload = "large", 1, 1, make([]byte, size)
	_, _ = publish.WriteTo(nc) // may be cut off
	if cp, err = packets.ReadPacket(nc); err != nil {
		t.Fatalf("read the reason: %v", err)
	}
	d, ok := cp.Content.(*packets.Disconnect)
	if !ok {
		t.Fatalf("got %v, want a DISCONNECT", cp)
	}
	return *ack.Properties.MaximumPacketSize, d.ReasonCode
}
