package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"
)

// Packet types of MQTT 3.1.1, the high half of the first byte.
const (
	mqttConnAck  = 2
	mqttPublish  = 3
	mqttPubAck   = 4
	mqttSubAck   = 9
	mqttPingResp = 13
)

// mqttSources is over how many loopback addresses connections are spread, so that no pair of
// addresses runs out of ports.
const mqttSources = 16

// mqttWire is a wire that has connected.
type mqttWire struct{ wire }

func mqttString(s string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))) + s
}

func mqttPacket(head byte, body string) []byte {
	return append(binary.AppendUvarint([]byte{head}, uint64(len(body))), body...)
}

// dialMQTTWire connects with a clean session, MQTT 3.1.1; i picks the source address. buffer is the size of its
// reads.
func dialMQTTWire(ctx context.Context, r *running, id string, i, buffer int) (*mqttWire, error) {
	w, err := dialWire(ctx, r, &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+i%mqttSources))}, buffer)
	if err != nil {
		return nil, err
	}
	c := &mqttWire{w}
	flags, login := byte(0x02), ""
	if r.user != "" {
		flags, login = 0xc2, mqttString(r.user)+mqttString(r.pass)
	}
	hello := mqttPacket(0x10, mqttString("MQTT")+"\x04"+string([]byte{flags})+"\x02\x58"+mqttString(id)+login)
	if err := c.ask(hello, mqttConnAck, func(body []byte) bool { return len(body) == 2 && body[1] == 0 }); err != nil {
		return nil, errors.Join(fmt.Errorf("connect by mqtt: %w", err), c.Close())
	}
	return c, nil
}

// ask writes a packet and waits for its answer.
func (c *mqttWire) ask(packet []byte, answer byte, good func(body []byte) bool) error {
	if _, err := c.Write(packet); err != nil {
		return err
	}
	for answered := false; !answered; {
		err := c.receive(func(head byte, body []byte) error {
			if head>>4 != answer {
				return nil
			}
			if answered = true; good != nil && !good(body) {
				return fmt.Errorf("answer %#x % x", head, body)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *mqttWire) subscribe(filter string, qos byte) error {
	return c.ask(mqttPacket(0x82, "\x00\x01"+mqttString(filter)+string([]byte{qos})), mqttSubAck,
		func(body []byte) bool { return len(body) == 3 && body[2] == qos })
}

// ping returns when the server has handled all that was written before.
func (c *mqttWire) ping() error { return c.ask([]byte{0xc0, 0}, mqttPingResp, nil) }

// receive reads once and hands over every packet that is whole then; at least one.
func (c *mqttWire) receive(packet func(head byte, body []byte) error) error {
	for n := 0; n == 0; {
		if err := c.more(); err != nil {
			return err
		}
		for c.end-c.start >= 2 {
			size, width := binary.Uvarint(c.buf[c.start+1 : c.end])
			if width < 0 || size > uint64(len(c.buf)) {
				return errors.New("malformed length")
			}
			whole := c.start + 1 + width + int(size)
			if width == 0 || whole > c.end {
				break
			}
			head, body := c.buf[c.start], c.buf[c.start+1+width:whole]
			c.start = whole
			n++
			if err := packet(head, body); err != nil {
				return err
			}
		}
	}
	return nil
}

// mqttBatch is some PUBLISH packets of one topic, written together.
type mqttBatch struct {
	bytes   []byte
	one, id int // size of one packet, and where its identifier is; -1 for QoS 0
	next    uint16
}

func newMQTTBatch(topic string, size, n int, qos byte) *mqttBatch {
	body, id := mqttString(topic), -1
	if qos > 0 {
		id = len(body)
		body += "\x00\x00"
	}
	packet := mqttPacket(0x30|qos<<1, body+string(make([]byte, size)))
	b := &mqttBatch{one: len(packet), id: id}
	if id >= 0 {
		b.id += len(packet) - len(body) - size
	}
	for range n {
		b.bytes = append(b.bytes, packet...)
	}
	return b
}

// take is the first n packets, with new identifiers.
func (b *mqttBatch) take(n int) []byte {
	if b.id >= 0 {
		for i := range n {
			if b.next++; b.next == 0 {
				b.next = 1
			}
			binary.BigEndian.PutUint16(b.bytes[i*b.one+b.id:], b.next)
		}
	}
	return b.bytes[:n*b.one]
}

// publishAcked publishes n messages by QoS 1 with up to window outstanding.
func (c *mqttWire) publishAcked(topic string, size, n, window int) error {
	batch := newMQTTBatch(topic, size, window, 1)
	for sent, acked := 0, 0; acked < n; {
		if room := min(window-(sent-acked), n-sent); room > 0 {
			if _, err := c.Write(batch.take(room)); err != nil {
				return fmt.Errorf("publish: %w", err)
			}
			sent += room
		}
		err := c.receive(func(head byte, _ []byte) error {
			if head>>4 == mqttPubAck {
				acked++
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("publish: %d of %d acknowledged: %w", acked, n, err)
		}
	}
	return nil
}

// publishAtMostOnce publishes n messages by QoS 0 and returns when the server has read them all.
func (c *mqttWire) publishAtMostOnce(topic string, size, n, atOnce int) error {
	batch := newMQTTBatch(topic, size, atOnce, 0)
	for sent := 0; sent < n; {
		k := min(atOnce, n-sent)
		if _, err := c.Write(batch.take(k)); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
		sent += k
	}
	return c.ping()
}

// count reads until the connection ends and tells of every message that comes, acknowledging those
// of QoS 1 a read at a time.
func (c *mqttWire) count(got func(n int)) error {
	_ = c.SetReadDeadline(time.Time{})
	var acks []byte
	for {
		n := 0
		acks = acks[:0]
		err := c.receive(func(head byte, body []byte) error {
			if head>>4 != mqttPublish {
				return nil
			}
			n++
			if head&6 != 0 {
				at := 2 + int(binary.BigEndian.Uint16(body))
				acks = append(acks, 0x40, 2, body[at], body[at+1])
			}
			return nil
		})
		if n > 0 {
			got(n)
		}
		if err == nil && len(acks) > 0 {
			_, err = c.Write(acks)
		}
		if err != nil {
			return err
		}
	}
}
