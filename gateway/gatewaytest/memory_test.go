package gatewaytest

import (
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
)

// huge gives how a client of each protocol begins a frame that is large, and a
// whole one of half a MiB with what answers it.
var huge = map[string]struct {
	size  int
	begin func(w *wire, size int)
	whole func(w *wire) error
}{
	"mqtt": {6 << 20, func(w *wire, size int) { beginMQTT(w, "0", size) }, func(w *wire) error {
		beginMQTT(w, "2", 512<<10)
		_, _ = io.WriteString(w, str16("m/x")+"\x00\x01"+strings.Repeat("x", 512<<10-7))
		_, err := io.ReadFull(w.r, make([]byte, 4))
		return err
	}},
	"kafka": {30 << 20, func(w *wire, size int) {
		_, _ = io.WriteString(w, string(binary.BigEndian.AppendUint32(nil, uint32(size)))+"\x00\x00\x00\x03\x00\x00\x00\x01")
	}, func(w *wire) error { // metadata of topics that cannot be
		body := string(binary.BigEndian.AppendUint32(nil, 300)) + strings.Repeat(str16(strings.Repeat("n", 1700)), 300)
		_, err := w.ask(3, 1, "c", body)
		return err
	}},
	"nats": {1 << 20, func(w *wire, size int) { _, _ = fmt.Fprintf(w, "PUB m.x %d\r\n", size) }, func(w *wire) error {
		_, _ = fmt.Fprintf(w, "PUB m.x %d\r\n%s\r\nPING\r\n", 512<<10, strings.Repeat("x", 512<<10))
		_, err := w.r.ReadString('\n')
		return err
	}},
	"amqp": {6 << 20, func(w *wire, size int) {
		w.frame(1, "\x00\x14\x00\x0a\x00")
		_, _, _ = w.method()
		beginAMQP(w, size)
	}, func(w *wire) error {
		w.frame(1, "\x00\x14\x00\x0a\x00")
		_, _, _ = w.method()
		beginAMQP(w, 512<<10)
		for range 8 {
			_, _ = io.WriteString(w, "\x03\x00\x01"+str32(strings.Repeat("x", 64<<10))+"\xce")
		}
		w.frame(1, "\x00\x14\x00\x28\x00\x00\x00\x00\x00\x00\x00")
		_, _, err := w.method()
		return err
	}},
}

func beginMQTT(w *wire, kind string, size int) {
	var b []byte
	for n := size; ; {
		d := byte(n & 127)
		if n >>= 7; n > 0 {
			d |= 128
		}
		if b = append(b, d); n == 0 {
			break
		}
	}
	_, _ = io.WriteString(w, kind+string(b))
}

// beginAMQP publishes to the default exchange, with a body that is announced.
func beginAMQP(w *wire, size int) {
	w.frame(1, "\x00\x3c\x00\x28\x00\x00\x00\x03m.x\x00")
	_, _ = io.WriteString(w, "\x02\x00\x01"+str32("\x00\x3c\x00\x00"+string(binary.BigEndian.AppendUint64(nil, uint64(size)))+"\x00\x00")+"\xce")
}

