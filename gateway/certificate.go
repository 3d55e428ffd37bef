package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"net"

	"github.com/robustmq/robustmq-go/shard"
)

// Certificate logs in the user that a verified client certificate names (mTLS),
// for clients that give no other credentials. The name is the first of these
// that is an account's: the subject's common name, then the e-mail addresses,
// DNS names and URIs of the subject's alternative names, in the certificate's
// order. ok is false without such a certificate or account; the client may be
// anonymous then.
//
// A certificate counts once it was verified against the listener's client CA: one
// that was only shown does not.
func (a *Auth) Certificate(_ net.Addr, st *tls.ConnectionState) (p Principal, ok bool) {
	if st == nil || len(st.VerifiedChains) == 0 || len(st.VerifiedChains[0]) == 0 {
		return p, false
	}
	for _, name := range certificateNames(st.VerifiedChains[0][0]) {
		if u, ok := a.users.User(name); ok {
			return principalOf(u), true
		}
	}
	return p, false
}

func certificateNames(c *x509.Certificate) []string {
	names := make([]string, 0, 1+len(c.EmailAddresses)+len(c.DNSNames)+len(c.URIs))
	if c.Subject.CommonName != "" {
		names = append(names, c.Subject.CommonName)
	}
	names = append(append(names, c.EmailAddresses...), c.DNSNames...)
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	return names
}

func principalOf(u *shard.User) Principal {
	return Principal{Name: u.Name, Superuser: u.Superuser, user: u}
}
