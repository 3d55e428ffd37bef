package gateway

import (
	"crypto/sha256"
	"encoding/base64"
	"testing"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/xdg-go/scram"
)

func newTestScram(lookup func(string) *shard.Credential) *Scram {
	return &Scram{hash: sha256.New, lookup: lookup}
}

// The conversation of RFC 7677, section 3, but for the server's nonce, which is
// set here.
func TestScramAsInItsRFC(t *testing.T) {
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	cred, err := Derive(scram.SHA256, "user", "pencil", salt, 4096)
	if err != nil {
		t.Fatal(err)
	}
	talk := func() *Scram {
		s := newTestScram(func(name string) *shard.Credential {
			if name != "user" {
				return nil
			}
			return cred
		})
		if _, _, ok := s.step("n,,n=user,r=rOprNGfwEbeRWgbNEkqO"); !ok {
			t.Fatal("the first message is refused")
		}
		s.nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
		s.sofar = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=" + s.nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
		return s
	}
	const proof = ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	answer, done, ok := talk().step("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0" + proof)
	if !done || !ok || answer != "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=" {
		t.Errorf("the last answer is %q, %v, %v", answer, done, ok)
	}
	for _, bad := range []string{
		"", "c=biws", "c=biws,r=other" + proof, "c=eSws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0" + proof,
		"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzb", "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=AHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
		"c=biws,r=xrOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0" + proof,
	} {
		if _, _, ok := talk().step(bad); ok {
			t.Errorf("%q is taken", bad)
		}
	}
	for _, bad := range []string{"", "n", "n,,", "p=tls-unique,,n=user,r=x", "n,,n=user", "n,,n=user,r=", "n,,n=u=ser,r=x", "n,x,n=user,r=x", "n,,n=nobody,r=x"} {
		if _, _, ok := newTestScram(func(n string) *shard.Credential { return map[string]*shard.Credential{"user": cred}[n] }).step(bad); ok {
			t.Errorf("%q is taken", bad)
		}
	}
}

func FuzzScram(f *testing.F) {
	f.Add("n,,n=user,r=abc", "c=biws,r=abc,p=AAAA")
	f.Add("y,a=user,n=u=2Cx,r=abc,e=1", "c=eSxhPXVzZXIs,r=abc,m=1,p=")
	cred := &shard.Credential{Salt: []byte("s"), Iterations: 4096, StoredKey: make([]byte, 32), ServerKey: make([]byte, 32)}
	f.Fuzz(func(t *testing.T, first, last string) {
		s := newTestScram(func(string) *shard.Credential { return cred })
		if _, done, ok := s.step(first); done || !ok {
			return
		}
		if _, done, ok := s.step(last); done || ok {
			t.Fatalf("%q and %q prove something", first, last)
		}
	})
}
