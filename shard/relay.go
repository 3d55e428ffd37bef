package shard

import "strings"

// relayed begin the subjects that belong to brokers and to answers: reply inboxes
// of NATS and of AMQP's direct reply-to, the server's own topics, the API and the
// acknowledgements of JetStream, the discovery of NATS services. This is the only
// list of them. All other subjects are topics, those under '$' too.
var relayed = [...]string{"_INBOX.", DirectReply, "$SYS.", "$JS.", "$SRV."}

// DirectReply begins the names that AMQP's direct reply-to gives to requesters.
const DirectReply = "amq.rabbitmq.reply-to."

// Relayed tells whether messages of a subject are handed to live subscribers only
// and never stored.
func Relayed(subject string) bool {
	if subject == "" || subject[0] != '_' && subject[0] != '$' && subject[0] != 'a' {
		return false
	}
	for _, p := range relayed {
		if strings.HasPrefix(subject, p) {
			return true
		}
	}
	return false
}

// Inbox tells whether a relayed subject is one that a requester waits at.
func Inbox(subject string) bool {
	return strings.HasPrefix(subject, "_INBOX.") || strings.HasPrefix(subject, DirectReply)
}

// ServerOwn tells whether nobody but the server publishes under a subject: clients
// trust what they read there.
func ServerOwn(subject string) bool {
	return subject == "$SYS" || strings.HasPrefix(subject, "$SYS.")
}

// RelayedOnly tells whether all that a filter matches is relayed, so that nothing
// of it is ever stored.
func (f Filter) RelayedOnly() bool {
	var b strings.Builder
	for i, t := range f.Tokens {
		if i > 0 {
			b.WriteByte('.')
		}
		if t.Kind != TokenLiteral {
			break
		}
		b.WriteString(t.Text)
	}
	return Relayed(b.String())
}
