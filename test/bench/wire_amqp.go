package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Methods of AMQP 0-9-1 that the frugal driver reads, class<<16 | method.
const (
	amqpStart     = 10<<16 | 10
	amqpTune      = 10<<16 | 30
	amqpOpenOK    = 10<<16 | 41
	amqpClose     = 10<<16 | 50
	amqpChanOK    = 20<<16 | 11
	amqpChanClose = 20<<16 | 40
	amqpQosOK     = 60<<16 | 11
	amqpConsumeOK = 60<<16 | 21
	amqpDeliver   = 60<<16 | 60
	amqpAck       = 60<<16 | 80
	amqpNack      = 60<<16 | 120
	amqpSelectOK  = 85<<16 | 11
)

const (
	amqpFrameEnd = 0xce
	amqpFrameMax = 128 << 10
)

// amqpWire is a wire with one channel.
type amqpWire struct{ wire }

func amqpFrame(kind byte, channel uint16, payload string) string {
	b := binary.BigEndian.AppendUint16([]byte{kind}, channel)
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	return string(b) + payload + string([]byte{amqpFrameEnd})
}

func amqpMethod(channel uint16, method uint32, args string) string {
	return amqpFrame(1, channel, string(binary.BigEndian.AppendUint32(nil, method))+args)
}

func amqpShort(s string) string { return string([]byte{byte(len(s))}) + s }

func amqpLong(s string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(s)))) + s
}

// dialAMQPWire connects and opens channel 1.
func dialAMQPWire(ctx context.Context, r *running) (*amqpWire, error) {
	w, err := dialWire(ctx, r, nil, 256<<10)
	if err != nil {
		return nil, err
	}
	c := &amqpWire{w}
	tune := string(binary.BigEndian.AppendUint32([]byte{0, 100}, amqpFrameMax)) + "\x00\x00" // no heartbeats
	steps := []struct {
		send string
		want uint32
	}{
		{"AMQP\x00\x00\x09\x01", amqpStart},
		{amqpMethod(0, 10<<16|11, amqpLong("")+amqpShort("PLAIN")+amqpLong("\x00"+r.user+"\x00"+r.pass)+amqpShort("en_US")), amqpTune},
		{amqpMethod(0, 10<<16|31, tune) + amqpMethod(0, 10<<16|40, amqpShort("/")+"\x00\x00"), amqpOpenOK},
		{amqpMethod(1, 20<<16|10, "\x00"), amqpChanOK},
	}
	for _, s := range steps {
		if err := c.ask(s.send, s.want); err != nil {
			return nil, errors.Join(fmt.Errorf("connect by amqp: %w", err), c.Close())
		}
	}
	return c, nil
}

