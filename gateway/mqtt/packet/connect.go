package packet

import "encoding/binary"

// Connect is a CONNECT (3.1).
type Connect struct {
	Version     Version
	CleanStart  bool   // Clean Session before version 5
	KeepAlive   uint16 // seconds, 0: off
	Props       Props
	ClientID    string
	Will        *Will
	HasUser     bool
	User        string
	HasPassword bool
	Password    []byte
}

// Will is the message of a CONNECT that is published when its connection breaks.
type Will struct {
	QoS     uint8
	Retain  bool
	Props   Props
	Topic   string
	Payload []byte
}

// Bits of the connect flags (3.1.2.3).
const (
	flagClean    = 0x02
	flagWill     = 0x04
	flagRetain   = 0x20
	flagPassword = 0x40
	flagUser     = 0x80
)

// Type is CONNECT.
func (p *Connect) Type() Type { return CONNECT }

// decodeConnect reads a CONNECT. With an error it gives what is known of it, so that
// the answer can be in its version; nil where that is not known.
func decodeConnect(b []byte) (*Connect, error) {
	r := body{b: b}
	p := &Connect{}
	name := r.bytes()
	p.Version = Version(r.u8())
	if r.err != nil {
		return nil, r.err
	}
	if err := checkProtocol(string(name), p.Version); err != nil {
		return p, err
	}
	flags := r.u8()
	p.KeepAlive = r.u16()
	if r.err != nil {
		return p, r.err
	}
	if err := checkConnectFlags(flags, p.Version); err != nil {
		return p, err
	}
	p.CleanStart = flags&flagClean != 0
	p.Props = r.props(p.Version, CONNECT)
	p.ClientID = r.str()
	if flags&flagWill != 0 {
		w := &Will{QoS: flags >> 3 & 3, Retain: flags&flagRetain != 0}
		w.Props = r.props(p.Version, willProps)
		w.Topic = r.str()
		w.Payload = append([]byte{}, r.bytes()...)
		p.Will = w
	}
	if p.HasUser = flags&flagUser != 0; p.HasUser {
		p.User = r.str()
	}
	if p.HasPassword = flags&flagPassword != 0; p.HasPassword {
		p.Password = append([]byte{}, r.bytes()...)
	}
	return p, r.end(CONNECT)
}

// ConnectVersion reads no more of a CONNECT's body than its version, which is all
// that is there of one that is refused for its size; ok is false where it has none.
func ConnectVersion(b []byte) (v Version, ok bool) {
	r := body{b: b}
	name := r.bytes()
	v = Version(r.u8())
	return v, r.err == nil && checkProtocol(string(name), v) == nil
}

func checkProtocol(name string, v Version) error {
	switch {
	case name == "MQTT" && (v == V311 || v == V5), name == "MQIsdp" && v == V31:
		return nil
	case name == "MQTT" || name == "MQIsdp": // [MQTT-3.1.2-2]
		return &Error{UnsupportedProtocolVersion, "protocol level is not supported"}
	}
	return &Error{UnsupportedProtocolVersion, "protocol name is not MQTT"} // [MQTT-3.1.2-1]
}

func checkConnectFlags(f uint8, v Version) error {
	will := f&flagWill != 0
	switch {
	case f&1 != 0: // [MQTT-3.1.2-3]
		return malformed("reserved connect flag is set")
	case f>>3&3 == 3: // [MQTT-3.1.2-12]
		return malformed("will QoS 3 does not exist")
	case !will && (f>>3&3 != 0 || f&flagRetain != 0): // [MQTT-3.1.2-11] [MQTT-3.1.2-13]
		return malformed("will flags without a will")
	case v < V5 && f&flagPassword != 0 && f&flagUser == 0: // MQTT 3.1.1 [MQTT-3.1.2-22]
		return malformed("password without a user name")
	}
	return nil
}

// Append writes the packet in the form of its own Version.
func (p *Connect) Append(dst []byte, _ Version) []byte {
	name := "MQTT"
	if p.Version == V31 {
		name = "MQIsdp"
	}
	var flags uint8
	b := binary.BigEndian.AppendUint16(nil, p.KeepAlive)
	if p.Version >= V5 {
		b = p.Props.append(b)
	}
	b = appendString(b, p.ClientID)
	if p.CleanStart {
		flags |= flagClean
	}
	if w := p.Will; w != nil {
		flags |= flagWill | w.QoS<<3
		if w.Retain {
			flags |= flagRetain
		}
		if p.Version >= V5 {
			b = w.Props.append(b)
		}
		b = appendString(appendString(b, w.Topic), w.Payload)
	}
	if p.HasUser {
		flags |= flagUser
		b = appendString(b, p.User)
	}
	if p.HasPassword {
		flags |= flagPassword
		b = appendString(b, p.Password)
	}
	dst = appendHeader(dst, CONNECT, 0, 2+len(name)+2+len(b))
	dst = append(appendString(dst, name), byte(p.Version), flags)
	return append(dst, b...)
}

// Connack is a CONNACK (3.2). Before version 5, Code holds the return code of
// MQTT 3.1.1 as it stands on the wire.
type Connack struct {
	SessionPresent bool
	Code           Code
	Props          Props
}

// Type is CONNACK.
func (p *Connack) Type() Type { return CONNACK }

func decodeConnack(b []byte, v Version) (*Connack, error) {
	r := body{b: b}
	flags := r.u8()
	p := &Connack{SessionPresent: flags&1 != 0, Code: Code(r.u8())}
	p.Props = r.props(v, CONNACK)
	if err := r.end(CONNACK); err != nil {
		return nil, err
	}
	if flags&0xfe != 0 { // [MQTT-3.2.2-1]
		return nil, malformed("reserved CONNACK flag is set")
	}
	if v >= V5 && !p.Code.Allowed(CONNACK) || v < V5 && p.Code > 5 {
		return nil, violation("reason code is not allowed in CONNACK")
	}
	return p, nil
}

// Append writes the packet.
func (p *Connack) Append(dst []byte, v Version) []byte {
	n := 2
	if v >= V5 {
		n += p.Props.size()
	}
	dst = appendHeader(dst, CONNACK, 0, n)
	var flags byte
	if p.SessionPresent {
		flags = 1
	}
	dst = append(dst, flags, byte(p.Code))
	if v >= V5 {
		dst = p.Props.append(dst)
	}
	return dst
}
