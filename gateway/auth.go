package gateway

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net"
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
}

// AuthConfig is the part of the configuration that Auth keeps.
type AuthConfig struct {
	// AnonymousRemotely and DefaultPasswordRemotely lift the bound to loopback.
	AnonymousRemotely       bool
	DefaultPasswordRemotely bool
	// AnonymousOff refuses anonymous clients from loopback too.
	AnonymousOff bool
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
	a := &Auth{cfg: cfg, users: users, acls: acls}
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

// Password logs in by name and password.
func (a *Auth) Password(_ context.Context, remote net.Addr, user, password string) (Principal, error) {
	u, ok := a.users.User(user)
	if !ok || u.SCRAM256 == nil || len(password) > maxPasswordBytes {
		return Principal{}, ErrBadCredentials
	}
	if !a.verify(u, password) {
		return Principal{}, ErrBadCredentials
	}
	return a.Admit(remote, u)
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
func (a *Auth) verify(u *shard.User, password string) bool {
	c := u.SCRAM256
	proof := sha256.Sum256([]byte(u.Name + "\x00" + string(c.Salt) + "\x00" + password))
	a.cache.Lock()
	known := a.cache.ok[proof]
	a.cache.Unlock()
	if known != "" && known == string(c.StoredKey) {
		return true
	}
	d, err := Derive(scram.SHA256, u.Name, password, c.Salt, c.Iterations)
	if err != nil || subtle.ConstantTimeCompare(d.StoredKey, c.StoredKey) != 1 {
		return false
	}
	a.cache.Lock()
	defer a.cache.Unlock()
	if len(a.cache.ok) > 10_000 {
		clear(a.cache.ok)
	}
	a.cache.ok[proof] = string(c.StoredKey)
	return true
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
