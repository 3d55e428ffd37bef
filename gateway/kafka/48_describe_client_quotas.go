package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// How a component of a DescribeClientQuotas filter matches.
const (
	quotaExact int8 = iota
	quotaDefault
	quotaAny
)

// DescribeClientQuotas (48): v0-1. The quotas are the users' bytes_per_second,
// which bound what is read from them and so are the rates of producers. There
// are none of client ids and addresses, and no defaults.
func describeClientQuotas(_ context.Context, c *conn, q *kmsg.DescribeClientQuotasRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.DescribeClientQuotasResponse)
	if !c.maySeeAccounts() {
		resp.ErrorCode = codeClusterAuthorizationFailed
		return resp
	}
	resp.Entries = []kmsg.DescribeClientQuotasResponseEntry{}
	if q.Strict && len(q.Components) == 0 {
		return resp // an entry without an entity: there is none
	}
	for _, u := range c.srv.broker.Users.List() {
		if u.BytesPerSecond <= 0 || !quotaAsked(q, u.Name) {
			continue
		}
		resp.Entries = append(resp.Entries, kmsg.DescribeClientQuotasResponseEntry{
			Entity: []kmsg.DescribeClientQuotasResponseEntryEntity{{Type: "user", Name: &u.Name}},
			Values: []kmsg.DescribeClientQuotasResponseEntryValue{{Key: producerByteRate, Value: float64(u.BytesPerSecond)}},
		})
	}
	return resp
}

// quotaAsked tells whether every component matches a user's quota.
func quotaAsked(q *kmsg.DescribeClientQuotasRequest, user string) bool {
	for _, f := range q.Components {
		if f.EntityType != "user" {
			return false
		}
		switch int8(f.MatchType) {
		case quotaAny:
		case quotaExact:
			if f.Match == nil || *f.Match != user {
				return false
			}
		default: // quotaDefault and what is unknown
			return false
		}
	}
	return true
}
