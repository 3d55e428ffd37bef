package packet

import (
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// golden is a packet beside its bytes. With an error code the bytes are refused
// with it and packet is nil.
type golden struct {
	name   string
	v      Version
	hex    string
	packet Packet
	err    Code
}

func props(f func(p Props) Props) Props { return f(nil) }

var goldens = []golden{
	{"connect 3.1", V31, "10 11 0006 4d5149736470 03 02 003c 0003 616263", &Connect{Version: V31, CleanStart: true, KeepAlive: 60, ClientID: "abc"}, 0},
	{"connect 3.1.1", V311, "10 0f 0004 4d515454 04 02 000a 0003 616263", &Connect{Version: V311, CleanStart: true, KeepAlive: 10, ClientID: "abc"}, 0},
	{"connect 3.1.1 all", V311, "10 1e 0004 4d515454 04 ec 0000 0001 63 0003 772f74 0002 6869 0001 75 0003 7077 00",
		&Connect{Version: V311, ClientID: "c", Will: &Will{QoS: 1, Retain: true, Topic: "w/t", Payload: []byte("hi")}, HasUser: true, User: "u", HasPassword: true, Password: []byte("pw\x00")}, 0},
	{"connect 5", V5, "10 12 0004 4d515454 05 00 0000 05 11 00000e10 0000", &Connect{Version: V5, Props: props(func(p Props) Props { return p.AddNum(PropSessionExpiry, 3600) })}, 0},
	{"connect 5 will and password without user", V5, "10 1c 0004 4d515454 05 46 0000 00 0001 63 05 18 0000000a 0001 77 0000 0001 70",
		&Connect{Version: V5, CleanStart: true, ClientID: "c", Will: &Will{Props: props(func(p Props) Props { return p.AddNum(PropWillDelay, 10) }), Topic: "w", Payload: []byte{}}, HasPassword: true, Password: []byte("p")}, 0},
	{"connect reserved flag", V311, "10 0c 0004 4d515454 04 03 0000 0000", nil, MalformedPacket},
	{"connect will QoS 3", V311, "10 0c 0004 4d515454 04 1e 0000 0000", nil, MalformedPacket},
	{"connect will QoS without will", V311, "10 0c 0004 4d515454 04 0a 0000 0000", nil, MalformedPacket},
	{"connect will retain without will", V311, "10 0c 0004 4d515454 04 22 0000 0000", nil, MalformedPacket},
	{"connect 3.1.1 password without user", V311, "10 0f 0004 4d515454 04 42 0000 0000 0001 70", nil, MalformedPacket},
	{"connect level 6", V5, "10 0c 0004 4d515454 06 02 0000 0000", nil, UnsupportedProtocolVersion},
	{"connect wrong name", V311, "10 0c 0004 4d515458 04 02 0000 0000", nil, UnsupportedProtocolVersion},
	{"connect client id not UTF-8", V311, "10 0e 0004 4d515454 04 02 0000 0002 c328", nil, MalformedPacket},
	{"connect client id with surrogate", V311, "10 0f 0004 4d515454 04 02 0000 0003 eda080", nil, MalformedPacket},
	{"connect client id with NUL", V311, "10 0f 0004 4d515454 04 02 0000 0003 610062", nil, MalformedPacket},
	{"connect trailing bytes", V311, "10 0d 0004 4d515454 04 02 0000 0000 ff", nil, MalformedPacket},
	{"connect receive maximum 0", V5, "10 10 0004 4d515454 05 02 0000 03 21 0000 0000", nil, ProtocolError},
	{"connect property twice", V5, "10 13 0004 4d515454 05 02 0000 06 21 0001 21 0001 0000", nil, ProtocolError},
	{"connect property of another packet", V5, "10 0f 0004 4d515454 05 02 0000 02 24 01 0000", nil, MalformedPacket},
	{"connect unknown property", V5, "10 0f 0004 4d515454 05 02 0000 02 7e 01 0000", nil, MalformedPacket},
	{"connect request problem info 2", V5, "10 0f 0004 4d515454 05 02 0000 02 17 02 0000", nil, ProtocolError},
	{"connect auth data without method", V5, "10 11 0004 4d515454 05 02 0000 04 16 0001 61 0000", nil, ProtocolError},
	{"connect properties too long", V5, "10 0d 0004 4d515454 05 02 0000 7f 0000", nil, MalformedPacket},

	{"connack 3.1.1", V311, "20 02 01 00", &Connack{SessionPresent: true}, 0},
	{"connack 3.1.1 refused", V311, "20 02 00 05", &Connack{Code: 5}, 0},
	{"connack 5", V5, "20 0a 00 87 07 1f 0004 6e6f7065", &Connack{Code: NotAuthorized, Props: props(func(p Props) Props { return p.AddStr(PropReasonString, "nope") })}, 0},
	{"connack reserved flags", V5, "20 03 02 00 00", nil, MalformedPacket},
	{"connack wrong code", V5, "20 03 00 01 00", nil, ProtocolError},

	{"publish QoS 0", V311, "30 06 0003 612f62 78", &Publish{Topic: []byte("a/b"), Payload: []byte("x")}, 0},
	{"publish QoS 1 dup retain", V311, "3b 06 0001 61 0007 79", &Publish{Dup: true, QoS: 1, Retain: true, Topic: []byte("a"), ID: 7, Payload: []byte("y")}, 0},
	{"publish 5", V5, "34 18 0001 61 0008 11 01 01 02 0000003c 26 0001 6b 0001 76 23 0002 7a",
		&Publish{QoS: 2, Topic: []byte("a"), ID: 8, Payload: []byte("z"), Props: props(func(p Props) Props {
			return p.AddNum(PropPayloadFormat, 1).AddNum(PropMessageExpiry, 60).AddUser("k", []byte("v")).AddNum(PropTopicAlias, 2)
		})}, 0},
	{"publish 5 alias only", V5, "30 07 0000 03 23 0001 78", &Publish{Topic: []byte{}, Props: Props{0x23, 0, 1}, Payload: []byte("x")}, 0},
	{"publish 5 two subscription identifiers", V5, "30 0a 0001 61 05 0b 01 0b ff7f 78", &Publish{Topic: []byte("a"), Props: Props{0x0b, 1, 0x0b, 0xff, 0x7f}, Payload: []byte("x")}, 0},
	{"publish QoS 3", V311, "36 05 0001 61 0001", nil, MalformedPacket},
	{"publish dup at QoS 0", V311, "38 03 0001 61", nil, MalformedPacket},
	{"publish id 0", V311, "32 05 0001 61 0000", nil, ProtocolError},
	{"publish no topic", V311, "30 02 0000", nil, MalformedPacket},
	{"publish 5 no topic no alias", V5, "30 03 0000 00", nil, ProtocolError},
	{"publish wildcard", V311, "30 05 0003 612f23", nil, TopicNameInvalid},
	{"publish plus", V5, "30 06 0003 612f2b 00", nil, TopicNameInvalid},
	{"publish payload format 2", V5, "30 06 0001 61 02 01 02", nil, ProtocolError},
	{"publish user property not UTF-8", V5, "30 0b 0001 61 07 26 0001 6b 0001 ff", nil, MalformedPacket},
	{"publish subscription identifier 0", V5, "30 06 0001 61 02 0b 00", nil, ProtocolError},
	{"publish long subscription identifier", V5, "30 09 0001 61 05 0b ffffffff", nil, MalformedPacket},

	{"puback 3.1.1", V311, "40 02 0001", &Ack{Kind: PUBACK, ID: 1}, 0},
	{"puback 5 short", V5, "40 02 0001", &Ack{Kind: PUBACK, ID: 1}, 0},
	{"puback 5 code", V5, "40 03 0001 97", &Ack{Kind: PUBACK, ID: 1, Code: QuotaExceeded}, 0},
	{"pubrec 5 reason", V5, "50 08 0001 80 04 1f 0001 61", &Ack{Kind: PUBREC, ID: 1, Code: UnspecifiedError, Props: Props{0x1f, 0, 1, 'a'}}, 0},
	{"pubrel", V311, "62 02 0102", &Ack{Kind: PUBREL, ID: 258}, 0},
	{"pubcomp 5 not found", V5, "70 03 0102 92", &Ack{Kind: PUBCOMP, ID: 258, Code: PacketIDNotFound}, 0},
	{"pubrel flags", V311, "60 02 0102", nil, MalformedPacket},
	{"puback flags", V311, "41 02 0102", nil, MalformedPacket},
	{"puback id 0", V311, "40 02 0000", nil, ProtocolError},
	{"puback 3.1.1 with a code", V311, "40 03 0001 00", nil, MalformedPacket},
	{"puback 5 wrong code", V5, "40 03 0001 92", nil, ProtocolError},

	{"subscribe 3.1.1", V311, "82 0b 0001 0001 61 00 0002 622f 02", &Subscribe{ID: 1, Filters: []Subscription{{Filter: "a"}, {Filter: "b/", QoS: 2}}}, 0},
	{"subscribe 5", V5, "82 09 0001 02 0b 05 0001 61 2d", &Subscribe{ID: 1, Props: Props{0x0b, 5}, Filters: []Subscription{{Filter: "a", QoS: 1, NoLocal: true, RetainAsPublished: true, RetainHandling: 2}}}, 0},
	{"subscribe nothing", V311, "82 02 0001", nil, ProtocolError},
	{"subscribe QoS 3", V311, "82 06 0001 0001 61 03", nil, MalformedPacket},
	{"subscribe 3.1.1 options", V311, "82 06 0001 0001 61 04", nil, MalformedPacket},
	{"subscribe 5 reserved options", V5, "82 07 0001 00 0001 61 40", nil, MalformedPacket},
	{"subscribe 5 retain handling 3", V5, "82 07 0001 00 0001 61 30", nil, ProtocolError},
	{"subscribe 5 two identifiers", V5, "82 0b 0001 04 0b 05 0b 06 0001 61 00", nil, ProtocolError},
	{"subscribe flags", V311, "80 06 0001 0001 61 00", nil, MalformedPacket},
	{"suback", V5, "90 06 0001 00 00 02 87", &Suback{ID: 1, Codes: []Code{0, 2, NotAuthorized}}, 0},
	{"suback 3.1.1", V311, "90 04 0001 01 80", &Suback{ID: 1, Codes: []Code{1, 0x80}}, 0},
	{"suback 3.1.1 wrong code", V311, "90 03 0001 03", nil, ProtocolError},
	{"unsubscribe", V311, "a2 05 0001 0001 61", &Unsubscribe{ID: 1, Filters: []string{"a"}}, 0},
	{"unsubscribe 5", V5, "a2 09 0002 00 0001 61 0001 62", &Unsubscribe{ID: 2, Filters: []string{"a", "b"}}, 0},
	{"unsubscribe nothing", V5, "a2 03 0002 00", nil, ProtocolError},
	{"unsuback 3.1.1", V311, "b0 02 0001", &Unsuback{ID: 1}, 0},
	{"unsuback 5", V5, "b0 05 0001 00 00 11", &Unsuback{ID: 1, Codes: []Code{0, NoSubscriptionExisted}}, 0},
	{"pingreq", V311, "c0 00", &Ping{Kind: PINGREQ}, 0},
	{"pingresp", V5, "d0 00", &Ping{Kind: PINGRESP}, 0},
	{"pingreq with a body", V311, "c0 01 00", nil, MalformedPacket},
	{"disconnect", V311, "e0 00", &Disconnect{}, 0},
	{"disconnect 5 short", V5, "e0 00", &Disconnect{}, 0},
	{"disconnect 5 will", V5, "e0 01 04", &Disconnect{Code: DisconnectWithWill}, 0},
	{"disconnect 5 expiry", V5, "e0 07 00 05 11 00000000", &Disconnect{Props: Props{0x11, 0, 0, 0, 0}}, 0},
	{"disconnect 3.1.1 with a body", V311, "e0 01 00", nil, MalformedPacket},
	{"disconnect 5 wrong code", V5, "e0 01 01", nil, ProtocolError},
	{"auth", V5, "f0 09 18 07 15 0004 504c4149", &Auth{Code: ContinueAuthentication, Props: Props{0x15, 0, 4, 'P', 'L', 'A', 'I'}}, 0},
	{"auth 3.1.1", V311, "f0 00", nil, MalformedPacket},
	{"type 0", V311, "00 00", nil, MalformedPacket},
	{"length of five bytes", V311, "30 80808080 01", nil, MalformedPacket},
	{"length longer than need be", V311, "30 8000", nil, MalformedPacket},
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// decodeAll reads one packet and demands that nothing is left.
func decodeAll(b []byte, v Version) (Packet, error) {
	h, n, err := DecodeHeader(b)
	if err != nil {
		return nil, err
	}
	if n == 0 || len(b) < n {
		return nil, errShort
	}
	return Decode(h, b[n:], v)
}

func TestGolden(t *testing.T) {
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			raw := unhex(t, g.hex)
			got, err := decodeAll(raw, g.v)
			if g.packet == nil {
				var pe *Error
				if !errors.As(err, &pe) || pe.Code != g.err {
					t.Fatalf("decode: %v, want %v", err, g.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, g.packet) {
				t.Fatalf("decoded %#v\nwant    %#v", got, g.packet)
			}
			if out := g.packet.Append(nil, g.v); hex.EncodeToString(out) != hex.EncodeToString(raw) {
				t.Fatalf("encoded %x\nwant    %x", out, raw)
			}
		})
	}
}

// TestPrefixes cuts every valid packet everywhere: as a frame it is incomplete,
// and a body that is shorter than it says is refused, where it is not a valid
// shorter form.
func TestPrefixes(t *testing.T) {
	for _, g := range goldens {
		if g.packet == nil {
			continue
		}
		raw := unhex(t, g.hex)
		h, n, err := DecodeHeader(raw)
		if err != nil {
			t.Fatal(g.name, err)
		}
		for cut := range n {
			if _, k, err := DecodeHeader(raw[:cut]); k != 0 || err != nil {
				t.Fatalf("%s: header of %d bytes: %d, %v", g.name, cut, k, err)
			}
		}
		for cut := n; cut < len(raw); cut++ {
			if _, err := Decode(h, raw[n:cut], g.v); err == nil {
				t.Fatalf("%s: body cut at %d decodes", g.name, cut)
			}
			short := h
			short.Len = cut - n
			p, err := Decode(short, raw[n:cut], g.v)
			if err == nil && reflect.DeepEqual(p, g.packet) {
				t.Fatalf("%s: cut at %d decodes to the same packet", g.name, cut)
			}
		}
	}
}

func TestCodesHaveNames(t *testing.T) {
	for typ, codes := range codesOf {
		for _, c := range codes {
			if _, ok := codeNames[c]; !ok {
				t.Errorf("%v 0x%02x has no name", typ, uint8(c))
			}
		}
	}
}

func TestPublishDoesNotAllocate(t *testing.T) {
	p := Publish{QoS: 1, Topic: []byte("sensors/kitchen/temp"), ID: 1, Payload: make([]byte, 128),
		Props: Props(nil).AddNum(PropMessageExpiry, 60).AddStr(PropContentType, "text/plain").AddUser("k", []byte("v")).AddNum(PropTopicAlias, 1)}
	raw := p.Append(nil, V5)
	h, n, err := DecodeHeader(raw)
	if err != nil {
		t.Fatal(err)
	}
	var q Publish
	buf := make([]byte, 0, len(raw))
	if a := testing.AllocsPerRun(100, func() {
		if err := q.Decode(h.Flags, raw[n:], V5); err != nil {
			t.Fatal(err)
		}
		buf = q.Append(buf[:0], V5)
	}); a != 0 {
		t.Fatalf("%v allocations", a)
	}
}

func BenchmarkPublishDecode(b *testing.B) {
	p := Publish{QoS: 1, Topic: []byte("sensors/kitchen/temp"), ID: 1, Payload: make([]byte, 128),
		Props: Props(nil).AddNum(PropMessageExpiry, 60).AddStr(PropContentType, "text/plain").AddUser("k", []byte("v")).AddNum(PropTopicAlias, 1)}
	for _, v := range []Version{V311, V5} {
		raw := p.Append(nil, v)
		h, n, _ := DecodeHeader(raw)
		b.Run(map[Version]string{V311: "v3.1.1", V5: "v5"}[v], func(b *testing.B) {
			b.ReportAllocs()
			var q Publish
			for b.Loop() {
				if err := q.Decode(h.Flags, raw[n:], v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	if len(goldens) == 0 {
		f.Fatal("no seeds")
	}
	for _, g := range goldens {
		f.Add(uint8(g.v), unhex(f, g.hex))
	}
	f.Fuzz(func(t *testing.T, v uint8, raw []byte) {
		ver := Version(v)
		if ver != V31 && ver != V311 && ver != V5 {
			ver = V5
		}
		p, err := decodeAll(raw, ver)
		if err != nil {
			var pe *Error
			if !errors.As(err, &pe) || !pe.Code.Failed() {
				t.Fatalf("error %v is not an *Error with a failure", err)
			}
			return
		}
		if c, ok := p.(*Connect); ok {
			ver = c.Version
		}
		out := p.Append(nil, ver)
		q, err := decodeAll(out, ver)
		if err != nil || !reflect.DeepEqual(p, q) {
			t.Fatalf("%x decodes to %#v, encodes to %x, decodes to %#v, %v", raw, p, out, q, err)
		}
		switch p.(type) {
		case *Ack, *Disconnect, *Auth: // have short forms
		default:
			if string(out) != string(raw) {
				t.Fatalf("%x encodes to %x", raw, out)
			}
		}
	})
}

func FuzzProps(f *testing.F) {
	f.Add([]byte{0x01, 1, 0x26, 0, 1, 'a', 0, 1, 'b'})
	f.Add([]byte{0x0b, 0xff, 0x7f, 0x23, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		p := Props(b)
		if p.check(PUBLISH) != nil {
			return
		}
		var out Props
		for v, rest, ok := p.Next(); ok; v, rest, ok = rest.Next() {
			switch infoOf(v.ID).kind {
			case kindPair:
				out = out.AddUser(string(v.Name), v.Data)
			case kindString, kindBinary:
				out = out.AddData(v.ID, v.Data)
			default:
				out = out.AddNum(v.ID, v.Num)
			}
		}
		if string(out) != string(b) {
			t.Fatalf("%x is rebuilt as %x", b, out)
		}
	})
}
