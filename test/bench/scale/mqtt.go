package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/eclipse/paho.golang/paho"

	"github.com/robustmq/robustmq-go/test/e2e/clients"
	"github.com/robustmq/robustmq-go/test/harness"
)

func str16(s string) string { return string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))) + s }

func packet(head byte, body string) string { return string([]byte{head, byte(len(body))}) + body }

// device is an MQTT client of as little memory as will do.
type device struct {
	net.Conn
	r *bufio.Reader
}

// dialDevice connects with a session that outlives the connection by an hour, and subscribes. The
// source addresses differ, so that no pair of addresses runs out of ports.
func dialDevice(ctx context.Context, port, i int) (*device, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+i%8))}}
	nc, err := d.DialContext(ctx, "tcp", harness.Addr(port))
	if err != nil {
		return nil, err
	}
	c := &device{nc, bufio.NewReaderSize(nc, 128)}
	const expiry = "\x05\x11\x00\x00\x0e\x10"
	hello := packet(0x10, str16("MQTT")+"\x05\x00\x00\x00"+expiry+str16(fmt.Sprintf("device-%d", i)))
	hello += packet(0x82, "\x00\x01\x00"+str16("scale/+/x")+"\x01")
	if _, err := io.WriteString(c, hello); err != nil {
		return nil, err
	}
	for _, want := range []byte{0x20, 0x90} {
		head, body, err := c.next()
		if err != nil {
			return nil, fmt.Errorf("device %d: %w", i, err)
		}
		if head != want || want == 0x20 && body[1] != 0 || want == 0x90 && body[len(body)-1] != 1 {
			return nil, fmt.Errorf("device %d: packet %#x %x", i, head, body)
		}
	}
	return c, nil
}

func (c *device) next() (head byte, body []byte, err error) {
	if head, err = c.r.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(c.r)
	if err != nil || n > 1<<20 {
		return 0, nil, errors.Join(err, errors.New("malformed length"))
	}
	body = make([]byte, n)
	_, err = io.ReadFull(c.r, body)
	return head, body, err
}

// run counts and acknowledges what comes.
func (c *device) run(count *counter) {
	for {
		head, body, err := c.next()
		if err != nil {
			return
		}
		if head>>4 != 3 {
			continue
		}
		at := 2 + int(binary.BigEndian.Uint16(body))
		if head&6 != 0 {
			_, _ = c.Write([]byte{0x40, 2, body[at], body[at+1]})
		}
		count.add()
	}
}

func startMQTT(ctx context.Context, p harness.Ports, n int, count *counter) (func(), error) {
	devices := make([]*device, n)
	err := each(n, 64, func(i int) (err error) {
		devices[i], err = dialDevice(ctx, p.MQTT, i)
		return err
	})
	stop := func() {
		for _, d := range devices {
			if d != nil {
				_ = d.Close()
			}
		}
	}
	if err != nil {
		stop()
		return nil, err
	}
	for _, d := range devices {
		go d.run(count)
	}
	return stop, nil
}

// each runs do for 0 to n-1, some at once, and gives the first error.
func each(n, atOnce int, do func(i int) error) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var first error
	failed := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return first != nil
	}
	room := make(chan struct{}, atOnce)
	for i := range n {
		if failed() {
			break
		}
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			if err := do(i); err != nil {
				mu.Lock()
				if first == nil {
					first = err
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return first
}

// publishMQTT returns once the message is acknowledged.
func publishMQTT(ctx context.Context, p harness.Ports, topic string, payload []byte) error {
	c, err := clients.DialMQTT(ctx, p.MQTT, paho.ClientConfig{}, paho.Connect{CleanStart: true})
	if err != nil {
		return err
	}
	defer func() { _ = c.Disconnect(&paho.Disconnect{}) }()
	if _, err := c.Publish(ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: payload}); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}
