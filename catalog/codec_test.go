package catalog

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/oklog/ulid/v2"

	"github.com/robustmq/robustmq-go/shard"
)

var update = flag.Bool("update", false, "write golden files for new kinds")

var testID = ulid.MustParseStrict("01HZZZZZZZZZZZZZZZZZZZZZZZ")

// kindCase drives the tests all kinds share: a sample, and reading a value and
// writing it again.
type kindCase struct {
	name   string
	sample func() ([]byte, any)
	again  func(b []byte) (value any, encoded []byte, err error)
	loose  bool   // JSON: not every readable form is the written one
	dir    string // of the golden file; "": v1
}

func sampleTopic() *shard.Topic {
	return &shard.Topic{
		Num: 17, Name: "telemetry", Shards: 16, Captures: []string{"sensors.>", "meters.*.power"},
		Config: shard.TopicConfig{
			Durability: shard.DurabilityObject, RetentionMs: -1, RetentionBytes: 1 << 40, RetentionHard: true,
			Compact: true, Delete: true, MaxMessageBytes: 1 << 20, AppendTime: true, Extra: map[string]string{"a": "1", "b": ""},
		},
		Created: 1_700_000_000_000, Internal: true, Auto: true, Labels: map[string]string{"exchange": "topic"},
	}
}

func sampleSegment() Segment {
	return Segment{
		ULID: testID, Key: "0/seg", Level: 1, Size: 8 << 20, Created: 1_700_000_000_000,
		Extents: []Extent{
			{Shard: shard.ID{Topic: 3, Index: 0}, Base: 100, Last: 199, Pos: 16, Len: 5000, Records: 90, MinTime: 1_699_999_990_000, MaxTime: 1_699_999_999_999},
			{Shard: shard.ID{Topic: 3, Index: 0}, Base: 210, Last: 210, Pos: 5016, Len: 70, Records: 1},
			{Shard: shard.ID{Topic: 3, Index: 7}, Base: 0, Last: math.MaxInt64, Pos: 5086, Len: math.MaxInt64, Records: 1, MinTime: math.MinInt64, MaxTime: math.MaxInt64},
			{Shard: shard.ID{Topic: math.MaxUint64, Index: math.MaxUint32}, Base: 5, Last: 6},
		},
	}
}

// sampleArrivals is sampleSegment with all that version 2 has more.
func sampleArrivals() Segment {
	s := sampleSegment()
	s.Sections = []Section{{Kind: SectionSnapshot, Data: []byte{1, 2, 3}}, {Kind: 8, Data: []byte{}}, {Kind: 4711 << 1, Data: []byte("not known")}}
	for i := range s.Extents {
		x := &s.Extents[i]
		x.MinArrival, x.MaxArrival = s.Created-int64(i), s.Created
	}
	s.Extents[1].MinArrival, s.Extents[1].MaxArrival = 0, 0
	return s
}

// encodeSegmentV1 is what versions before the second wrote.
func encodeSegmentV1(s *Segment) []byte {
	e := encoder{b: []byte{version1, s.Level}}
	e.uvarint(uint64(s.Size))
	e.varint(s.Created)
	e.str(s.Key)
	e.uvarint(uint64(len(s.Extents)))
	e.uvarint(0)
	var prev shard.ID
	for i := range s.Extents {
		x := &s.Extents[i]
		e.rowShard(x.Shard, prev)
		prev = x.Shard
		for _, v := range []int64{x.Base, x.Last - x.Base, x.Pos, x.Len, x.Records} {
			e.uvarint(uint64(v))
		}
		e.varint(x.MinTime - s.Created)
		e.varint(x.MaxTime - x.MinTime)
	}
	return e.b
}

func segmentCase() kindCase {
	return kindCase{name: "segment", dir: "v2", sample: func() ([]byte, any) {
		v := sampleArrivals()
		b, err := encodeSegment(&v)
		if err != nil || len(b) != 1 {
			panic(fmt.Sprint("internal error: sample segment: ", err))
		}
		return b[0], v
	}, again: func(b []byte) (any, []byte, error) {
		v, err := decodeSegment(testID, b)
		if err != nil {
			return nil, nil, err
		}
		if b[0] == version1 {
			return v, encodeSegmentV1(&v), nil
		}
		values, err := encodeSegment(&v)
		if err != nil {
			return nil, nil, err
		}
		out, err := joinParts(values)
		return v, out, err
	}}
}

