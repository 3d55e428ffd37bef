package mqtt

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
)

// headerFormat keeps the payload format indicator, which has no common name.
const headerFormat = shard.ReservedPrefix + "mqtt-format"

// headerID names a QoS 2 message of a persistent session, by which it is found
// again after a crash that left open whether it was appended.
const headerID = shard.HeaderDedupeID

// marks are the values of shard.HeaderMQTT by QoS and retain flag.
var marks = [3][2][]byte{{[]byte("0"), []byte("0r")}, {[]byte("1"), []byte("1r")}, {[]byte("2"), []byte("2r")}}

// isRetained and publishedQoS read a mark; foreign messages have none.
func publishedQoS(mark []byte) uint8 {
	if len(mark) == 0 || mark[0] < '0' || mark[0] > '2' {
		return 2
	}
	return mark[0] - '0'
}

func isRetained(mark []byte) bool { return len(mark) == 2 && mark[1] == 'r' }

// headers maps a PUBLISH to record headers, behind dst. The order is part of the
// format: properties lie before shard.HeaderMQTT and user properties behind it,
// so that a user property of a common name stays what it was.
func (t *target) headers(dst []shard.Header, p *packet.Publish, origin, id string) []shard.Header {
	if t.topic != nil && t.topic.Name != t.subject {
		dst = append(dst, shard.Header{Name: shard.HeaderSubject, Value: []byte(t.subject)})
	}
	if !t.exact {
		dst = append(dst, shard.Header{Name: shard.HeaderMQTTTopic, Value: p.Topic})
	}
	if origin != "" {
		dst = append(dst, shard.Header{Name: shard.HeaderOrigin, Value: []byte(origin)})
	}
	if id != "" {
		dst = append(dst, shard.Header{Name: headerID, Value: []byte(id)})
	}
	users := 0
	for v, rest, ok := p.Props.Next(); ok; v, rest, ok = rest.Next() {
		switch v.ID {
		case packet.PropPayloadFormat:
			dst = append(dst, shard.Header{Name: headerFormat, Value: strconv.AppendUint(nil, uint64(v.Num), 10)})
		case packet.PropMessageExpiry:
			ms := strconv.AppendUint(nil, uint64(v.Num)*1000, 10)
			dst = append(dst, shard.Header{Name: shard.HeaderExpiration, Value: ms})
		case packet.PropContentType:
			dst = append(dst, shard.Header{Name: shard.HeaderContentType, Value: v.Data})
		case packet.PropResponseTopic:
			dst = appendReplyTo(dst, v.Data)
		case packet.PropCorrelationData:
			dst = append(dst, shard.Header{Name: shard.HeaderCorrelationID, Value: v.Data})
		case packet.PropUser:
			users++
		}
	}
	retain := 0
	if p.Retain {
		retain = 1
	}
	dst = append(dst, shard.Header{Name: shard.HeaderMQTT, Value: marks[p.QoS][retain]})
	if users == 0 {
		return dst
	}
	for v, rest, ok := p.Props.Next(); ok; v, rest, ok = rest.Next() {
		if v.ID == packet.PropUser && !shard.Reserved(text(v.Name)) {
			dst = append(dst, shard.Header{Name: text(v.Name), Value: v.Data})
		}
	}
	return dst
}

// text shares the bytes of a buffer that outlives the string.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// appendProps maps record headers to the properties of a PUBLISH. It is false
// when the message has expired.
func appendProps(dst packet.Props, m *shard.Message, now time.Time) (packet.Props, bool) {
	r := m.Record
	foreign := true
	for i := range r.Headers {
		if r.Headers[i].Name == shard.HeaderMQTT {
			foreign = false
			break
		}
	}
	reply, used := replyTopic(r, foreign)
	common := true // headers of common names are properties here
	var seen [3]bool
	for i := range r.Headers {
		h := &r.Headers[i]
		if i == used {
			dst = dst.AddData(packet.PropResponseTopic, reply)
			continue
		}
		if shard.Reserved(h.Name) {
			if h.Name == headerFormat && len(h.Value) == 1 {
				dst = dst.AddNum(packet.PropPayloadFormat, uint32(h.Value[0]&1))
			}
			common = common && h.Name != shard.HeaderMQTT
			continue
		}
		if common {
			out, done, ok := appendCommon(dst, m, h, now, &seen)
			if !ok {
				return dst, false
			}
			if done {
				dst = out
				continue
			}
		}
		if foreign && !userProperty(h) {
			continue
		}
		dst = dst.AddUser(h.Name, h.Value)
	}
	return dst, true
}

// userProperty tells whether a foreign header can be sent as one.
func userProperty(h *shard.Header) bool {
	return len(h.Name) <= 65535 && utf8.ValidString(h.Name) && strings.IndexByte(h.Name, 0) < 0 &&
		packet.ValidString(h.Value)
}

// appendCommon maps a header of a common name; done is false when it is none, or
// cannot be one.
func appendCommon(dst packet.Props, m *shard.Message, h *shard.Header, now time.Time, seen *[3]bool) (_ packet.Props, done, ok bool) {
	switch h.Name {
	case shard.HeaderContentType:
		if !seen[0] && packet.ValidString(h.Value) {
			seen[0] = true
			return dst.AddData(packet.PropContentType, h.Value), true, true
		}
	case shard.HeaderCorrelationID:
		if !seen[1] && len(h.Value) <= 65535 {
			seen[1] = true
			return dst.AddData(packet.PropCorrelationData, h.Value), true, true
		}
	case shard.HeaderExpiration:
		at, has := m.Expires()
		if seen[2] || !has {
			return dst, false, true
		}
		seen[2] = true
		left := at - now.UnixMilli()
		if left <= 0 {
			return dst, false, false
		}
		secs := min((left+999)/1000, int64(noExpiry))
		return dst.AddNum(packet.PropMessageExpiry, uint32(secs)), true, true // [MQTT-3.3.2-6]
	}
	return dst, false, true
}

// responseTopic tells whether a text can be a response topic [MQTT-3.3.2-14].
func responseTopic(v []byte) bool { return validTopic(text(v)) }

// validTopic tells whether a name can be sent as the topic of a PUBLISH.
func validTopic(s string) bool {
	return s != "" && len(s) <= 65535 && !strings.ContainsAny(s, "+#\x00") && utf8.ValidString(s)
}

// frozen gives a record that shares no memory with r's.
func frozen(r *shard.Record) (*shard.Record, []byte, error) {
	b := shard.BatchOf(*r)
	rs, err := b.Records()
	if err != nil {
		return nil, nil, err
	}
	return &rs[0], b.Raw(), nil
}

// thaw reads a record that frozen gave the bytes of.
func thaw(raw []byte) (*shard.Record, error) {
	b, err := shard.ParseBatch(raw)
	if err != nil {
		return nil, err
	}
	rs, err := b.Records()
	if err != nil {
		return nil, err
	}
	if len(rs) != 1 {
		return nil, shard.Errorf(shard.KindCorrupt, "read kept message: %d records", len(rs))
	}
	return &rs[0], nil
}

// subjectOfRecord gives the subject of a kept record whose topic is unknown here.
func subjectOfRecord(r *shard.Record, mqttTopic string) string {
	if v, ok := r.Header(shard.HeaderSubject); ok {
		return string(v)
	}
	s, _ := shard.SubjectOfMQTT(mqttTopic)
	return s
}
