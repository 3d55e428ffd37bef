package clients

import (
	"context"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"

	"github.com/robustmq/robustmq-go/test/harness"
)

// DialNATS connects a NATS client.
func DialNATS(port int, opts ...nats.Option) (*nats.Conn, error) {
	nc, err := nats.Connect("nats://"+harness.Addr(port), append([]nats.Option{nats.UserInfo(harness.User, harness.Password)}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("connect by nats: %w", err)
	}
	return nc, nil
}

type natsWriter struct{ nc *nats.Conn }

func newNATSWriter(port int) (Writer, error) {
	nc, err := DialNATS(port)
	if err != nil {
		return nil, err
	}
	return natsWriter{nc}, nil
}

func (w natsWriter) Close() { w.nc.Close() }

// Write flushes: the PONG says that the server has taken what came before.
func (w natsWriter) Write(ctx context.Context, m Message) error {
	out := &nats.Msg{Subject: m.Name, Reply: m.Reply, Data: m.Value}
	for _, h := range headersAndFields(m) {
		if h.Typed != nil {
			return errTyped
		}
		if out.Header == nil {
			out.Header = nats.Header{}
		}
		out.Header.Add(h.Name, string(h.Value))
	}
	if err := w.nc.PublishMsg(out); err != nil {
		return fmt.Errorf("publish by nats: %w", err)
	}
	if err := w.nc.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("publish by nats: %w", err)
	}
	return w.nc.LastError()
}

type natsReader struct {
	*inbox
	nc *nats.Conn
}

func newNATSReader(port int, filter string) (Reader, error) {
	nc, err := DialNATS(port)
	if err != nil {
		return nil, err
	}
	r := &natsReader{newInbox(), nc}
	if _, err := nc.Subscribe(filter, func(m *nats.Msg) { r.put(natsMessage(m)) }); err != nil {
		return nil, fmt.Errorf("subscribe by nats: %w", err)
	}
	if err := nc.Flush(); err != nil {
		return nil, fmt.Errorf("subscribe by nats: %w", err)
	}
	return r, nil
}

func (r *natsReader) Close() {
	r.nc.Close()
	r.end()
}

func natsMessage(in *nats.Msg) Message {
	m := Message{Name: in.Subject, Value: in.Data, Reply: in.Reply}
	var names []string
	for name := range in.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range in.Header[name] {
			m.Headers = append(m.Headers, Header{Name: name, Value: []byte(v)})
		}
	}
	return m
}
