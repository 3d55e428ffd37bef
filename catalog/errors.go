package catalog

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/robustmq/robustmq-go/shard"
)

// Sentinels. All carry a shard.Kind, so a gateway can translate them as they are.
var (
	// ErrFenced: the session's lease or incarnation is gone. Whatever the
	// gateway owned is another's now: stop acknowledging, and Join again.
	ErrFenced = &shard.Error{Kind: shard.KindMoved, Msg: "fenced: this gateway's incarnation is gone"}
	// ErrUnavailable: etcd gave no answer in time. A commit that ends so may
	// or may not have happened: keep what it names and repeat it unchanged.
	ErrUnavailable = &shard.Error{Kind: shard.KindUnavailable, Msg: "catalog is unavailable"}
	// ErrNoSpace: etcd's quota is used up; it refuses writes until an operator
	// has compacted and defragmented it. It is ErrUnavailable as well.
	ErrNoSpace = &shard.Error{Kind: shard.KindUnavailable, Msg: "etcd is out of space", Hint: "compact and defragment etcd, then disarm its alarm", Err: ErrUnavailable}
	// ErrConflict: another writer was first; read again before deciding.
	ErrConflict = &shard.Error{Kind: shard.KindStale, Msg: "catalog record has changed"}
	// ErrOverlap: the segment holds offsets that another segment holds already.
	ErrOverlap = &shard.Error{Kind: shard.KindStale, Msg: "segment overlaps a committed one"}
	// ErrAbandoned: the write-ahead log was given up for lost; what it holds is below offsets that have leaped.
	ErrAbandoned = &shard.Error{Kind: shard.KindInvalid, Msg: "the write-ahead log was abandoned", Hint: "move its directory away: a gateway starts with an empty one"}
	// ErrExists: the name, or the id of a living gateway, is taken.
	ErrExists = &shard.Error{Kind: shard.KindExists, Msg: "exists already"}
	// ErrNotFound: there is no such record.
	ErrNotFound = &shard.Error{Kind: shard.KindNotFound, Msg: "not found"}
	// ErrTooLarge: the record does not fit into one etcd transaction.
	ErrTooLarge = &shard.Error{Kind: shard.KindTooLarge, Msg: "record is too large for one transaction"}
	// ErrInvalid: a field is missing or out of its range.
	ErrInvalid = &shard.Error{Kind: shard.KindInvalid, Msg: "invalid record"}
	// ErrCorrupt: a stored value cannot be decoded.
	ErrCorrupt = &shard.Error{Kind: shard.KindCorrupt, Msg: "catalog value is corrupt"}
	// ErrFormat: a value or the whole cluster was written by a newer version.
	ErrFormat = &shard.Error{Kind: shard.KindInvalid, Msg: "unknown format version", Hint: "upgrade this gateway"}
	// ErrOldEtcd: etcd is older than 3.5.
	ErrOldEtcd = &shard.Error{Kind: shard.KindInvalid, Msg: "etcd is too old", Hint: "run etcd 3.5 or newer"}
	// ErrClosed: the catalog was closed.
	ErrClosed = &shard.Error{Kind: shard.KindClosed, Msg: "catalog is closed"}
)

// refused tells whether err is etcd's definite no, after which nothing has
// been and nothing will be done, and translates it. Everything else leaves the
// outcome open.
func refused(err error) (error, bool) {
	switch {
	case err == nil:
		return nil, false
	case errors.Is(err, rpctypes.ErrNoSpace):
		return ErrNoSpace, true
	case errors.Is(err, rpctypes.ErrRequestTooLarge), errors.Is(err, rpctypes.ErrTooManyOps):
		return fmt.Errorf("%w: %w", ErrTooLarge, err), true
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return fmt.Errorf("%w: %w", ErrFenced, err), true
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return err, false
	}
	var code codes.Code
	var ee rpctypes.EtcdError
	if errors.As(err, &ee) {
		code = ee.Code()
	} else {
		code = status.Code(err)
	}
	switch code {
	case codes.InvalidArgument, codes.PermissionDenied, codes.FailedPrecondition,
		codes.OutOfRange, codes.NotFound, codes.Unimplemented:
		return err, true
	}
	return err, false
}
