package frame

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// golden frames, written by hand from the specification.
var golden = []struct {
	name    string
	hex     string
	channel uint16
	method  Method
}{
	{"channel.open", "01 0001 00000005 0014000a 00 ce", 1, &ChannelOpen{}},
	{"connection.tune", "01 0000 0000000c 000a001e 07ff 00020000 003c ce", 0, &ConnectionTune{ChannelMax: 2047, FrameMax: 131072, Heartbeat: 60}},
	{"queue.declare", "01 0001 0000000d 0032000a 0000 0171 02 00000000 ce", 1, &QueueDeclare{Queue: "q", Durable: true}},
	{
		"queue.declare with arguments", "01 0001 0000001c 0032000a 0000 0171 1a 0000000e 09782d657870697265 73 49 00000064 ce", 1, nil,
	},
	{"exchange.declare", "01 0002 00000014 0028000a 0000 0178 06 66616e6f7574 0e 00000000 ce", 2, &ExchangeDeclare{Exchange: "x", Type: "fanout", Durable: true, AutoDelete: true, Internal: true}},
	{"basic.publish", "01 0001 0000000b 003c0028 0000 00 026b31 01 ce", 1, &BasicPublish{RoutingKey: "k1", Mandatory: true}},
	{"basic.ack", "01 0001 0000000d 003c0050 0000000000000007 01 ce", 1, &BasicAck{DeliveryTag: 7, Multiple: true}},
	{"basic.nack", "01 0001 0000000d 003c0078 0000000000000007 03 ce", 1, &BasicNack{DeliveryTag: 7, Multiple: true, Requeue: true}},
	{"basic.deliver", "01 0001 00000013 003c003c 0163 0000000000000001 01 0165 0172 ce", 1, &BasicDeliver{ConsumerTag: "c", DeliveryTag: 1, Redelivered: true, Exchange: "e", RoutingKey: "r"}},
	{"connection.close", "01 0000 0000000d 000a0032 0140 02 6f6b 0000 0000 ce", 0, &ConnectionClose{ReplyCode: 320, ReplyText: "ok"}},
	{"confirm.select", "01 0001 00000005 0055000a 01 ce", 1, &ConfirmSelect{NoWait: true}},
	{"connection.blocked", "01 0000 00000008 000a003c 03 6c6f77 ce", 0, &ConnectionBlocked{Reason: "low"}},
}

func TestGoldenMethods(t *testing.T) {
	for _, g := range golden {
		t.Run(g.name, func(t *testing.T) {
			b := unhex(t, g.hex)
			f, n, err := Parse(b, MinMax)
			if g.method == nil { // a length that is wrong by hand
				if _, _, err = Decode(f.Payload); err == nil && n == len(b) {
					t.Fatal("a table that is longer than its frame was taken")
				}
				return
			}
			if err != nil || n != len(b) || f.Channel != g.channel {
				t.Fatalf("Parse = %+v, %d, %v", f, n, err)
			}
			m, id, err := Decode(f.Payload)
			if err != nil || id != g.method.ID() || !reflect.DeepEqual(m, g.method) {
				t.Fatalf("Decode = %+v, %v, %v; want %+v", m, id, err, g.method)
			}
			if got := AppendMethod(nil, g.channel, m); !bytes.Equal(got, b) {
				t.Fatalf("AppendMethod = %x, want %x", got, b)
			}
		})
	}
}