func segmentCaseV1() kindCase {
	k := segmentCase()
	k.dir = "v1"
	k.sample = func() ([]byte, any) {
		v := sampleSegment()
		return encodeSegmentV1(&v), v
	}
	return k
}

func kindCases() []kindCase {
	return []kindCase{
		{name: "cluster", sample: func() ([]byte, any) {
			v := Cluster{Format: 1, ID: testID.String(), Created: 1_700_000_000_000}
			return encodeClusterRecord(v), v
		}, again: func(b []byte) (any, []byte, error) {
			v, err := decodeCluster("id", b)
			return v, encodeClusterRecord(v), err
		}},
		{name: "gateway", sample: func() ([]byte, any) {
			v := Gateway{ID: "gw", Addresses: map[string]string{"kafka": "h:9092", "rpc": "h:1"}, Zone: "z", Version: "1.2", WALID: "w", mark: []byte("0123456789abcdef")}
			return encodeGateway(v), v
		}, again: func(b []byte) (any, []byte, error) {
			v, err := decodeGateway("gw", b)
			return v, encodeGateway(v), err
		}},
		{name: "slot", sample: func() ([]byte, any) {
			v := Slot{Index: 9, Owner: "gw", Incarnation: 77, Epoch: 3, Released: true, WAL: "w1", Pending: []string{"w0", "w2"}}
			return encodeSlot(v), v
		}, again: func(b []byte) (any, []byte, error) {
			v, err := decodeSlotAt("009", b)
			return v, encodeSlot(v), err
		}},
		{name: "wal", sample: func() ([]byte, any) {
			v := WAL{ID: "w1", Owner: "gw", State: WALClean}
			return encodeWAL(v), v
		}, again: func(b []byte) (any, []byte, error) {
			v, err := decodeWAL("w1", b)
			return v, encodeWAL(v), err
		}},
		{name: "counter", sample: func() ([]byte, any) { return encodeCounter(1 << 40), int64(1 << 40) },
			again: func(b []byte) (any, []byte, error) {
				v, err := decodeCounter(b)
				return v, encodeCounter(v), err
			}},
		{name: "topic", sample: func() ([]byte, any) { return encodeTopic(sampleTopic(), "12345678"), sampleTopic() },
			again: func(b []byte) (any, []byte, error) {
				v, mark, err := decodeTopic("telemetry", b)
				if err != nil {
					return nil, nil, err
				}
				return v, encodeTopic(v, mark), nil
			}},
		segmentCaseV1(),
		segmentCase(),
		{name: "deletion", sample: func() ([]byte, any) {
			v := Deletion{ULID: testID, Key: "0/seg", Size: 8 << 20, When: 1_700_000_000_000}
			return encodeDeletion(v), v
		}, again: func(b []byte) (any, []byte, error) {
			v, err := decodeDeletion(testID.String(), b)
			return v, encodeDeletion(v), err
		}},
		jsonCase("user", &shard.User{Name: "n", SCRAM256: &shard.Credential{Salt: []byte{1}, Iterations: 4096, StoredKey: []byte{2}, ServerKey: []byte{3}}, NKey: "U", TokenHash: "t", Superuser: true, DefaultPassword: true, MaxConnections: 5, BytesPerSecond: 6}, func(b []byte) (*shard.User, error) { return decodeUser("n", b) }),
		jsonCase("acl", shard.ACL{Principal: "*", Resource: "subject", Filter: "a.>", Operation: shard.OpPublish, Deny: true, Host: "h"}, func(b []byte) (shard.ACL, error) { return decodeACL("n", b) }),
		jsonCase("quota", Quota{Name: "n", Limits: map[string]int64{"bytes": 5}}, func(b []byte) (Quota, error) { return decodeQuota("n", b) }),
		jsonCase("feature", Feature{Name: "n", Level: 2, Comment: "why"}, func(b []byte) (Feature, error) { return decodeFeature("n", b) }),
	}
}

func jsonCase[T any](name string, v T, decode func([]byte) (T, error)) kindCase {
	encode := func(v T) []byte {
		b, err := encodeJSON(v)
		if err != nil {
			panic("internal error: " + err.Error())
		}
		return b
	}
	return kindCase{
		name: name, loose: true,
		sample: func() ([]byte, any) { return encode(v), v },
		again: func(b []byte) (any, []byte, error) {
			v, err := decode(b)
			if err != nil {
				return nil, nil, err
			}
			out, err := encodeJSON(v)
			return v, out, err
		},
	}
}

