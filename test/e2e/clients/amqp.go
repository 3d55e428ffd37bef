package clients

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/robustmq/robustmq-go/test/harness"
)

// DialAMQP connects and opens one channel.
func DialAMQP(port int) (*amqp.Connection, *amqp.Channel, error) {
	c, err := amqp.Dial("amqp://" + harness.User + ":" + harness.Password + "@" + harness.Addr(port) + "/")
	if err != nil {
		return nil, nil, fmt.Errorf("connect by amqp: %w", err)
	}
	ch, err := c.Channel()
	if err != nil {
		c.Close()
		return nil, nil, fmt.Errorf("open amqp channel: %w", err)
	}
	return c, ch, nil
}

type amqpWriter struct {
	c  *amqp.Connection
	ch *amqp.Channel
}

func newAMQPWriter(port int) (Writer, error) {
	c, ch, err := DialAMQP(port)
	if err != nil {
		return nil, err
	}
	if err := ch.Confirm(false); err != nil {
		c.Close()
		return nil, fmt.Errorf("select confirms: %w", err)
	}
	return &amqpWriter{c, ch}, nil
}

func (w *amqpWriter) Close() { w.c.Close() }

func (w *amqpWriter) Write(ctx context.Context, m Message) error {
	p := amqp.Publishing{
		Body: m.Value, Timestamp: m.Time, ContentType: m.Fields[ContentType], ContentEncoding: m.Fields[ContentEncoding],
		CorrelationId: m.Fields[CorrelationID], ReplyTo: m.Fields[ReplyTo], Expiration: m.Fields[Expiration],
		MessageId: m.Fields[MessageID], Type: m.Fields[Type], UserId: m.Fields[UserID], AppId: m.Fields[AppID],
	}
	if v, ok := m.Fields[Priority]; ok {
		n, err := strconv.ParseUint(v, 10, 8)
		if err != nil {
			return fmt.Errorf("priority: %w", err)
		}
		p.Priority = uint8(n)
	}
	for _, h := range m.Headers {
		if p.Headers == nil {
			p.Headers = amqp.Table{}
		}
		if _, again := p.Headers[h.Name]; again {
			return fmt.Errorf("a table cannot repeat the field %q", h.Name)
		}
		switch {
		case h.Typed != nil:
			p.Headers[h.Name] = h.Typed
		default:
			p.Headers[h.Name] = string(h.Value)
		}
	}
	confirm, err := w.ch.PublishWithDeferredConfirmWithContext(ctx, m.Exchange, m.Name, false, false, p)
	if err != nil {
		return fmt.Errorf("publish by amqp: %w", err)
	}
	ok, err := confirm.WaitContext(ctx)
	if err == nil && !ok {
		err = errors.New("not confirmed")
	}
	if err != nil {
		return fmt.Errorf("publish by amqp: %w", err)
	}
	return nil
}

type amqpReader struct {
	*inbox
	c    *amqp.Connection
	done chan struct{}
}

func newAMQPReader(port int, filter string) (Reader, error) {
	c, ch, err := DialAMQP(port)
	if err != nil {
		return nil, err
	}
	queue := filter
	if strings.ContainsAny(filter, "*#") {
		if queue, err = bindTemporary(ch, filter); err != nil {
			c.Close()
			return nil, err
		}
	}
	ds, err := ch.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("consume by amqp: %w", err)
	}
	r := &amqpReader{newInbox(), c, make(chan struct{})}
	go func() {
		defer close(r.done)
		for d := range ds {
			r.put(amqpMessage(&d))
			if err := d.Ack(false); err != nil {
				return
			}
		}
	}()
	return r, nil
}

func bindTemporary(ch *amqp.Channel, pattern string) (string, error) {
	q, err := ch.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		return "", fmt.Errorf("declare queue: %w", err)
	}
	if err := ch.QueueBind(q.Name, pattern, "amq.topic", false, nil); err != nil {
		return "", fmt.Errorf("bind queue: %w", err)
	}
	return q.Name, nil
}

func (r *amqpReader) Close() {
	r.c.Close()
	<-r.done
	r.end()
}

func amqpMessage(d *amqp.Delivery) Message {
	m := Message{Name: d.RoutingKey, Exchange: d.Exchange, Value: d.Body, Time: d.Timestamp, Fields: map[string]string{}}
	values := map[string]string{
		ContentType: d.ContentType, ContentEncoding: d.ContentEncoding, CorrelationID: d.CorrelationId, ReplyTo: d.ReplyTo,
		Expiration: d.Expiration, MessageID: d.MessageId, Type: d.Type, UserID: d.UserId, AppID: d.AppId,
	}
	for name, v := range values {
		if v != "" {
			m.Fields[name] = v
		}
	}
	if d.Priority != 0 {
		m.Fields[Priority] = strconv.Itoa(int(d.Priority))
	}
	for _, name := range slices.Sorted(maps.Keys(d.Headers)) {
		switch v := d.Headers[name].(type) {
		case string:
			m.Headers = append(m.Headers, Header{Name: name, Value: []byte(v)})
		default:
			m.Headers = append(m.Headers, Header{Name: name, Typed: v})
		}
	}
	return m
}

// ReadQueue takes n messages of a queue, acknowledging each, and gives their bodies.
func ReadQueue(ctx context.Context, port int, queue string, n int) ([][]byte, error) {
	c, ch, err := DialAMQP(port)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := ch.Qos(1000, 0, false); err != nil {
		return nil, fmt.Errorf("set prefetch: %w", err)
	}
	ds, err := ch.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		return nil, fmt.Errorf("consume %s: %w", queue, err)
	}
	var all [][]byte
	for len(all) < n {
		select {
		case d, ok := <-ds:
			if !ok {
				return all, fmt.Errorf("consume %s: the channel is closed after %d messages", queue, len(all))
			}
			all = append(all, d.Body)
			if err := d.Ack(false); err != nil {
				return all, fmt.Errorf("acknowledge: %w", err)
			}
		case <-ctx.Done():
			return all, fmt.Errorf("consume %s: %d of %d messages: %w", queue, len(all), n, ctx.Err())
		}
	}
	return all, nil
}
