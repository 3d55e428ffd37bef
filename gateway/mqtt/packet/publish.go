package packet

import "encoding/binary"

// Publish is a PUBLISH (3.3). What is decoded shares memory with the body.
type Publish struct {
	Dup     bool
	QoS     uint8
	Retain  bool
	Topic   []byte
	ID      uint16 // at QoS 1 and 2
	Props   Props
	Payload []byte
}

// Type is PUBLISH.
func (p *Publish) Type() Type { return PUBLISH }

// Decode reads flags and body into p, without allocating. Errors are *Error.
func (p *Publish) Decode(flags uint8, b []byte, v Version) error {
	*p = Publish{Dup: flags&8 != 0, QoS: flags >> 1 & 3, Retain: flags&1 != 0}
	var ok bool
	if p.Topic, b, ok = cutBytes(b); !ok {
		return errShort
	}
	if !validString(p.Topic) { // [MQTT-3.3.2-1]
		return malformed("topic is not UTF-8")
	}
	if p.QoS > 0 {
		if len(b) < 2 {
			return errShort
		}
		p.ID, b = binary.BigEndian.Uint16(b), b[2:]
		if p.ID == 0 { // [MQTT-2.2.1-3]
			return violation("packet identifier is 0")
		}
	}
	if v >= V5 {
		var err error
		if p.Props, b, err = cutProps(b, PUBLISH); err != nil {
			return err
		}
	}
	p.Payload = b
	return p.checkTopic(v)
}

func (p *Publish) checkTopic(v Version) error {
	for _, c := range p.Topic {
		if c == '+' || c == '#' { // [MQTT-3.3.2-2]
			return &Error{TopicNameInvalid, "topic holds a wildcard"}
		}
	}
	if len(p.Topic) > 0 {
		return nil
	}
	if v < V5 { // [MQTT-4.7.3-1]
		return malformed("topic is empty")
	}
	if _, ok := p.Props.Find(PropTopicAlias); !ok {
		return violation("topic is empty and there is no alias")
	}
	return nil
}

// Size is the number of bytes Append writes.
func (p *Publish) Size(v Version) int {
	n := p.remaining(v)
	return 1 + VarintLen(uint32(n)) + n
}

func (p *Publish) remaining(v Version) int {
	n := 2 + len(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		n += 2
	}
	if v >= V5 {
		n += p.Props.size()
	}
	return n
}

// Append writes the packet.
func (p *Publish) Append(dst []byte, v Version) []byte {
	return append(p.AppendHead(dst, v), p.Payload...)
}

// AppendHead writes all of the packet but its payload.
func (p *Publish) AppendHead(dst []byte, v Version) []byte {
	flags := p.QoS << 1
	if p.Dup {
		flags |= 8
	}
	if p.Retain {
		flags |= 1
	}
	dst = appendHeader(dst, PUBLISH, flags, p.remaining(v))
	dst = appendString(dst, p.Topic)
	if p.QoS > 0 {
		dst = binary.BigEndian.AppendUint16(dst, p.ID)
	}
	if v >= V5 {
		dst = p.Props.append(dst)
	}
	return dst
}

// Ack is a PUBACK, PUBREC, PUBREL or PUBCOMP (3.4 to 3.7).
type Ack struct {
	Kind  Type
	ID    uint16
	Code  Code // Success before version 5
	Props Props
}

// Type is the Kind.
func (p *Ack) Type() Type { return p.Kind }

// Decode reads body into p, whose Kind is set. Errors are *Error.
func (p *Ack) Decode(b []byte, v Version) error {
	r := body{b: b}
	p.ID = r.id()
	p.Code, p.Props = Success, nil
	if v >= V5 && len(r.b) > 0 {
		p.Code = Code(r.u8())
		if len(r.b) > 0 {
			p.Props = r.props(v, p.Kind)
		}
		if r.err == nil && !p.Code.Allowed(p.Kind) {
			r.fail(violation("reason code is not allowed in " + p.Kind.String()))
		}
	}
	return r.end(p.Kind)
}

// Append writes the packet in its shortest form.
func (p *Ack) Append(dst []byte, v Version) []byte {
	n := 2
	if v >= V5 {
		n += reasonLen(p.Code, p.Props)
	}
	var flags uint8
	if p.Kind == PUBREL {
		flags = 2
	}
	dst = appendHeader(dst, p.Kind, flags, n)
	dst = binary.BigEndian.AppendUint16(dst, p.ID)
	if v >= V5 {
		dst = appendReason(dst, p.Code, p.Props)
	}
	return dst
}

func reasonLen(c Code, p Props) int {
	switch {
	case len(p) > 0:
		return 1 + p.size()
	case c != Success:
		return 1
	}
	return 0
}

func appendReason(dst []byte, c Code, p Props) []byte {
	switch {
	case len(p) > 0:
		return p.append(append(dst, byte(c)))
	case c != Success:
		return append(dst, byte(c))
	}
	return dst
}

// Disconnect is a DISCONNECT (3.14).
type Disconnect struct {
	Code  Code
	Props Props
}

// Type is DISCONNECT.
func (p *Disconnect) Type() Type { return DISCONNECT }

// Append writes the packet in its shortest form.
func (p *Disconnect) Append(dst []byte, v Version) []byte {
	if v < V5 {
		return append(dst, byte(DISCONNECT)<<4, 0)
	}
	dst = appendHeader(dst, DISCONNECT, 0, reasonLen(p.Code, p.Props))
	return appendReason(dst, p.Code, p.Props)
}

// Auth is an AUTH (3.15), of version 5 only.
type Auth struct {
	Code  Code
	Props Props
}

// Type is AUTH.
func (p *Auth) Type() Type { return AUTH }

// Append writes the packet in its shortest form.
func (p *Auth) Append(dst []byte, _ Version) []byte {
	dst = appendHeader(dst, AUTH, 0, reasonLen(p.Code, p.Props))
	return appendReason(dst, p.Code, p.Props)
}

func decodeReason(t Type, b []byte, v Version) (Packet, error) {
	r := body{b: b}
	var code Code
	var props Props
	if v < V5 && t == AUTH {
		return nil, malformed("packet type 15 is reserved")
	}
	if v >= V5 && len(b) > 0 {
		code = Code(r.u8())
		if len(r.b) > 0 {
			props = r.props(v, t)
		}
		if r.err == nil && !code.Allowed(t) {
			r.fail(violation("reason code is not allowed in " + t.String()))
		}
	}
	if err := r.end(t); err != nil {
		return nil, err
	}
	if t == AUTH {
		return &Auth{Code: code, Props: props}, nil
	}
	return &Disconnect{Code: code, Props: props}, nil
}

// TopicOf gives the topic in the body of a PUBLISH, nil where there is none.
func TopicOf(b []byte) []byte {
	r := body{b: b}
	return r.bytes()
}