// TestRoundTrip: what was written is read, byte for byte as in the golden file
// of the version, which is kept for ever.
func TestRoundTrip(t *testing.T) {
	for _, k := range kindCases() {
		t.Run(k.name+k.dir, func(t *testing.T) {
			b, want := k.sample()
			got, again, err := k.again(b)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("read\n%+v, wrote\n%+v", got, want)
			}
			if !bytes.Equal(again, b) {
				t.Errorf("written again\n%x, was\n%x", again, b)
			}
			file := filepath.Join("testdata", cmp.Or(k.dir, "v1"), k.name+".hex")
			if _, err := os.Stat(file); *update && os.IsNotExist(err) {
				if err := os.WriteFile(file, []byte(hex.EncodeToString(b)+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			golden, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.TrimSpace(string(golden)) != hex.EncodeToString(b) {
				t.Errorf("the format has changed: wrote\n%x, golden\n%s", b, golden)
			}
		})
	}
}

// TestSampleTopicIsFull: a field that shard.Topic gains must be stored.
func TestSampleTopicIsFull(t *testing.T) {
	topic := sampleTopic()
	for _, v := range []reflect.Value{reflect.ValueOf(*topic), reflect.ValueOf(topic.Config)} {
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("%s.%s is not in the sample that the codec is tested with", v.Type(), v.Type().Field(i).Name)
			}
		}
	}
}

// TestDamage: no prefix of a value, no other version and no longer value is
// taken for a whole one.
func TestDamage(t *testing.T) {
	for _, k := range kindCases() {
		t.Run(k.name+k.dir, func(t *testing.T) {
			b, _ := k.sample()
			for n := range b {
				if _, _, err := k.again(b[:n:n]); err == nil {
					t.Errorf("prefix of %d bytes of %d was taken", n, len(b))
				}
			}
			if _, _, err := k.again(append(bytes.Clone(b), 0)); err == nil {
				t.Error("a byte too many was taken")
			}
			b[0] = 99
			if _, _, err := k.again(b); err == nil || !strings.Contains(err.Error(), ErrFormat.Msg) {
				t.Errorf("another version: %v", err)
			}
		})
	}
}

func fuzzKind(f *testing.F, name string) {
	var k kindCase
	for _, c := range kindCases() {
		if c.name == name {
			k = c
			seed, _ := k.sample()
			for n := range seed {
				f.Add(seed[:n])
			}
			f.Add(seed)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, again, err := k.again(b)
		if err != nil {
			return
		}
		if !k.loose && !bytes.Equal(again, b) {
			t.Fatalf("read %x, wrote %x", b, again)
		}
		v2, again2, err := k.again(again)
		if err != nil || !reflect.DeepEqual(v, v2) || !bytes.Equal(again, again2) {
			t.Fatalf("read again %+v, was %+v: %v", v2, v, err)
		}
	})
}

func FuzzCluster(f *testing.F)  { fuzzKind(f, "cluster") }
func FuzzGateway(f *testing.F)  { fuzzKind(f, "gateway") }
func FuzzSlot(f *testing.F)     { fuzzKind(f, "slot") }
func FuzzWAL(f *testing.F)      { fuzzKind(f, "wal") }
func FuzzCounter(f *testing.F)  { fuzzKind(f, "counter") }
func FuzzTopic(f *testing.F)    { fuzzKind(f, "topic") }
func FuzzSegment(f *testing.F)  { fuzzKind(f, "segment") }
func FuzzDeletion(f *testing.F) { fuzzKind(f, "deletion") }
func FuzzUser(f *testing.F)     { fuzzKind(f, "user") }
func FuzzACL(f *testing.F)      { fuzzKind(f, "acl") }
func FuzzQuota(f *testing.F)    { fuzzKind(f, "quota") }
func FuzzFeature(f *testing.F)  { fuzzKind(f, "feature") }

