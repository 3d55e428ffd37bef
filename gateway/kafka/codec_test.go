package kafka

import (
	"bytes"
	"context"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestFetchReplyEncodesAsKmsg(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	big := bytes.Repeat([]byte{7}, 9000)
	for v := int16(4); v <= 18; v++ {
		for range 20 {
			want := kmsg.NewPtrFetchResponse()
			want.SetVersion(v)
			got := &fetchReply{FetchResponse: kmsg.NewPtrFetchResponse(), byID: v >= 13, readCommitted: r.IntN(2) == 0}
			got.SetVersion(v)
			if v >= 7 {
				want.ErrorCode, want.SessionID = int16(r.IntN(5)), r.Int32()
				got.ErrorCode, got.SessionID = want.ErrorCode, want.SessionID
			}
			for i := range r.IntN(4) {
				wt, gt := kmsg.NewFetchResponseTopic(), fetchReplyTopic{name: "t", id: topicID{byte(i)}}
				wt.Topic, wt.TopicID = gt.name, gt.id
				for range r.IntN(3) {
					gp := fetchReplyPart{partition: r.Int32(), code: int16(r.IntN(9)), bounds: shard.Bounds{Start: r.Int64(), Stable: r.Int64(), End: r.Int64()}}
					wp := kmsg.NewFetchResponseTopicPartition()
					wp.Partition, wp.ErrorCode = gp.partition, gp.code
					wp.HighWatermark, wp.LastStableOffset, wp.LogStartOffset = gp.bounds.End, gp.bounds.Stable, gp.bounds.Start
					wp.PreferredReadReplica, wp.RecordBatches = -1, []byte{}
					if got.readCommitted {
						wp.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{}
					}
					for range r.IntN(4) {
						raw := big[:r.IntN(len(big))]
						gp.records, gp.bytes = append(gp.records, raw), gp.bytes+len(raw)
						wp.RecordBatches = append(wp.RecordBatches, raw...)
					}
					wt.Partitions, gt.parts = append(wt.Partitions, wp), append(gt.parts, gp)
				}
				want.Topics, got.topics = append(want.Topics, wt), append(got.topics, gt)
			}
			w := newVector()
			got.appendVector(w)
			w.cut()
			if !bytes.Equal(bytes.Join(w.bufs, nil), want.AppendTo(nil)) {
				t.Fatalf("v%d: encoded otherwise than kmsg does", v)
			}
		}
	}
}

func TestVectorWritesPlainAndSplicedInOrder(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	w := newVector()
	plain := kmsg.NewPtrHeartbeatResponse()
	row := newTable().find(12)
	records := bytes.Repeat([]byte("r"), 20_000)
	f := &fetchReply{FetchResponse: kmsg.NewPtrFetchResponse(), topics: []fetchReplyTopic{{name: "t", parts: []fetchReplyPart{{records: [][]byte{records}, bytes: len(records)}}}}}
	f.SetVersion(4)
	w.response(&request{api: row, corr: 1, resp: plain})
	w.response(&request{api: newTable().find(1), corr: 2, resp: f})
	w.response(&request{api: row, corr: 3, resp: plain})
	size := w.size()
	go func() { _ = w.writeTo(gateway.NewConn(a, "kafka")); _ = a.Close() }()
	var got bytes.Buffer
	if _, err := got.ReadFrom(b); err != nil || got.Len() != size {
		t.Fatalf("wrote %d bytes of %d: %v", got.Len(), size, err)
	}
	wire := &wire{t: t, c: replay{bytes.NewReader(got.Bytes())}}
	hb, fq := kmsg.NewPtrHeartbeatRequest(), kmsg.NewPtrFetchRequest()
	fq.SetVersion(4)
	if _, err := wire.read(hb, 1); err != nil {
		t.Fatal(err)
	}
	resp, err := wire.read(fq, 2)
	if err != nil || !bytes.Equal(resp.(*kmsg.FetchResponse).Topics[0].Partitions[0].RecordBatches, records) {
		t.Fatalf("records did not arrive: %v", err)
	}
	if _, err := wire.read(hb, 3); err != nil {
		t.Fatal(err)
	}
}

type replay struct{ *bytes.Reader }

func (replay) Write(p []byte) (int, error) { return len(p), nil }
func (replay) Close() error                { return nil }

func TestNamesMapBothWays(t *testing.T) {
	long := strings.Repeat("ü", 200)
	for _, c := range []struct{ own, kafka string }{
		{"orders", "orders"}, {"a.b-c_D.9", "a.b-c_D.9"},
		{"a/b", "robustmq-x.a-2fb"}, {"..", "robustmq-x..."}, {".", "robustmq-x.."},
		{"temp °C", "robustmq-x.temp-20-c2-b0C"}, {"robustmq-x.a", "robustmq-x.robustmq-2dx.a"},
		{long, "robustmq-t.42"},
	} {
		top := &shard.Topic{Name: c.own, Num: 42}
		if got := kafkaName(top); got != c.kafka {
			t.Errorf("%q is %q to Kafka, want %q", c.own, got, c.kafka)
		}
		own, num, ok := topicName(c.kafka)
		if !ok || own != c.own && num != 42 {
			t.Errorf("%q is %q (%d, %v), want %q", c.kafka, own, num, ok, c.own)
		}
	}
	for _, bad := range []string{"", ".", "..", "a/b", "a b", strings.Repeat("a", 250), "robustmq-x.plain", "robustmq-x.a-2", "robustmq-x.a-2F", "robustmq-t.", "robustmq-t.01", "robustmq-t.-1"} {
		if own, _, ok := topicName(bad); ok {
			t.Errorf("%q is taken for %q", bad, own)
		}
	}
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"a", "a/b", "robustmq-x.a", "é", "..", "-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if s == "" {
			return
		}
		k := kafkaName(&shard.Topic{Name: s, Num: 7})
		if !legalName(k) {
			t.Fatalf("%q becomes %q", s, k)
		}
		if own, num, ok := topicName(k); !ok || own != s && num != 7 {
			t.Fatalf("%q becomes %q becomes %q", s, k, own)
		}
		if own, _, ok := topicName(s); ok && own != "" && kafkaName(&shard.Topic{Name: own}) != s {
			t.Fatalf("%q has a second spelling %q", own, s)
		}
	})
}

