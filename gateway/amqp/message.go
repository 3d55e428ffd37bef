package amqp

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// Reserved headers of this gateway; doc.go has their format.
const (
	headerTypes = shard.ReservedPrefix + "amqp-types"
	headerExtra = shard.ReservedPrefix + "amqp"
)

// maxTypes bounds headerTypes when it is read, in bytes.
const maxTypes = 1 << 20

// common are the properties with a name of their own, in the order in which they
// are stored.
var common = [...]struct {
	flag uint16
	name string
	text func(p *frame.Properties) *string
}{
	{frame.HasContentType, shard.HeaderContentType, func(p *frame.Properties) *string { return &p.ContentType }},
	{frame.HasContentEncoding, shard.HeaderContentEncoding, func(p *frame.Properties) *string { return &p.ContentEncoding }},
	{frame.HasCorrelationID, shard.HeaderCorrelationID, func(p *frame.Properties) *string { return &p.CorrelationID }},
	{frame.HasReplyTo, shard.HeaderReplyTo, func(p *frame.Properties) *string { return &p.ReplyTo }},
	{frame.HasExpiration, shard.HeaderExpiration, func(p *frame.Properties) *string { return &p.Expiration }},
	{frame.HasMessageID, shard.HeaderMessageID, func(p *frame.Properties) *string { return &p.MessageID }},
	{frame.HasType, shard.HeaderType, func(p *frame.Properties) *string { return &p.Type }},
	{frame.HasUserID, shard.HeaderUserID, func(p *frame.Properties) *string { return &p.UserID }},
	{frame.HasAppID, shard.HeaderAppID, func(p *frame.Properties) *string { return &p.AppID }},
}

func isCommon(name string) bool {
	if name == shard.HeaderPriority {
		return true
	}
	for i := range common {
		if common[i].name == name {
			return true
		}
	}
	return false
}

// appendHeaders gives the record headers of a message's properties.
func appendHeaders(hs []shard.Header, p *frame.Properties) []shard.Header {
	for i := range common {
		if f := &common[i]; p.Flags&f.flag != 0 {
			hs = append(hs, shard.Header{Name: f.name, Value: []byte(*f.text(p))})
		}
	}
	if p.Flags&frame.HasPriority != 0 {
		hs = append(hs, shard.Header{Name: shard.HeaderPriority, Value: strconv.AppendUint(nil, uint64(p.Priority), 10)})
	}
	hs, types := appendTable(hs, p.Headers)
	if types != nil {
		hs = append(hs, shard.Header{Name: headerTypes, Value: types})
	}
	if extra := extraOf(p); extra != nil {
		hs = append(hs, shard.Header{Name: headerExtra, Value: extra})
	}
	return hs
}

// onlyPersistent is the headerExtra of a message with delivery mode 2 and nothing
// else: of most of them. Nobody changes it.
var onlyPersistent = []byte("d2")

// extraOf gives headerExtra, nil where there is nothing to keep. The caller does
// not change it.
func extraOf(p *frame.Properties) (b []byte) {
	const all = frame.HasDeliveryMode | frame.HasTimestamp | frame.HasClusterID
	if p.Flags&all == frame.HasDeliveryMode && p.DeliveryMode == 2 {
		return onlyPersistent
	}
	if p.Flags&frame.HasDeliveryMode != 0 {
		b = strconv.AppendUint(append(b, 'd'), uint64(p.DeliveryMode), 10)
	}
	if p.Flags&frame.HasTimestamp != 0 {
		b = strconv.AppendUint(append(b, 't'), p.Timestamp, 10)
	}
	if p.Flags&frame.HasClusterID != 0 {
		b = append(append(b, 'c'), p.ClusterID...)
	}
	return b
}

// appendTable adds the fields of a headers table. types is nil where they can be
// told without: all strings, none under a property's name.
func appendTable(hs []shard.Header, t frame.Table) (_ []shard.Header, types []byte) {
	plain := true
	types = []byte{}
	for i := range t {
		f := &t[i]
		if shard.Reserved(f.Name) {
			continue // ours alone
		}
		h := shard.Header{Name: f.Name}
		if s, ok := f.Value.Text(); ok {
			h.Value = []byte(s)
		}
		hs = append(hs, h)
		types = append(types, byte(f.Value.Kind))
		plain = plain && f.Value.Kind == frame.KindString && !isCommon(f.Name)
		if k := f.Value.Kind; k == frame.KindTable || k == frame.KindArray {
			v := frame.AppendValue(nil, f.Value)
			types = append(binary.AppendUvarint(types, uint64(len(v))), v...)
		}
	}
	if plain {
		return hs, nil
	}
	return hs, types
}

// properties gives the properties of a record: the inverse of appendHeaders for
// what AMQP wrote, and the common mapping for the rest.
func properties(r *shard.Record) (p frame.Properties) {
	var own []shard.Header // not reserved
	var types []byte
	for _, h := range r.Headers {
		switch {
		case !shard.Reserved(h.Name):
			own = append(own, h)
		case h.Name == headerTypes && len(h.Value) <= maxTypes:
			types = h.Value
		case h.Name == headerExtra:
			readExtra(&p, string(h.Value))
		case h.Name == shard.HeaderReplySubject && p.Flags&frame.HasReplyTo == 0 && len(h.Value) <= frame.MaxShortstr:
			p.Flags |= frame.HasReplyTo
			p.ReplyTo = string(h.Value)
		}
	}
	values, ok := readTypes(types)
	if !ok || len(values) > len(own) {
		values = nil
	}
	table := len(own) - len(values) // where the typed ones begin
	if values == nil {
		table = len(own)
	}
	for i, h := range own[:table] {
		if !setCommon(&p, own[:i], h) {
			p.Headers = addForeign(p.Headers, h)
		}
	}
	for i, h := range own[table:] {
		p.Headers = append(p.Headers, frame.Field{Name: h.Name, Value: typed(values[i], h.Value)})
	}
	if p.Headers != nil {
		p.Flags |= frame.HasHeaders
	}
	return p
}

