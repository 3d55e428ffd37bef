package gateway

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net"
	"strings"
	"sync"

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

// Resources of an access rule.
const (
	ResourceSubject = "subject"
	ResourceGroup   = "group"
	ResourceCluster = "cluster"
)

// Allowed tells whether p may do op to a resource: a subject, a subscription
// filter in canonical subject form, a group's name, or "cluster". With no rule
// at all everything is allowed; else what no rule allows is denied, and a
// denying rule wins.
func (a *Auth) Allowed(p Principal, remote net.Addr, op shard.Operation, resource, name string) bool {
	if p.Superuser {
		return true
	}
	rules := a.acls.Rules()
	if len(rules) == 0 {
		return op != shard.OpAdmin || !p.Anonymous
	}
	allowed := false
	for i := range rules {
		r := &rules[i]
		if r.Operation != op && r.Operation != shard.OpAll || r.Resource != resource && r.Resource != "*" ||
			r.Principal != p.Name && r.Principal != "*" || !hostMatches(r.Host, remote) || !ruleMatches(r, op, name) {
			continue
		}
		if r.Deny {
			return false
		}
		allowed = true
	}
	return allowed
}

func hostMatches(host string, remote net.Addr) bool {
	if host == "" || host == "*" {
		return true
	}
	if remote == nil {
		return false
	}
	h, _, err := net.SplitHostPort(remote.String())
	return err == nil && h == host
}

// ruleMatches tells whether a rule is about a name. A subscription to many
// subjects is allowed by a rule that covers all of them, and denied by one that
// holds any of them.
func ruleMatches(r *shard.ACL, op shard.Operation, name string) bool {
	if op != shard.OpSubscribe || r.Resource != ResourceSubject || !strings.ContainsAny(name, "*>") {
		return nameMatches(r, name)
	}
	if prefix, ok := rawPrefix(r.Filter); ok {
		return prefixMatches(prefix, name, r.Deny)
	}
	want, err := shard.ParseSubjectFilter(name)
	rule, err2 := shard.ParseSubjectFilter(r.Filter)
	switch {
	case r.Filter == "*" || r.Filter == ">":
		return true
	case err2 != nil:
		return false
	case err != nil:
		return r.Deny
	case r.Deny:
		return rule.Overlaps(want)
	}
	return covers(rule.Tokens, want.Tokens)
}

// covers tells whether every subject that inner matches is matched by outer.
func covers(outer, inner []shard.Token) bool {
	for i, o := range outer {
		switch {
		case i >= len(inner):
			return false
		case o.Kind == shard.TokenRest:
			return true
		case inner[i].Kind == shard.TokenRest:
			return false
		case o.Kind == shard.TokenLiteral && (inner[i].Kind != shard.TokenLiteral || inner[i].Text != o.Text):
			return false
		}
	}
	return len(outer) == len(inner)
}

// rawPrefix gives the prefix of a rule "orders-*": all names that begin with
// "orders-", whatever follows. "*" and "a.*" are filters over tokens.
func rawPrefix(filter string) (string, bool) {
	p, ok := strings.CutSuffix(filter, "*")
	return p, ok && p != "" && p[len(p)-1] != '.'
}

// prefixMatches holds a subscription to many subjects against a prefix: all of
// them have it, or, for a rule that denies, some can have it.
func prefixMatches(prefix, sub string, deny bool) bool {
	if !deny {
		return strings.HasPrefix(sub[:strings.IndexAny(sub, "*>")], prefix)
	}
	for {
		p, moreP, last := cut(prefix)
		token, moreSub, end := cut(sub)
		switch {
		case token == ">":
			return true
		case last:
			return token == "*" || strings.HasPrefix(token, p)
		case end, token != "*" && token != p:
			return false
		}
		prefix, sub = moreP, moreSub
	}
}

func cut(name string) (token, rest string, last bool) {
	token, rest, more := strings.Cut(name, ".")
	return token, rest, !more
}

func nameMatches(r *shard.ACL, name string) bool {
	if r.Filter == "*" || r.Filter == ">" || r.Filter == name {
		return true
	}
	if r.Resource == ResourceSubject {
		if f, err := shard.ParseSubjectFilter(r.Filter); err == nil && f.Match(name) {
			return true
		}
		if strings.HasSuffix(r.Filter, ".*") { // one token, not a prefix
			return false
		}
	}
	prefix, ok := strings.CutSuffix(r.Filter, "*")
	return ok && strings.HasPrefix(name, prefix)
}
