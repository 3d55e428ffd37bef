package packet

// Type is a control packet type.
type Type uint8

// The control packet types (2.1.2).
const (
	CONNECT Type = iota + 1
	CONNACK
	PUBLISH
	PUBACK
	PUBREC
	PUBREL
	PUBCOMP
	SUBSCRIBE
	SUBACK
	UNSUBSCRIBE
	UNSUBACK
	PINGREQ
	PINGRESP
	DISCONNECT
	AUTH
)

var typeNames = [...]string{"reserved", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
	"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"}

// String gives the specification's name.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return "reserved"
}

// Version is a protocol level as CONNECT gives it.
type Version uint8

// The protocol levels.
const (
	V31  Version = 3
	V311 Version = 4
	V5   Version = 5
)

// MaxRemaining is the largest remaining length that can be written.
const MaxRemaining = 268_435_455

// Header is a fixed header.
type Header struct {
	Type Type
	// Flags are the low four bits of the first byte.
	Flags uint8
	// Len is the remaining length: the bytes that follow the fixed header.
	Len int
}

// DecodeHeader reads a fixed header and gives its length in bytes, 0 when b does
// not hold all of it yet. Flags that are reserved have to be as the
// specification says [MQTT-2.1.3-1].
func DecodeHeader(b []byte) (h Header, n int, err error) {
	if len(b) == 0 {
		return h, 0, nil
	}
	h.Type, h.Flags = Type(b[0]>>4), b[0]&0x0f
	if err := checkFlags(h); err != nil {
		return h, 0, err
	}
	v, n, err := decodeVarint(b[1:])
	if err != nil || n == 0 {
		return h, 0, err
	}
	h.Len = int(v)
	return h, 1 + n, nil
}

func checkFlags(h Header) error {
	switch h.Type {
	case 0:
		return malformed("packet type 0 is reserved")
	case PUBLISH:
		qos := h.Flags >> 1 & 3
		if qos == 3 {
			return malformed("QoS 3 does not exist") // [MQTT-3.3.1-4]
		}
		if qos == 0 && h.Flags&8 != 0 {
			return malformed("DUP is set at QoS 0") // [MQTT-3.3.1-2]
		}
	case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
		if h.Flags&^flagDup != 2 { // [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1]
			return malformed("reserved flags of " + h.Type.String() + " are not 0010")
		}
	default:
		if h.Flags != 0 {
			return malformed("reserved flags of " + h.Type.String() + " are not 0000")
		}
	}
	return nil
}

// flagDup is set where a packet is sent again. MQTT 3.1 has it for PUBREL, SUBSCRIBE
// and UNSUBSCRIBE too; Decode refuses it there for other versions.
const flagDup = 8

// decodeVarint reads a variable byte integer; n is 0 when b ends before it does.
// Encodings longer than need be are refused [MQTT-1.5.5-1].
func decodeVarint(b []byte) (v uint32, n int, err error) {
	for i := range min(len(b), 4) {
		v |= uint32(b[i]&0x7f) << (7 * i)
		if b[i]&0x80 == 0 {
			if i > 0 && b[i] == 0 {
				return 0, 0, malformed("variable byte integer is longer than need be")
			}
			return v, i + 1, nil
		}
	}
	if len(b) >= 4 {
		return 0, 0, malformed("variable byte integer is over four bytes")
	}
	return 0, 0, nil
}

// AppendVarint writes a variable byte integer; v must be at most MaxRemaining.
func AppendVarint(dst []byte, v uint32) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

// VarintLen is the number of bytes AppendVarint writes.
func VarintLen(v uint32) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}
