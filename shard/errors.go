package shard

import (
	"errors"
	"fmt"
)

// Kind tells what the caller should do about an error.
type Kind uint8

// The kinds. Each gateway translates them to its wire codes in one file.
const (
	// KindInternal: a fault of ours; log it, answer the protocol's internal error.
	KindInternal Kind = iota
	// KindInvalid: the request is wrong as it stands; do not retry it.
	KindInvalid
	// KindNotFound: the topic, group or key does not exist.
	KindNotFound
	// KindExists: it exists already, or conflicts with what exists.
	KindExists
	// KindDenied: the principal may not do this.
	KindDenied
	// KindTooLarge: a size is over its cap; do not retry as it is.
	KindTooLarge
	// KindOutOfRange: the offset is outside the shard's bounds.
	KindOutOfRange
	// KindStale: a precondition, revision, sequence or epoch is not the
	// current one; read again before deciding.
	KindStale
	// KindMoved: another gateway owns it; refresh the metadata and go there.
	KindMoved
	// KindUnavailable: nothing is lost and nothing was done; retry later.
	KindUnavailable
	// KindCorrupt: stored bytes are damaged; an operator must look.
	KindCorrupt
	// KindClosed: shutting down; reconnect.
	KindClosed
)

var kindNames = [...]string{
	"internal", "invalid", "not found", "exists", "denied", "too large", "out of range",
	"stale", "moved", "unavailable", "corrupt", "closed",
}

// String names the kind.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Sentinels: finer than a kind where a protocol tells them apart.
var (
	ErrTopicNotFound      = &Error{Kind: KindNotFound, Msg: "unknown topic"}
	ErrTopicExists        = &Error{Kind: KindExists, Msg: "topic exists"}
	ErrCaptureConflict    = &Error{Kind: KindExists, Msg: "captures overlap those of another topic"}
	ErrGroupNotFound      = &Error{Kind: KindNotFound, Msg: "unknown group"}
	ErrOffsetOutOfRange   = &Error{Kind: KindOutOfRange, Msg: "offset out of range"}
	ErrOutOfOrderSequence = &Error{Kind: KindStale, Msg: "out of order sequence number"}
	ErrProducerFenced     = &Error{Kind: KindStale, Msg: "producer epoch is not the newest"}
	ErrUnknownProducer    = &Error{Kind: KindStale, Msg: "unknown producer id"}
	ErrPrecondition       = &Error{Kind: KindStale, Msg: "next offset is not the expected one"}
	ErrRevision           = &Error{Kind: KindStale, Msg: "revision is not the expected one"}
	ErrBatchCorrupt       = &Error{Kind: KindCorrupt, Msg: "record batch is corrupt"}
	ErrBatchTooLarge      = &Error{Kind: KindTooLarge, Msg: "record batch too large"}
	ErrExclusive          = &Error{Kind: KindExists, Msg: "group is in exclusive use"}
	ErrWALFull            = &Error{Kind: KindUnavailable, Msg: "write-ahead log is full: the object store does not keep up"}
	// ErrLogAway: the log of a former owner may hold acknowledged records, and is
	// not there: what stands on it waits for it, or for an operator.
	ErrLogAway = &Error{Kind: KindUnavailable, Msg: "the write-ahead log of a former owner is not here"}
	ErrClosed  = &Error{Kind: KindClosed, Msg: "closed"}
)

// Error carries a kind, where it happened and, for operators, a hint.
type Error struct {
	Kind   Kind
	Op     string // "append batch"
	Shard  *ID    // nil when it is not about one shard
	Offset int64
	Msg    string
	Hint   string
	Err    error // the cause; a sentinel above or a foreign error
}

// Error gives "op: message: cause (shard 17/3 offset 42)".
func (e *Error) Error() string {
	s := e.Msg
	if e.Op != "" && s != "" {
		s = e.Op + ": " + s
	} else if s == "" {
		s = e.Op
	}
	if e.Err != nil {
		if cause := e.Err.Error(); cause != "" && s != "" {
			s += ": " + cause
		} else if cause != "" {
			s = cause
		}
	}
	if e.Shard != nil {
		s += fmt.Sprintf(" (shard %s offset %d)", e.Shard, e.Offset)
	}
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an error of a kind; %w in format keeps its cause.
func Errorf(k Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: k, Msg: err.Error(), Err: silent{errors.Unwrap(err)}.orNil()}
}

// silent keeps a cause for errors.Is without printing it a second time.
type silent struct{ error }

func (s silent) Error() string { return "" }
func (s silent) Unwrap() error { return s.error }
func (s silent) orNil() error {
	if s.error == nil {
		return nil
	}
	return s
}

// At adds the operation and the place to an error, keeping its kind.
func At(err error, op string, id ID, offset int64) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: KindOf(err), Op: op, Shard: &id, Offset: offset, Err: err}
}

// KindOf gives the kind of the first Error in err's chain, KindInternal when
// there is none.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return KindInternal
}
