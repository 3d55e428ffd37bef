package memory

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/robustmq/robustmq-go/test/harness"
)

// rig is a broker with a memory limit.
type rig struct {
	*harness.Broker
	t *testing.T
}

// limit is what the broker is told, allowed its peak of resident memory: the limit holds for Go's
// heap and stacks, and the runtime and the program's text come on top.
const (
	limit   = 512 << 20
	allowed = 640 << 20
	// perConn is what a connection itself takes: goroutines, tables, least buffers. An idle one of
	// MQTT takes 8.6 KiB (docs/PERFORMANCE.md).
	perConn = 8 << 10
)

func start(t *testing.T, settings ...string) *rig {
	t.Helper()
	var args []string
	for _, s := range settings {
		args = append(args, "--set", s)
	}
	o := harness.Options{Env: []string{"GOMEMLIMIT=" + strconv.Itoa(limit)}, Args: args}
	if *cgroup != "" { // what is over its limit is killed, so that living is the proof
		o.Env, o.Wrap = nil, []string{"sh", "-c", `echo $$ > "$0/cgroup.procs" && exec "$@"`, *cgroup}
	}
	return &rig{harness.NewBroker(t, o), t}
}

// peak gives the largest resident memory so far.
func (r *rig) peak() int64 {
	r.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.Proc().Pid()))
	if err != nil {
		r.t.Log("no peak of memory: ", err)
		return 0
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		r.t.Log("the system does not tell peaks of memory")
		return 0
	}
	kb, _ := strconv.ParseInt(string(m[1]), 10, 64)
	return kb << 10
}

// held ends a load: the broker lives, serves every protocol's new clients, and had enough memory.
func (r *rig) held(what string, conns int64) {
	r.t.Helper()
	r.serves()
	peak := r.peak()
	r.t.Logf("%s: peak of resident memory %d MiB; %s", what, peak>>20, r.metrics())
	if most := allowed + conns*perConn; peak > most {
		r.t.Errorf("%s: %d MiB, allowed are %d", what, peak>>20, most>>20)
	}
}

// serves has a message go from NATS to an AMQP queue.
func (r *rig) serves() {
	r.t.Helper()
	ch := r.channel()
	q, err := ch.QueueDeclare("", false, false, true, false, nil)
	if err == nil {
		err = ch.QueueBind(q.Name, "health.check", "amq.topic", false, nil)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	in, err := ch.Consume(q.Name, "", true, false, false, false, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	nc := r.nats()
	for end := time.Now().Add(time.Minute); ; {
		if err := errors.Join(nc.Publish("health.check", []byte("ok")), nc.FlushTimeout(30*time.Second)); err != nil {
			r.t.Fatal(err)
		}
		select {
		case <-in:
			return
		case <-time.After(time.Second):
			if time.Now().After(end) {
				r.t.Fatal("the broker does not serve")
			}
		}
	}
}

var shown = regexp.MustCompile(`(?m)^robustmq_(connection_memory_\S+|wal_refused_total|ready) (\S+)$`)

// metrics gives what the broker says of its memory and refusals.
func (r *rig) metrics() string {
	r.t.Helper()
	req, _ := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.AdminURL()+"/metrics", nil)
	req.SetBasicAuth(harness.User, harness.Password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for _, m := range shown.FindAllStringSubmatch(string(text), -1) {
		out = append(out, m[1]+" "+m[2])
	}
	return strings.Join(out, ", ")
}

func (r *rig) nats() *nats.Conn {
	r.t.Helper()
	nc, err := nats.Connect("nats://"+harness.Addr(r.Ports.NATS), nats.Timeout(30*time.Second))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(nc.Close)
	return nc
}

func (r *rig) channel() *amqp.Channel {
	r.t.Helper()
	c, err := amqp.DialConfig("amqp://admin:robustmq@"+harness.Addr(r.Ports.AMQP), amqp.Config{Dial: amqp.DefaultDial(time.Minute)})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	ch, err := c.Channel()
	if err != nil {
		r.t.Fatal(err)
	}
	return ch
}

// publish sends bytes to a subject by NATS, in messages of a size, and waits now and then until they
// were taken.
func (r *rig) publish(ctx context.Context, subject string, bytes, size int64) {
	r.t.Helper()
	nc := r.nats()
	payload := make([]byte, size)
	for sent := int64(0); sent < bytes && ctx.Err() == nil; sent += size {
		if err := nc.Publish(subject, payload); err != nil {
			r.t.Fatal(err)
		}
		if sent/size%256 == 255 {
			if err := nc.FlushTimeout(2 * time.Minute); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	if err := nc.FlushTimeout(2 * time.Minute); err != nil && ctx.Err() == nil {
		r.t.Fatal(err)
	}
}

// free waits until a further connection is let in.
func (r *rig) free() {
	r.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		nc, err := nats.Connect("nats://"+harness.Addr(r.Ports.NATS), nats.Timeout(30*time.Second), nats.NoReconnect())
		if err == nil {
			err = nc.FlushTimeout(10 * time.Second)
			nc.Close()
		}
		if err == nil {
			return
		}
		if time.Now().After(end) {
			r.t.Fatal(err)
		}
	}
}

// raw is a connection that speaks a protocol byte by byte.
type raw struct {
	net.Conn
	in *bufio.Reader
}

func dial(port int) (*raw, error) {
	c, err := net.DialTimeout("tcp", harness.Addr(port), 30*time.Second)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return &raw{c, bufio.NewReaderSize(c, 512)}, nil
}

func str16(s string) string { return string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))) + s }

