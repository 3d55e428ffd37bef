package nats

import (
	"errors"

	"github.com/robustmq/robustmq-go/shard"
)

// Errors that end a connection, in the words nats-server has for them; clients
// compare them.
var (
	errParser          = errors.New("Unknown Protocol Operation")
	errControlLine     = errors.New("maximum control line exceeded")
	errPayload         = errors.New("Maximum Payload Violation")
	errAuthorization   = errors.New("Authorization Violation")
	errAuthTimeout     = errors.New("Authentication Timeout")
	errMaxConnections  = errors.New("maximum connections exceeded")
	errUserConnections = errors.New("maximum account active connections exceeded")
	errStale           = errors.New("Stale Connection")
	errTLSRequired     = errors.New("Secure Connection - TLS Required")
	errHeadersOff      = errors.New("message headers not supported")
	errNeedsHeaders    = errors.New("no responders requires headers support")
	errClientProtocol  = errors.New("invalid client protocol")
)

// Errors that do not end it. Clients close by themselves on any other words than
// those about permissions and subscriptions.
const (
	softMaxSubs    = "maximum subscriptions exceeded"
	softSubject    = "Invalid Subject"
	softPubSubject = "Invalid Publish Subject"
	softRevoked    = "User Authentication Revoked" // the connection is cut soon after
	statusNoReply  = "503"                         // no responders (NATS ADR-4)
)

var wireErrors = []error{errParser, errControlLine, errPayload, errAuthorization, errAuthTimeout, errUserConnections, errStale,
	errTLSRequired, errHeadersOff, errNeedsHeaders, errClientProtocol}

// wireError gives the words of an error that ends a connection; ok is false for
// those the client is not told: it went away, or we do.
func wireError(err error) (string, bool) {
	for _, known := range wireErrors {
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
