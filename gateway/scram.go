package gateway

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"hash"
	"net"
	"strconv"
	"strings"

	"github.com/robustmq/robustmq-go/shard"
)

// The SCRAM mechanisms (RFC 5802, RFC 7677), as SASL names them.
const (
	MechanismScram256 = "SCRAM-SHA-256"
	MechanismScram512 = "SCRAM-SHA-512"
)

// Scram is the server's side of one SCRAM conversation (RFC 5802), without
// channel binding. It is written here, and not taken from a library, for one
// leniency that Kafka's own server has: the nonce of the client's last message
// need only end with the one it was sent. librdkafka before 2.2 puts its own part
// in front twice. The proof covers the whole of it either way.
type Scram struct {
	auth   *Auth
	hash   func() hash.Hash
	lookup func(name string) *shard.Credential
	user   string
	authz  string
	nonce  string
	gs2    string
	sofar  string // client-first-message-bare , server-first-message
	cred   *shard.Credential
}

// Scram begins a conversation; ok is false for a mechanism that is not SCRAM's.
func (a *Auth) Scram(mechanism string) (s *Scram, ok bool) {
	s = &Scram{auth: a, hash: sha256.New}
	switch mechanism {
	case MechanismScram256:
		s.lookup = func(name string) *shard.Credential {
			return a.credential(name, func(u *shard.User) *shard.Credential { return u.SCRAM256 })
		}
	case MechanismScram512:
		s.hash = sha512.New
		s.lookup = func(name string) *shard.Credential {
			return a.credential(name, func(u *shard.User) *shard.Credential { return u.SCRAM512 })
		}
	default:
		return nil, false
	}
	return s, true
}

// credential gives a user's. Who has none gets one that nothing proves, the same
// each time: the server's first message does not tell which users exist.
func (a *Auth) credential(name string, of func(*shard.User) *shard.Credential) *shard.Credential {
	if u, ok := a.users.User(name); ok {
		if c := of(u); c != nil {
			return c
		}
	}
	return a.decoyCredential(name)
}

func (a *Auth) decoyCredential(name string) *shard.Credential {
	return &shard.Credential{Salt: keyed(sha256.New, a.decoy[:], name)[:16], Iterations: ScramIterations}
}

// SaltedCredential is Derive for a password that is salted already.
func SaltedCredential(h func() hash.Hash, salted, salt []byte, iterations int) *shard.Credential {
	stored := h()
	stored.Write(keyed(h, salted, "Client Key"))
	return &shard.Credential{
		Salt: salt, Iterations: iterations,
		StoredKey: stored.Sum(nil), ServerKey: keyed(h, salted, "Server Key"),
	}
}

// Step takes the client's next message. done comes with the last answer, when
// the client has proved that it is p; an error ends the conversation.
func (s *Scram) Step(remote net.Addr, msg []byte) (answer []byte, p Principal, done bool, err error) {
	var text string
	p, err = s.auth.Guess(remote, s.user, func() (Principal, error) {
		var ok bool
		if text, done, ok = s.step(string(msg)); !ok {
			return Principal{}, ErrBadCredentials
		}
		if !done {
			return Principal{}, errUnproved
		}
		u, ok := s.auth.users.User(s.user)
		if !ok || s.authz != "" && s.authz != u.Name {
			return Principal{}, ErrBadCredentials
		}
		return s.auth.Admit(remote, u)
	})
	if errors.Is(err, errUnproved) { // the first message says who it is
		return []byte(text), p, false, s.auth.attempts.allow(remote, s.user)
	}
	return []byte(text), p, err == nil, err
}

// errUnproved is of a conversation that is not over.
var errUnproved = shard.Errorf(shard.KindInternal, "not proved yet")

// step is Step without the account; ok is false when the message is wrong.
func (s *Scram) step(msg string) (answer string, done, ok bool) {
	if s.cred == nil {
		answer, ok = s.first(msg)
		return answer, false, ok
	}
	answer, ok = s.final(msg)
	return answer, ok, ok
}

// first takes "n,a=authzid,n=user,r=nonce[,extensions]".
func (s *Scram) first(msg string) (string, bool) {
	parts := strings.SplitN(msg, ",", 3)
	if len(parts) != 3 || parts[0] != "n" && parts[0] != "y" { // no channel binding
		return "", false
	}
	s.gs2 = parts[0] + "," + parts[1] + ","
	if parts[1] != "" {
		authz, is := strings.CutPrefix(parts[1], "a=")
		if s.authz, is = saslName(authz, is); !is {
			return "", false
		}
	}
	bare := strings.Split(parts[2], ",")
	if len(bare) < 2 {
		return "", false
	}
	name, isName := strings.CutPrefix(bare[0], "n=")
	nonce, isNonce := strings.CutPrefix(bare[1], "r=")
	if s.user, isName = saslName(name, isName); !isName || !isNonce || nonce == "" || len(nonce) > 1024 {
		return "", false
	}
	if s.cred = s.lookup(s.user); s.cred == nil {
		return "", false
	}
	s.nonce = nonce + rand.Text()
	first := "r=" + s.nonce + ",s=" + base64.StdEncoding.EncodeToString(s.cred.Salt) + ",i=" + strconv.Itoa(s.cred.Iterations)
	s.sofar = parts[2] + "," + first
	return first, true
}

// saslName undoes the escapes of a name.
func saslName(s string, ok bool) (string, bool) {
	if !ok || s == "" {
		return "", false
	}
	plain := strings.NewReplacer("=2C", ",", "=3D", "=").Replace(s)
	return plain, strings.Count(s, "=") == strings.Count(s, "=2C")+strings.Count(s, "=3D")
}

// final takes "c=binding,r=nonce[,extensions],p=proof".
func (s *Scram) final(msg string) (string, bool) {
	at := strings.LastIndex(msg, ",p=")
	if at < 0 {
		return "", false
	}
	bare, proof64 := msg[:at], msg[at+len(",p="):]
	parts := strings.Split(bare, ",")
	if len(parts) < 2 || parts[0] != "c="+base64.StdEncoding.EncodeToString([]byte(s.gs2)) {
		return "", false
	}
	nonce, isNonce := strings.CutPrefix(parts[1], "r=")
	proof, err := base64.StdEncoding.DecodeString(proof64)
	if !isNonce || !strings.HasSuffix(nonce, s.nonce) || err != nil || len(proof) != s.hash().Size() {
		return "", false
	}
	all := s.sofar + "," + bare
	key := subtleXOR(proof, keyed(s.hash, s.cred.StoredKey, all))
	h := s.hash()
	h.Write(key)
	if subtle.ConstantTimeCompare(h.Sum(nil), s.cred.StoredKey) != 1 {
		return "", false
	}
	return "v=" + base64.StdEncoding.EncodeToString(keyed(s.hash, s.cred.ServerKey, all)), true
}

func subtleXOR(a, b []byte) []byte {
	out := make([]byte, len(a))
	subtle.XORBytes(out, a, b)
	return out
}

// keyed is HMAC(key, text).
func keyed(h func() hash.Hash, key []byte, text string) []byte {
	m := hmac.New(h, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}
