package packet

import (
	"encoding/binary"
	"unicode/utf8"
)

// PropID identifies a property (2.2.2.2).
type PropID uint8

// The properties.
const (
	PropPayloadFormat        PropID = 0x01
	PropMessageExpiry        PropID = 0x02
	PropContentType          PropID = 0x03
	PropResponseTopic        PropID = 0x08
	PropCorrelationData      PropID = 0x09
	PropSubscriptionID       PropID = 0x0b
	PropSessionExpiry        PropID = 0x11
	PropAssignedClientID     PropID = 0x12
	PropServerKeepAlive      PropID = 0x13
	PropAuthMethod           PropID = 0x15
	PropAuthData             PropID = 0x16
	PropRequestProblemInfo   PropID = 0x17
	PropWillDelay            PropID = 0x18
	PropRequestResponseInfo  PropID = 0x19
	PropResponseInfo         PropID = 0x1a
	PropServerReference      PropID = 0x1c
	PropReasonString         PropID = 0x1f
	PropReceiveMaximum       PropID = 0x21
	PropTopicAliasMaximum    PropID = 0x22
	PropTopicAlias           PropID = 0x23
	PropMaximumQoS           PropID = 0x24
	PropRetainAvailable      PropID = 0x25
	PropUser                 PropID = 0x26
	PropMaximumPacketSize    PropID = 0x27
	PropWildcardAvailable    PropID = 0x28
	PropSubscriptionIDsAvail PropID = 0x29
	PropSharedAvailable      PropID = 0x2a
)

type kind uint8

const (
	kindNone kind = iota
	kindBool      // a byte of 0 or 1
	kindU16
	kindU32
	kindVarint
	kindString
	kindBinary
	kindPair
)

// willProps stands for the will properties of CONNECT among the types.
const willProps Type = 0

type propInfo struct {
	kind kind
	in   uint16 // bit per packet type that may carry it
	// nonzero: the value 0 is a protocol error
	nonzero bool
}

func in(ts ...Type) (m uint16) {
	for _, t := range ts {
		m |= 1 << t
	}
	return m
}

var propTable = [...]propInfo{
	PropPayloadFormat:       {kind: kindBool, in: in(PUBLISH, willProps)},
	PropMessageExpiry:       {kind: kindU32, in: in(PUBLISH, willProps)},
	PropContentType:         {kind: kindString, in: in(PUBLISH, willProps)},
	PropResponseTopic:       {kind: kindString, in: in(PUBLISH, willProps)},
	PropCorrelationData:     {kind: kindBinary, in: in(PUBLISH, willProps)},
	PropSubscriptionID:      {kind: kindVarint, in: in(PUBLISH, SUBSCRIBE), nonzero: true},
	PropSessionExpiry:       {kind: kindU32, in: in(CONNECT, CONNACK, DISCONNECT)},
	PropAssignedClientID:    {kind: kindString, in: in(CONNACK)},
	PropServerKeepAlive:     {kind: kindU16, in: in(CONNACK)},
	PropAuthMethod:          {kind: kindString, in: in(CONNECT, CONNACK, AUTH)},
	PropAuthData:            {kind: kindBinary, in: in(CONNECT, CONNACK, AUTH)},
	PropRequestProblemInfo:  {kind: kindBool, in: in(CONNECT)},
	PropWillDelay:           {kind: kindU32, in: in(willProps)},
	PropRequestResponseInfo: {kind: kindBool, in: in(CONNECT)},
	PropResponseInfo:        {kind: kindString, in: in(CONNACK)},
	PropServerReference:     {kind: kindString, in: in(CONNACK, DISCONNECT)},
	PropReasonString: {kind: kindString,
		in: in(CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH)},
	PropReceiveMaximum:       {kind: kindU16, in: in(CONNECT, CONNACK), nonzero: true},
	PropTopicAliasMaximum:    {kind: kindU16, in: in(CONNECT, CONNACK)},
	PropTopicAlias:           {kind: kindU16, in: in(PUBLISH)},
	PropMaximumQoS:           {kind: kindBool, in: in(CONNACK)},
	PropRetainAvailable:      {kind: kindBool, in: in(CONNACK)},
	PropUser:                 {kind: kindPair, in: 0xffff},
	PropMaximumPacketSize:    {kind: kindU32, in: in(CONNECT, CONNACK), nonzero: true},
	PropWildcardAvailable:    {kind: kindBool, in: in(CONNACK)},
	PropSubscriptionIDsAvail: {kind: kindBool, in: in(CONNACK)},
	PropSharedAvailable:      {kind: kindBool, in: in(CONNACK)},
}

func infoOf(id PropID) propInfo {
	if int(id) < len(propTable) {
		return propTable[id]
	}
	return propInfo{}
}

// Props are properties as they lie on the wire, without the length before them.
// A decoded packet's have been checked: known, allowed in that packet, not
// repeated unless they may be, and well formed.
type Props []byte

// Prop is one property. Which fields hold its value follows from the ID: Num
// for numbers, Data for strings and binary data, Name and Data for a user
// property.
type Prop struct {
	ID   PropID
	Num  uint32
	Name []byte
	Data []byte
}

// Next gives the first property and the others; ok is false at the end. What it
// gives shares memory with p.
func (p Props) Next() (v Prop, rest Props, ok bool) {
	if len(p) == 0 {
		return v, nil, false
	}
	v, rest, err := nextProp(p)
	return v, rest, err == nil
}

// Find gives the first property of that ID.
func (p Props) Find(id PropID) (Prop, bool) {
	for {
		v, rest, ok := p.Next()
		if !ok || v.ID == id {
			return v, ok
		}
		p = rest
	}
}

