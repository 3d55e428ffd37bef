package shard

import "strings"

// Caps on names, checked before anything is stored or allocated for them.
const (
	MaxSubjectBytes = 8 << 10
	MaxSubjectDepth = 128
)

// CheckSubject refuses a subject that is empty, too long or too deep, or that
// holds a NUL.
func CheckSubject(s string) error {
	switch {
	case s == "":
		return Errorf(KindInvalid, "subject is empty")
	case len(s) > MaxSubjectBytes:
		return Errorf(KindTooLarge, "subject of %d bytes is over %d", len(s), MaxSubjectBytes)
	case strings.Count(s, ".") >= MaxSubjectDepth:
		return Errorf(KindTooLarge, "subject is over %d levels deep", MaxSubjectDepth)
	case strings.IndexByte(s, 0) >= 0:
		return Errorf(KindInvalid, "subject holds a NUL")
	}
	return nil
}

// SubjectOfMQTT gives the subject of an MQTT topic: its levels joined by dots.
// exact is false where the topic cannot be told from the subject and has to be
// kept beside it (HeaderMQTTTopic): a level holds a dot.
func SubjectOfMQTT(topic string) (subject string, exact bool) {
	return strings.ReplaceAll(topic, "/", "."), strings.IndexByte(topic, '.') < 0
}

// NameKind tells how a message came by its MQTT name.
type NameKind uint8

// The kinds, in the order in which one outdoes another.
const (
	NameForeign NameKind = iota // of another protocol
	NameMQTT                    // published by MQTT, to the topic that follows from the subject
	NameExact                   // published by MQTT, to the topic in HeaderMQTTTopic
)

// MQTTNames gives the MQTT topics under which a message is offered to MQTT
// filters. Whatever it gives, a filter of that name matches (Filter.MatchMessage)
// and overlaps what captures the subject (Filter.Overlaps).
func MQTTNames(subject string, r *Record) (topic, verbatim string) {
	if v, ok := r.Header(HeaderMQTTTopic); ok {
		return MQTTNamesOf(subject, string(v), NameExact)
	}
	kind := NameForeign
	if _, ours := r.Header(HeaderMQTT); ours {
		kind = NameMQTT
	}
	return MQTTNamesOf(subject, "", kind)
}

// MQTTNamesOf is the rule of names: the exact topic if the message came by MQTT
// and it is kept, else its subject with levels for tokens, and of other protocols
// the subject verbatim. verbatim is "" when it adds nothing.
func MQTTNamesOf(subject, exact string, kind NameKind) (topic, verbatim string) {
	if kind == NameExact {
		return exact, ""
	}
	topic = strings.ReplaceAll(subject, ".", "/")
	if kind == NameMQTT || topic == subject {
		return topic, ""
	}
	return topic, subject
}

// Flat gives what a subject and all the names that MQTT is offered it under have in
// common: their tokens or levels in a row, joined by dots.
func Flat(name string) string { return strings.ReplaceAll(name, "/", ".") }