func TestGoldenContent(t *testing.T) {
	p := Properties{
		Flags: HasContentType | HasHeaders | HasDeliveryMode | HasTimestamp, ContentType: "a/b", DeliveryMode: 2, Timestamp: 5,
		Headers: Table{{"n", Int(1)}},
	}
	got := AppendContent(nil, 3, &p, []byte("hello"), 4+Overhead)
	want := unhex(t, "02 0003 0000002a 003c 0000 0000000000000005 b040 03 612f62 0000000b 016e 6c 0000000000000001 02 0000000000000005 ce"+
		"03 0003 00000004 68656c6c ce 03 0003 00000001 6f ce")
	if !bytes.Equal(got, want) {
		t.Fatalf("AppendContent = %x\nwant %x", got, want)
	}
	f, _, err := Parse(got, MinMax)
	if err != nil {
		t.Fatal(err)
	}
	h, err := DecodeHeader(f.Payload)
	if err != nil || h.BodySize != 5 || !reflect.DeepEqual(h.Properties, p) {
		t.Fatalf("DecodeHeader = %+v, %v", h, err)
	}
	if len(AppendContent(nil, 1, &Properties{}, nil, MinMax)) != Overhead+14 {
		t.Error("an empty body has frames")
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct {
		name, hex string
		want      error
	}{
		{"type", "09", ErrType},
		{"type 0", "00 0000 00000000 ce", ErrType},
		{"too large", "01 0000 00000ff9", ErrTooLarge},
		{"huge", "03 0001 ffffffff", ErrTooLarge},
		{"end", "08 0000 00000000 00", ErrEnd},
	} {
		if _, _, err := Parse(unhex(t, c.hex), MinMax); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if _, _, err := Decode(unhex(t, "00ff0001")); !errors.Is(err, ErrMethod) {
		t.Errorf("unknown method: %v", err)
	}
	if _, _, err := Decode(unhex(t, "0014000a 00 00")); !errors.Is(err, ErrSyntax) {
		t.Errorf("trailing bytes: %v", err)
	}
}

// Every prefix of a frame asks for more or is refused, and none is taken for
// a method.
func TestEveryPrefix(t *testing.T) {
	all := allMethods()
	for _, m := range all {
		b := AppendMethod(nil, 1, m)
		for i := range b {
			if _, n, err := Parse(b[:i], MinMax); n != 0 || err != nil {
				t.Fatalf("%s: prefix of %d bytes: %d, %v", m.ID(), i, n, err)
			}
		}
		payload := b[HeaderBytes : len(b)-1]
		for i := range payload {
			if _, _, err := Decode(payload[:i]); err == nil {
				t.Fatalf("%s: prefix of %d of %d bytes decodes", m.ID(), i, len(payload))
			}
		}
	}
}

// allMethods gives every method of the table, fields filled in.
func allMethods() (out []Method) {
	for id := range methods {
		m := newMethod(id)
		v := reflect.ValueOf(m).Elem()
		for i := range v.NumField() {
			switch f := v.Field(i); f.Kind() {
			case reflect.Bool:
				f.SetBool(i%2 == 0)
			case reflect.String:
				f.SetString("s")
			case reflect.Slice:
				if f.Type() == reflect.TypeFor[Table]() {
					f.Set(reflect.ValueOf(everyKind()))
				} else {
					f.SetBytes([]byte{1, 2})
				}
			default:
				f.SetUint(uint64(i + 1))
			}
		}
		out = append(out, m)
	}
	return out
}

func TestEveryMethodRoundTrips(t *testing.T) {
	all := allMethods()
	if len(all) != 64 {
		t.Errorf("%d methods in the table", len(all))
	}
	for _, m := range all {
		got, id, err := Decode(m.Append(nil))
		if err != nil || id != m.ID() || !reflect.DeepEqual(got, m) {
			t.Errorf("%s: %+v, %v; want %+v", m.ID(), got, err, m)
		}
		if !id.FromClient() && !id.FromServer() {
			t.Errorf("%s is nobody's to send", id)
		}
	}
}

// TestDecoder: it reads what Decode reads, whatever it read before.
func TestDecoder(t *testing.T) {
	var d Decoder
	ms := append(allMethods(), &BasicPublish{Exchange: "a", RoutingKey: "k"}, &BasicPublish{Exchange: "a", RoutingKey: "other", Mandatory: true},
		&BasicPublish{Exchange: "", RoutingKey: "other", Immediate: true}, &BasicAck{DeliveryTag: 7, Multiple: true}, &BasicAck{DeliveryTag: 8})
	for _, m := range ms {
		for cut := range len(m.Append(nil)) + 1 {
			payload := m.Append(nil)[:cut]
			want, wid, werr := Decode(payload)
			got, id, err := d.Decode(payload)
			if !reflect.DeepEqual(got, want) || id != wid || (err == nil) != (werr == nil) {
				t.Fatalf("%s cut at %d: %+v %s %v, want %+v %s %v", m.ID(), cut, got, id, err, want, wid, werr)
			}
		}
	}
	publish := (&BasicPublish{Exchange: "an exchange", RoutingKey: "a key"}).Append(nil)
	if n := testing.AllocsPerRun(100, func() { _, _, _ = d.Decode(publish) }); n > 0 {
		t.Errorf("%v allocations for a publish like the last", n)
	}
}

func everyKind() Table {
	return Table{
		{"t", Bool(true)}, {"b", Value{Kind: KindInt8, Num: 0x80}}, {"B", Value{Kind: KindUint8, Num: 255}},
		{"s", Value{Kind: KindInt16, Num: 0xffff}}, {"u", Value{Kind: KindUint16, Num: 65535}},
		{"I", Value{Kind: KindInt32, Num: 0xfffffffe}}, {"i", Value{Kind: KindUint32, Num: 0xfffffffe}},
		{"l", Int(-3)}, {"L", Value{Kind: KindLongLong, Num: 9}},
		{"f", Value{Kind: KindFloat, Num: uint64(math.Float32bits(1.5))}}, {"d", Value{Kind: KindDouble, Num: math.Float64bits(-0.1)}},
		{"D", Value{Kind: KindDecimal, Num: 2<<32 | 12345}}, {"S", String("text")}, {"x", Value{Kind: KindBytes, Str: "\x00\xff"}},
		{"T", Value{Kind: KindTimestamp, Num: 1700000000}}, {"V", Value{Kind: KindVoid}},
		{"A", Value{Kind: KindArray, List: Table{{"", Int(1)}, {"", String("y")}}}},
		{"F", Nested(Table{{"k", Bool(false)}, {"k", Value{Kind: KindVoid}}})},
	}
}

func TestTableText(t *testing.T) {
	want := map[string]string{
		"t": "true", "b": "-128", "B": "255", "s": "-1", "u": "65535", "I": "-2", "i": "4294967294", "l": "-3", "L": "9",
		"f": "1.5", "d": "-0.1", "D": "123.45", "S": "text", "x": "\x00\xff", "T": "1700000000", "A": `[1,"y"]`, "F": `{"k":null}`,
	}
	for _, f := range everyKind() {
		got, ok := f.Value.Text()
		if got != want[f.Name] || ok != (f.Name != "V") {
			t.Errorf("%s: Text = %q, %v", f.Name, got, ok)
		}
		if back, ok := ParseValue(f.Value.Kind, got); f.Name != "A" && f.Name != "F" && (!ok || !reflect.DeepEqual(back, f.Value)) {
			t.Errorf("%s: ParseValue(%q) = %+v, %v; want %+v", f.Name, got, back, ok, f.Value)
		}
	}
}

func TestTableCaps(t *testing.T) {
	deep := Value{Kind: KindVoid}
	for range MaxTableDepth {
		deep = Nested(Table{{"d", deep}})
	}
	if _, err := DecodeValue(AppendValue(nil, deep)); err != nil {
		t.Errorf("a table of the greatest depth: %v", err)
	}
	if _, err := DecodeValue(AppendValue(nil, Nested(Table{{"d", deep}}))); !errors.Is(err, ErrSyntax) {
		t.Errorf("a table that is too deep: %v", err)
	}
	wide := make(Table, MaxTableEntries+1)
	for i := range wide {
		wide[i] = Field{"", Value{Kind: KindVoid}}
	}
	if _, err := DecodeTable(AppendTable(nil, wide)); !errors.Is(err, ErrSyntax) {
		t.Errorf("a table with too many entries: %v", err)
	}
	if _, err := DecodeTable(unhex(t, "0161 53 ffffffff 61")); !errors.Is(err, ErrSyntax) {
		t.Errorf("a string longer than the table: %v", err)
	}
	if _, err := DecodeTable(unhex(t, "0161 5a")); !errors.Is(err, ErrSyntax) {
		t.Errorf("an unknown kind: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, m := range allMethods() {
		f.Add(AppendMethod(nil, 1, m))
	}
	f.Add(AppendContent(nil, 1, &Properties{Flags: HasHeaders, Headers: everyKind()}, []byte("body"), MinMax))
	f.Add(AppendHeartbeat(nil))
	var d Decoder
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, n, err := Parse(b, 64<<10)
		if err != nil || n == 0 {
			return
		}
		switch fr.Type {
		case TypeMethod:
			m, _, err := Decode(fr.Payload)
			if got, _, derr := d.Decode(fr.Payload); (derr == nil) != (err == nil) || !reflect.DeepEqual(got, m) {
				t.Fatalf("%x: %+v, %v; want %+v, %v", fr.Payload, got, derr, m, err)
			}
			if err != nil {
				return
			}
			// Reserved fields and unused bits are not kept: what was decoded is.
			again, _, err := Decode(m.Append(nil))
			if err != nil || !bytes.Equal(again.Append(nil), m.Append(nil)) {
				t.Fatalf("%s does not survive: %v", m.ID(), err)
			}
		case TypeHeader:
			h, err := DecodeHeader(fr.Payload)
			if err == nil && !bytes.Equal(h.Append(nil), fr.Payload) {
				t.Fatalf("header %+v does not survive", h)
			}
		}
	})
}

func FuzzTable(f *testing.F) {
	f.Add(AppendTable(nil, everyKind()))
	f.Add([]byte{1, 'a', 'F', 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		tab, err := DecodeTable(b)
		if err != nil {
			return
		}
		if got := AppendTable(nil, tab); !bytes.Equal(got, b) {
			t.Fatalf("%x became %x", b, got)
		}
		for i := range tab {
			tab[i].Value.Text()
		}
	})
}
