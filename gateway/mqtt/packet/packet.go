package packet

import "encoding/binary"

// Packet is one control packet.
type Packet interface {
	// Type is its control packet type.
	Type() Type
	// Append writes the packet, fixed header included, in the form of version v.
	Append(dst []byte, v Version) []byte
}

// Decode reads the packet that header and body hold. A CONNECT says its own
// version; v is that of the connection for all others. Errors are *Error.
func Decode(h Header, body []byte, v Version) (Packet, error) {
	switch {
	case len(body) != h.Len:
		return nil, errShort
	case h.Type != PUBLISH && h.Flags&flagDup != 0 && v != V31:
		return nil, malformed("reserved flags of " + h.Type.String() + " are not 0010")
	}
	switch h.Type {
	case CONNECT:
		return decodeConnect(body)
	case CONNACK:
		return decodeConnack(body, v)
	case PUBLISH:
		p := new(Publish)
		return p, p.Decode(h.Flags, body, v)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		p := &Ack{Kind: h.Type}
		return p, p.Decode(body, v)
	case SUBSCRIBE:
		return decodeSubscribe(body, v)
	case SUBACK:
		p := new(Suback)
		return p, p.decode(body, v, SUBACK)
	case UNSUBSCRIBE:
		return decodeUnsubscribe(body, v)
	case UNSUBACK:
		p := new(Unsuback)
		return p, p.decode(body, v)
	case PINGREQ, PINGRESP:
		if len(body) != 0 {
			return nil, malformed(h.Type.String() + " has a body")
		}
		return &Ping{Kind: h.Type}, nil
	case DISCONNECT, AUTH:
		return decodeReason(h.Type, body, v)
	}
	return nil, malformed("packet type is unknown")
}

// appendHeader writes a fixed header.
func appendHeader(dst []byte, t Type, flags uint8, n int) []byte {
	return AppendVarint(append(dst, byte(t)<<4|flags), uint32(n))
}

func appendString[T ~string | ~[]byte](dst []byte, s T) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

// body reads fields; once bad it stays bad and gives zero values.
type body struct {
	b   []byte
	err error
}

func (r *body) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *body) u8() uint8 {
	if len(r.b) < 1 {
		r.fail(errShort)
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *body) u16() uint16 {
	if len(r.b) < 2 {
		r.fail(errShort)
		return 0
	}
	v := binary.BigEndian.Uint16(r.b)
	r.b = r.b[2:]
	return v
}

// id reads a packet identifier, which is not 0 [MQTT-2.2.1-3].
func (r *body) id() uint16 {
	v := r.u16()
	if v == 0 && r.err == nil {
		r.fail(violation("packet identifier is 0"))
	}
	return v
}

// bytes reads binary data, which shares memory with the body.
func (r *body) bytes() []byte {
	v, rest, ok := cutBytes(r.b)
	if !ok {
		r.fail(errShort)
		return nil
	}
	r.b = rest
	return v
}

// str reads a UTF-8 string into memory of its own.
func (r *body) str() string {
	v := r.bytes()
	if !validString(v) {
		r.fail(malformed("string is not UTF-8"))
		return ""
	}
	return string(v)
}

// props reads properties into memory of their own, none before version 5.
func (r *body) props(v Version, t Type) Props {
	if v < V5 || r.err != nil {
		return nil
	}
	p, rest, err := cutProps(r.b, t)
	if err != nil {
		r.fail(err)
		return nil
	}
	r.b = rest
	return append(Props(nil), p...)
}

// end reports the first error, or bytes that are left over.
func (r *body) end(t Type) error {
	if r.err == nil && len(r.b) > 0 {
		r.err = malformed("bytes after the end of " + t.String())
	}
	return r.err
}

// Ping is a PINGREQ or PINGRESP.
type Ping struct{ Kind Type }

// Type is PINGREQ or PINGRESP.
func (p *Ping) Type() Type { return p.Kind }

// Append writes the packet.
func (p *Ping) Append(dst []byte, _ Version) []byte { return append(dst, byte(p.Kind)<<4, 0) }
