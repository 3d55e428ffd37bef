package nats

import (
	"bytes"
	"context"
	"io"

	"github.com/robustmq/robustmq-go/gateway"
)

// Bounds of what is buffered, in bytes.
const (
	defaultControlLine = 4096     // a command line, as nats-server's default
	connectLine        = 16 << 10 // a CONNECT line: nkeys, tokens and JWTs are long
	minBuffer          = 4 << 10
	maxBuffer          = 128 << 10 // a payload may need more
)

// command is one parsed command; its slices live until the next call of next.
type command struct {
	verb    verb
	args    []byte // CONNECT's JSON, or the arguments of SUB and UNSUB
	subject []byte
	reply   []byte
	headers []byte // of HPUB, with the version line
	payload []byte
	hpub    bool
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
	// verbLogin is no command: something but CONNECT came while locked.
	verbLogin
)

// parser cuts a byte stream into commands. What it gives does not depend on how
// the stream was cut into reads.
type parser struct {
	buf        []byte
	r, w       int
	maxPayload int
	maxLine    int
	// locked: nobody is logged in, so nothing but CONNECT is taken in, and no
	// memory for payloads.
	locked bool
	full   bool // the last read filled the buffer
	quiet  int  // small reads in a row
	cmd    command
	hold   gateway.Hold
}

// buffered is the number of bytes read and not parsed.
func (p *parser) buffered() int { return p.w - p.r }

// make waits for the memory of what has begun and needs so many bytes, and gives
// back what was needed before it.
func (p *parser) make(ctx context.Context, need int) error {
	if need > gateway.FreeBytes {
		return p.hold.Need(ctx, need)
	}
	if !p.hold.Settle(len(p.buf)) {
		p.release()
	}
	return nil
}

// fill reads more bytes, growing the buffer to hold need at least.
func (p *parser) fill(src io.Reader, need int) error {
	if p.r > 0 {
		copy(p.buf, p.buf[p.r:p.w])
		p.w -= p.r
		p.r = 0
	}
	p.resize(need)
	n, err := src.Read(p.buf[p.w:])
	p.w += n
	p.full = p.w == len(p.buf)
	if n < len(p.buf)/8 {
		p.quiet++
	} else {
		p.quiet = 0
	}
	if n > 0 {
		return nil
	}
	return err
}

// resize grows the buffer after full reads, for more commands per batch, and
// shrinks it after small ones and after a large payload.
func (p *parser) resize(need int) {
	size := len(p.buf)
	switch {
	case need > size:
		size = max(need, min(2*size, maxBuffer), minBuffer)
	case p.full && size < maxBuffer:
		size = min(2*max(size, minBuffer), maxBuffer)
	case size > maxBuffer && max(p.w, need) <= maxBuffer:
		size = maxBuffer
	case p.quiet > 16 && size > minBuffer && max(p.w, need) <= size/2:
		size, p.quiet = max(size/2, minBuffer), 0
	}
	if size == len(p.buf) {
		return
	}
	if size > len(p.buf) && !p.hold.Want(size) {
		if size = max(need, len(p.buf), minBuffer); size == len(p.buf) {
			return
		}
	}
	if size < len(p.buf) && need <= gateway.FreeBytes {
		p.hold.Free()
		if !p.hold.Want(size) {
			size = max(need, p.w, minBuffer)
		}
	}
	nb := make([]byte, size)
	copy(nb, p.buf[:p.w])
	p.buf = nb
}

// release gives the buffer back as far as nothing waits in it.
func (p *parser) release() {
	b := p.buf[p.r:p.w]
	p.hold.Free()
	p.buf = make([]byte, max(len(b), minBuffer))
	p.r, p.w, p.full, p.quiet = 0, copy(p.buf, b), false, 0
}

// next parses one command. need > 0 says that many bytes have to be there before
// it is worth calling again.
func (p *parser) next() (cmd *command, need int, err error) {
	in := p.buf[p.r:p.w]
	i := bytes.IndexByte(in, '\n')
	line := in
	if i >= 0 {
		line = in[:i]
	}
	if len(line) > p.maxLine && (len(line) > connectLine || !isConnect(in)) {
		return nil, 0, errControlLine
	}
	if i < 0 {
		return nil, len(in) + 1, nil
	}
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	c := &p.cmd
	*c = command{}
	if p.locked && !isConnect(in) {
		c.verb = verbLogin
		return c, 0, nil
	}
	hlen, size, err := c.parseLine(line, p.maxPayload)
	if err != nil {
		return nil, 0, err
	}
	if c.verb != verbPub {
		p.hold.Complete()
		p.r += i + 1
		return c, 0, nil
	}
	total := i + 1 + size + 2
	if len(in) < total {
		return nil, total, nil
	}
	body := in[i+1 : total]
	if body[size] != '\r' || body[size+1] != '\n' {
		return nil, 0, errParser
	}
	p.hold.Complete()
	c.headers, c.payload = body[:hlen:hlen], body[hlen:size:size]
	p.r += total
	return c, 0, nil
}

func isConnect(in []byte) bool {
	return len(in) > 7 && blank(in[7]) && equalFold(in[:7], "CONNECT")
}

func blank(b byte) bool { return b == ' ' || b == '\t' }

// parseLine reads a control line. Verbs are case-insensitive (NATS client
// protocol, "Protocol conventions").
func (c *command) parseLine(line []byte, maxPayload int) (hlen, size int, err error) {
	n := 0
	for n < len(line) && !blank(line[n]) {
		n++
	}
	v, args := line[:n], line[n:]
	for len(args) > 0 && blank(args[0]) {
		args = args[1:]
	}
	switch c.verb = verbOf(v); c.verb {
	case 0:
		return 0, 0, errParser
	case verbPub:
		c.hpub = len(v) == 4
		return c.parsePub(args, maxPayload)
	}
	c.args = args
	return 0, 0, nil
}

// verbs by length; the first of each length is the frequent one.
var verbs = [8][]struct {
	name string
	verb verb
}{
	3: {{"PUB", verbPub}, {"SUB", verbSub}, {"+OK", verbOK}},
	4: {{"HPUB", verbPub}, {"PING", verbPing}, {"PONG", verbPong}, {"INFO", verbInfo}, {"-ERR", verbErr}},
	5: {{"UNSUB", verbUnsub}},
	7: {{"CONNECT", verbConnect}},
}

func verbOf(v []byte) verb {
	if len(v) < len(verbs) {
		for _, k := range verbs[len(v)] {
			if equalFold(v, k.name) {
				return k.verb
			}
		}
	}
	return 0
}

// parsePub reads "subject [reply] [header size] size".
func (c *command) parsePub(args []byte, maxPayload int) (hlen, size int, err error) {
	var f [4][]byte
	n, fixed := split(f[:], args), 2
	if c.hpub {
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
	if c.hpub {
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
	n, from := 0, -1
	for i := 0; i <= len(b); i++ {
		if i < len(b) && !blank(b[i]) {
			if from < 0 {
				from = i
			}
			continue
		}
		if from < 0 {
			continue
		}
		if n == len(dst) {
			return n + 1
		}
		dst[n] = b[from:i]
		n++
		from = -1
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

// equalFold compares with a verb in upper case.
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
