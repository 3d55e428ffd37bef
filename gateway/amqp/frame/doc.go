// Package frame is the AMQP 0-9-1 codec: frames, methods, content headers and
// field tables. It knows nothing of connections or of what methods mean.
//
// # Nouns
//
//   - Frame: type, channel and payload between a 7-byte header and an end octet.
//   - Method: one struct per method of the table in gen/methods.txt, which is the
//     specification's with the extensions that RabbitMQ's clients use.
//   - Properties: the content header of class basic.
//   - Table, Value: field tables; a value keeps the type it was sent with, so
//     that decode and encode are inverse.
//
// # Promises
//
// Nothing panics on bad input. Every length is checked against the bytes that
// are there before memory is taken; tables are bounded in entries and depth
// (MaxTableEntries, MaxTableDepth). Decoded strings are copies; longstr fields
// and bodies share the input.
//
// Frame layout (AMQP 4.2.3), integers big-endian:
//
//	0 type uint8   1 channel uint16   3 size uint32   7 payload   7+size 0xCE
package frame

//go:generate go run ./gen
