package amqp

import (
	"context"
	"strings"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

var _ gateway.GroupEnder = (*server)(nil)

// EndGroup implements gateway.GroupEnder: it deletes a queue with its bindings and
// messages, as queue.delete does.
func (s *server) EndGroup(ctx context.Context, name string, force bool) error {
	for _, vh := range s.vhosts {
		queue, ok := strings.CutPrefix(name, vh.groupName(""))
		if !ok {
			continue
		}
		if err := vh.load(ctx); err != nil {
			return err
		}
		q := vh.queue(queue)
		if q == nil {
			continue
		}
		_, err := vh.deleteQueue(ctx, q, func() error {
			vh.mu.RLock()
			defer vh.mu.RUnlock()
			if q.consumers > 0 && !force {
				return shard.Errorf(shard.KindInvalid, "queue %q in vhost %q has %d consumers", q.name, vh.name, q.consumers)
			}
			return nil
		})
		return err
	}
	return shard.ErrGroupNotFound
}
