package kafka

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// stand is a gateway over the in-memory broker on a real TCP port.
type stand struct {
	t    testing.TB
	mem  *shardmem.Broker
	srv  *Server
	ln   *gateway.Listener
	addr string
	cfg  Config
	auth gateway.AuthConfig
	lim  gateway.Limits
	wrap func(shard.Log) shard.Log // nil: none
}

type option func(*stand, *shardmem.Options)

func withConfig(f func(*Config)) option { return func(s *stand, _ *shardmem.Options) { f(&s.cfg) } }

func withMem(f func(*shardmem.Options)) option {
	return func(_ *stand, o *shardmem.Options) { f(o) }
}

func withAuth(a gateway.AuthConfig) option { return func(s *stand, _ *shardmem.Options) { s.auth = a } }

func withLimits(f func(*gateway.Limits)) option {
	return func(s *stand, _ *shardmem.Options) { f(&s.lim) }
}

func newStand(t testing.TB, opts ...option) *stand {
	t.Helper()
	s := &stand{t: t, cfg: DefaultConfig(), lim: gateway.DefaultLimits()}
	s.cfg.GroupInitialRebalanceDelay = 5 * time.Millisecond
	s.cfg.GroupMinSessionTimeout = 10 * time.Millisecond
	mo := shardmem.Options{MaxMessageBytes: 16 << 20}
	for _, o := range opts {
		o(s, &mo)
	}
	if mo.ACLs == nil && mo.Users == nil { // its clients, who are anonymous, administer topics and groups
		mo.ACLs = []shard.ACL{{Principal: "*", Resource: "*", Filter: "*", Operation: shard.OpAll}}
	}
	s.mem = shardmem.New(mo)
	s.start()
	t.Cleanup(func() { s.stop(); s.mem.Close() })
	return s
}

func (s *stand) start() {
	s.t.Helper()
	b := s.mem.Broker()
	if s.wrap != nil {
		b.Log = s.wrap(b.Log)
	}
	env := gateway.Env{
		Broker: b, Log: slog.New(noPanics{}), Limits: s.lim, Stats: new(gateway.Stats),
		Auth: gateway.NewAuth(b.Users, b.ACLs, s.auth),
	}
	var err error
	if s.srv, err = newServer(env, s.cfg); err != nil {
		s.t.Fatal(err)
	}
	addr := s.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	s.ln = &gateway.Listener{Protocol: "kafka", Addr: addr, Server: s.srv, Log: env.Log, Stats: env.Stats}
	if err := s.ln.Start(context.Background()); err != nil {
		s.t.Fatal(err)
	}
	s.addr = s.ln.Address().String()
}

func (s *stand) stop() {
	s.ln.StopAccepting()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	s.srv.Drain(ctx)
	s.ln.Close()
}

// noPanics is a log that lets nothing pass that was a fault of the program.
type noPanics struct{ slog.Handler }

func (noPanics) Enabled(context.Context, slog.Level) bool { return true }
func (h noPanics) WithAttrs([]slog.Attr) slog.Handler     { return h }
func (h noPanics) WithGroup(string) slog.Handler          { return h }
func (noPanics) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "panicked") {
		r.Attrs(func(a slog.Attr) bool { println(a.String()); return true })
		panic(r.Message)
	}
	return nil
}

// restart is a restart of the gateway over the same data.
func (s *stand) restart() {
	s.stop()
	s.mem = s.mem.Reopen()
	s.start()
}

func (s *stand) client(opts ...kgo.Opt) *kgo.Client {
	s.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(s.addr), kgo.AllowAutoTopicCreation(), kgo.MetadataMinAge(50 * time.Millisecond),
	}, opts...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(cl.Close)
	return cl
}

func (s *stand) topic(name string, shards uint32, f func(*shard.Topic)) *shard.Topic {
	s.t.Helper()
	x := shard.Topic{Name: name, Shards: shards}
	if f != nil {
		f(&x)
	}
	t, err := s.mem.Broker().Topics.Create(context.Background(), x)
	if err != nil {
		s.t.Fatal(err)
	}
	return t
}

