package nats

import (
	"bytes"
	"strings"
	"unsafe"

	"github.com/robustmq/robustmq-go/shard"
)

// headerStatus carries the rest of the version line of a status message ("503"),
// which a client published or the gateway relays.
const headerStatus = shard.ReservedPrefix + "nats-status"

const headerLine = "NATS/1.0"

const hexDigits = "0123456789ABCDEF"

// appendSubject writes a subject. Bytes that would end it on the wire (blanks
// and controls) are percent-encoded.
func appendSubject(buf []byte, s string) []byte {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return appendEncoded(buf, s, func(c byte) bool { return c <= ' ' || c == 0x7f })
		}
	}
	return append(buf, s...)
}

// appendEncoded writes s with the bytes that bad names percent-encoded.
func appendEncoded(buf []byte, s string, bad func(byte) bool) []byte {
	for i := range len(s) {
		if c := s[i]; bad(c) {
			buf = append(buf, '%', hexDigits[c>>4], hexDigits[c&15])
		} else {
			buf = append(buf, c)
		}
	}
	return buf
}

// known are the reserved headers that the protocol has a place for.
type known struct {
	reply, status []byte
	shown         bool // there are others, which clients are shown
}

func sortHeaders(hs []shard.Header) (k known) {
	var replyTo []byte
	for i := range hs {
		h := &hs[i]
		switch {
		case h.Name == shard.HeaderMQTT: // a Response Topic is the subject that answers go to
			if k.reply == nil && spellable(replyTo) && bytes.IndexByte(replyTo, '/') < 0 {
				k.reply = replyTo
			}
		case !shard.Reserved(h.Name):
			k.shown = k.shown || shown(h)
			if h.Name == shard.HeaderReplyTo && replyTo == nil {
				replyTo = h.Value
			}
		case h.Name == shard.HeaderReplySubject && k.reply == nil && spellable(h.Value):
			k.reply = h.Value
		case h.Name == headerStatus && k.status == nil && !lineEnds(h.Value):
			k.status = h.Value
		}
	}
	return k
}

// spellable tells whether a control line can hold it as one field.
func spellable(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c == 0x7f {
			return false
		}
	}
	return len(b) > 0
}

// appendHeaders writes a header block (NATS ADR-4) with what is shown, in order.
// Names are percent-encoded where the block cannot spell them; a null value is
// empty.
func appendHeaders(b []byte, hs []shard.Header, status []byte) []byte {
	b = append(b, headerLine...)
	if len(status) > 0 {
		b = append(append(b, ' '), status...)
	}
	b = append(b, "\r\n"...)
	for i := range hs {
		h := &hs[i]
		if !shown(h) {
			continue
		}
		b = appendName(b, h.Name)
		b = append(b, ": "...)
		b = append(b, h.Value...)
		b = append(b, "\r\n"...)
	}
	return append(b, "\r\n"...)
}

func badInName(c byte) bool { return c <= ' ' || c == ':' || c >= 0x7f }

func appendName(b []byte, s string) []byte {
	for i := range len(s) {
		if badInName(s[i]) {
			return appendEncoded(b, s, badInName)
		}
	}
	return append(b, s...)
}

// shown tells whether clients get to see a header: not reserved ones, nor what a
// block has no way to say, no name or a value of several lines.
func shown(h *shard.Header) bool {
	return h.Name != "" && !shard.Reserved(h.Name) && !lineEnds(h.Value)
}

func lineEnds(b []byte) bool { return bytes.IndexByte(b, '\n') >= 0 || bytes.IndexByte(b, '\r') >= 0 }

// parseHeaders reads a header block; names with the reserved prefix are left
// out. What it appends shares memory with b.
func parseHeaders(hs []shard.Header, b []byte) ([]shard.Header, bool) {
	line, rest, ok := bytes.Cut(b, []byte("\r\n"))
	if !ok || !bytes.HasPrefix(line, []byte(headerLine)) || lineEnds(line) {
		return hs, false
	}
	if code := bytes.TrimSpace(line[len(headerLine):]); len(code) > 0 {
		hs = append(hs, shard.Header{Name: headerStatus, Value: code})
	}
	for len(rest) > 0 {
		line, rest, ok = bytes.Cut(rest, []byte("\r\n"))
		if !ok {
			return hs, false
		}
		if len(line) == 0 {
			return hs, len(rest) == 0
		}
		i := bytes.IndexByte(line, ':')
		if i <= 0 || line[0] <= ' ' {
			return hs, false
		}
		value := line[i+1:]
		for len(value) > 0 && blank(value[0]) {
			value = value[1:]
		}
		if name := unsafeString(line[:i]); !shard.Reserved(name) {
			hs = append(hs, shard.Header{Name: name, Value: value})
		}
	}
	return hs, false
}

// cloneHeaders copies headers that share the read buffer.
func cloneHeaders(hs []shard.Header) []shard.Header {
	out := make([]shard.Header, len(hs))
	for i, h := range hs {
		out[i] = shard.Header{Name: strings.Clone(h.Name), Value: append([]byte{}, h.Value...)}
	}
	return out
}

// unsafeString shares bytes that do not change while the string is used.
func unsafeString(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b))
}
