package shard

import "testing"

// TestRelayed: only what belongs to brokers and to answers is relayed.
func TestRelayed(t *testing.T) {
	for subject, want := range map[string]bool{
		"_INBOX.x": true, "_INBOX": false, "_INBOXES.x": false, "$JS.ACK.x": true, "$JS.API.INFO": true, "$SYS.broker.version": true,
		"$SRV.PING": true, "amq.rabbitmq.reply-to.abc": true, "amq.rabbitmq.reply-to": false, "a.$b": false, "": false, "a": false,
		"$a2a.v1.agents.x.card": false, "$sparkplug.certificates.g.n": false, "$KV.b.k": false, "$share": false, "$": false, "$JSON.x": false,
	} {
		if Relayed(subject) != want {
			t.Errorf("%q: want %v", subject, want)
		}
	}
	for filter, want := range map[string]bool{
		"$SYS/#": true, "$SYS/broker/+": true, "_INBOX/me/+": true, "_INBOX.me/+": true, "_INBOX": false, "$a2a/#": false, "$a2a/v1/x": false,
		"#": false, "+/x": false, "$SRV/PING": true, "$JS/#": true, "a/b": false, "amq.rabbitmq.reply-to.x": true,
	} {
		f, err := ParseMQTTFilter(filter)
		if err != nil || f.RelayedOnly() != want {
			t.Errorf("%q: want %v (%v)", filter, want, err)
		}
	}
	for subject, want := range map[string]bool{"$SYS": true, "$SYS.x": true, "$SYSX": false, "$JS.x": false} {
		if ServerOwn(subject) != want {
			t.Errorf("%q: want %v", subject, want)
		}
	}
}
