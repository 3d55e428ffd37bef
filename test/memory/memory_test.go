package memory

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/robustmq/robustmq-go/test/harness"
)

var (
	scale  = flag.Float64("scale", 0.05, "part of the full loads")
	cgroup = flag.String("cgroup", "", "folder of a memory cgroup, limited to 512 MiB, that the broker is put into; else GOMEMLIMIT tells it")
)

func scaled(full int64) int64 { return max(int64(float64(full)**scale), 1) }

// TestSlowGroups: what is published to a subject that many queues are bound to, and nobody reads,
// is kept once.
func TestSlowGroups(t *testing.T) {
	r := start(t)
	ch := r.channel()
	groups := scaled(5000)
	for i := range groups {
		name := fmt.Sprint("slow-", i)
		if _, err := ch.QueueDeclare(name, true, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
		if err := ch.QueueBind(name, "slow.subject", "amq.topic", false, nil); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 { // consumers that take nothing more than their first message
		k := r.channel()
		if err := k.Qos(1, 0, false); err != nil {
			t.Fatal(err)
		}
		for i := range groups / 4 {
			if _, err := k.Consume(fmt.Sprint("slow-", i), "", false, false, false, false, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.publish(t.Context(), "slow.subject", scaled(20<<30)/4, 1<<10)
	r.held(fmt.Sprintf("%d slow groups", groups), 0)
}

// TestNoStore: while the object store is away the log fills, and publishers of all protocols are
// held back or refused.
func TestNoStore(t *testing.T) {
	const bucket = "robustmq"
	s3 := harness.Must(t)(harness.StartMinIO(t.Context(), bucket))
	full := max(scaled(4<<30), 96<<20)
	r := start(t, "store.kind=minio", "store.endpoint="+s3.URL, "store.bucket="+bucket, "store.region="+harness.S3Region,
		"store.access_key="+harness.S3AccessKey, "store.secret_key="+harness.S3SecretKey, fmt.Sprint("wal.max_bytes=", full))
	r.serves()
	s3.Kill()
	var conns []*raw
	var sent atomic.Int64
	var wg sync.WaitGroup
	payload := strings.Repeat("x", 64<<10)
	for i := range 30 {
		c, text := r.publisher(i, payload)
		conns = append(conns, c)
		go func() { _, _ = io.Copy(io.Discard, c.in) }()
		wg.Go(func() {
			for {
				n, err := io.WriteString(c, text)
				if sent.Add(int64(n)); err != nil {
					return // refused, or held until the deadline
				}
			}
		})
	}
	for end := time.Now().Add(2 * time.Minute); !strings.Contains(r.metrics(), "ready 0"); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the log is not full; sent", sent.Load())
		}
	}
	time.Sleep(time.Duration(scaled(int64(time.Hour) / 20))) // publishers push on
	peak := r.peak()
	for _, c := range conns {
		_ = c.Close()
	}
	wg.Wait()
	t.Logf("log of %d MiB full, %d MiB sent, peak %d MiB; %s", full>>20, sent.Load()>>20, peak>>20, r.metrics())
	if err := s3.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.held("without the store", 0)
}

// publisher connects one that publishes by a protocol, in turn, and gives what it sends again and again.
func (r *rig) publisher(i int, payload string) (*raw, string) {
	r.t.Helper()
	subject := fmt.Sprint("full.", i)
	port := []int{r.Ports.NATS, r.Ports.MQTT, r.Ports.AMQP}[i%3]
	c, err := dial(port)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(5 * time.Minute))
	switch i % 3 {
	case 0:
		_, _ = io.WriteString(c, "CONNECT {\"verbose\":false}\r\n")
		return c, fmt.Sprintf("PUB %s %d\r\n%s\r\n", subject, len(payload), payload)
	case 1:
		body := str16("MQTT") + "\x04\x02\x00\x00" + str16("full-"+subject)
		_, _ = io.WriteString(c, "\x10"+string([]byte{byte(len(body))})+body)
		body = str16(strings.ReplaceAll(subject, ".", "/")) + payload
		return c, "0" + string(binary.AppendUvarint(nil, uint64(len(body)))) + body
	}
	r.loginAMQP(c)
	return c, frame(1, 1, "\x00\x3c\x00\x28\x00\x00\x09amq.topic"+str8(subject)+"\x00") +
		frame(2, 1, "\x00\x3c\x00\x00"+string(binary.BigEndian.AppendUint64(nil, uint64(len(payload))))+"\x00\x00") + frame(3, 1, payload)
}

func str8(s string) string { return string([]byte{byte(len(s))}) + s }

func frame(kind, channel byte, payload string) string {
	return string([]byte{kind, 0, channel}) + string(binary.BigEndian.AppendUint32(nil, uint32(len(payload)))) + payload + "\xce"
}

// loginAMQP opens a connection and channel 1 without reading what answers: all of it fits.
func (r *rig) loginAMQP(c *raw) {
	response := "\x00" + harness.User + "\x00" + harness.Password
	_, _ = io.WriteString(c, "AMQP\x00\x00\x09\x01"+
		frame(1, 0, "\x00\x0a\x00\x0b\x00\x00\x00\x00"+str8("PLAIN")+string(binary.BigEndian.AppendUint32(nil, uint32(len(response))))+response+str8("en_US"))+
		frame(1, 0, "\x00\x0a\x00\x1f\x00\x00\x00\x00\x00\x00\x00\x00")+
		frame(1, 0, "\x00\x0a\x00\x28\x01/\x00\x00")+frame(1, 1, "\x00\x14\x00\x0a\x00"))
}

// TestBacklog: what one AMQP queue and one MQTT session have to catch up with is read back as it is
// taken.
func TestBacklog(t *testing.T) {
	r := start(t)
	bytes := scaled(10 << 30)
	const size = 32 << 10
	ch := r.channel()
	if _, err := ch.QueueDeclare("backlog", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.QueueBind("backlog", "backlog.x", "amq.topic", false, nil); err != nil {
		t.Fatal(err)
	}
	session, err := mqttSession(r.Ports.MQTT, "backlog", "backlog/x", 1)
	if err != nil {
		t.Fatal(err)
	}
	_ = session.Close()
	r.publish(t.Context(), "backlog.x", bytes, size)
	n := (bytes + size - 1) / size
	t.Logf("backlog of %d MiB in each, peak %d MiB", bytes>>20, r.peak()>>20)
	var wg sync.WaitGroup
	wg.Go(func() { r.drainQueue("backlog", n) })
	wg.Go(func() { r.drainSession("backlog", "backlog/x", n) })
	wg.Wait()
	r.held(fmt.Sprintf("a backlog of %d MiB in a queue and a session", bytes>>20), 0)
}

func (r *rig) drainQueue(queue string, n int64) {
	c, err := amqp.Dial("amqp://admin:robustmq@" + harness.Addr(r.Ports.AMQP))
	if err != nil {
		r.t.Error(err)
		return
	}
	defer c.Close()
	ch, err := c.Channel()
	if err != nil {
		r.t.Error(err)
		return
	}
	in, err := ch.Consume(queue, "", false, false, false, false, nil) // no prefetch: all is on its way at once
	if err != nil {
		r.t.Error(err)
		return
	}
	for got := range n {
		select {
		case d, ok := <-in:
			if !ok || d.Ack(false) != nil {
				r.t.Errorf("queue: the connection ended after %d of %d", got, n)
				return
			}
		case <-time.After(2 * time.Minute):
			r.t.Errorf("queue: %d of %d came", got, n)
			return
		}
	}
}

func (r *rig) drainSession(id, topic string, n int64) {
	c, err := mqttSession(r.Ports.MQTT, id, topic, 1)
	if err != nil {
		r.t.Error(err)
		return
	}
	defer c.Close()
	for got := range n {
		_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
		id, _, err := c.mqttPublish()
		if err == nil && id != 0 {
			_, err = c.Write([]byte{0x40, 2, byte(id >> 8), byte(id)})
		}
		if err != nil {
			r.t.Errorf("session: %d of %d came: %v", got, n, err)
			return
		}
	}
}

// TestNobodyReads: thousands of subscribers of all protocols take nothing of what is published to
// them.
func TestNobodyReads(t *testing.T) {
	r := start(t)
	clients := scaled(15_000)
	var mu sync.Mutex
	var conns []*raw
	var refused atomic.Int64
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for w := range int64(16) {
		wg.Go(func() {
			for i := w; i < clients && ctx.Err() == nil; i += 16 {
				c, err := r.subscriber(i)
				if err != nil { // the memory is for so many, and the others are told
					refused.Add(1)
					continue
				}
				_ = c.Conn.(*net.TCPConn).SetReadBuffer(16 << 10) // what the kernel holds is not the broker's to bound
				mu.Lock()
				conns = append(conns, c)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	t.Logf("%d of %d connections were refused", refused.Load(), clients)
	if in := clients - refused.Load(); in < min(clients, 3500) {
		t.Errorf("only %d of %d connections were let in", in, clients)
	}
	if refused.Load() > 0 { // and places that are free again are given
		for _, c := range conns[:min(100, len(conns))] {
			_ = c.Close()
		}
		r.free()
	}
	r.publish(ctx, "unread.x", 96<<20, 16<<10)
	r.held(fmt.Sprintf("%d connections that do not read", clients), clients)
	if m := r.metrics(); strings.Contains(m, "connection_memory_cut_total 0,") && clients > 500 {
		t.Error("nobody was held to less than its own bound: ", m)
	}
}

// subscriber connects one of each protocol in turn; MQTT ones at QoS 0 and 1.
func (r *rig) subscriber(i int64) (*raw, error) {
	switch i % 4 {
	case 0:
		return natsSubscriber(r.Ports.NATS, "unread.x")
	case 1, 2:
		return mqttSession(r.Ports.MQTT, fmt.Sprint("unread-", i), "unread/x", byte(i%4-1))
	}
	c, err := dial(r.Ports.AMQP)
	if err != nil {
		return nil, err
	}
	r.loginAMQP(c)
	none := "\x00\x00\x00\x00"
	_, _ = io.WriteString(c, frame(1, 1, "\x00\x32\x00\x0a\x00\x00\x00\x04"+none)+
		frame(1, 1, "\x00\x32\x00\x14\x00\x00\x00\x09amq.topic"+str8("unread.x")+"\x00"+none)+
		frame(1, 1, "\x00\x3c\x00\x14\x00\x00\x00\x00\x02"+none))
	for seen := ""; !strings.Contains(seen, "\x00\x3c\x00\x15"); { // consume-ok
		b := make([]byte, 512)
		n, err := c.in.Read(b)
		if err != nil {
			return nil, err
		}
		seen = seen[max(0, len(seen)-8):] + string(b[:n])
	}
	return c, nil
}