func TestReservedHeadersAreNotShown(t *testing.T) {
	rs := []shard.Record{
		rec("k", "v", shard.Header{Name: "robustmq-subject", Value: []byte("a.b")}, shard.Header{Name: "mine", Value: []byte("1")}),
		rec("", "robustmq- in a value"),
		rec("", "x", shard.Header{Name: "a"}, shard.Header{Name: "robustmq-mqtt", Value: nil}, shard.Header{Name: "b", Value: []byte{}}),
	}
	b := shard.BatchOf(rs...)
	b.Assign(100, 3)
	out, err := shard.ParseBatch(shownToKafka(b))
	if err != nil {
		t.Fatal(err)
	}
	got, err := out.Records()
	if err != nil {
		t.Fatal(err)
	}
	want, _ := b.Records()
	for i := range want {
		w := want[i]
		w.Headers = slices.DeleteFunc(slices.Clone(w.Headers), func(h shard.Header) bool { return shard.Reserved(h.Name) })
		g := got[i]
		if len(w.Headers) == 0 && len(g.Headers) == 0 {
			w.Headers, g.Headers = nil, nil
		}
		if !reflect.DeepEqual(w, g) {
			t.Errorf("record %d: got %+v, want %+v", i, g, w)
		}
	}
	if out.Epoch() != 3 || out.BaseOffset() != 100 || out.Count() != 3 {
		t.Errorf("header is changed: %d %d %d", out.Epoch(), out.BaseOffset(), out.Count())
	}
	plain := shard.BatchOf(rec("k", "v", shard.Header{Name: "mine"}))
	if shownToKafka(plain) != nil {
		t.Error("a batch without reserved headers is written anew")
	}
}

func FuzzMentionsReserved(f *testing.F) {
	for _, s := range []string{"", "q", "q-", "robustmq-", "robustmq", "xrobustmq-y", "robustmqrobustmq-", "qqq-robustmq-"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, want := mentionsReserved(b), bytes.Contains(b, reservedBytes); got != want {
			t.Fatalf("%q: %v, want %v", b, got, want)
		}
	})
}

