package kafka

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// refusalPause is how long a refusal waits that its client answers with the same
// request at once. librdkafka joins a group again without a pause of its own when
// its assignment could not be kept: that was 2,200 rounds a second.
const refusalPause = 250 * time.Millisecond

// passing are the codes that say "not now": what a client repeats until it is let in.
// REBALANCE_IN_PROGRESS is not among them, for a rebalance wants to be quick, nor are
// those of a broker that goes.
func passing(code int16) bool {
	switch code {
	case codeRequestTimedOut, codeCoordinatorNotAvailable, codeCoordinatorLoadInProgress,
		codeLeaderNotAvailable, codeStorageError, codeUnknownServerError:
		return true
	}
	return false
}

// pauseOf gives how long a response is kept back. It looks at the requests that
// clients repeat by themselves.
func pauseOf(resp kmsg.Response) time.Duration {
	if refusedForNow(resp) {
		return refusalPause
	}
	return 0
}

func refusedForNow(resp kmsg.Response) bool {
	switch r := resp.(type) {
	case *kmsg.FindCoordinatorResponse:
		for i := range r.Coordinators {
			if passing(r.Coordinators[i].ErrorCode) {
				return true
			}
		}
		return passing(r.ErrorCode)
	case *kmsg.JoinGroupResponse:
		return passing(r.ErrorCode)
	case *kmsg.SyncGroupResponse:
		return passing(r.ErrorCode)
	case *kmsg.HeartbeatResponse:
		return passing(r.ErrorCode)
	case *kmsg.InitProducerIDResponse:
		return passing(r.ErrorCode)
	case *kmsg.OffsetCommitResponse:
		for i := range r.Topics {
			for j := range r.Topics[i].Partitions {
				if passing(r.Topics[i].Partitions[j].ErrorCode) {
					return true
				}
			}
		}
	case *kmsg.OffsetFetchResponse:
		for i := range r.Groups {
			if passing(r.Groups[i].ErrorCode) {
				return true
			}
		}
		return passing(r.ErrorCode)
	case *kmsg.ListOffsetsResponse:
		for i := range r.Topics {
			for j := range r.Topics[i].Partitions {
				if passing(r.Topics[i].Partitions[j].ErrorCode) {
					return true
				}
			}
		}
	}
	return false
}

// refusedForNow tells it of a produce response, of which failed says that something
// of it was refused.
func (p *produce) refusedForNow() bool {
	if !p.failed.Load() {
		return false
	}
	for i := range p.resp.Topics {
		for j := range p.resp.Topics[i].Partitions {
			if passing(p.resp.Topics[i].Partitions[j].ErrorCode) {
				return true
			}
		}
	}
	return false
}

// replyAfter is reply, later. The requests behind it wait, as its response does: they
// hold the connection's budget, so that a client that goes on sending is not read.
func (r *request) replyAfter(resp kmsg.Response, d time.Duration) {
	if d <= 0 {
		r.reply(resp)
		return
	}
	time.AfterFunc(d, func() { r.reply(resp) })
}
