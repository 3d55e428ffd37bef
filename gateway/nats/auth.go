package nats

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/robustmq/robustmq-go/gateway"
)

func newNonce() string {
	var b [11]byte
	_, _ = rand.Read(b[:]) // crypto/rand does not fail
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// login says who the client is, by what CONNECT holds: an nkey, a token, a name
// and password, or nothing but the certificate of the handshake, or nothing.
func (c *conn) login(ctx context.Context, o connectOptions) error {
	p, err := c.authenticate(ctx, &o)
	if err != nil {
		c.s.env.Stats.AuthFailures.Add(1)
		c.s.env.Log.Debug("login refused", "remote", c.nc.RemoteAddr().String(), "user", o.User, "error", err)
		return errAuthorization
	}
	if err := c.s.env.Auth.Join(c.nc, p); err != nil {
		c.s.env.Stats.Refused.Add(1)
		return errUserConnections
	}
	o.Pass, o.Token, o.Sig = "", "", ""
	c.opts, c.principal = o, p
	c.who.Store(&p)
	c.headers.Store(o.Headers)
	shown := o
	c.shown.Store(&shown)
	c.nc.Authenticated(p, o.Name)
	c.pub.reset() // what may be published is another's now
	if !c.loggedIn {
		c.loggedIn, c.parse.locked = true, false
		_ = c.raw.SetReadDeadline(time.Time{})
		if ctx.Err() != nil {
			c.interrupt()
		}
	}
	return nil
}

func (c *conn) authenticate(ctx context.Context, o *connectOptions) (gateway.Principal, error) {
	auth, remote := c.s.env.Auth, c.nc.RemoteAddr()
	switch {
	case o.NKey != "":
		return auth.Guess(remote, "", func() (gateway.Principal, error) { return c.nkey(o) })
	case o.Token != "":
		return auth.Token(remote, o.Token)
	case o.User != "":
		return auth.Password(ctx, remote, o.User, o.Pass)
	}
	if p, ok := auth.Certificate(remote, c.nc.TLS); ok { // nats-server: verify_and_map
		return p, nil
	}
	return auth.Anonymous(remote)
}

// nkey checks the signature of our nonce by an Ed25519 key of an account.
func (c *conn) nkey(o *connectOptions) (gateway.Principal, error) {
	sig, err := base64.RawURLEncoding.DecodeString(o.Sig)
	if err != nil {
		if sig, err = base64.StdEncoding.DecodeString(o.Sig); err != nil {
			return gateway.Principal{}, gateway.ErrBadCredentials
		}
	}
	key, err := nkeys.FromPublicKey(o.NKey)
	if err != nil || key.Verify([]byte(c.nonce), sig) != nil {
		return gateway.Principal{}, gateway.ErrBadCredentials
	}
	for _, u := range c.s.env.Auth.Users() {
		if u.NKey == o.NKey {
			return c.s.env.Auth.Admit(c.nc.RemoteAddr(), u)
		}
	}
	return gateway.Principal{}, gateway.ErrBadCredentials
}
