package kafka

import (
	"context"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// InitProducerId (22): v0-5.
//
// Ids are taken from a counter of the cluster, in blocks. A transactional id is
// refused, with the code that ends every client's attempt: transactions are not
// supported, and what is retriable to one client is repeated until its time is up. v3+: a producer that gives its old
// id gets a new one, as an idempotent producer does from Kafka.
func initProducerID(ctx context.Context, c *conn, q *kmsg.InitProducerIDRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.InitProducerIDResponse)
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	if q.TransactionalID != nil {
		resp.ErrorCode = codeClusterAuthorizationFailed
		return resp
	}
	// As in Kafka, id and epoch are given both or not at all.
	if q.Version >= 3 && (q.ProducerID < 0) != (q.ProducerEpoch < 0) {
		resp.ErrorCode = codeInvalidRequest
		return resp
	}
	id, err := c.srv.producerID(ctx)
	if err != nil {
		resp.ErrorCode = groupErrorCode(err)
		return resp
	}
	resp.ProducerID, resp.ProducerEpoch = id, 0
	return resp
}

const producerIDBlock = 1000

// producerIDs hands out producer ids.
type producerIDs struct {
	sync.Mutex
	next, end int64
}

func (s *Server) producerID(ctx context.Context) (int64, error) {
	s.pids.Lock()
	defer s.pids.Unlock()
	if s.pids.next == s.pids.end {
		first, err := s.broker.Cluster.NextIDs(ctx, "kafka-producer-id", producerIDBlock)
		if err != nil {
			return -1, err
		}
		s.pids.next, s.pids.end = first, first+producerIDBlock
	}
	s.pids.next++
	return s.pids.next - 1, nil
}
