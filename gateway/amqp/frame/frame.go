package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Type is a frame's type octet.
type Type uint8

// The frame types.
const (
	TypeMethod    Type = 1
	TypeHeader    Type = 2
	TypeBody      Type = 3
	TypeHeartbeat Type = 8
)

// Sizes of the frame format.
const (
	HeaderBytes = 7
	// Overhead is what a frame adds to its payload.
	Overhead = HeaderBytes + 1
	// MinMax is the least value of frame-max (AMQP 4.2.3, frame-min-size).
	MinMax = 4096
	end    = 0xCE
)

// ClassBasic is the class index in content headers.
const ClassBasic = 60

// ProtocolHeader begins every connection of this version (AMQP 4.2.2).
const ProtocolHeader = "AMQP\x00\x00\x09\x01"

// Errors of Parse and Decode; the first ones end a connection with 501, the
// others with 502, 503.
var (
	ErrTooLarge = errors.New("frame is larger than frame-max")
	ErrEnd      = errors.New("frame does not end with 0xCE")
	ErrType     = errors.New("unknown frame type")
	ErrSyntax   = errors.New("malformed arguments")
	ErrMethod   = errors.New("unknown method")
)

// Frame is one frame. Payload shares the buffer it was parsed from.
type Frame struct {
	Type    Type
	Channel uint16
	Payload []byte
}

// Parse takes the first frame of b and tells how many bytes it took, 0 when
// there are not enough yet. frameMax is the size of a whole frame.
// Errors: ErrTooLarge, ErrEnd, ErrType.
func Parse(b []byte, frameMax int) (f Frame, n int, err error) {
	if len(b) == 0 {
		return f, 0, nil
	}
	f.Type = Type(b[0])
	switch f.Type {
	case TypeMethod, TypeHeader, TypeBody, TypeHeartbeat:
	default:
		return f, 0, fmt.Errorf("%w %d", ErrType, b[0])
	}
	if len(b) < HeaderBytes {
		return f, 0, nil
	}
	f.Channel = binary.BigEndian.Uint16(b[1:])
	size := binary.BigEndian.Uint32(b[3:])
	if uint64(size)+Overhead > uint64(frameMax) {
		return f, 0, fmt.Errorf("%w: %d of at most %d", ErrTooLarge, uint64(size)+Overhead, frameMax)
	}
	n = int(size) + Overhead
	if len(b) < n {
		return f, 0, nil
	}
	if b[n-1] != end {
		return f, 0, ErrEnd
	}
	f.Payload = b[HeaderBytes : n-1 : n-1]
	return f, n, nil
}

// Size gives the size of the whole frame that begins with b, HeaderBytes at least.
func Size(b []byte) int { return int(min(uint64(binary.BigEndian.Uint32(b[3:]))+Overhead, 1<<31-1)) }

// begin writes a frame header whose size finish sets.
func begin(b []byte, t Type, channel uint16) (_ []byte, at int) {
	b = append(b, byte(t), byte(channel>>8), byte(channel), 0, 0, 0, 0)
	return b, len(b)
}

func finish(b []byte, at int) []byte {
	binary.BigEndian.PutUint32(b[at-4:], uint32(len(b)-at))
	return append(b, end)
}

// AppendMethod writes a method frame.
func AppendMethod(b []byte, channel uint16, m Method) []byte {
	b, at := begin(b, TypeMethod, channel)
	return finish(m.Append(b), at)
}

// AppendHeartbeat writes a heartbeat frame.
func AppendHeartbeat(b []byte) []byte {
	b, at := begin(b, TypeHeartbeat, 0)
	return finish(b, at)
}

// AppendContent writes the content header and as many body frames as frame-max
// asks for (none for an empty body).
func AppendContent(b []byte, channel uint16, p *Properties, body []byte, frameMax int) []byte {
	b, at := begin(b, TypeHeader, channel)
	h := Header{Class: ClassBasic, BodySize: uint64(len(body)), Properties: *p}
	b = finish(h.Append(b), at)
	for len(body) > 0 {
		n := min(len(body), frameMax-Overhead)
		b, at = begin(b, TypeBody, channel)
		b = finish(append(b, body[:n]...), at)
		body = body[n:]
	}
	return b
}

