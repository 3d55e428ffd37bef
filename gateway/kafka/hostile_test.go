package kafka

import (
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"reflect"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// conversation is one valid request of every API.
func conversation(r *rand.Rand) (frames [][]byte) {
	tab := newTable()
	for i := range tab.rows {
		q := kmsg.RequestForKey(tab.rows[i].key)
		fill(r, reflect.ValueOf(q).Elem())
		switch q := q.(type) {
		case *kmsg.FetchRequest:
			q.MaxWaitMillis = 1
		case *kmsg.SASLHandshakeRequest:
			continue
		case *kmsg.SASLAuthenticateRequest:
			continue
		}
		q.SetVersion(tab.rows[i].max)
		frames = append(frames, frameOf(q, int32(i), "fuzz"))
	}
	return frames
}

// feed sends bytes on a connection of its own, hangs up and waits for its end.
func (s *stand) feed(data []byte) {
	client, server := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		s.srv.ServeConn(ctx, gateway.NewConn(server, "kafka"))
		_ = server.Close()
	}()
	go func() { _, _ = io.Copy(io.Discard, client) }()
	_ = client.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_, _ = client.Write(data)
	// What was read is processed; then the end of the stream ends it.
	time.Sleep(time.Millisecond)
	_ = client.Close()
	<-done
}

func TestEveryPrefixOfAConversation(t *testing.T) {
	s := newStand(t)
	s.topic("topic.name", 3, nil)
	r := rand.New(rand.NewPCG(7, 8))
	var wg sync.WaitGroup
	for _, f := range conversation(r) {
		wg.Go(func() {
			for n := range f {
				s.feed(f[:n])
			}
			s.feed(f)
			for i := range 20 { // one byte changed
				g := append([]byte(nil), f...)
				g[4+i*(len(g)-5)/20] ^= 0x55
				s.feed(g)
			}
		})
	}
	wg.Wait()
	if p := s.dial().produce("topic.name", batchOf(rec("k", "v"))); p.ErrorCode != 0 {
		t.Errorf("afterwards a produce gets %d", p.ErrorCode)
	}
}

func TestFramesThatEndTheConnection(t *testing.T) {
	s := newStand(t)
	head := func(size uint32, key, version int16) []byte {
		b := binary.BigEndian.AppendUint32(nil, size)
		b = binary.BigEndian.AppendUint16(b, uint16(key))
		b = binary.BigEndian.AppendUint16(b, uint16(version))
		return append(b, make([]byte, 40)...)
	}
	for name, b := range map[string][]byte{
		"size 4 GiB":            head(0xffffffff, 3, 9),
		"size over the cap":     head(maxFrame+1, 0, 9),
		"early and over 512 K":  head(maxEarlyFrame+1, 0, 9),
		"size 0":                head(0, 3, 9),
		"unknown key":           head(30, 999, 0),
		"key below 0":           head(30, -1, 0),
		"key without a server":  head(30, 24, 0),
		"version from tomorrow": head(30, 3, 99),
		"version below 0":       head(30, 3, -5),
		"client id too long":    append(head(30, 3, 9)[:12], 0x7f, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		"HTTP":                  []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
	} {
		w := s.dial()
		if _, err := w.c.Write(b); err != nil {
			t.Fatal(err)
		}
		if !w.closed() {
			t.Errorf("%s: the connection stays open", name)
		}
	}
}

// A frame that is announced and never comes takes no memory.
func TestAnnouncedBytesTakeNoMemory(t *testing.T) {
	s := newStand(t)
	s.topic("t", 1, nil)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 20 {
		w := s.dial()
		w.produce("t", batchOf(rec("k", "v")))
		b := binary.BigEndian.AppendUint32(nil, maxFrame)
		b = append(b, 0, 0, 0, 9, 0, 0, 0, 1)
		if _, err := w.c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(50 * time.Millisecond)
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapInuse) - int64(before.HeapInuse); grown > 100<<20 {
		t.Errorf("20 announced frames of 100 MiB take %d MiB", grown>>20)
	}
}

// FuzzConversation: whatever a client sends, the gateway neither panics nor
// hangs.
func FuzzConversation(f *testing.F) {
	r := rand.New(rand.NewPCG(9, 10))
	for range 2 {
		for _, b := range conversation(r) {
			f.Add(b)
		}
	}
	s := newStand(f, withConfig(func(c *Config) { c.GroupMaxSessionTimeout = 50 * time.Millisecond; c.AutoCreateTopics = false }))
	s.topic("topic.name", 3, nil)
	f.Fuzz(func(t *testing.T, data []byte) {
		done := make(chan struct{})
		go func() { s.feed(data); close(done) }()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			buf := make([]byte, 1<<20)
			t.Fatalf("the connection hangs:\n%s", buf[:runtime.Stack(buf, true)])
		}
	})
}
