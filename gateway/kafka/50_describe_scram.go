package kafka

import (
	"context"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Kafka's numbers of the SCRAM mechanisms.
const (
	scramSHA256 int8 = 1
	scramSHA512 int8 = 2
)

// DescribeUserScramCredentials (50): v0. No names: all users.
func describeSCRAM(_ context.Context, c *conn, q *kmsg.DescribeUserSCRAMCredentialsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.DescribeUserSCRAMCredentialsResponse)
	if !c.mayCluster(shard.OpAdmin) {
		resp.ErrorCode = codeClusterAuthorizationFailed
		return resp
	}
	seen := make(map[string]int)
	for i := range q.Users {
		seen[q.Users[i].Name]++
	}
	if len(q.Users) == 0 {
		for _, u := range c.srv.broker.Users.List() {
			if u.SCRAM256 != nil || u.SCRAM512 != nil {
				resp.Results = append(resp.Results, scramOf(u))
			}
		}
	}
	for i := range q.Users {
		name := q.Users[i].Name
		u, ok := c.srv.broker.Users.User(name)
		switch {
		case seen[name] > 1:
			resp.Results = append(resp.Results, kmsg.DescribeUserSCRAMCredentialsResponseResult{User: name, ErrorCode: codeDuplicateResource, ErrorMessage: ptr("the user is named twice")})
			seen[name] = -1 // once is enough
		case seen[name] < 0:
		case !ok || u.SCRAM256 == nil && u.SCRAM512 == nil:
			resp.Results = append(resp.Results, kmsg.DescribeUserSCRAMCredentialsResponseResult{User: name, ErrorCode: codeResourceNotFound, ErrorMessage: ptr("the user has no SCRAM credentials")})
		default:
			resp.Results = append(resp.Results, scramOf(u))
		}
	}
	return resp
}

func scramOf(u *shard.User) kmsg.DescribeUserSCRAMCredentialsResponseResult {
	out := kmsg.DescribeUserSCRAMCredentialsResponseResult{User: u.Name}
	if u.SCRAM256 != nil {
		out.CredentialInfos = append(out.CredentialInfos, kmsg.DescribeUserSCRAMCredentialsResponseResultCredentialInfo{Mechanism: scramSHA256, Iterations: int32(u.SCRAM256.Iterations)})
	}
	if u.SCRAM512 != nil {
		out.CredentialInfos = append(out.CredentialInfos, kmsg.DescribeUserSCRAMCredentialsResponseResultCredentialInfo{Mechanism: scramSHA512, Iterations: int32(u.SCRAM512.Iterations)})
	}
	return out
}
