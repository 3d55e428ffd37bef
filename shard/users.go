package shard

import "context"

// Users are the accounts of all protocols. All methods may be called
// concurrently; User and List read the local snapshot.
type Users interface {
	User(name string) (*User, bool)
	List() []*User
	// Changed gives a channel that is closed at the next change of any account.
	Changed() <-chan struct{}
	Put(ctx context.Context, u User) error
	Delete(ctx context.Context, name string) error
}

// User is one account. Values handed out are immutable.
type User struct {
	Name string
	// SCRAM-SHA-256 and SCRAM-SHA-512 credentials; the password is not kept.
	// PLAIN logins of every protocol are checked against the first.
	SCRAM256 *Credential
	SCRAM512 *Credential
	// NKey is the public NATS key, "" for none.
	NKey string
	// Token logs in without a name (NATS): its SHA-256 in hex, "" for none.
	TokenHash string
	// Superuser passes every ACL.
	Superuser bool
	// DefaultPassword marks the account that ships with the broker for as long
	// as its password does: it logs in from loopback only.
	DefaultPassword bool
	// Limits; 0: none.
	MaxConnections int
	BytesPerSecond int64
}

// Credential is what SCRAM keeps of a password (RFC 5802).
type Credential struct {
	Salt       []byte
	Iterations int
	StoredKey  []byte
	ServerKey  []byte
}

// ACLs are the access rules of all protocols. Rules reads the local snapshot.
type ACLs interface {
	Rules() []ACL
	// Changed gives a channel that is closed at the next change of any rule.
	Changed() <-chan struct{}
	Put(ctx context.Context, rules ...ACL) error
	Delete(ctx context.Context, rules ...ACL) error
}

// Operation is what a rule is about.
type Operation string

// The operations.
const (
	OpPublish   Operation = "publish"
	OpSubscribe Operation = "subscribe"
	OpCreate    Operation = "create"
	OpDelete    Operation = "delete"
	OpAlter     Operation = "alter"
	OpDescribe  Operation = "describe"
	OpAdmin     Operation = "admin"
	OpAll       Operation = "all"
)

// ACL allows or denies a principal an operation on the subjects a filter
// matches, or on groups of that name. Deny wins; with no rule at all everything
// is allowed to those who are logged in.
type ACL struct {
	Principal string // user name, "*" for all
	Resource  string // "subject", "group" or "cluster"
	// Filter over subjects (ParseSubjectFilter), or a name, or a prefix ending in "*".
	Filter    string
	Operation Operation
	Deny      bool
	Host      string // remote address, "" or "*" for all
}