// wire is a bare connection.
type wire struct {
	t    testing.TB
	c    net.Conn
	corr int32
}

func (s *stand) dial() *wire {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return &wire{t: s.t, c: c}
}

func frameOf(q kmsg.Request, corr int32, client string) []byte {
	b := kbin.AppendInt16(make([]byte, 4), q.Key())
	b = kbin.AppendInt16(b, q.GetVersion())
	b = kbin.AppendInt32(b, corr)
	b = kbin.AppendNullableString(b, &client)
	if q.IsFlexible() {
		b = append(b, 0)
	}
	b = q.AppendTo(b)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

func (w *wire) send(q kmsg.Request) {
	w.t.Helper()
	w.corr++
	if _, err := w.c.Write(frameOf(q, w.corr, "wire")); err != nil {
		w.t.Fatal(err)
	}
}

// read takes the next response, which must answer q.
func (w *wire) read(q kmsg.Request, corr int32) (kmsg.Response, error) {
	_ = w.c.SetReadDeadline(time.Now().Add(30 * time.Second))
	var head [4]byte
	if _, err := io.ReadFull(w.c, head[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(w.c, body); err != nil {
		return nil, err
	}
	r := kbin.Reader{Src: body}
	if got := r.Int32(); got != corr {
		w.t.Errorf("correlation id %d, want %d", got, corr)
	}
	resp := q.ResponseKind()
	if resp.IsFlexible() && q.Key() != keyAPIVersions {
		kmsg.SkipTags(&r)
	}
	return resp, resp.ReadFrom(r.Src)
}

// ask sends a request of a version and gives its response.
func ask[R kmsg.Response](w *wire, q kmsg.Request, version int16) R {
	w.t.Helper()
	q.SetVersion(version)
	w.send(q)
	resp, err := w.read(q, w.corr)
	if err != nil {
		w.t.Fatalf("%s v%d: %v", kmsg.NameForKey(q.Key()), version, err)
	}
	return resp.(R)
}

// closed tells whether the server hung up without another byte.
func (w *wire) closed() bool {
	_ = w.c.SetReadDeadline(time.Now().Add(30 * time.Second))
	n, err := w.c.Read(make([]byte, 1))
	ne, timeout := err.(net.Error)
	return n == 0 && err != nil && !(timeout && ne.Timeout())
}

func rec(key, value string, headers ...shard.Header) shard.Record {
	r := shard.Record{Timestamp: 1000, Value: []byte(value), Headers: headers}
	if key != "" {
		r.Key = []byte(key)
	}
	return r
}

func produceReq(acks int16, topic string, partition int32, raw []byte) *kmsg.ProduceRequest {
	q := kmsg.NewPtrProduceRequest()
	q.Acks, q.TimeoutMillis = acks, 5000
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, raw
	pt := kmsg.NewProduceRequestTopic()
	pt.Topic, pt.Partitions = topic, append(pt.Partitions, p)
	q.Topics = append(q.Topics, pt)
	return q
}

func (w *wire) produce(topic string, raw []byte) kmsg.ProduceResponseTopicPartition {
	w.t.Helper()
	resp := ask[*kmsg.ProduceResponse](w, produceReq(-1, topic, 0, raw), 9)
	return resp.Topics[0].Partitions[0]
}

func fetchReq(topic string, partition int32, offset int64) *kmsg.FetchRequest {
	q := kmsg.NewPtrFetchRequest()
	q.MaxWaitMillis, q.MinBytes, q.MaxBytes = 0, 1, 1<<20
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, offset, 1<<20
	ft := kmsg.NewFetchRequestTopic()
	ft.Topic, ft.Partitions = topic, append(ft.Partitions, p)
	q.Topics = append(q.Topics, ft)
	return q
}
