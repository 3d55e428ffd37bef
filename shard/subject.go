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

// MQTTNames gives the MQTT topics under which a message is offered to MQTT
// filters: its exact topic if it came by MQTT (HeaderMQTT), else its subject
// with levels for tokens, and the subject verbatim. verbatim is "" when it adds
// nothing.
func MQTTNames(subject string, r *Record) (topic, verbatim string) {
	if v, ok := r.Header(HeaderMQTTTopic); ok {
		return string(v), ""
	}
	topic = strings.ReplaceAll(subject, ".", "/")
	if _, ours := r.Header(HeaderMQTT); ours || topic == subject {
		return topic, ""
	}
	return topic, subject
}

// Flat gives what a subject and all the names that MQTT is offered it under have in
// common: their tokens or levels in a row, joined by dots.
func Flat(name string) string { return strings.ReplaceAll(name, "/", ".") }