// fill sends bytes of the frame that was begun, and never its last one.
func fill(w *wire, size int, sent *atomic.Int64) {
	step := strings.Repeat("x", 32<<10)
	if w.kind == "amqp" {
		step = "\x03\x00\x01" + str32(step) + "\xce"
	}
	for left := size - 1; left >= 32<<10; left -= 32 << 10 {
		n, err := io.WriteString(w, step)
		sent.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// TestUnfinishedFrames: however many clients begin a large frame and do not finish
// it, all of them together stay within the memory for connections, and who sends
// what it began gets through.
func TestUnfinishedFrames(t *testing.T) {
	const limit, clients = 24 << 20, 50
	for kind, how := range huge {
		t.Run(kind, func(t *testing.T) {
			m := gateway.NewMemory(limit, nil)
			h := openWithin(t, m, nil)
			var before runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var sent atomic.Int64
			size := min(how.size, limit/2/8*7)
			for range clients {
				w := h.dial(kind, nil)
				if got := w.login(""); got != "" {
					t.Fatal(got)
				}
				_ = w.SetDeadline(time.Now().Add(time.Minute))
				go func() {
					how.begin(w, size)
					fill(w, size, &sent)
				}()
			}
			until := time.Now().Add(30 * time.Second)
			for m.Stats().Waiting == 0 && time.Now().Before(until) {
				time.Sleep(time.Millisecond)
			}
			if m.Stats().Waiting == 0 {
				t.Error("nobody waits")
			}
			good := h.dial(kind, nil)
			if got := good.login(""); got != "" {
				t.Fatal(got)
			}
			_ = good.SetDeadline(time.Now().Add(time.Minute))
			if err := how.whole(good); err != nil {
				t.Errorf("who sends what it began: %v", err)
			}
			if s := m.Stats(); s.Incoming > limit/2 || s.Waits == 0 {
				t.Errorf("%+v", s)
			}
			var after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&after)
			if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 2*limit {
				t.Errorf("%d connections that sent %d MiB hold %d MiB", clients, sent.Load()>>20, grown>>20)
			}
			for _, l := range h.listeners {
				l.Close()
			}
			if s := m.Stats(); s.Incoming != 0 || s.Queued != 0 || s.Waiting != 0 {
				t.Errorf("after the last connection: %+v", s)
			}
		})
	}
}

// subscribe has a client get all that is published to m.x.
func subscribe(w *wire) error {
	var err error
	switch w.kind {
	case "mqtt":
		_, _ = io.WriteString(w, "\x82\x08\x00\x01\x00\x03m/x\x00")
		_, err = io.ReadFull(w.r, make([]byte, 5))
	case "nats":
		_, _ = io.WriteString(w, "SUB m.x 1\r\nPING\r\n")
		_, err = w.r.ReadString('\n')
	case "amqp":
		for _, m := range []string{
			"\x00\x14\x00\x0a\x00",                                                 // channel.open
			"\x00\x32\x00\x0a\x00\x00\x00\x04\x00\x00\x00\x00",                     // queue.declare, exclusive
			"\x00\x32\x00\x14\x00\x00\x00\x09amq.topic\x03m.x\x00\x00\x00\x00\x00", // queue.bind
			"\x00\x3c\x00\x14\x00\x00\x00\x00\x02\x00\x00\x00\x00",                 // basic.consume, no-ack
		} {
			w.frame(1, m)
			if _, _, err = w.method(); err != nil {
				break
			}
		}
	}
	return err
}

// TestSlowConsumersShareMemory: what is queued for clients that do not read stays
// within the memory for connections, however many they are, and who reads gets on.
func TestSlowConsumersShareMemory(t *testing.T) {
	const limit, clients, messages, size = 24 << 20, 20, 3000, 8 << 10
	for _, kind := range []string{"mqtt", "nats", "amqp"} {
		t.Run(kind, func(t *testing.T) {
			m := gateway.NewMemory(limit, nil)
			h := openWithin(t, m, nil)
			for range clients {
				w := h.dial(kind, nil)
				if got := w.login(""); got != "" {
					t.Fatal(got)
				}
				if err := subscribe(w); err != nil {
					t.Fatal(err)
				}
			}
			pub := h.dial("nats", nil)
			if got := pub.login(""); got != "" {
				t.Fatal(got)
			}
			_ = pub.SetDeadline(time.Now().Add(time.Minute))
			most := int64(0)
			text := fmt.Sprintf("PUB m.x %d\r\n%s\r\nPING\r\n", size, strings.Repeat("x", size))
			for range messages {
				_, _ = io.WriteString(pub, text)
				if _, err := pub.r.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
				most = max(most, m.Stats().Queued)
			}
			// Each may be over by what one delivery brings.
			if bound := int64(limit/2 + clients*(128<<10)); most > bound {
				t.Errorf("%d bytes are queued, the bound is %d", most, bound)
			}
			if m.Stats().Cut == 0 {
				t.Error("nobody was held to less than its own bound")
			}
			for _, l := range h.listeners {
				l.Close()
			}
			if s := m.Stats(); s.Incoming != 0 || s.Queued != 0 {
				t.Errorf("after the last connection: %+v", s)
			}
		})
	}
}
