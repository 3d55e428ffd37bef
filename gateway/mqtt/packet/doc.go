// Package packet is the wire codec of MQTT 3.1, 3.1.1 and 5.0, and nothing else:
// it knows no session and no connection.
//
// # Nouns
//
//   - Header: a control packet's fixed header: type, flags, remaining length.
//   - Packet: one decoded control packet.
//   - Props: the properties of a packet as they lie on the wire, checked.
//   - Code: a reason code of MQTT 5, with its MQTT 3.1.1 CONNACK counterpart.
//   - Error: why bytes are no packet, with the reason code to close with.
//
// # Promises
//
// Decode never panics and never allocates more than the bytes it was given
// justify. A Publish and all Props share memory with the body they were decoded
// from; every other packet is a copy. What Append writes decodes to an equal
// packet, and what decodes is written again byte for byte, but for the short
// forms of acknowledgements and DISCONNECT, which Append always prefers.
//
// # Format
//
// A control packet is a fixed header (type and flags in one byte, the remaining
// length as a variable byte integer of at most four), a variable header and a
// payload. Integers are big-endian; strings and binary data carry a length of
// two bytes; strings are UTF-8 without U+0000 [MQTT-1.5.4-1] [MQTT-1.5.4-2].
package packet