// mqttSession connects a client with a session that outlives the connection, and subscribes it
// unless it has come back.
func mqttSession(port int, id, topic string, qos byte) (*raw, error) {
	c, err := dial(port)
	if err != nil {
		return nil, err
	}
	body := str16("MQTT") + "\x04\x00\x00\x00" + str16(id)
	_, _ = io.WriteString(c, "\x10"+string([]byte{byte(len(body))})+body)
	head := make([]byte, 4)
	if _, err = io.ReadFull(c.in, head); err != nil || head[3] != 0 || head[2] == 1 {
		return c, err
	}
	sub := "\x00\x01" + str16(topic) + string([]byte{qos})
	_, _ = io.WriteString(c, "\x82"+string([]byte{byte(len(sub))})+sub)
	head = make([]byte, 5)
	if _, err = io.ReadFull(c.in, head); err == nil && head[4] > 2 {
		err = fmt.Errorf("answered %x", head)
	}
	return c, err
}

func natsSubscriber(port int, subject string) (*raw, error) {
	c, err := dial(port)
	if err != nil {
		return nil, err
	}
	_, _ = fmt.Fprintf(c, "CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB %s 1\r\nPING\r\n", subject)
	for {
		line, err := c.in.ReadString('\n')
		if err != nil || strings.HasPrefix(line, "PONG") {
			return c, err
		}
	}
}

// mqttPublish reads one PUBLISH and gives its packet identifier, 0 at QoS 0, and its size.
func (c *raw) mqttPublish() (id uint16, size int64, err error) {
	for {
		kind, err := c.in.ReadByte()
		if err != nil {
			return 0, 0, err
		}
		n, err := binary.ReadUvarint(c.in)
		if err != nil {
			return 0, 0, err
		}
		if kind&0xf0 != 0x30 {
			if _, err := io.CopyN(io.Discard, c.in, int64(n)); err != nil {
				return 0, 0, err
			}
			continue
		}
		body := make([]byte, n)
		if _, err := io.ReadFull(c.in, body); err != nil {
			return 0, 0, err
		}
		topic := int(binary.BigEndian.Uint16(body))
		if kind&0x06 != 0 {
			id = binary.BigEndian.Uint16(body[2+topic:])
		}
		return id, int64(n), nil
	}
}
