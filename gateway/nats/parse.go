package nats

import (
	"bytes"
	"errors"
	"io"
)

// maxControlLine bounds a command line, as nats-server does by default.
const maxControlLine = 4096

// Errors that end a connection, in the protocol's words.
var (
	errParser      = errors.New("Unknown Protocol Operation")
	errControlLine = errors.New("Maximum Control Line Exceeded")
	errPayload     = errors.New("Maximum Payload Violation")
)

// command is one parsed command; its slices live until the next call of next.
type command struct {
	verb    verb
	args    []byte // CONNECT's JSON, or the arguments of SUB and UNSUB
	subject []byte
	reply   []byte
	headers []byte // of HPUB, with the version line
	payload []byte
}

type verb uint8

const (
	verbPub verb = iota + 1
	verbSub
	verbUnsub
	verbConnect
	verbPing
	verbPong
	verbOK
	verbErr
	verbInfo
)

// parser cuts a byte stream into commands.
type parser struct {
	buf        []byte
	r, w       int
	maxPayload int
}

const (
	minBuffer = 4 << 10
	maxBuffer = 128 << 10 // a payload may need more
)

// buffered tells whether a whole command may be parsed without reading.
func (p *parser) buffered() bool { return p.r < p.w }

// fill reads more bytes, growing the buffer to hold need at least.
func (p *parser) fill(src io.Reader, need int) error {
	if p.r > 0 {
		copy(p.buf, p.buf[p.r:p.w])
		p.w -= p.r
		p.r = 0
	}
	size := len(p.buf)
	switch {
	case need > size:
		size = max(need, min(2*size, maxBuffer), minBuffer)
	case p.w == size && size < maxBuffer: // full reads: more per batch
		size = min(2*max(size, minBuffer), maxBuffer)
	case p.w == 0 && size > maxBuffer: // after a large payload
		size = maxBuffer
	}
	if size != len(p.buf) {
		nb := make([]byte, size)
		copy(nb, p.buf[:p.w])
		p.buf = nb
	}
	n, err := src.Read(p.buf[p.w:])
	p.w += n
	if n > 0 {
		return nil
	}
	return err
}

// next parses one command. need > 0 says that many bytes have to be there before
// it is worth calling again.
func (p *parser) next() (c command, need int, err error) {
	in := p.buf[p.r:p.w]
	i := bytes.IndexByte(in, '\n')
	if i < 0 {
		if len(in) > maxControlLine && !bytes.HasPrefix(in, []byte("CONNECT ")) || len(in) > 16*maxControlLine {
			return c, 0, errControlLine
		}
		return c, len(in) + 1, nil
	}
	if i > maxControlLine && !bytes.HasPrefix(in, []byte("CONNECT ")) {
		return c, 0, errControlLine
	}
	line := bytes.TrimSuffix(in[:i], []byte("\r"))
	hlen, size, err := c.parseLine(line, p.maxPayload)
	if err != nil {
		return c, 0, err
	}
	if c.verb != verbPub {
		p.r += i + 1
		return c, 0, nil
	}
	total := i + 1 + size + 2
	if len(in) < total {
		return c, total, nil
	}
	body := in[i+1 : total]
	if body[size] != '\r' || body[size+1] != '\n' {
		return c, 0, errParser
	}
	c.headers, c.payload = body[:hlen:hlen], body[hlen:size:size]
	p.r += total
	return c, 0, nil
}

// parseLine reads a control line. Verbs are case-insensitive (NATS client
// protocol, "Protocol conventions").
func (c *command) parseLine(line []byte, maxPayload int) (hlen, size int, err error) {
	v, args := line, []byte(nil)
	if i := bytes.IndexAny(line, " \t"); i >= 0 {
		v, args = line[:i], bytes.TrimLeft(line[i:], " \t")
	}
	switch {
	case equalFold(v, "PUB"):
		c.verb = verbPub
		return c.parsePub(args, false, maxPayload)
	case equalFold(v, "HPUB"):
		c.verb = verbPub
		return c.parsePub(args, true, maxPayload)
	case equalFold(v, "SUB"):
		c.verb = verbSub
	case equalFold(v, "UNSUB"):
		c.verb = verbUnsub
	case equalFold(v, "PING"):
		c.verb = verbPing
	case equalFold(v, "PONG"):
		c.verb = verbPong
	case equalFold(v, "CONNECT"):
		c.verb = verbConnect
	case equalFold(v, "+OK"):
		c.verb = verbOK
	case equalFold(v, "-ERR"):
		c.verb = verbErr
	case equalFold(v, "INFO"):
		c.verb = verbInfo
	default:
		return 0, 0, errParser
	}
	c.args = args
	return 0, 0, nil
}

// parsePub reads "subject [reply] [header size] size".
func (c *command) parsePub(args []byte, headers bool, maxPayload int) (hlen, size int, err error) {
	var f [4][]byte
	n, fixed := split(f[:], args), 2
	if headers {
		fixed = 3
	}
	if n < fixed || n > fixed+1 {
		return 0, 0, errParser
	}
	c.subject = f[0]
	if n == fixed+1 {
		c.reply = f[1]
	}
	if size, err = number(f[n-1]); err != nil {
		return 0, 0, err
	}
	if headers {
		if hlen, err = number(f[n-2]); err != nil || hlen > size {
			return 0, 0, errParser
		}
	}
	if size > maxPayload {
		return 0, 0, errPayload
	}
	return hlen, size, nil
}

// split cuts fields at blanks; more fields than dst holds give len(dst)+1.
func split(dst [][]byte, b []byte) int {
	n := 0
	for len(b) > 0 {
		i := bytes.IndexAny(b, " \t")
		if i < 0 {
			i = len(b)
		}
		if i > 0 {
			if n == len(dst) {
				return n + 1
			}
			dst[n] = b[:i]
			n++
		}
		b = b[min(i+1, len(b)):]
	}
	return n
}

// number reads at most nine decimal digits.
func number(b []byte) (int, error) {
	if len(b) == 0 || len(b) > 9 {
		return 0, errParser
	}
	n := 0
	for _, d := range b {
		if d < '0' || d > '9' {
			return 0, errParser
		}
		n = n*10 + int(d-'0')
	}
	return n, nil
}

func equalFold(b []byte, verb string) bool {
	if len(b) != len(verb) {
		return false
	}
	for i := range b {
		c := b[i]
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != verb[i] {
			return false
		}
	}
	return true
}
