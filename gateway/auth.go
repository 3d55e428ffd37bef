package gateway

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/xdg-go/scram"
)

// Principal is who a connection acts for.
type Principal struct {
	// Name of the user; "anonymous" for those without a name.
	Name      string
	Anonymous bool
	Superuser bool

	// user is the account as it was when it logged in; nil without one.
	user *shard.User
}

// AuthConfig is the part of the configuration that Auth keeps.
type AuthConfig struct {
	// AnonymousRemotely and DefaultPasswordRemotely lift the bound to loopback.
	AnonymousRemotely       bool
	DefaultPasswordRemotely bool
	// AnonymousOff refuses anonymous clients from loopback too.
	AnonymousOff bool
	// Origins are the sites, besides the one that is asked, whose pages may use
	// WebSocket and HTTP: "https://app.example", "*".
	Origins []string
	// Log is told of failed log-ins and of connections that their account's end
	// closes; nil: nobody is.
	Log *slog.Logger
}

// Auth authenticates and authorises for all protocols. It is safe for
// concurrent use.
type Auth struct {
	cfg   AuthConfig
	users shard.Users
	acls  shard.ACLs

	rules    atomic.Pointer[ruleset]
	accounts accounts
	decoy    [32]byte // key of what Scram answers for users that do not exist
	log      *slog.Logger
	attempts attempts
	deriving chan struct{} // bounds the passwords that are hashed at once
	cache    struct {
		sync.Mutex
		ok map[[32]byte]string // proofs of passwords that were right -> stored key they matched
	}
}

// maxPasswordBytes bounds what is hashed for somebody who is not logged in.
const maxPasswordBytes = 4096

// ErrBadCredentials does not say which part was wrong.
var ErrBadCredentials = shard.Errorf(shard.KindDenied, "user name or password is wrong")

// NewAuth makes an Auth over the accounts and rules of a broker.
func NewAuth(users shard.Users, acls shard.ACLs, cfg AuthConfig) *Auth {
	a := &Auth{cfg: cfg, users: users, acls: acls, log: cfg.Log, deriving: make(chan struct{}, runtime.GOMAXPROCS(0))}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	a.attempts.init()
	_, _ = rand.Read(a.decoy[:]) // never fails
	a.cache.ok = make(map[[32]byte]string)
	a.accounts.of = make(map[string]*account)
	return a
}

// Anonymous logs in somebody without a name.
func (a *Auth) Anonymous(remote net.Addr) (Principal, error) {
	if a.cfg.AnonymousOff || !a.cfg.AnonymousRemotely && !Loopback(remote) {
		return Principal{}, shard.Errorf(shard.KindDenied, "anonymous access is off for this address")
	}
	return Principal{Name: "anonymous", Anonymous: true}, nil
}

// Password logs in by name and password. That a user does not exist costs what a
// wrong password costs.
func (a *Auth) Password(ctx context.Context, remote net.Addr, user, password string) (Principal, error) {
	return a.Guess(remote, user, func() (Principal, error) {
		if len(password) > maxPasswordBytes {
			return Principal{}, ErrBadCredentials
		}
		u, ok := a.users.User(user)
		if !ok || u.SCRAM256 == nil {
			ok, u = false, &shard.User{Name: user, SCRAM256: a.decoyCredential(user)}
		}
		if right, err := a.verify(ctx, remote, u, password); err != nil || !right || !ok {
			return Principal{}, cmp.Or(err, error(ErrBadCredentials))
		}
		return a.Admit(remote, u)
	})
}

// Token logs in by a token without a name.
func (a *Auth) Token(remote net.Addr, token string) (Principal, error) {
	return a.Guess(remote, "", func() (Principal, error) {
		h := TokenHash(token)
		for _, u := range a.users.List() {
			if u.TokenHash != "" && subtle.ConstantTimeCompare([]byte(u.TokenHash), []byte(h)) == 1 {
				return a.Admit(remote, u)
			}
		}
		return Principal{}, ErrBadCredentials
	})
}

// Admit applies what does not depend on how a user proved who they are: the
// bound of the default password to loopback.
func (a *Auth) Admit(remote net.Addr, u *shard.User) (Principal, error) {
	if u.DefaultPassword && !a.cfg.DefaultPasswordRemotely && !Loopback(remote) {
		return Principal{}, shard.Errorf(shard.KindDenied, "the default password is good from loopback only")
	}
	return principalOf(u), nil
}

// User looks an account up, for mechanisms that a gateway runs itself (SCRAM,
// nkeys); Admit completes them.
func (a *Auth) User(name string) (*shard.User, bool) { return a.users.User(name) }

// Users lists the accounts (token and nkey look-up).
func (a *Auth) Users() []*shard.User { return a.users.List() }

// verify derives the SCRAM key of a password, which is slow by intent, and
// remembers passwords that were right.
func (a *Auth) verify(ctx context.Context, remote net.Addr, u *shard.User, password string) (bool, error) {
	c := u.SCRAM256
	proof := sha256.Sum256([]byte(u.Name + "\x00" + string(c.Salt) + "\x00" + password))
	a.cache.Lock()
	known := a.cache.ok[proof]
	a.cache.Unlock()
	if known != "" && known == string(c.StoredKey) {
		return true, nil
	}
	select {
	case a.deriving <- struct{}{}:
		defer func() { <-a.deriving }()
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	if err := a.attempts.allow(remote, u.Name); err != nil { // others failed while it waited
		return false, err
	}
	d, err := Derive(scram.SHA256, u.Name, password, c.Salt, c.Iterations)
	if err != nil || subtle.ConstantTimeCompare(d.StoredKey, c.StoredKey) != 1 {
		return false, nil
	}
	a.cache.Lock()
	defer a.cache.Unlock()
	if len(a.cache.ok) > 10_000 {
		clear(a.cache.ok)
	}
	a.cache.ok[proof] = string(c.StoredKey)
	return true, nil
}

// ScramIterations is the cost of new credentials (RFC 7677 asks for 4096 at least).
const ScramIterations = 4096

// Derive makes the SCRAM credential of a password.
func Derive(g scram.HashGeneratorFcn, user, password string, salt []byte, iterations int) (*shard.Credential, error) {
	cl, err := g.NewClient(user, password, "")
	if err != nil {
		return nil, shard.Errorf(shard.KindInvalid, "prepare password: %w", err)
	}
	sc, err := cl.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: iterations})
	if err != nil {
		return nil, shard.Errorf(shard.KindInvalid, "derive credential: %w", err)
	}
	return &shard.Credential{Salt: salt, Iterations: iterations, StoredKey: sc.StoredKey, ServerKey: sc.ServerKey}, nil
}

// NewUser makes an account with credentials for both SCRAM mechanisms.
func NewUser(name, password string) (shard.User, error) {
	u := shard.User{Name: name}
	if name == "" || len(name) > 256 || len(password) > maxPasswordBytes {
		return u, shard.Errorf(shard.KindInvalid, "user name or password is empty or too long")
	}
	salt := make([]byte, 16)
	if _, err := rand.Read(salt); err != nil {
		return u, shard.Errorf(shard.KindInternal, "read random salt: %w", err)
	}
	var err error
	if u.SCRAM256, err = Derive(scram.SHA256, name, password, salt, ScramIterations); err != nil {
		return u, err
	}
	u.SCRAM512, err = Derive(scram.SHA512, name, password, salt, ScramIterations)
	return u, err
}

// TokenHash is the form in which a token is kept in shard.User.
func TokenHash(token string) string {
	h := sha256.Sum256([]byte(token))
	return hex.EncodeToString(h[:])
}
