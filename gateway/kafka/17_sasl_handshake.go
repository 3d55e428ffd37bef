package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// SaslHandshake (17): v1. v0, whose tokens follow without requests around them,
// is shown, because librdkafka looks for it before it uses v1, and refused:
// clients have used v1 since Kafka 1.0.
func saslHandshake(_ context.Context, c *conn, q *kmsg.SASLHandshakeRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.SASLHandshakeResponse)
	resp.SupportedMechanisms = mechanisms
	switch {
	case !c.sasl.idle():
		resp.ErrorCode = codeIllegalSASLState
	case !c.startSASL(q.Mechanism):
		resp.ErrorCode = codeUnsupportedSASLMechanism
	default:
		c.admitted = false // anonymous no more, nor yet somebody
	}
	return resp
}
