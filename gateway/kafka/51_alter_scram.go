package kafka

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Bounds of what a SCRAM credential may ask for (Kafka's own).
const (
	minIterations = 4096
	maxIterations = 16384
)

// AlterUserScramCredentials (51): v0. The client sends the salted password; what
// is kept of it is derived here (RFC 5802, 3). Who has no credential left and
// nothing else to log in with is deleted.
func alterSCRAM(ctx context.Context, c *conn, q *kmsg.AlterUserSCRAMCredentialsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.AlterUserSCRAMCredentialsResponse)
	var order []string
	changes := make(map[string][]func(*shard.User) error)
	note := func(name string, f func(*shard.User) error) {
		if changes[name] == nil {
			order = append(order, name)
		}
		changes[name] = append(changes[name], f)
	}
	for i := range q.Deletions {
		d := &q.Deletions[i]
		note(d.Name, func(u *shard.User) error { return dropCredential(u, d.Mechanism) })
	}
	for i := range q.Upsertions {
		x := &q.Upsertions[i]
		note(x.Name, func(u *shard.User) error { return putCredential(u, x) })
	}
	for _, name := range order {
		err := error(c.denied(codeClusterAuthorizationFailed, "alter users"))
		if c.mayAdminister() || len(q.Deletions) == 0 && c.srv.env.Auth.MaySetPassword(c.principal, c.nc.RemoteAddr(), name) {
			err = c.alterUser(ctx, name, changes[name])
		}
		resp.Results = append(resp.Results, kmsg.AlterUserSCRAMCredentialsResponseResult{User: name, ErrorCode: errorCode(err), ErrorMessage: message(err)})
	}
	return resp
}

func (c *conn) alterUser(ctx context.Context, name string, changes []func(*shard.User) error) error {
	users := c.srv.broker.Users
	u := shard.User{Name: name}
	if old, ok := users.User(name); ok {
		u = *old
	}
	if err := gateway.CheckUserName(name); err != nil {
		return &coded{codeUnacceptableCredential, err.Error()}
	}
	for _, f := range changes {
		if err := f(&u); err != nil {
			return err
		}
	}
	if u.SCRAM256 == nil && u.SCRAM512 == nil && u.NKey == "" && u.TokenHash == "" {
		if err := c.srv.env.Auth.KeepSuperuser(name); err != nil {
			return &coded{codeUnacceptableCredential, err.Error()}
		}
		return users.Delete(ctx, name)
	}
	u.DefaultPassword = false
	return users.Put(ctx, u)
}

func dropCredential(u *shard.User, mechanism int8) error {
	at := credentialOf(u, mechanism)
	if at == nil {
		return &coded{codeUnsupportedSASLMechanism, "unknown mechanism"}
	}
	if *at == nil {
		return &coded{codeResourceNotFound, "the user has no such credential"}
	}
	*at = nil
	return nil
}

func credentialOf(u *shard.User, mechanism int8) **shard.Credential {
	switch mechanism {
	case scramSHA256:
		return &u.SCRAM256
	case scramSHA512:
		return &u.SCRAM512
	}
	return nil
}

func putCredential(u *shard.User, x *kmsg.AlterUserSCRAMCredentialsRequestUpsertion) error {
	at := credentialOf(u, x.Mechanism)
	size, h := sha256.Size, sha256.New
	if x.Mechanism == scramSHA512 {
		size, h = sha512.Size, sha512.New
	}
	switch {
	case at == nil:
		return &coded{codeUnsupportedSASLMechanism, "unknown mechanism"}
	case x.Iterations < minIterations || x.Iterations > maxIterations:
		return &coded{codeUnacceptableCredential, "iterations must be between 4096 and 16384"}
	case len(x.Salt) == 0 || len(x.Salt) > 1024 || len(x.SaltedPassword) != size:
		return &coded{codeUnacceptableCredential, "salt or salted password has the wrong length"}
	}
	*at = gateway.SaltedCredential(h, x.SaltedPassword, bytes.Clone(x.Salt), int(x.Iterations))
	return nil
}