// MethodID is class index << 16 | method index.
type MethodID uint32

// Class is the class index.
func (id MethodID) Class() uint16 { return uint16(id >> 16) }

// Index is the method index.
func (id MethodID) Index() uint16 { return uint16(id) }

// String gives "basic.publish".
func (id MethodID) String() string {
	if m, ok := methods[id]; ok {
		return m.name
	}
	return fmt.Sprintf("%d.%d", id.Class(), id.Index())
}

// FromClient tells whether a client may send the method.
func (id MethodID) FromClient() bool { return methods[id].client }

// FromServer tells whether a server may send the method.
func (id MethodID) FromServer() bool { return methods[id].server }

// HasContent tells whether a content header and body follow.
func (id MethodID) HasContent() bool { return methods[id].content }

type methodInfo struct {
	name                    string
	client, server, content bool
}

// Method is a decoded method.
type Method interface {
	ID() MethodID
	// Append encodes the ids and arguments: a method frame's payload.
	Append(b []byte) []byte
	decode(r *reader)
}

// Decode reads a method frame's payload. The error is ErrMethod or ErrSyntax,
// and id is set where there was one.
func Decode(payload []byte) (m Method, id MethodID, err error) {
	if len(payload) < 4 {
		return nil, 0, fmt.Errorf("%w: method frame of %d bytes", ErrSyntax, len(payload))
	}
	id = MethodID(binary.BigEndian.Uint32(payload))
	if m = newMethod(id); m == nil {
		return nil, id, fmt.Errorf("%w %s", ErrMethod, id)
	}
	r := reader{b: payload[4:]}
	m.decode(&r)
	if err := r.finish(); err != nil {
		return nil, id, fmt.Errorf("decode %s: %w", id, err)
	}
	return m, id, nil
}

// Decoder is Decode without memory of its own for what comes most often. The
// methods it gives are good until its next call. Not safe for concurrent use.
type Decoder struct {
	publish BasicPublish
	ack     BasicAck
}

// Decode reads a method frame's payload, as the function does.
func (d *Decoder) Decode(payload []byte) (Method, MethodID, error) {
	if len(payload) < 4 {
		return Decode(payload)
	}
	id := MethodID(binary.BigEndian.Uint32(payload))
	r := reader{b: payload[4:]}
	var m Method
	switch id {
	case IDBasicPublish: // mostly to where the last one went
		r.short()
		d.publish.Exchange = r.shortstrOr(d.publish.Exchange)
		d.publish.RoutingKey = r.shortstrOr(d.publish.RoutingKey)
		bits := r.octet()
		d.publish.Mandatory, d.publish.Immediate = bits&1 != 0, bits&2 != 0
		m = &d.publish
	case IDBasicAck:
		d.ack.decode(&r)
		m = &d.ack
	default:
		return Decode(payload)
	}
	if err := r.finish(); err != nil {
		return nil, id, fmt.Errorf("decode %s: %w", id, err)
	}
	return m, id, nil
}

// Header is a content header frame's payload (AMQP 2.3.5.2).
type Header struct {
	Class    uint16
	BodySize uint64
	Properties
}

// DecodeHeader reads a content header.
func DecodeHeader(payload []byte) (h Header, err error) {
	r := reader{b: payload}
	h.Class = r.short()
	weight := r.short()
	h.BodySize = r.longlong()
	h.Properties.decode(&r)
	if err := r.finish(); err != nil {
		return h, fmt.Errorf("decode content header: %w", err)
	}
	if weight != 0 || h.Flags&3 != 0 {
		return h, fmt.Errorf("decode content header: %w: weight %d, flags %#x", ErrSyntax, weight, h.Flags)
	}
	return h, nil
}

// Append encodes the content header.
func (h *Header) Append(b []byte) []byte {
	b = appendShort(b, h.Class)
	b = appendShort(b, 0)
	b = appendLonglong(b, h.BodySize)
	return h.Properties.append(b)
}