// Num gives the value of a numeric property, or def.
func (p Props) Num(id PropID, def uint32) uint32 {
	if v, ok := p.Find(id); ok {
		return v.Num
	}
	return def
}

// Str gives the value of a string property, or "".
func (p Props) Str(id PropID) string {
	v, _ := p.Find(id)
	return string(v.Data)
}

// AddNum appends a numeric property of any width.
func (p Props) AddNum(id PropID, v uint32) Props {
	p = append(p, byte(id))
	switch infoOf(id).kind {
	case kindBool:
		return append(p, byte(v))
	case kindU16:
		return binary.BigEndian.AppendUint16(p, uint16(v))
	case kindU32:
		return binary.BigEndian.AppendUint32(p, v)
	case kindVarint:
		return AppendVarint(p, v)
	}
	panic("internal error: property is not a number")
}

// AddData appends a string or binary property; v must be at most 65535 bytes.
func (p Props) AddData(id PropID, v []byte) Props {
	p = binary.BigEndian.AppendUint16(append(p, byte(id)), uint16(len(v)))
	return append(p, v...)
}

// AddStr appends a string property; v must be at most 65535 bytes.
func (p Props) AddStr(id PropID, v string) Props {
	p = binary.BigEndian.AppendUint16(append(p, byte(id)), uint16(len(v)))
	return append(p, v...)
}

// AddUser appends a user property; each part must be at most 65535 bytes.
func (p Props) AddUser(name string, value []byte) Props {
	p = binary.BigEndian.AppendUint16(append(p, byte(PropUser)), uint16(len(name)))
	p = append(p, name...)
	p = binary.BigEndian.AppendUint16(p, uint16(len(value)))
	return append(p, value...)
}

// append writes length and properties.
func (p Props) append(dst []byte) []byte {
	return append(AppendVarint(dst, uint32(len(p))), p...)
}

// size is what append writes.
func (p Props) size() int { return VarintLen(uint32(len(p))) + len(p) }

// nextProp reads one property, checking its form but not its place.
func nextProp(b []byte) (v Prop, rest Props, err error) {
	v.ID = PropID(b[0])
	b = b[1:]
	var n int
	switch infoOf(v.ID).kind {
	case kindBool:
		if len(b) < 1 {
			return v, nil, errShort
		}
		v.Num, n = uint32(b[0]), 1
	case kindU16:
		if len(b) < 2 {
			return v, nil, errShort
		}
		v.Num, n = uint32(binary.BigEndian.Uint16(b)), 2
	case kindU32:
		if len(b) < 4 {
			return v, nil, errShort
		}
		v.Num, n = binary.BigEndian.Uint32(b), 4
	case kindVarint:
		if v.Num, n, err = decodeVarint(b); err != nil {
			return v, nil, err
		} else if n == 0 {
			return v, nil, errShort
		}
	case kindString, kindBinary:
		var ok bool
		v.Data, b, ok = cutBytes(b)
		if !ok {
			return v, nil, errShort
		}
	case kindPair:
		var ok bool
		if v.Name, b, ok = cutBytes(b); ok {
			v.Data, b, ok = cutBytes(b)
		}
		if !ok {
			return v, nil, errShort
		}
	default:
		return v, nil, malformed("property is unknown") // 2.2.2.2
	}
	return v, Props(b[n:]), nil
}

var errShort = malformed("packet ends before its fields do")

// cutBytes cuts a length of two bytes and that many bytes off b.
func cutBytes(b []byte) (v, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b) < 2+n {
		return nil, nil, false
	}
	return b[2 : 2+n : 2+n], b[2+n:], true
}

// cutProps cuts the properties of a packet of type t off b and checks them.
func cutProps(b []byte, t Type) (p Props, rest []byte, err error) {
	n, k, err := decodeVarint(b)
	if err != nil {
		return nil, nil, err
	}
	if k == 0 || int(n) > len(b)-k {
		return nil, nil, errShort
	}
	if n == 0 {
		return nil, b[k:], nil
	}
	end := k + int(n)
	p = Props(b[k:end:end])
	return p, b[end:], p.check(t)
}

func (p Props) check(t Type) error {
	var seen uint64
	for len(p) > 0 {
		v, rest, err := nextProp(p)
		if err != nil {
			return err
		}
		info := infoOf(v.ID)
		switch {
		case info.in&(1<<t) == 0:
			return malformed("property is not allowed in " + nameOf(t))
		case info.kind == kindBool && v.Num > 1:
			return violation("property is neither 0 nor 1")
		case info.nonzero && v.Num == 0:
			return violation("property is 0")
		case info.kind == kindString && !validString(v.Data),
			info.kind == kindPair && !(validString(v.Name) && validString(v.Data)):
			return malformed("string is not UTF-8")
		case seen&(1<<v.ID) != 0 && v.ID != PropUser && !(v.ID == PropSubscriptionID && t == PUBLISH):
			return violation("property is given twice")
		}
		seen |= 1 << v.ID
		p = rest
	}
	if seen&(1<<PropAuthData) != 0 && seen&(1<<PropAuthMethod) == 0 {
		return violation("authentication data without a method")
	}
	return nil
}

func nameOf(t Type) string {
	if t == willProps {
		return "will properties"
	}
	return t.String()
}

// ValidString tells whether s can be sent as an MQTT string: at most 65535 bytes
// of UTF-8 without U+0000.
func ValidString(s []byte) bool { return len(s) <= 65535 && validString(s) }

func validString(s []byte) bool {
	ascii := true
	for _, c := range s {
		if c == 0 {
			return false // [MQTT-1.5.4-2]
		}
		if c >= utf8.RuneSelf {
			ascii = false
		}
	}
	return ascii || utf8.Valid(s) // [MQTT-1.5.4-1]
}
