package nats

import (
	"errors"

	"github.com/robustmq/robustmq-go/shard"
)

// errAuthorization is what every failed login gets.
var errAuthorization = errors.New("Authorization Violation")

// wireError gives the words of an error that ends a connection; ok is false for
// those the client is not told: it went away, or we do.
func wireError(err error) (string, bool) {
	for _, known := range []error{errParser, errControlLine, errPayload, errMaxSubscriptions, errAuthorization, errInvalidSubject} {
		if errors.Is(err, known) {
			return known.Error(), true
		}
	}
	return "", false
}

// status gives the NATS status code of a failed request (NATS ADR-4 headers).
func status(err error) string {
	switch shard.KindOf(err) {
	case shard.KindUnavailable, shard.KindMoved, shard.KindClosed:
		return "503"
	case shard.KindTooLarge, shard.KindInvalid:
		return "400"
	case shard.KindNotFound:
		return "404"
	case shard.KindDenied:
		return "403"
	}
	return "500"
}
