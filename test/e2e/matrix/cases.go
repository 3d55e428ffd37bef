package matrix

import (
	"math/rand/v2"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/robustmq/robustmq-go/test/e2e/clients"
)

func allBytes() []byte {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func random(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

func header(name, value string) clients.Header {
	return clients.Header{Name: name, Value: []byte(value)}
}

func value(m clients.Message) clients.Message {
	if m.Value == nil {
		m.Value = []byte("hello")
	}
	return m
}

func field(name, v string) clients.Message {
	return value(clients.Message{Fields: map[string]string{name: v}})
}

// given is a time that a writer sets itself, within retention.
var given = time.Now().Add(-time.Hour).Truncate(time.Second)

// Cases is the table.
func Cases() []Case {
	return append(append(values(), properties()...), names()...)
}

func values() []Case {
	return []Case{
		{ID: "text", Title: "value: text", Message: value(clients.Message{})},
		{ID: "empty", Title: "value: empty", Message: clients.Message{Value: []byte{}}},
		{ID: "binary", Title: "value: all 256 byte values", Message: clients.Message{Value: allBytes()}},
		{ID: "mib", Title: "value: 1 MiB", Message: clients.Message{Value: random(1 << 20)}},
		{
			ID: "null", Title: "value: null (a tombstone)", Writers: []string{clients.Kafka},
			Cells: elsewhere("empty"),
		},
		{
			ID: "key", Title: "key", Writers: []string{clients.Kafka}, Message: value(clients.Message{Key: []byte("k-\x00\xff")}),
			Cells: elsewhere("without key"),
		},
		{
			ID: "emptykey", Title: "key: empty", Writers: []string{clients.Kafka}, Message: value(clients.Message{Key: []byte{}}),
			Cells: elsewhere("without key"),
		},
	}
}

// elsewhere says what becomes of something that only Kafka has.
func elsewhere(why string) map[string]Cell {
	return map[string]Cell{"*>mqtt": {Why: why}, "*>nats": {Why: why}, "*>amqp": {Why: why}}
}

func properties() []Case {
	binary := string([]byte{0, 1, 0xfe, 0xff})
	noBinary := Cell{Edit: func(m *clients.Message) { m.Headers = nil }, Why: "a user property is UTF-8 without NUL: left out"}
	list := Cell{
		Edit: func(m *clients.Message) {
			m.Headers = []clients.Header{{Name: "h", Typed: []any{"1", "2"}}}
		},
		Why: "a table cannot repeat a field: one array of the values",
	}
	return append([]Case{
		{ID: "headers", Title: "headers", Message: value(clients.Message{Headers: []clients.Header{header("a", "1"), header("Other-Name", "é✓")}})},
		{ID: "emptyheader", Title: "header: empty value", Message: value(clients.Message{Headers: []clients.Header{header("h", "")}})},
		{
			ID: "repeated", Title: "header: repeated", Message: value(clients.Message{Headers: []clients.Header{header("h", "1"), header("h", "2")}}),
			Writers: []string{clients.MQTT, clients.Kafka, clients.NATS},
			Cells:   map[string]Cell{"*>amqp": list},
			Note:    "An AMQP table cannot repeat a field.",
		},
		{
			ID: "binaryheader", Title: "header: binary value", Message: value(clients.Message{Headers: []clients.Header{header("h", binary)}}),
			Writers: []string{clients.Kafka, clients.NATS, clients.AMQP},
			Cells:   map[string]Cell{"*>mqtt": noBinary},
			Note:    "An MQTT user property is UTF-8.",
		},
		{
			ID: "newline", Title: "header: value with a line break", Message: value(clients.Message{Headers: []clients.Header{header("h", "a\r\nb")}}),
			Writers: []string{clients.MQTT, clients.Kafka, clients.AMQP},
			Cells:   map[string]Cell{"*>nats": {Edit: func(m *clients.Message) { m.Headers = nil }, Why: "a NATS header is one line: left out"}},
		},
		{
			ID: "nullheader", Title: "header: null value", Message: value(clients.Message{Headers: []clients.Header{{Name: "h"}}}),
			Writers: []string{clients.Kafka},
			Cells: map[string]Cell{
				"*>mqtt": {Edit: func(m *clients.Message) { m.Headers[0].Value = []byte{} }, Why: "read as empty"},
				"*>nats": {Edit: func(m *clients.Message) { m.Headers[0].Value = []byte{} }, Why: "read as empty"},
			},
		},
	}, fields()...)
}

// fields are the properties that have a field of their own in some protocol.
func fields() []Case {
	binary := string([]byte{0, 1, 0xfe, 0xff})
	return []Case{
		{ID: "contenttype", Title: "content-type", Message: field(clients.ContentType, "application/json; charset=utf-8")},
		{ID: "correlation", Title: "correlation-id", Message: field(clients.CorrelationID, "corr-1")},
		{
			ID: "binarycorrelation", Title: "correlation-id: binary", Message: field(clients.CorrelationID, binary),
		},
		{ID: "replyto", Title: "reply-to", Message: field(clients.ReplyTo, "answers"), Cells: map[string]Cell{
			"mqtt>nats": answersTo("answers"), "amqp>nats": answersTo("answers"),
		}},
		{
			ID: "replysubject", Title: "reply-to: a subject", Writers: []string{clients.Kafka, clients.AMQP}, Message: field(clients.ReplyTo, "answers.here"),
			Cells: map[string]Cell{"*>mqtt": replyTo("answers/here", "as the topic it is"), "amqp>nats": answersTo("answers.here")},
		},
		{
			ID: "replytopic", Title: "response topic", Writers: []string{clients.MQTT}, Message: field(clients.ReplyTo, "answers/here"),
			Cells: map[string]Cell{
				"*>kafka": replyTo("answers.here", "as the subject it is"), "*>amqp": replyTo("answers.here", "as the subject it is"),
				"*>nats": {Edit: func(m *clients.Message) {
					m.Reply = "answers.here"
					for i := range m.Headers {
						m.Headers[i].Value = []byte("answers.here")
					}
				}, Why: "as the subject it is, and as the reply subject"},
			},
		},
		{
			ID: "reply", Title: "the reply subject of a NATS request", Writers: []string{clients.NATS}, Prime: true,
			Message: value(clients.Message{Reply: "_INBOX.answers.1"}),
			Cells: map[string]Cell{
				"*>mqtt": replyTo("_INBOX/answers/1", "as response topic"),
				"*>amqp": replyTo("_INBOX.answers.1", "as reply-to"),
			},
			Note: "A request makes no topic: it is stored where one exists. Kafka has no field for it.",
		},
		{ID: "messageid", Title: "message-id", Message: field(clients.MessageID, "id-1")},
		{ID: "expiration", Title: "expiration", Message: field(clients.Expiration, "3600000")},
		{ID: "other", Title: "content-encoding, type, app-id, priority", Message: value(clients.Message{Fields: map[string]string{
			clients.ContentEncoding: "gzip", clients.Type: "order.created", clients.AppID: "shop", clients.Priority: "5",
		}})},
		{ID: "userid", Title: "user-id", Message: field(clients.UserID, "admin")},
		{
			ID: "typed", Title: "AMQP header types", Writers: []string{clients.AMQP},
			Message: value(clients.Message{Headers: []clients.Header{
				{Name: "b", Typed: true}, {Name: "d", Typed: 1.5}, {Name: "i", Typed: int64(-7)}, {Name: "t", Typed: amqp.Table{"x": int32(1)}},
			}}),
			Cells: map[string]Cell{"*>mqtt": asText, "*>kafka": asText, "*>nats": asText},
		},
		{
			ID: "time", Title: "time set by the writer", Writers: []string{clients.Kafka, clients.AMQP}, Message: value(clients.Message{Time: given}),
			Cells: map[string]Cell{
				"kafka>amqp": {Edit: func(m *clients.Message) { m.Time = time.Time{} }, Why: "no timestamp property: only what a publisher set"},
				"amqp>kafka": {Edit: func(m *clients.Message) { m.Time = published }, Why: "the time of publishing"},
			},
			Note: "A record's time is that of publishing unless a Kafka producer sets it. MQTT and NATS core have no field for it.",
		},
	}
}

// replyTo shows where answers go in another form.
func replyTo(v, why string) Cell {
	return Cell{Edit: func(m *clients.Message) {
		if _, ok := m.Fields[clients.ReplyTo]; ok || len(m.Headers) == 0 {
			m.Fields[clients.ReplyTo] = v
			return
		}
		m.Headers[0].Value = []byte(v)
	}, Why: why}
}

// answersTo shows it as the reply subject too.
func answersTo(v string) Cell {
	return Cell{Edit: func(m *clients.Message) { m.Reply = v }, Why: "same, and as the reply subject"}
}

var asText = Cell{Edit: func(m *clients.Message) {
	m.Headers = []clients.Header{header("b", "true"), header("d", "1.5"), header("i", "-7"), header("t", `{"x":1}`)}
}, Why: "as text"}

func names() []Case {
	verbatim := map[string]string{clients.MQTT: "{}"}
	return []Case{
		{ID: "slashes", Title: "name: MQTT a/b/c, elsewhere a.b.c", Message: value(clients.Message{})},
		{ID: "dots", Title: "name: a.b.c everywhere", Message: value(clients.Message{}), Names: verbatim},
		{
			ID: "slashesdots", Title: "name: MQTT writes a/b/c, MQTT filter a.b.c", Message: value(clients.Message{}), Filters: verbatim,
			Cells: map[string]Cell{
				"mqtt>mqtt":  {None: true, Why: "MQTT to MQTT follows the exact topic"},
				"kafka>mqtt": asSubject, "nats>mqtt": asSubject, "amqp>mqtt": asSubject,
			},
			Note: "A message of another protocol matches under either spelling.",
		},
		{
			ID: "dotsslashes", Title: "name: MQTT writes a.b.c, MQTT filter a/b/c", Message: value(clients.Message{}), Writers: []string{clients.MQTT},
			Names: verbatim, Filters: map[string]string{clients.MQTT: "{/}"},
			Cells: map[string]Cell{"mqtt>mqtt": {None: true, Why: "MQTT to MQTT follows the exact topic"}},
		},
		{
			ID: "one.level", Title: "wildcard: one level", Message: value(clients.Message{Exchange: "amq.topic"}),
			Filters: map[string]string{
				clients.MQTT: "matrix/one/+/{w}", clients.Kafka: `^matrix\.one\.[a-z]+\.{w}$`, clients.NATS: "matrix.one.*.{w}", clients.AMQP: "matrix.one.*.{w}",
			},
		},
		{
			ID: "many", Title: "wildcard: all below", Message: value(clients.Message{Exchange: "amq.topic"}),
			Names: map[string]string{clients.MQTT: "{/}/x/y", clients.Kafka: "{}.x.y", clients.NATS: "{}.x.y", clients.AMQP: "{}.x.y"},
			Filters: map[string]string{
				clients.MQTT: "matrix/many/{w}/#", clients.Kafka: `^matrix\.many\.{w}\..*`, clients.NATS: "matrix.many.{w}.>", clients.AMQP: "matrix.many.{w}.#",
			},
		},
	}
}

// asSubject: delivered under the name that matched.
var asSubject = Cell{
	Edit: func(m *clients.Message) { m.Name = strings.ReplaceAll(m.Name, "/", ".") },
	Why:  "under the name that matched",
}