func TestSegmentParts(t *testing.T) {
	s := Segment{ULID: testID, Key: "k", Created: 1_700_000_000_000}
	for i := range 60_000 {
		s.Extents = append(s.Extents, Extent{
			Shard: shard.ID{Topic: shard.TopicNum(i)}, Base: int64(i) * 1000, Last: int64(i)*1000 + 9,
			Pos: int64(i) * 200_000, Len: 200, Records: 10, MinTime: s.Created - 5000, MaxTime: s.Created,
		})
	}
	values, err := encodeSegment(&s)
	if err != nil || len(values) != 3 {
		t.Fatalf("%d values: %v", len(values), err)
	}
	for i, v := range values {
		if len(v) > partBytes+100 {
			t.Errorf("value %d has %d bytes", i, len(v))
		}
	}
	b, err := joinParts(values)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeSegment(testID, b)
	if err != nil || !reflect.DeepEqual(got, s) {
		t.Fatalf("read %d extents: %v", len(got.Extents), err)
	}
	t.Logf("%.1f bytes per extent", float64(len(b))/float64(len(s.Extents)))
	for i := range 60_000 {
		s.Extents = append(s.Extents, Extent{Shard: shard.ID{Topic: shard.TopicNum(i + 60_000)}, Pos: 1 << 40})
	}
	if _, err := encodeSegment(&s); shard.KindOf(err) != shard.KindTooLarge {
		t.Fatalf("120000 extents: %v", err)
	}
}

func TestPartName(t *testing.T) {
	for _, name := range []string{testID.String(), testID.String() + "/001", testID.String() + "/008"} {
		id, part, err := parsePart(name)
		if err != nil || partName(id, part) != name {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", "x", testID.String() + "/", testID.String() + "/1", testID.String() + "/009", testID.String() + "/-01", testID.String() + "/000", strings.ToLower(testID.String())} {
		if _, _, err := parsePart(name); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
}

func TestEtcdVersion(t *testing.T) {
	for v, want := range map[string]bool{"3.4.23": false, "3.5.0": true, "3.7.3": true, "4.0.0": true, "2.9": false, "3.10.1": true, "": false, "x": false, "3.5.0-rc.1": true} {
		if atLeast35(v) != want {
			t.Errorf("%q: %v", v, !want)
		}
	}
}

// TestSectionsUnknown: a section of an even kind that is not known is kept, one of
// an odd kind refuses the segment, by the reader and by the writer.
func TestSectionsUnknown(t *testing.T) {
	s := sampleArrivals()
	s.Sections = []Section{{Kind: 2, Data: []byte("x")}}
	values, err := encodeSegment(&s)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(values[0], []byte{1, 2, 1, 'x'})
	if at < 0 {
		t.Fatalf("no section in %x", values[0])
	}
	if _, err := decodeSegment(testID, values[0]); err != nil {
		t.Errorf("optional section: %v", err)
	}
	values[0][at+1] = 3
	if _, err := decodeSegment(testID, values[0]); err == nil || !strings.Contains(err.Error(), ErrFormat.Msg) {
		t.Errorf("required section: %v", err)
	}
	s.Sections[0].Kind = 3
	if _, err := encodeSegment(&s); err == nil {
		t.Error("a section that no reader takes was written")
	}
}

// TestRowsInMemory: what the index reads alone is what the whole segment says.
func TestRowsInMemory(t *testing.T) {
	for _, k := range []kindCase{segmentCaseV1(), segmentCase()} {
		b, v := k.sample()
		want := v.(Segment)
		var in arrivals
		in.take(testID.String(), b)
		in.end()
		if in.bad != nil || len(in.entries) != 1 {
			t.Fatal(in.bad)
		}
		for i, e := range in.edges {
			if x := in.entries[0].extentAt(e.ref.at, e.id); x != want.Extents[i] {
				t.Errorf("%s: row %d is %+v, want %+v", k.dir, i, x, want.Extents[i])
			}
		}
		if !in.entries[0].equal(&want) {
			t.Errorf("%s: the entry is not the segment", k.dir)
		}
	}
}

// TestRowBytes: the row of a flush of 1,000 shards, arrivals included, takes no more
// than what version 1 took without them.
func TestRowBytes(t *testing.T) {
	s := Segment{ULID: testID, Key: "k", Created: 1_700_000_000_000}
	for i := range int64(1000) {
		at := s.Created - 10_000 + 7*i
		s.Extents = append(s.Extents, Extent{Shard: shard.ID{Topic: shard.TopicNum(i)}, Base: 1_000_000 + 100*i, Last: 1_000_099 + 100*i, Pos: 16 + 8000*i,
			Len: 8000, Records: 100, MinTime: at, MaxTime: at + 2900, MinArrival: at + 1, MaxArrival: at + 2902})
	}
	v1 := len(encodeSegmentV1(&s))
	values, err := encodeSegment(&s)
	if err != nil || len(values[0]) > v1 {
		t.Errorf("%d bytes, version 1 %d: %v", len(values[0]), v1, err)
	}
	t.Logf("%d bytes, version 1 %d", len(values[0]), v1)
}