func FuzzWithoutReserved(f *testing.F) {
	f.Add(shard.BatchOf(rec("k", "v", shard.Header{Name: "robustmq-a"})).Raw(), 1)
	f.Add(shard.BatchOf(rec("", "v"), rec("", "w", shard.Header{Name: "h"})).Raw(), 2)
	f.Fuzz(func(t *testing.T, raw []byte, count int) {
		if len(raw) < shard.BatchHeaderBytes || count < 0 || count > 1000 {
			return
		}
		out, ok := withoutReserved(raw, count)
		if !ok {
			return
		}
		again, ok := withoutReserved(out, count)
		if !ok || !bytes.Equal(out, again) {
			t.Fatal("a second pass changes more")
		}
	})
}

// packed compresses a batch's records.
func packed(t testing.TB, b *shard.Batch, codec shard.Codec) []byte {
	t.Helper()
	body := b.Raw()[shard.BatchHeaderBytes:]
	var out []byte
	switch codec {
	case shard.CodecSnappy:
		out = s2.EncodeSnappy(nil, body)
	case shard.CodecZstd:
		e, err := zstd.NewWriter(nil)
		if err != nil {
			t.Fatal(err)
		}
		out = e.EncodeAll(body, nil)
	}
	raw := append(slices.Clone(b.Raw()[:shard.BatchHeaderBytes]), out...)
	raw[batchAttrsAt+1] = byte(codec)
	return sealed(raw)
}

// sealed puts length and checksum right.
func sealed(raw []byte) []byte {
	n := len(raw) - 12
	raw[8], raw[9], raw[10], raw[11] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	crc := crcOf(raw)
	raw[17], raw[18], raw[19], raw[20] = byte(crc>>24), byte(crc>>16), byte(crc>>8), byte(crc)
	return raw
}

func TestBatchesAreChecked(t *testing.T) {
	s := newStand(t)
	c := &conn{srv: s.srv}
	plain := s.topic("plain", 1, nil)
	compacted := s.topic("compacted", 1, func(t *shard.Topic) { t.Config.Compact = true })
	small := s.topic("small", 1, func(t *shard.Topic) { t.Config.MaxMessageBytes = 200 })
	ok := func() []byte { return shard.BatchOf(rec("k", "v"), rec("k", "w")).Raw() }
	change := func(f func(b []byte)) []byte { b := ok(); f(b); return sealed(b) }
	reserved := shard.BatchOf(rec("k", "v", shard.Header{Name: "robustmq-x", Value: []byte("1")}))
	for _, x := range []struct {
		name  string
		raw   []byte
		topic *shard.Topic
		code  int16
	}{
		{"plain", ok(), plain, 0},
		{"snappy", packed(t, shard.BatchOf(rec("k", "v")), shard.CodecSnappy), plain, 0},
		{"zstd", packed(t, shard.BatchOf(rec("k", "v")), shard.CodecZstd), plain, 0},
		{"prefix in a value", shard.BatchOf(rec("k", "robustmq-x")).Raw(), plain, 0},
		{"nothing", nil, plain, codeInvalidRecord},
		{"two batches", append(ok(), ok()...), plain, codeInvalidRecord},
		{"cut short", ok()[:70], plain, codeCorruptMessage},
		{"flipped bit", func() []byte { b := ok(); b[len(b)-1] ^= 1; return b }(), plain, codeCorruptMessage},
		{"old magic", change(func(b []byte) { b[16] = 1 }), plain, codeInvalidRecord},
		{"control", change(func(b []byte) { b[22] |= 0x20 }), plain, codeInvalidRecord},
		{"transactional", change(func(b []byte) { b[22] |= 0x10 }), plain, codeInvalidTxnState},
		{"append time", change(func(b []byte) { b[22] |= 0x08 }), plain, codeInvalidTimestamp},
		{"unknown codec", change(func(b []byte) { b[22] |= 6 }), plain, codeUnsupportedCompressionType},
		{"not that codec", change(func(b []byte) { b[22] |= 4 }), plain, codeCorruptMessage},
		{"count too high", change(func(b []byte) { b[60]++; b[26]++ }), plain, codeInvalidRecord},
		{"count and delta differ", change(func(b []byte) { b[26]++ }), plain, codeInvalidRecord},
		{"no records", change(func(b []byte) { b[60], b[26] = 0, 0xff }), plain, codeInvalidRecord},
		{"record length", change(func(b []byte) { b[61] = 0x7e }), plain, codeInvalidRecord},
		{"reserved header", slices.Clone(reserved.Raw()), plain, codeInvalidRecord},
		{"reserved header, snappy", packed(t, reserved, shard.CodecSnappy), plain, codeInvalidRecord},
		{"no key", shard.BatchOf(rec("", "v")).Raw(), compacted, codeInvalidRecord},
		{"no key, zstd", packed(t, shard.BatchOf(rec("", "v")), shard.CodecZstd), compacted, codeInvalidRecord},
		{"key", ok(), compacted, 0},
		{"too large", shard.BatchOf(rec("k", strings.Repeat("x", 300))).Raw(), small, codeMessageTooLarge},
		{"bomb", packed(t, shard.BatchOf(rec("k", strings.Repeat("x", shard.MaxDecompressedBytes))), shard.CodecZstd), plain, codeMessageTooLarge},
		{"record over the topic's bound", packed(t, shard.BatchOf(rec("k", strings.Repeat("x", 17<<20))), shard.CodecZstd), plain, codeMessageTooLarge},
		{"large records within it", packed(t, repeated(4, strings.Repeat("x", 7<<20)), shard.CodecZstd), plain, 0},
		{"records of more than 32 MiB", packed(t, repeated(5, strings.Repeat("x", 7<<20)), shard.CodecZstd), plain, codeMessageTooLarge},
		{"a million records", packed(t, repeated(1<<20, ""), shard.CodecZstd), plain, codeMessageTooLarge},
		{"a million headers", packed(t, shard.BatchOf(rec("k", "v", make([]shard.Header, 2<<20)...)), shard.CodecZstd), plain, codeMessageTooLarge},
	} {
		_, no := c.checkBatch(x.raw, x.topic, 9)
		code := int16(0)
		if no != nil {
			code = no.code
		}
		if code != x.code {
			t.Errorf("%s: code %d, want %d (%+v)", x.name, code, x.code, no)
		}
	}
	if _, no := c.checkBatch(packed(t, shard.BatchOf(rec("k", "v")), shard.CodecZstd), plain, 6); no == nil || no.code != codeUnsupportedCompressionType {
		t.Error("zstd is taken in a produce request older than v7")
	}
}

