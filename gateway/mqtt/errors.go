package mqtt

import (
	"errors"

	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
)

// codeOf is the only translation of errors to reason codes.
func codeOf(err error) packet.Code {
	if err == nil {
		return packet.Success
	}
	var pe *packet.Error
	if errors.As(err, &pe) {
		return pe.Code
	}
	if errors.Is(err, shard.ErrLogAway) {
		return packet.ServerUnavailable
	}
	switch shard.KindOf(err) {
	case shard.KindInvalid, shard.KindNotFound:
		return packet.TopicNameInvalid
	case shard.KindDenied:
		return packet.NotAuthorized
	case shard.KindTooLarge:
		return packet.PacketTooLarge
	case shard.KindUnavailable:
		return packet.QuotaExceeded
	case shard.KindMoved:
		return packet.UseAnotherServer
	case shard.KindClosed:
		return packet.ServerShuttingDown
	case shard.KindExists, shard.KindStale, shard.KindOutOfRange:
		return packet.ImplementationSpecific
	}
	return packet.UnspecifiedError
}

// codeFor is codeOf for a packet that may carry only some codes.
func codeFor(t packet.Type, err error) packet.Code {
	c := codeOf(err)
	switch {
	case c.Allowed(t):
		return c
	case c == packet.TopicNameInvalid && packet.TopicFilterInvalid.Allowed(t):
		return packet.TopicFilterInvalid
	case c == packet.PacketTooLarge && packet.QuotaExceeded.Allowed(t):
		return packet.QuotaExceeded
	case c == packet.ServerUnavailable && packet.QuotaExceeded.Allowed(t):
		return packet.QuotaExceeded
	case c == packet.ServerShuttingDown && packet.ServerUnavailable.Allowed(t):
		return packet.ServerUnavailable
	case (c == packet.UseAnotherServer || c == packet.ServerShuttingDown) && packet.ImplementationSpecific.Allowed(t):
		return packet.ImplementationSpecific
	}
	return packet.UnspecifiedError
}

// protocolError makes an error that ends the connection with a reason code.
func protocolError(c packet.Code, msg string) error { return &packet.Error{Code: c, Msg: msg} }

// errLeft ends the read loop after a DISCONNECT of the client.
var errLeft = errors.New("client disconnected")
