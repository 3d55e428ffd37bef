package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/robustmq/robustmq-go/shard"
)

// The rare kinds are kept as JSON behind the version byte:
//
//	users/{name}     shard.User
//	acls/{hash}      shard.ACL, under the SHA-256 of the rule's fields
//	quotas/{name}    Quota
//	features/{name}  Feature

// Quota bounds what a principal or topic may use, by names of limits.
type Quota struct {
	Name   string
	Limits map[string]int64
}

// Feature is a switch of the whole cluster.
type Feature struct {
	Name    string
	Level   int64
	Comment string `json:",omitempty"`
}

// maxACLBatch is how many rules one transaction changes.
const maxACLBatch = 100

func decodeUser(name string, b []byte) (*shard.User, error) {
	u, err := decodeJSON[shard.User](b)
	if err != nil {
		return nil, fmt.Errorf("decode user: %w", err)
	}
	u.Name = name
	return &u, nil
}

func decodeACL(_ string, b []byte) (shard.ACL, error) {
	a, err := decodeJSON[shard.ACL](b)
	if err != nil {
		return a, fmt.Errorf("decode acl: %w", err)
	}
	return a, nil
}

func decodeQuota(name string, b []byte) (Quota, error) {
	q, err := decodeJSON[Quota](b)
	if err != nil {
		return q, fmt.Errorf("decode quota: %w", err)
	}
	q.Name = name
	return q, nil
}

func decodeFeature(name string, b []byte) (Feature, error) {
	f, err := decodeJSON[Feature](b)
	if err != nil {
		return f, fmt.Errorf("decode feature: %w", err)
	}
	f.Name = name
	return f, nil
}

// putJSON overwrites a record of a rare kind.
func putJSON[T any](ctx context.Context, c *Catalog, kind, name string, v T) error {
	if name == "" || len(name) > maxNameBytes {
		return fmt.Errorf("put %s %q: %w", kind, name, ErrInvalid)
	}
	value, err := encodeJSON(v)
	if err != nil {
		return fmt.Errorf("put %s %q: %w", kind, name, err)
	}
	ctx, cancel := c.opContext(ctx)
	defer cancel()
	var t txn
	t.put(c.key(kind, name), value)
	out, err := c.commit(ctx, "put "+kind+" "+name, t)
	if err != nil {
		return err
	}
	c.applyOwn(out.rev, own(kind, name, value))
	return nil
}

// remove deletes records; it is no error if they are gone already.
func (c *Catalog) remove(ctx context.Context, kind string, names ...string) error {
	ctx, cancel := c.opContext(ctx)
	defer cancel()
	var t txn
	var chs []change
	for _, n := range names {
		t.do(clientv3.OpDelete(c.key(kind, n)))
		chs = append(chs, ownDelete(kind, n))
	}
	out, err := c.commit(ctx, "delete "+kind, t)
	if err != nil {
		return err
	}
	// As of the answer's revision the keys are gone, whoever deleted them.
	c.applyOwn(out.rev, chs...)
	return nil
}

// PutUser stores an account under its name.
func (c *Catalog) PutUser(ctx context.Context, u shard.User) error {
	return putJSON(ctx, c, kindUser, u.Name, u)
}

// DeleteUser removes an account. ErrNotFound if there is none.
func (c *Catalog) DeleteUser(ctx context.Context, name string) error {
	if _, ok := c.User(name); !ok {
		return fmt.Errorf("delete user %q: %w", name, ErrNotFound)
	}
	return c.remove(ctx, kindUser, name)
}

// User gives an account; it is shared and must not be changed.
func (c *Catalog) User(name string) (*shard.User, bool) {
	r, ok := c.users.rows()[name]
	return r.val, ok
}

// Users gives all accounts by name.
func (c *Catalog) Users() []*shard.User { return c.users.values() }

// UsersChanged gives a channel that is closed when an account changes.
func (c *Catalog) UsersChanged() <-chan struct{} { return c.users.note.wait() }

func aclName(a shard.ACL) string {
	h := sha256.Sum256([]byte(strings.Join([]string{
		a.Principal, a.Resource, a.Filter, string(a.Operation), fmt.Sprint(a.Deny), a.Host,
	}, "\x00")))
	return hex.EncodeToString(h[:16])
}

// PutACLs adds rules; one that exists stays as it is. Up to 100 are added as one.
func (c *Catalog) PutACLs(ctx context.Context, rules ...shard.ACL) error {
	if len(rules) == 0 {
		return nil
	}
	if len(rules) > maxACLBatch {
		return fmt.Errorf("put acls: %w: %d rules", ErrTooLarge, len(rules))
	}
	ctx, cancel := c.opContext(ctx)
	defer cancel()
	var t txn
	var chs []change
	seen := map[string]bool{}
	for _, a := range rules {
		name := aclName(a)
		value, err := encodeJSON(a)
		if err != nil {
			return fmt.Errorf("put acls: %w", err)
		}
		if seen[name] {
			continue
		}
		seen[name] = true
		t.put(c.key(kindACL, name), value)
		chs = append(chs, own(kindACL, name, value))
	}
	out, err := c.commit(ctx, "put acls", t)
	if err != nil {
		return err
	}
	c.applyOwn(out.rev, chs...)
	return nil
}

// DeleteACLs removes rules equal to the given ones, up to 100 as one.
func (c *Catalog) DeleteACLs(ctx context.Context, rules ...shard.ACL) error {
	if len(rules) == 0 {
		return nil
	}
	if len(rules) > maxACLBatch {
		return fmt.Errorf("delete acls: %w: %d rules", ErrTooLarge, len(rules))
	}
	var names []string
	seen := map[string]bool{}
	for _, a := range rules {
		if n := aclName(a); !seen[n] {
			seen[n] = true
			names = append(names, n)
		}
	}
	return c.remove(ctx, kindACL, names...)
}

// ACLs gives all rules.
func (c *Catalog) ACLs() []shard.ACL { return c.acls.values() }

// ACLsChanged gives a channel that is closed when a rule changes.
func (c *Catalog) ACLsChanged() <-chan struct{} { return c.acls.note.wait() }

// PutQuota stores a quota under its name; DeleteQuota removes it.
func (c *Catalog) PutQuota(ctx context.Context, q Quota) error {
	return putJSON(ctx, c, kindQuota, q.Name, q)
}

// DeleteQuota removes a quota; it is no error if there is none.
func (c *Catalog) DeleteQuota(ctx context.Context, name string) error {
	return c.remove(ctx, kindQuota, name)
}

// Quotas gives all quotas by name.
func (c *Catalog) Quotas() []Quota { return c.quotas.values() }

// PutFeature stores a switch under its name.
func (c *Catalog) PutFeature(ctx context.Context, f Feature) error {
	return putJSON(ctx, c, kindFeature, f.Name, f)
}

// DeleteFeature removes a switch; it is no error if there is none.
func (c *Catalog) DeleteFeature(ctx context.Context, name string) error {
	return c.remove(ctx, kindFeature, name)
}

// Features gives all switches by name.
func (c *Catalog) Features() []Feature { return c.features.values() }

// Feature gives one switch.
func (c *Catalog) Feature(name string) (Feature, bool) {
	r, ok := c.features.rows()[name]
	return r.val, ok
}