// ask writes frames and waits for a method.
func (c *amqpWire) ask(send string, want uint32) error {
	if _, err := io.WriteString(c, send); err != nil {
		return err
	}
	for answered := false; !answered; {
		err := c.receive(func(method uint32, _ []byte) error {
			answered = answered || method == want
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// receive reads once, hands over the methods that are whole then, with their arguments, and passes
// over headers and bodies; at least one frame.
func (c *amqpWire) receive(method func(method uint32, args []byte) error) error {
	for n := 0; n == 0; {
		if err := c.more(); err != nil {
			return err
		}
		for c.end-c.start >= 8 {
			head := c.buf[c.start:c.end]
			size := int(binary.BigEndian.Uint32(head[3:]))
			if len(head) < size+8 {
				break
			}
			if head[size+7] != amqpFrameEnd {
				return errors.New("malformed frame")
			}
			c.start += size + 8
			n++
			if head[0] != 1 || size < 4 {
				continue
			}
			m := binary.BigEndian.Uint32(head[7:])
			if m == amqpClose || m == amqpChanClose {
				return fmt.Errorf("closed by the server: %q", head[11:size+7])
			}
			if err := method(m, head[11:size+7]); err != nil {
				return err
			}
		}
	}
	return nil
}

// confirms counts what was confirmed, each message once, whatever the order and however many at a time.
type confirms struct {
	done  []bool // by delivery tag
	floor int    // all up to it are done
	n     int
}

func (k *confirms) take(tag int, multiple bool) error {
	if tag >= len(k.done) || tag < 0 {
		return fmt.Errorf("delivery tag %d was never sent", tag)
	}
	from := tag
	if multiple {
		from = k.floor + 1
	}
	for t := from; t <= tag; t++ {
		if !k.done[t] {
			k.done[t] = true
			k.n++
		}
	}
	for k.floor+1 < len(k.done) && k.done[k.floor+1] {
		k.floor++
	}
	return nil
}

// publish sends n persistent messages, each its own frames and its own confirm, with up to window
// unconfirmed, and returns when all are confirmed.
func (c *amqpWire) publish(exchange, key string, size, n, window int) error {
	if err := c.ask(amqpMethod(1, 85<<16|10, "\x00"), amqpSelectOK); err != nil {
		return fmt.Errorf("select confirms: %w", err)
	}
	header := string(binary.BigEndian.AppendUint64([]byte{0, 60, 0, 0}, uint64(size))) + "\x10\x00\x02" // delivery mode 2
	one := amqpMethod(1, 60<<16|40, "\x00\x00"+amqpShort(exchange)+amqpShort(key)+"\x00") + amqpFrame(2, 1, header) + amqpFrame(3, 1, string(make([]byte, size)))
	batch := make([]byte, 0, window*len(one))
	for range window {
		batch = append(batch, one...)
	}
	k := confirms{done: make([]bool, n+1)}
	k.done[0] = true
	for sent := 0; k.n < n; {
		if room := min(window-(sent-k.n), n-sent); room > 0 {
			if _, err := c.Write(batch[:room*len(one)]); err != nil {
				return fmt.Errorf("publish: %w", err)
			}
			sent += room
		}
		err := c.receive(func(method uint32, args []byte) error {
			switch {
			case method == amqpNack:
				return errors.New("a message was refused")
			case method == amqpAck && len(args) >= 9:
				return k.take(int(binary.BigEndian.Uint64(args)), args[8]&1 != 0)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("publish: %d of %d confirmed: %w", k.n, n, err)
		}
	}
	return nil
}

// consume starts a consumer with acknowledgements.
func (c *amqpWire) consume(queue string, prefetch uint16) error {
	qos := string(binary.BigEndian.AppendUint16([]byte{0, 0, 0, 0}, prefetch)) + "\x00"
	if err := c.ask(amqpMethod(1, 60<<16|10, qos), amqpQosOK); err != nil {
		return fmt.Errorf("set prefetch: %w", err)
	}
	// The rest of what comes with the answer would be lost: nothing is published yet.
	if err := c.ask(amqpMethod(1, 60<<16|20, "\x00\x00"+amqpShort(queue)+amqpShort("")+"\x00"+amqpLong("")), amqpConsumeOK); err != nil {
		return fmt.Errorf("consume: %w", err)
	}
	return nil
}

// acknowledge takes n messages and acknowledges each by a frame of its own, a read's together.
func (c *amqpWire) acknowledge(n int) error {
	ack := []byte(amqpMethod(1, amqpAck, "\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	var out []byte
	for got := 0; got < n; {
		out = out[:0]
		err := c.receive(func(method uint32, args []byte) error {
			if method == amqpDeliver {
				tag := args[1+int(args[0]):]
				out = append(out, ack...)
				copy(out[len(out)-10:], tag[:8])
				got++
			}
			return nil
		})
		if err == nil && len(out) > 0 {
			_, err = c.Write(out)
		}
		if err != nil {
			return fmt.Errorf("consume: %d of %d messages: %w", got, n, err)
		}
	}
	return nil
}
