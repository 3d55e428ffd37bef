package live

import (
	"unsafe"

	"github.com/robustmq/robustmq-go/shard"
)

// Subject is t.SubjectOf(r) without an allocation: it shares the record's bytes.
func Subject(t *shard.Topic, r *shard.Record) string {
	for i := range r.Headers {
		if r.Headers[i].Name == shard.HeaderSubject {
			return unsafeString(r.Headers[i].Value)
		}
	}
	return t.Name
}

// unsafeString shares the bytes of an immutable record.
func unsafeString(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return unsafe.String(&b[0], len(b))
}
