package matrix

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/robustmq/robustmq-go/test/e2e/clients"
)

// Case is one thing written by each of some protocols and read by all.
type Case struct {
	ID    string // part of the names
	Title string
	// Message is what is written, less its name.
	Message clients.Message
	// Writers that can write it; nil: all.
	Writers []string
	// Names and Filters by protocol, where they are not the exact name: the case's subject, with
	// levels for tokens in MQTT. "{}" stands for the case's subject, "{/}" for it in MQTT's words, "{w}" for the writer.
	Names, Filters map[string]string
	// Prime has the topic made before, since requests make none.
	Prime bool
	// Cells that are not as by default, by "writer>reader"; "*" stands for any writer.
	Cells map[string]Cell
	// Note is said of the whole case.
	Note string
}

// Cell is what one reader gets of one writer, where that is not the default.
type Cell struct {
	// None: the message does not reach this reader.
	None bool
	// Edit changes the default.
	Edit func(m *clients.Message)
	// Why, for the table.
	Why string
}

// writers gives the protocols that write a case.
func (c *Case) writers() []string {
	if c.Writers == nil {
		return clients.Protocols
	}
	return c.Writers
}

// subject of a case and writer.
func (c *Case) subject(writer string) string { return "matrix." + c.ID + "." + writer }

func spell(pattern, protocol, subject string) string {
	writer := subject[strings.LastIndexByte(subject, '.')+1:]
	slashes := strings.ReplaceAll(subject, ".", "/")
	if pattern == "" {
		if protocol == clients.MQTT {
			return slashes
		}
		return subject
	}
	return strings.NewReplacer("{}", subject, "{/}", slashes, "{w}", writer).Replace(pattern)
}

func (c *Case) name(protocol, writer string) string {
	return spell(c.Names[protocol], protocol, c.subject(writer))
}

func (c *Case) filter(reader, writer string) string {
	if f, ok := c.Filters[reader]; ok {
		return spell(f, reader, c.subject(writer))
	}
	return c.name(reader, writer)
}

// cell gives the exception of a cell, if it is one.
func (c *Case) cell(writer, reader string) (Cell, bool) {
	if x, ok := c.Cells[writer+">"+reader]; ok {
		return x, true
	}
	x, ok := c.Cells["*>"+reader]
	return x, ok
}

// want is what a reader must get; nil: nothing.
func (c *Case) want(writer, reader string) []string {
	m := c.Message.Clone()
	m.Name = c.name(reader, writer)
	m.Exchange = ""
	if reader == clients.AMQP && clients.Live(reader, c.filter(reader, writer)) {
		m.Exchange = "amq.topic"
	}
	var moved []clients.Header
	fields := map[string]string{}
	for _, name := range fieldNames {
		v, ok := m.Fields[name]
		switch {
		case !ok:
		case slices.Contains(clients.Fields[reader], name):
			fields[name] = v
		default:
			moved = append(moved, clients.Header{Name: name, Value: []byte(v)})
		}
	}
	m.Fields, m.Headers = fields, append(moved, m.Headers...)
	if reader == clients.MQTT || reader == clients.NATS {
		m.Time = time.Time{}
	}
	if reader != clients.Kafka {
		m.Key = nil
		if m.Value == nil {
			m.Value = []byte{}
		}
	}
	x, ok := c.cell(writer, reader)
	if ok && x.None {
		return nil
	}
	if ok && x.Edit != nil {
		x.Edit(&m)
	}
	return c.describe(reader, m)
}

var fieldNames = clients.Fields[clients.AMQP]

// describe tells a message in lines: what is compared.
func (c *Case) describe(reader string, m clients.Message) []string {
	out := []string{"name=" + m.Name}
	if reader == clients.AMQP {
		out = append(out, "exchange="+strconv.Quote(m.Exchange))
	}
	if m.Key != nil {
		out = append(out, "key="+text(m.Key))
	}
	switch {
	case m.Value == nil && reader == clients.Kafka:
		out = append(out, "value null")
	default:
		out = append(out, "value="+text(m.Value))
	}
	for _, name := range fieldNames {
		if v, ok := m.Fields[name]; ok {
			if name == clients.Expiration {
				v = minutes(v)
			}
			out = append(out, "field "+name+"="+text([]byte(v)))
		}
	}
	if m.Reply != "" && reader == clients.NATS {
		out = append(out, "reply="+m.Reply)
	}
	hs := slices.Clone(m.Headers)
	slices.SortStableFunc(hs, func(a, b clients.Header) int { return strings.Compare(a.Name, b.Name) })
	for _, h := range hs {
		switch {
		case h.Typed != nil:
			out = append(out, fmt.Sprintf("header %s=%T %v", h.Name, h.Typed, h.Typed))
		case h.Value == nil:
			out = append(out, "header "+h.Name+" null")
		default:
			out = append(out, "header "+h.Name+"="+text(h.Value))
		}
	}
	if when := c.time(reader, m.Time); when != "" {
		out = append(out, "time "+when)
	}
	return out
}

// published stands for the time of publishing in a Cell's Edit.
var published = time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC)

// time tells which time a reader was given.
func (c *Case) time(reader string, at time.Time) string {
	given := c.Message.Time
	switch {
	case at.IsZero() && reader != clients.Kafka:
		return ""
	case !given.IsZero() && at.Equal(given):
		return "given by the writer"
	case at.IsZero() || at.Equal(published) || time.Since(at).Abs() < 2*time.Minute:
		return "of publishing"
	}
	return at.String()
}

// minutes rounds up to minutes: readers are told what is left of a life.
func minutes(ms string) string {
	n, err := strconv.ParseInt(ms, 10, 64)
	if err != nil {
		return ms
	}
	return fmt.Sprintf("%d min", (n+59_999)/60_000)
}

func text(b []byte) string {
	if len(b) > 300 {
		return fmt.Sprintf("%d bytes, sha-256 %x", len(b), sha256.Sum256(b))
	}
	if utf8.Valid(b) {
		return strconv.Quote(string(b))
	}
	return fmt.Sprintf("%x", b)
}
