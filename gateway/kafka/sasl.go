package kafka

import (
	"context"
	"strings"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

// The SASL mechanisms.
const (
	mechanismPlain    = "PLAIN"
	mechanismScram256 = gateway.MechanismScram256
	mechanismScram512 = gateway.MechanismScram512
)

var mechanisms = []string{mechanismPlain, mechanismScram256, mechanismScram512}

// saslState is how far a client's login is. The processor alone uses it.
type saslState struct {
	mechanism string // chosen and not finished; "" otherwise
	scram     *gateway.Scram
	user      string // who logged in before: a new login must be the same
	broken    bool   // failed: nothing more is served
}

func (s *saslState) idle() bool { return s.mechanism == "" }

// errSASL does not say which part was wrong.
var errSASL = gateway.ErrBadCredentials

// startSASL begins a login.
func (c *conn) startSASL(mechanism string) bool {
	s := &c.sasl
	s.scram = nil
	if mechanism != mechanismPlain {
		var ok bool
		if s.scram, ok = c.srv.env.Auth.Scram(mechanism); !ok {
			return false
		}
	}
	s.mechanism = mechanism
	return true
}

// stepSASL takes the client's next token. done tells whether p has logged in.
func (c *conn) stepSASL(ctx context.Context, token []byte) (answer []byte, p gateway.Principal, done bool, err error) {
	s := &c.sasl
	auth := c.srv.env.Auth
	if s.mechanism == mechanismPlain { // RFC 4616: [authzid] NUL authcid NUL passwd
		parts := strings.Split(string(token), "\x00")
		if len(parts) != 3 || parts[0] != "" && parts[0] != parts[1] {
			return nil, p, false, errSASL
		}
		p, err = auth.Password(ctx, c.nc.RemoteAddr(), parts[1], parts[2])
		return nil, p, err == nil, err
	}
	return s.scram.Step(c.nc.RemoteAddr(), token)
}

// finishSASL lets a client in that has proved who it is.
func (c *conn) finishSASL(p gateway.Principal, clientID string) error {
	s := &c.sasl
	if s.user != "" && s.user != p.Name { // KIP-368
		return shard.Errorf(shard.KindDenied, "a connection cannot change its user")
	}
	if err := c.login(p, clientID); err != nil {
		return err
	}
	s.user, s.mechanism, s.scram = p.Name, "", nil
	return nil
}