func repeated(n int, value string) *shard.Batch {
	rs := make([]shard.Record, n)
	for i := range rs {
		rs[i] = rec("k", value)
	}
	return shard.BatchOf(rs...)
}

// FuzzCheckRecords: what the walk takes, the decoder takes, and the other way
// round where deltas count up by one.
func FuzzCheckRecords(f *testing.F) {
	f.Add(shard.BatchOf(rec("k", "v", shard.Header{Name: "h", Value: []byte("x")}), rec("", "")).Raw())
	f.Add(shard.BatchOf(rec("k", "robustmq-", shard.Header{Name: "robustmq-h"})).Raw())
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) < shard.BatchHeaderBytes {
			return
		}
		raw = slices.Clone(raw)
		raw[16], raw[21], raw[22] = 2, 0, 0
		b, err := shard.ParseBatch(sealed(raw))
		if err != nil || b.Count() <= 0 || b.LastOffsetDelta() != b.Count()-1 {
			return
		}
		no := checkRecords(raw[shard.BatchHeaderBytes:], b.Count(), false, sizes{1 << 30, 1 << 30, 1 << 40}, func([]byte) *refusal { return nil })
		recs, err := b.Records()
		reserved := slices.ContainsFunc(recs, func(r shard.Record) bool {
			return slices.ContainsFunc(r.Headers, func(h shard.Header) bool { return shard.Reserved(h.Name) && h.Name != shard.HeaderSubject })
		})
		if no == nil && (err != nil || reserved) {
			t.Fatalf("taken, but %v, reserved %v", err, reserved)
		}
		if no != nil && err == nil && !reserved {
			t.Fatalf("refused: %s", no.text)
		}
	})
}

