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

// headerBlock is a client's whole block, kept where the headers read from it would
// not make the same bytes again: NATS clients get what a NATS client sent.
const headerBlock = shard.ReservedPrefix + "nats-block"

const headerLine = "NATS/1.0"

const hexDigits = "0123456789ABCDEF"

// appendSubject writes a subject. Bytes that would end it on the wire, which no
// NATS client can have sent, are percent-encoded.
func appendSubject(buf []byte, s string) []byte {
	for i := range len(s) {
		if endsField(s[i]) {
			return appendEncoded(buf, s, endsField)
		}
	}
	return append(buf, s...)
}

// endsField tells whether a byte ends a field of a control line.
func endsField(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

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
	block         []byte // all of it, as it was sent
	shown         bool   // there are others, which clients are shown
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
		case h.Name == headerBlock && k.block == nil:
			k.block = h.Value
		}
	}
	return k
}

// spellable tells whether a control line can hold it as one field.
func spellable(b []byte) bool {
	for _, c := range b {
		if endsField(c) {
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
// out. What it appends shares memory with b. plain tells whether appendHeaders makes
// the same block of it.
func parseHeaders(hs []shard.Header, b []byte) (_ []shard.Header, plain, ok bool) {
	line, rest, ok := bytes.Cut(b, []byte("\r\n"))
	if !ok || !bytes.HasPrefix(line, []byte(headerLine)) || lineEnds(line) {
		return hs, false, false
	}
	if code := bytes.TrimSpace(line[len(headerLine):]); len(code) > 0 {
		hs = append(hs, shard.Header{Name: headerStatus, Value: code})
		plain = len(line) == len(headerLine)+1+len(code) && line[len(headerLine)] == ' '
	} else {
		plain = len(line) == len(headerLine)
	}
	for len(rest) > 0 {
		line, rest, ok = bytes.Cut(rest, []byte("\r\n"))
		if !ok {
			return hs, false, false
		}
		if len(line) == 0 {
			return hs, plain, len(rest) == 0
		}
		i := bytes.IndexByte(line, ':')
		if i <= 0 || line[0] <= ' ' {
			return hs, false, false
		}
		value := line[i+1:]
		for len(value) > 0 && blank(value[0]) {
			value = value[1:]
		}
		name := unsafeString(line[:i])
		if shard.Reserved(name) || bytes.ContainsFunc(line[:i], func(r rune) bool { return r > 0x7e || badInName(byte(r)) }) ||
			len(value) != len(line)-i-2 || line[i+1] != ' ' || lineEnds(value) {
			plain = false
		}
		if !shard.Reserved(name) {
			hs = append(hs, shard.Header{Name: name, Value: value})
		}
	}
	return hs, false, false
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