func readExtra(p *frame.Properties, s string) {
	number := func() uint64 {
		s = s[1:]
		n := 0
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		v, _ := strconv.ParseUint(s[:n], 10, 64)
		s = s[n:]
		return v
	}
	if strings.HasPrefix(s, "d") {
		p.Flags |= frame.HasDeliveryMode
		p.DeliveryMode = uint8(number())
	}
	if strings.HasPrefix(s, "t") {
		p.Flags |= frame.HasTimestamp
		p.Timestamp = number()
	}
	if strings.HasPrefix(s, "c") && len(s) <= frame.MaxShortstr+1 {
		p.Flags |= frame.HasClusterID
		p.ClusterID = s[1:]
	}
}

// readTypes gives a value per typed field: its kind, with the content for
// tables and arrays.
func readTypes(b []byte) (vs []frame.Value, ok bool) {
	for len(b) > 0 {
		v := frame.Value{Kind: frame.Kind(b[0])}
		b = b[1:]
		if v.Kind == frame.KindTable || v.Kind == frame.KindArray {
			n, w := binary.Uvarint(b)
			if w <= 0 || n > uint64(len(b)-w) {
				return nil, false
			}
			var err error
			if v, err = frame.DecodeValue(b[w : w+int(n)]); err != nil {
				return nil, false
			}
			b = b[w+int(n):]
		}
		vs = append(vs, v)
	}
	return vs, true
}

// typed gives the value of a typed field from its text.
func typed(v frame.Value, text []byte) frame.Value {
	if v.Kind == frame.KindTable || v.Kind == frame.KindArray {
		return v
	}
	if parsed, ok := frame.ParseValue(v.Kind, string(text)); ok {
		return parsed
	}
	return frame.String(string(text))
}

// setCommon sets the property that a header is, if it is one, is the first of
// its name and fits.
func setCommon(p *frame.Properties, before []shard.Header, h shard.Header) bool {
	if h.Value == nil || len(h.Value) > frame.MaxShortstr || !isCommon(h.Name) {
		return false
	}
	for i := range before {
		if before[i].Name == h.Name {
			return false
		}
	}
	if h.Name == shard.HeaderPriority {
		n, err := strconv.ParseUint(string(h.Value), 10, 8)
		if err != nil {
			return false
		}
		p.Flags |= frame.HasPriority
		p.Priority = uint8(n)
		return true
	}
	for i := range common {
		if f := &common[i]; f.name == h.Name {
			p.Flags |= f.flag
			*f.text(p) = string(h.Value)
		}
	}
	return true
}

// addForeign adds a header of a message that did not come by AMQP: a string,
// void for null, and an array of them where the name repeats, which a table
// cannot.
func addForeign(t frame.Table, h shard.Header) frame.Table {
	v := frame.Value{Kind: frame.KindVoid}
	if h.Value != nil {
		v = frame.String(string(h.Value))
	}
	for i := range t {
		if t[i].Name != h.Name {
			continue
		}
		if old := t[i].Value; old.Kind != frame.KindArray {
			t[i].Value = frame.Value{Kind: frame.KindArray, List: frame.Table{{Value: old}}}
		}
		t[i].Value.List = append(t[i].Value.List, frame.Field{Value: v})
		return t
	}
	return append(t, frame.Field{Name: h.Name, Value: v})
}

// appendRecord encodes a record as content; the broker's own headers come before
// the message's.
func appendRecord(b []byte, channel uint16, r *shard.Record, frameMax int, own ...frame.Field) []byte {
	p := properties(r)
	room := frameMax - 1024 - 11*frame.MaxShortstr
	own = cutHeaders(own, room)
	room -= headersSize(own)
	if n := headersSize(p.Headers); n > room {
		p.Headers = cutHeaders(p.Headers, room)
	}
	if len(own) > 0 {
		p.Headers = slices.DeleteFunc(p.Headers, func(f frame.Field) bool { _, ok := frame.Table(own).Get(f.Name); return ok })
		p.Headers, p.Flags = append(own, p.Headers...), p.Flags|frame.HasHeaders
	}
	return frame.AppendContent(b, channel, &p, r.Value, frameMax)
}

// headersSize is about what a table of other protocols' headers takes.
func headersSize(t frame.Table) int {
	n := 0
	for i := range t {
		n += len(t[i].Name) + len(t[i].Value.Str) + headersSize(t[i].Value.List) + 16
	}
	return n
}

// cutHeaders leaves out the headers that would not fit into a frame: a content
// header is one frame (AMQP 4.2.6.1), which other protocols do not know.
func cutHeaders(t frame.Table, size int) frame.Table {
	var out frame.Table
	for i := range t {
		if n := headersSize(t[i : i+1]); n <= size {
			out = append(out, t[i])
			size -= n
		}
	}
	return out
}
