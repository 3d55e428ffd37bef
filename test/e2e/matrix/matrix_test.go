package matrix

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/test/e2e/clients"
	"github.com/robustmq/robustmq-go/test/harness"
)

// within bounds one message from writer to four readers.
const within = 20 * time.Second

// quiet is how long it is listened for what must not come.
const quiet = 300 * time.Millisecond

// abreast is how many writes are under way at once.
const abreast = 4

// TestMatrix writes each case with each protocol, and reads it with four.
func TestMatrix(t *testing.T) {
	b := harness.NewBroker(t, harness.Options{})
	writers := map[string]clients.Writer{}
	for _, protocol := range clients.Protocols {
		w, err := clients.NewWriter(t.Context(), protocol, b.Ports)
		if err != nil {
			t.Fatalf("connect: %v", err)
		}
		defer w.Close()
		writers[protocol] = w
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, abreast)
	var counts struct {
		sync.Mutex
		cells, wrong int
	}
	for _, c := range Cases() {
		for _, writer := range c.writers() {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				wrong := play(t.Context(), &c, writers, writer, b.Ports)
				counts.Lock()
				counts.cells += len(clients.Protocols)
				counts.wrong += len(wrong)
				counts.Unlock()
				for _, err := range wrong {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	t.Logf("%d cases, %d cells of writer and reader, %d wrong", len(Cases()), counts.cells, counts.wrong)
}

// play writes one message and compares what each reader gets.
func play(ctx context.Context, c *Case, writers map[string]clients.Writer, writer string, p harness.Ports) (wrong []error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	name := c.Title + ": " + writer
	readers := map[string]clients.Reader{}
	defer func() {
		for _, r := range readers {
			r.Close()
		}
	}()
	subscribe := func(live bool) {
		for _, reader := range clients.Protocols {
			if clients.Live(reader, c.filter(reader, writer)) != live {
				continue
			}
			r, err := clients.NewReader(ctx, reader, p, c.filter(reader, writer))
			if err != nil {
				wrong = append(wrong, fmt.Errorf("%s > %s: %w", name, reader, err))
				continue
			}
			readers[reader] = r
		}
	}
	m := c.Message.Clone()
	m.Name = c.name(writer, writer)
	primed := 0
	if c.Prime {
		// By a protocol that says when it is stored, or live readers may still see it.
		prime := clients.Message{Name: c.name(clients.AMQP, writer), Value: []byte("prime")}
		if err := writers[clients.AMQP].Write(ctx, prime); err != nil {
			return []error{fmt.Errorf("%s: prime: %w", name, err)}
		}
		primed = 1
	}
	subscribe(true)
	if err := writers[writer].Write(ctx, m); err != nil {
		return append(wrong, fmt.Errorf("%s: %w", name, err))
	}
	subscribe(false)
	for _, reader := range clients.Protocols {
		r, want := readers[reader], c.want(writer, reader)
		if r == nil {
			continue
		}
		before := 0
		if !clients.Live(reader, c.filter(reader, writer)) {
			before = primed
		}
		if err := compare(ctx, c, reader, r, before, want); err != nil {
			wrong = append(wrong, fmt.Errorf("%s > %s: %w", name, reader, err))
		}
	}
	return wrong
}

// compare wants exactly one message, after some that came before, or none.
func compare(ctx context.Context, c *Case, reader string, r clients.Reader, before int, want []string) error {
	if want == nil {
		time.Sleep(quiet)
		if got := r.Messages(); len(got) > before {
			return fmt.Errorf("got %q, want nothing", c.describe(reader, got[before]))
		}
		return nil
	}
	got, err := r.Wait(ctx, before+1)
	if err != nil {
		return err
	}
	if len(got) > before+1 {
		return fmt.Errorf("got %d messages, want 1", len(got)-before)
	}
	if lines := c.describe(reader, got[before]); !slices.Equal(lines, want) {
		return fmt.Errorf("\n  got  %s\n  want %s", strings.Join(lines, " | "), strings.Join(want, " | "))
	}
	return nil
}
