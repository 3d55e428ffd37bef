package matrix

import (
	"fmt"
	"slices"
	"strings"

	"github.com/robustmq/robustmq-go/test/e2e/clients"
)

var titles = map[string]string{clients.MQTT: "MQTT", clients.Kafka: "Kafka", clients.NATS: "NATS", clients.AMQP: "AMQP"}

const head = `# One message, four protocols

What is written by one protocol, as the others read it. This page is written from the table in
test/e2e/matrix (` + "`go test ./e2e/matrix -run TestPage -update`" + ` in test/), and every cell of it is tested with a real
broker and the Go client libraries of the four: paho.golang (MQTT 5), franz-go (Kafka), nats.go and amqp091-go.

## Names

| | writes to and reads from the subject ` + "`a.b.c`" + ` as |
| --- | --- |
| MQTT | topic ` + "`a/b/c`" + `; a message of another protocol matches filters in either spelling, ` + "`a/b/c` and `a.b.c`" + `, and is delivered under the one that matched. Among MQTT clients the exact topic counts, as ever |
| Kafka | topic ` + "`a.b.c`" + ` |
| NATS | subject ` + "`a.b.c`" + ` |
| AMQP | default exchange, routing key ` + "`a.b.c`" + `; queue ` + "`a.b.c`" + ` where nobody declared one; exchange ` + "`amq.topic`" + ` with binding patterns |

A subject that holds a slash is shown to MQTT as it stands (` + "`dd/y`" + `). Whatever name MQTT is shown, a filter of that name gets
the message, at every QoS and whatever other clients do. Names under ` + "`$`" + ` are as others, but that leading wildcards of MQTT
do not match them. What belongs to brokers and to answers is handed to who is subscribed and never stored, and its list is one
for all protocols: ` + "`_INBOX.`, `amq.rabbitmq.reply-to.`, `$SYS.`, `$JS.`, `$SRV.`" + `. Where answers go is translated as names are: a
requester of one protocol gets the answer of a responder of another.

## Properties

These names are common. Where a protocol has a field of its own for one, that is used; elsewhere it is a header of this name.

`

// Page is docs/protocols/README.md.
func Page() string {
	var b strings.Builder
	b.WriteString(head)
	fieldTable(&b)
	b.WriteString("\nMQTT user properties, Kafka headers, NATS headers and the fields of an AMQP headers table are the same thing. Their\norder is kept where a protocol has one.\n\n## Every cell\n\n")
	b.WriteString("*same*: under the same name in its own spelling, with the same value, and every property where its protocol has it;\nnothing that the writer did not write.\n\n")
	b.WriteString("| what | written by | MQTT reads | Kafka reads | NATS reads | AMQP reads |\n| --- | --- | --- | --- | --- | --- |\n")
	var notes []string
	for _, c := range Cases() {
		note := ""
		if c.Note != "" {
			notes = append(notes, c.Note)
			note = fmt.Sprintf(" [%d]", len(notes))
		}
		c.rows(&b, note)
	}
	b.WriteString("\n")
	for i, n := range notes {
		fmt.Fprintf(&b, "%d. %s\n", i+1, n)
	}
	return b.String()
}

// rows writes one row for all writers whose readers get the same.
func (c *Case) rows(b *strings.Builder, note string) {
	var order []string
	by := map[string][]string{}
	for _, w := range c.writers() {
		var cells []string
		for _, r := range clients.Protocols {
			text := "same"
			if x, ok := c.cell(w, r); ok {
				text = x.Why
				if x.None {
					text = "nothing: " + x.Why
				}
			}
			cells = append(cells, text)
		}
		row := strings.Join(cells, " | ")
		if by[row] == nil {
			order = append(order, row)
		}
		by[row] = append(by[row], titles[w])
	}
	for _, row := range order {
		who := strings.Join(by[row], ", ")
		if len(by[row]) == len(clients.Protocols) {
			who = "each"
		}
		fmt.Fprintf(b, "| %s%s | %s | %s |\n", c.Title, note, who, row)
	}
}

func fieldTable(b *strings.Builder) {
	own := map[string]map[string]string{
		clients.MQTT: {
			clients.ContentType: "Content Type", clients.CorrelationID: "Correlation Data", clients.ReplyTo: "Response Topic",
			clients.Expiration: "Message Expiry Interval (s, what is left)",
		},
		clients.AMQP: {clients.Expiration: "expiration (ms, as written)"},
	}
	b.WriteString("| | MQTT 5 | Kafka | NATS | AMQP |\n| --- | --- | --- | --- | --- |\n")
	for _, name := range fieldNames {
		fmt.Fprintf(b, "| %s |", name)
		for _, p := range clients.Protocols {
			text := own[p][name]
			switch {
			case text != "":
			case slices.Contains(clients.Fields[p], name):
				text = name
			case p == clients.MQTT:
				text = "user property"
			default:
				text = "header"
			}
			fmt.Fprintf(b, " %s |", text)
		}
		b.WriteString("\n")
	}
}
