package kafka

import (
	"context"
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// producerByteRate is the one quota there is: a user's bytes_per_second.
const producerByteRate = "producer_byte_rate"

// AlterClientQuotas (49): v0-1. It sets and removes producer_byte_rate of users
// that exist, one by one; there are no other quotas (see DescribeClientQuotas).
func alterClientQuotas(ctx context.Context, c *conn, q *kmsg.AlterClientQuotasRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.AlterClientQuotasResponse)
	resp.Entries = []kmsg.AlterClientQuotasResponseEntry{}
	admin := c.mayAdminister()
	for i := range q.Entries {
		e := &q.Entries[i]
		err := error(c.denied(codeClusterAuthorizationFailed, "alter quotas"))
		if admin {
			err = c.alterQuota(ctx, e, q.ValidateOnly)
		}
		out := kmsg.AlterClientQuotasResponseEntry{ErrorCode: errorCode(err), ErrorMessage: message(err)}
		for _, x := range e.Entity {
			out.Entity = append(out.Entity, kmsg.AlterClientQuotasResponseEntryEntity{Type: x.Type, Name: x.Name})
		}
		resp.Entries = append(resp.Entries, out)
	}
	return resp
}

func (c *conn) alterQuota(ctx context.Context, e *kmsg.AlterClientQuotasRequestEntry, validateOnly bool) error {
	if len(e.Entity) != 1 || e.Entity[0].Type != "user" || e.Entity[0].Name == nil {
		return &coded{codeInvalidRequest, "quotas are of one user each; there are none of client ids and addresses, and no defaults"}
	}
	users := c.srv.broker.Users
	old, ok := users.User(*e.Entity[0].Name)
	if !ok {
		return &coded{codeInvalidRequest, "no user has this name"}
	}
	u := *old
	for _, op := range e.Ops {
		switch {
		case op.Key != producerByteRate:
			return &coded{codeInvalidRequest, "the only quota is " + producerByteRate}
		case op.Remove:
			u.BytesPerSecond = 0
		case !(op.Value >= 1 && op.Value < math.MaxInt64):
			return &coded{codeInvalidRequest, producerByteRate + " must be a number of bytes from 1 on"}
		default:
			u.BytesPerSecond = int64(op.Value)
		}
	}
	if validateOnly || u.BytesPerSecond == old.BytesPerSecond {
		return nil
	}
	return users.Put(ctx, u)
}
