package amqp

import (
	"errors"
	"fmt"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// Reply codes (AMQP 1.4.2.14 and the constants of the method table).
const (
	codeContentTooLarge    = 311
	codeNoRoute            = 312
	codeNoConsumers        = 313
	codeConnectionForced   = 320
	codeAccessRefused      = 403
	codeNotFound           = 404
	codeResourceLocked     = 405
	codePreconditionFailed = 406
	codeFrameError         = 501
	codeSyntaxError        = 502
	codeCommandInvalid     = 503
	codeChannelError       = 504
	codeUnexpectedFrame    = 505
	codeResourceError      = 506
	codeNotAllowed         = 530
	codeNotImplemented     = 540
	codeInternalError      = 541
)

var codeNames = map[uint16]string{
	codeContentTooLarge: "CONTENT_TOO_LARGE", codeNoRoute: "NO_ROUTE", codeNoConsumers: "NO_CONSUMERS",
	codeConnectionForced: "CONNECTION_FORCED", codeAccessRefused: "ACCESS_REFUSED", codeNotFound: "NOT_FOUND",
	codeResourceLocked: "RESOURCE_LOCKED", codePreconditionFailed: "PRECONDITION_FAILED", codeFrameError: "FRAME_ERROR",
	codeSyntaxError: "SYNTAX_ERROR", codeCommandInvalid: "COMMAND_INVALID", codeChannelError: "CHANNEL_ERROR",
	codeUnexpectedFrame: "UNEXPECTED_FRAME", codeResourceError: "RESOURCE_ERROR", codeNotAllowed: "NOT_ALLOWED",
	codeNotImplemented: "NOT_IMPLEMENTED", codeInternalError: "INTERNAL_ERROR",
}

// fault is an error that closes a channel or the connection.
type fault struct {
	code   uint16
	text   string
	method frame.MethodID
	hard   bool // the connection's
}

func (f *fault) Error() string { return f.text }

// refuse makes a fault; its code says whether it is a channel's or a
// connection's.
func refuse(code uint16, format string, args ...any) *fault {
	hard := true
	switch code {
	case codeContentTooLarge, codeNoRoute, codeNoConsumers, codeAccessRefused, codeNotFound, codeResourceLocked, codePreconditionFailed:
		hard = false
	}
	return &fault{code: code, text: codeNames[code] + " - " + fmt.Sprintf(format, args...), hard: hard}
}

// faultOf is the one translation of errors to reply codes.
func faultOf(err error) *fault {
	var f *fault
	if errors.As(err, &f) {
		return f
	}
	switch {
	case errors.Is(err, frame.ErrTooLarge), errors.Is(err, frame.ErrEnd), errors.Is(err, frame.ErrType):
		return refuse(codeFrameError, "%v", err)
	case errors.Is(err, frame.ErrSyntax):
		return refuse(codeSyntaxError, "%v", err)
	case errors.Is(err, frame.ErrMethod):
		return refuse(codeCommandInvalid, "%v", err)
	case errors.Is(err, shard.ErrLogAway): // in RabbitMQ's words for what is on another disk
		return refuse(codeNotFound, "home node of durable queue is down or inaccessible: %v", err)
	case errors.Is(err, shard.ErrExclusive):
		return refuse(codeAccessRefused, "%v", err)
	}
	return refuse(codeOf(shard.KindOf(err)), "%v", err)
}

func codeOf(k shard.Kind) uint16 {
	switch k {
	case shard.KindInvalid, shard.KindExists, shard.KindOutOfRange, shard.KindStale:
		return codePreconditionFailed
	case shard.KindNotFound:
		return codeNotFound
	case shard.KindDenied:
		return codeAccessRefused
	case shard.KindTooLarge:
		return codeContentTooLarge
	case shard.KindMoved, shard.KindUnavailable:
		return codeResourceError
	case shard.KindClosed:
		return codeConnectionForced
	}
	return codeInternalError
}

// retriable tells whether an append may be tried again as it is.
func retriable(err error) bool {
	k := shard.KindOf(err)
	return k == shard.KindUnavailable || k == shard.KindMoved
}
