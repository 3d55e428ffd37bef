package gateway

import (
	"bytes"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// watchUsers ends, whenever an account changes, the connections that logged in with
// what is no longer so, in every protocol alike. It runs while there are any.
func (a *Auth) watchUsers(empty <-chan struct{}) {
	for {
		changed := a.users.Changed() // first, or a change could be missed
		for _, c := range a.revoked() {
			i := c.Info()
			a.log.Info("connection closed: its account was deleted or changed", "protocol", i.Protocol, "user", i.User, "remote", i.Remote)
			c.revoke()
		}
		select {
		case <-changed:
		case <-empty:
			return
		}
	}
}

// revoked gives the connections that have to go.
func (a *Auth) revoked() (cs []*Conn) {
	a.accounts.Lock()
	defer a.accounts.Unlock()
	for _, u := range a.accounts.of {
		for c := range u.open {
			if then := c.user.Load(); then != nil && !a.current(then) {
				cs = append(cs, c)
			}
		}
	}
	return cs
}

// current tells whether who logged in as an account could do so now, with the same
// credentials and rights. Further credentials, and limits, change nothing.
func (a *Auth) current(then *shard.User) bool {
	now, ok := a.users.User(then.Name)
	switch {
	case !ok || then.Superuser && !now.Superuser:
		return false
	case now == then:
		return true
	}
	return kept(then.SCRAM256, now.SCRAM256) && kept(then.SCRAM512, now.SCRAM512) &&
		(then.NKey == "" || then.NKey == now.NKey) && (then.TokenHash == "" || then.TokenHash == now.TokenHash)
}

func kept(then, now *shard.Credential) bool {
	return then == nil || now != nil && bytes.Equal(then.StoredKey, now.StoredKey) && bytes.Equal(then.Salt, now.Salt)
}

// OnRevoke sets how the protocol tells its client that the account is no longer
// good; the connection is cut soon after, whatever f does. f must not block. A
// protocol may call it before Join.
func (c *Conn) OnRevoke(f func()) { c.farewell.Store(&f) }

// farewellTime is how long a client gets to be told, and to have the answer to what
// it did to its own account. All is over within a second.
const farewellTime = 800 * time.Millisecond

func (c *Conn) revoke() {
	if f := c.farewell.Load(); f != nil {
		go (*f)()
	}
	time.AfterFunc(farewellTime, c.Abort)
}
