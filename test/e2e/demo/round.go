package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/robustmq/robustmq-go/test/harness"
)

// round is one message, from one publisher to four consumers started for it alone.
type round struct {
	ports   harness.Ports
	pub     publisher
	text    string
	history []string // published in earlier rounds
}

// consumer is one native tool and what it must print in this round, in this order.
type consumer struct {
	protocol string
	*harness.Client
	want []string
}

func (r *round) play(ctx context.Context, out io.Writer) (err error) {
	fmt.Fprintf(out, "\n== %s%s\n   %s\n", r.pub.protocol, r.pub.note, fmt.Sprintf(r.pub.shown, r.text))
	var began, acked time.Time
	if r.pub.first {
		if began, acked, err = r.publish(ctx); err != nil {
			return err
		}
	}
	consumers, err := r.start()
	defer func() {
		for _, c := range consumers {
			if c.Client != nil {
				c.Kill()
			}
		}
	}()
	if err != nil {
		return err
	}
	ready, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for _, c := range consumers {
		if err := c.Ready(ready); err != nil {
			return err
		}
	}
	if !r.pub.first {
		if began, acked, err = r.publish(ctx); err != nil {
			return err
		}
	}
	var failed []error
	receive, cancel := context.WithTimeout(ctx, receiveWithin)
	defer cancel()
	for _, c := range consumers {
		if _, err := c.WaitMessages(receive, len(c.want)); err != nil {
			failed = append(failed, err)
		}
	}
	listen(ctx)
	for _, c := range consumers {
		if err := c.Stop(); err != nil {
			failed = append(failed, err)
		}
	}
	r.report(out, consumers, began, acked)
	for _, c := range consumers {
		if got := texts(c.Messages()); !slices.Equal(got, c.want) {
			failed = append(failed, fmt.Errorf("%s printed %q, want %q", c.protocol, got, c.want))
		}
	}
	return errors.Join(failed...)
}

// listen leaves time for copies too many to arrive.
func listen(ctx context.Context) {
	t := time.NewTimer(quiet)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (r *round) publish(ctx context.Context) (began, acked time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, publishWithin)
	defer cancel()
	began = time.Now()
	err = r.pub.publish(ctx, r.text)
	return began, time.Now(), err
}

// start starts the four consumers. What each must print follows from its protocol: Kafka reads
// from the beginning, so all of the history; the AMQP group goes on after what it acknowledged in
// earlier rounds; MQTT and NATS subscriptions see what comes from then on, MQTT also what is
// retained.
func (r *round) start() ([]consumer, error) {
	p, now := r.ports, []string{r.text}
	mqtt, err := harness.MQTTSub(p.MQTT, topic, 2)
	if err != nil {
		return nil, err
	}
	all := []consumer{{"mqtt", mqtt, now}}
	kafka, err := harness.KafkaConsole(p.Kafka, topic, "--partition", "0", "--from-beginning")
	if err != nil {
		return all, err
	}
	all = append(all, consumer{"kafka", kafka, append(slices.Clone(r.history), r.text)})
	nats, err := harness.NATSSub(p.NATS, topic)
	if err != nil {
		return all, err
	}
	c := consumer{"nats", nats, now}
	if r.pub.first {
		c.want = nil
	}
	all = append(all, c)
	amqp, err := harness.PikaConsumer(p.AMQP)
	if err != nil {
		return all, err
	}
	return append(all, consumer{"amqp", amqp, now}), nil
}

// report prints who received this round's message, and when: since the publishing tool was
// started, its own start-up included, and since the first of the four had it.
func (r *round) report(out io.Writer, consumers []consumer, began, acked time.Time) {
	var first time.Time
	at := func(c consumer) (time.Time, int) {
		var when time.Time
		n := 0
		for _, m := range c.Messages() {
			if m.Text == r.text {
				if n++; n == 1 {
					when = m.At
				}
			}
		}
		return when, n
	}
	for _, c := range consumers {
		if t, n := at(c); n > 0 && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	fmt.Fprintf(out, "   published and acknowledged %d ms after the tool was started\n", acked.Sub(began).Milliseconds())
	fmt.Fprintf(out, "   %-6s %-24s %-10s %14s %14s  %s\n", "reader", "tool", "received", "ms from start", "ms from first", "message")
	for _, c := range consumers {
		t, n := at(c)
		if n == 0 {
			note := "MISSING"
			if len(c.want) == 0 {
				note = "(published before it subscribed: not promised)"
			}
			fmt.Fprintf(out, "   %-6s %-24s %-10s %14s %14s  %s\n", c.protocol, c.Tool, "-", "-", "-", note)
			continue
		}
		fmt.Fprintf(out, "   %-6s %-24s %-10s %14d %14.1f  %s%s\n", c.protocol, c.Tool, fmt.Sprintf("%dx", n),
			t.Sub(began).Milliseconds(), float64(t.Sub(first).Microseconds())/1000, r.text, earlier(c, r))
	}
}

// earlier tells how many messages of earlier rounds a reader got too.
func earlier(c consumer, r *round) string {
	n := 0
	for _, m := range c.Messages() {
		if slices.Contains(r.history, m.Text) {
			n++
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" (and %d from earlier rounds)", n)
}

func texts(messages []harness.Message) []string {
	var out []string
	for _, m := range messages {
		out = append(out, m.Text)
	}
	return out
}
