package kafka

import (
	"context"
	"errors"

	"github.com/robustmq/robustmq-go/shard"
)

// Kafka's error codes, by Kafka's names.
const (
	codeNone                       int16 = 0
	codeUnknownServerError         int16 = -1
	codeOffsetOutOfRange           int16 = 1
	codeCorruptMessage             int16 = 2
	codeUnknownTopicOrPartition    int16 = 3
	codeLeaderNotAvailable         int16 = 5
	codeNotLeaderOrFollower        int16 = 6
	codeRequestTimedOut            int16 = 7
	codeMessageTooLarge            int16 = 10
	codeOffsetMetadataTooLarge     int16 = 12
	codeNetworkException           int16 = 13
	codeCoordinatorLoadInProgress  int16 = 14
	codeCoordinatorNotAvailable    int16 = 15
	codeNotCoordinator             int16 = 16
	codeInvalidTopic               int16 = 17
	codeInvalidRequiredAcks        int16 = 21
	codeIllegalGeneration          int16 = 22
	codeInconsistentGroupProtocol  int16 = 23
	codeInvalidGroupID             int16 = 24
	codeUnknownMemberID            int16 = 25
	codeInvalidSessionTimeout      int16 = 26
	codeRebalanceInProgress        int16 = 27
	codeTopicAuthorizationFailed   int16 = 29
	codeGroupAuthorizationFailed   int16 = 30
	codeClusterAuthorizationFailed int16 = 31
	codeInvalidTimestamp           int16 = 32
	codeUnsupportedSASLMechanism   int16 = 33
	codeIllegalSASLState           int16 = 34
	codeUnsupportedVersion         int16 = 35
	codeTopicAlreadyExists         int16 = 36
	codeInvalidPartitions          int16 = 37
	codeInvalidReplicationFactor   int16 = 38
	codeInvalidReplicaAssignment   int16 = 39
	codeInvalidConfig              int16 = 40
	codeInvalidRequest             int16 = 42
	codePolicyViolation            int16 = 44
	codeOutOfOrderSequenceNumber   int16 = 45
	codeInvalidProducerEpoch       int16 = 47
	codeInvalidTxnState            int16 = 48
	codeStorageError               int16 = 56
	codeSASLAuthenticationFailed   int16 = 58
	codeUnknownProducerID          int16 = 59
	codeNonEmptyGroup              int16 = 68
	codeGroupIDNotFound            int16 = 69
	codeFetchSessionIDNotFound     int16 = 70
	codeInvalidFetchSessionEpoch   int16 = 71
	codeFencedLeaderEpoch          int16 = 74
	codeUnknownLeaderEpoch         int16 = 75
	codeUnsupportedCompressionType int16 = 76
	codeMemberIDRequired           int16 = 79
	codeGroupMaxSizeReached        int16 = 81
	codeFencedInstanceID           int16 = 82
	codeElectionNotNeeded          int16 = 84
	codeGroupSubscribedToTopic     int16 = 86
	codeInvalidRecord              int16 = 87
	codeResourceNotFound           int16 = 91
	codeDuplicateResource          int16 = 92
	codeUnacceptableCredential     int16 = 93
	codeUnknownTopicID             int16 = 100
	codeInconsistentTopicID        int16 = 103
	codeMismatchedEndpointType     int16 = 114
	codeUnsupportedEndpointType    int16 = 115
	codeRebootstrapRequired        int16 = 129
)

// coded is an error that says which code it is.
type coded struct {
	code int16
	text string
}

func (e *coded) Error() string { return e.text }

// errorCode translates an error to the code that makes a client do what the
// kind asks for. It is the only place that does.
func errorCode(err error) int16 {
	var c *coded
	switch {
	case err == nil:
		return codeNone
	case errors.As(err, &c):
		return c.code
	case errors.Is(err, shard.ErrTopicNotFound):
		return codeUnknownTopicOrPartition
	case errors.Is(err, shard.ErrTopicExists):
		return codeTopicAlreadyExists
	case errors.Is(err, shard.ErrCaptureConflict):
		return codePolicyViolation
	case errors.Is(err, shard.ErrOutOfOrderSequence):
		return codeOutOfOrderSequenceNumber
	case errors.Is(err, shard.ErrProducerFenced):
		return codeInvalidProducerEpoch
	case errors.Is(err, shard.ErrUnknownProducer):
		return codeUnknownProducerID
	case errors.Is(err, shard.ErrBatchTooLarge):
		return codeMessageTooLarge
	case errors.Is(err, context.DeadlineExceeded):
		return codeRequestTimedOut
	case errors.Is(err, context.Canceled):
		return codeNotLeaderOrFollower // we are going: look again
	}
	switch shard.KindOf(err) {
	case shard.KindInvalid:
		return codeInvalidRequest
	case shard.KindNotFound:
		return codeUnknownTopicOrPartition
	case shard.KindExists:
		return codeTopicAlreadyExists
	case shard.KindDenied:
		return codeTopicAuthorizationFailed
	case shard.KindTooLarge:
		return codeMessageTooLarge
	case shard.KindOutOfRange:
		return codeOffsetOutOfRange
	case shard.KindMoved, shard.KindClosed:
		return codeNotLeaderOrFollower
	case shard.KindUnavailable:
		return codeRequestTimedOut // retriable by every client, without new metadata
	case shard.KindCorrupt:
		return codeStorageError
	}
	return codeUnknownServerError
}

// groupErrorCode is errorCode for what a group coordinator answers.
func groupErrorCode(err error) int16 {
	switch code := errorCode(err); code {
	case codeNotLeaderOrFollower:
		return codeNotCoordinator
	case codeRequestTimedOut:
		return codeCoordinatorNotAvailable
	case codeUnknownTopicOrPartition:
		return codeGroupIDNotFound
	case codeTopicAuthorizationFailed:
		return codeGroupAuthorizationFailed
	case codeStorageError:
		return codeUnknownServerError
	default:
		return code
	}
}

// message is an error's text for clients, nil without an error. Faults of ours
// are logged, not shown.
func message(err error) *string {
	if err == nil {
		return nil
	}
	var c *coded
	if shard.KindOf(err) == shard.KindInternal && !errors.As(err, &c) {
		return ptr("internal error")
	}
	return ptr(err.Error())
}

func ptr[T any](v T) *T { return &v }