func TestGroupStateRoundTrip(t *testing.T) {
	s := newStand(t)
	g := newGroup(s.srv.groups, "g")
	g.generation, g.protocolType, g.protocol = 7, "consumer", "range"
	for _, m := range []*member{
		{id: "a", clientID: "c", host: "/h", session: 1e9, rebalance: 2e9, protocols: []memberProtocol{{"range", []byte("meta")}}, assignment: []byte("as")},
		{id: "b", instance: ptr("i"), session: 1e9, rebalance: 2e9, protocols: []memberProtocol{{"range", []byte{}}}, assignment: []byte{}},
	} {
		g.add(m)
	}
	data := g.encode()
	again := newGroup(s.srv.groups, "g")
	if err := again.decode(data); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again.encode(), data) || again.state != groupStable || again.static["i"] != "b" || again.leader != "a" {
		t.Errorf("group came back as %+v", again)
	}
	for n := range data {
		if newGroup(s.srv.groups, "g").decode(data[:n]) == nil {
			t.Errorf("prefix of %d bytes is taken", n)
		}
	}
}

func FuzzGroupState(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 1, 0, 1, 'c', 0, 1, 'r', 0, 1, 'l', 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		g := newGroup(nil, "g")
		if g.decode(data) != nil {
			return
		}
		if got := g.encode(); !bytes.Equal(got, data) {
			t.Fatalf("%x becomes %x", data, got)
		}
	})
}

func FuzzCommitted(f *testing.F) {
	f.Add((&committed{offset: 5, epoch: 1, time: 9, metadata: "m"}).encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := decodeCommitted(data); err == nil && !bytes.Equal(c.encode(), data) {
			t.Fatalf("%x becomes %x", data, c.encode())
		}
	})
}

func TestOffsetKeys(t *testing.T) {
	id := shard.ID{Topic: 12, Index: 3}
	if got, ok := parseOffsetKey(offsetKey(id)); !ok || got != id {
		t.Errorf("key %q is read as %v, %v", offsetKey(id), got, ok)
	}
	for _, bad := range []string{"", "m", "o/", "o/1", "o/x/1", "o/1/x"} {
		if _, ok := parseOffsetKey(bad); ok {
			t.Errorf("key %q is taken", bad)
		}
	}
}

func TestTopicIDs(t *testing.T) {
	s := newStand(t)
	top := s.topic("x", 1, nil)
	id := s.srv.ids.of(top)
	if got, ok := s.srv.topicByID(id); !ok || got.Num != top.Num {
		t.Errorf("id %x gives %v", id, got)
	}
	id[0] ^= 1
	if _, ok := s.srv.topicByID(id); ok {
		t.Error("an id of another cluster is taken")
	}
	for i := range 500 {
		if p := newIDPrefix(strings.Repeat("x", i)); p[0]>>2 == 62 || p == (idPrefix{}) {
			t.Errorf("prefix %x prints as a flag", p)
		}
	}
}

func TestTranslationOfErrors(t *testing.T) {
	for err, want := range map[error]int16{
		nil: 0, shard.ErrTopicNotFound: 3, shard.ErrOutOfOrderSequence: 45, shard.ErrProducerFenced: 47, shard.ErrUnknownProducer: 59,
		shard.ErrBatchTooLarge: 10, shard.ErrOffsetOutOfRange: 1, shard.ErrWALFull: 7, shard.ErrClosed: 6,
		shard.Errorf(shard.KindMoved, "x"): 6, shard.ErrBatchCorrupt: 56, context.DeadlineExceeded: 7,
		shard.Errorf(shard.KindInternal, "x"): -1, &coded{40, "x"}: 40,
	} {
		if got := errorCode(err); got != want {
			t.Errorf("%v is %d, want %d", err, got, want)
		}
	}
	if groupErrorCode(shard.ErrClosed) != codeNotCoordinator || groupErrorCode(shard.ErrWALFull) != codeCoordinatorNotAvailable {
		t.Error("group errors are not the coordinator's")
	}
	if m := message(shard.Errorf(shard.KindInternal, "secret")); *m != "internal error" {
		t.Errorf("a fault of ours is shown: %q", *m)
	}
}

func crcOf(raw []byte) uint32 { return crc32.Checksum(raw[batchAttrsAt:], castagnoli) }

func (replay) LocalAddr() net.Addr              { return nil }
func (replay) RemoteAddr() net.Addr             { return nil }
func (replay) SetDeadline(time.Time) error      { return nil }
func (replay) SetReadDeadline(time.Time) error  { return nil }
func (replay) SetWriteDeadline(time.Time) error { return nil }
