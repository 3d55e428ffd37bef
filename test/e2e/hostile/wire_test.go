package hostile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/robustmq/robustmq-go/test/harness"
)

// target is a port with a valid conversation, as a client sends it; the last message of it is a
// publish.
type target struct {
	name  string
	port  int
	valid []string
}

func be16(n int) string { return string(binary.BigEndian.AppendUint16(nil, uint16(n))) }
func be32(n int) string { return string(binary.BigEndian.AppendUint32(nil, uint32(n))) }

func str16(s string) string { return be16(len(s)) + s }

func mqttPacket(head byte, body string) string {
	return string([]byte{head, byte(len(body))}) + body
}

func kafkaFrame(key, version int, body string) string {
	b := be16(key) + be16(version) + be32(7) + str16("hostile") + body
	return be32(len(b)) + b
}

func amqpFrame(kind byte, channel int, payload string) string {
	return string([]byte{kind}) + be16(channel) + be32(len(payload)) + payload + "\xce"
}

const (
	amqpHeader  = "AMQP\x00\x00\x09\x01"
	natsConnect = `CONNECT {"verbose":false,"pedantic":false}` + "\r\n"
)

func mqttConnect() string {
	return mqttPacket(0x10, str16("MQTT")+"\x05\x02\x00\x3c\x00"+str16("")) // v5, clean start, no identifier
}

// amqpLogin is all that a client sends until the connection is open.
func amqpLogin() []string {
	response := "\x00" + harness.User + "\x00" + harness.Password
	return []string{
		amqpHeader,
		amqpFrame(1, 0, "\x00\x0a\x00\x0b"+be32(0)+"\x05PLAIN"+be32(len(response))+response+"\x05en_US"),
		amqpFrame(1, 0, "\x00\x0a\x00\x1f\x00\x00\x00\x00\x00\x00\x00\x00"),
		amqpFrame(1, 0, "\x00\x0a\x00\x28\x01/\x00\x00"),
	}
}

func websocketRequest(protocol string) string {
	return "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Protocol: " + protocol + "\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
}

// gateways are the ports with a protocol of frames.
func gateways(p harness.Ports) []target {
	return []target{
		{"mqtt", p.MQTT, []string{mqttConnect(), mqttPacket(0x82, "\x00\x01\x00"+str16("hostile/#")+"\x01"), mqttPacket(0x32, str16("hostile/x")+"\x00\x02\x00payload")}},
		{"kafka", p.Kafka, []string{kafkaFrame(18, 0, ""), kafkaFrame(3, 1, be32(1)+str16("hostile"))}},
		{"nats", p.NATS, []string{natsConnect, "SUB hostile.> 1\r\n", "PUB hostile.x 7\r\npayload\r\n"}},
		{"amqp", p.AMQP, append(amqpLogin(), amqpFrame(1, 1, "\x00\x14\x00\x0a\x00"),
			amqpFrame(1, 1, "\x00\x3c\x00\x28\x00\x00\x00\x07hostile\x00"), amqpFrame(2, 1, "\x00\x3c\x00\x00"+be32(0)+be32(7)+"\x00\x00"), amqpFrame(3, 1, "payload"))},
	}
}

// everywhere adds the ports of HTTP and WebSocket.
func everywhere(p harness.Ports) []target {
	get := "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	return append(gateways(p), target{"mqtt over websocket", p.MQTTWS, []string{websocketRequest("mqtt")}},
		target{"nats over websocket", p.NATSWS, []string{websocketRequest("nats")}},
		target{"nats monitoring", p.NATSMonitor, []string{get}}, target{"admin", p.Admin, []string{get}})
}

// talk sends text, in one piece, and gives all that comes until the broker ends the connection. With
// hangUp it is told that nothing more comes. A connection that goes on is an error.
func talk(port int, text string, hangUp bool, within time.Duration) (string, error) {
	c, err := net.DialTimeout("tcp", harness.Addr(port), within)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(within))
	go func() { // the broker may close before it read all
		_, _ = io.WriteString(c, text)
		if hangUp {
			_ = c.(*net.TCPConn).CloseWrite()
		}
	}()
	return drain(c)
}

// drain reads until the connection ends; a reset is an end.
func drain(c net.Conn) (string, error) {
	var b strings.Builder
	_, err := io.Copy(&b, c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return b.String(), fmt.Errorf("the connection goes on after %q", b.String())
	}
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		err = nil
	}
	return b.String(), err
}
