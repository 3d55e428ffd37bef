package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

func authOf(t *testing.T, cfg AuthConfig, names ...string) (*Auth, shard.Broker) {
	t.Helper()
	var o shardmem.Options
	for _, n := range names {
		u, err := NewUser(n, n+"-password")
		if err != nil {
			t.Fatal(err)
		}
		o.Users = append(o.Users, u)
	}
	mem := shardmem.New(o)
	t.Cleanup(mem.Close)
	b := mem.Broker()
	return NewAuth(b.Users, b.ACLs, cfg), b
}

func at(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 1000} }

// TestGuessing: an address and an account have so many failures, then few a second;
// who is known goes on, and a line of the log says where it comes from.
func TestGuessing(t *testing.T) {
	var log bytes.Buffer
	a, _ := authOf(t, AuthConfig{Log: slog.New(slog.NewTextHandler(&log, nil))}, "ann", "bob")
	now := time.Unix(1e9, 0)
	a.attempts.now = func() time.Time { return now }
	try := func(ip, user, password string) error {
		_, err := a.Password(context.Background(), at(ip), user, password)
		return err
	}
	if err := try("10.0.0.9", "ann", "ann-password"); err != nil {
		t.Fatal(err)
	}
	wrong := func(ip, user string) (looked int) {
		for range 200 {
			if err := try(ip, user, "wrong"); !errors.Is(err, ErrTooManyFailures) {
				looked++
			}
		}
		return looked
	}
	if n := wrong("10.0.0.1", "nobody"); n != addressFailures {
		t.Errorf("%d passwords of 200 were looked at", n)
	}
	if err := try("10.0.0.1", "bob", "bob-password"); !errors.Is(err, ErrTooManyFailures) {
		t.Errorf("the right password after them: %v", err)
	}
	if err := try("10.0.0.2", "bob", "bob-password"); err != nil {
		t.Errorf("from elsewhere: %v", err)
	}
	now = now.Add(3 * time.Second)
	if n := wrong("10.0.0.1", "nobody"); n != 3*addressRate {
		t.Errorf("3 s later %d were looked at", n)
	}
	// Who shares the address of a known client does not lock it out, nor do many addresses.
	wrong("10.0.0.9", "nobody")
	for i := range 20 {
		wrong(fmt.Sprintf("10.0.1.%d", i), "ann")
	}
	if err := try("10.0.3.1", "ann", "ann-password"); !errors.Is(err, ErrTooManyFailures) {
		t.Errorf("an account that is guessed at, from an unknown address: %v", err)
	}
	if err := try("10.0.0.9", "ann", "ann-password"); err != nil {
		t.Errorf("from its own address: %v", err)
	}
	if n := wrong("10.0.0.9", "ann"); n > addressFailures {
		t.Errorf("a known address guesses %d times", n)
	}
	if lines := strings.Count(log.String(), "\n"); lines == 0 || lines > 2*maxWarnings {
		t.Errorf("%d lines of the log", lines)
	}
	if s := log.String(); !strings.Contains(s, "level=WARN") || !strings.Contains(s, "remote=10.0.0.1:1000 user=nobody") {
		t.Errorf("the log does not say who: %s", s)
	}
	now = now.Add(time.Hour)
	if err := try("10.0.3.1", "ann", "ann-password"); err != nil {
		t.Errorf("an hour later: %v", err)
	}
}

// TestGuessingByScram: the exchange is held to the same.
func TestGuessingByScram(t *testing.T) {
	a, _ := authOf(t, AuthConfig{}, "ann")
	looked := 0
	for range 100 {
		s, _ := a.Scram(MechanismScram256)
		_, _, _, err := s.Step(at("10.0.0.1"), []byte("n,,n=ann,r=abc"))
		if err == nil {
			_, _, _, err = s.Step(at("10.0.0.1"), []byte("c=biws,r="+s.nonce+",p="+strings.Repeat("A", 43)+"="))
		}
		if !errors.Is(err, ErrTooManyFailures) {
			looked++
		}
	}
	if looked < addressFailures || looked > addressFailures+5 {
		t.Errorf("%d of 100 were looked at", looked)
	}
	if _, err := a.Token(at("10.0.0.1"), "x"); !errors.Is(err, ErrTooManyFailures) {
		t.Errorf("a token after them: %v", err)
	}
}

// TestEqualWork: a password is hashed whether the user exists or not.
func TestEqualWork(t *testing.T) {
	a, b := authOf(t, AuthConfig{}, "ann")
	_ = b.Users.Put(context.Background(), shard.User{Name: "keyed", NKey: "UABC"})
	a.deriving = make(chan struct{}) // nobody gets to hash
	for _, user := range []string{"ann", "nobody", "keyed", ""} {
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(errors.New("would hash"))
		if _, err := a.Password(ctx, at("10.0.0.1"), user, "wrong"); err == nil || err.Error() != "would hash" {
			t.Errorf("%q: %v", user, err)
		}
	}
	a.deriving = make(chan struct{}, 1)
	for _, user := range []string{"ann", "nobody", "keyed", ""} {
		if _, err := a.Password(context.Background(), at("10.0.0.1"), user, "wrong"); !errors.Is(err, ErrBadCredentials) {
			t.Errorf("%q: %v", user, err)
		}
	}
}

// TestAttemptsAreBounded: names that a client makes up fill nothing, and do not push
// out who owes more.
func TestAttemptsAreBounded(t *testing.T) {
	var a attempts
	a.init()
	now := time.Unix(1e9, 0)
	a.now = func() time.Time { return now }
	for range accountFailures + 10 {
		a.failed(at("10.0.0.1"), "victim")
	}
	for i := range 3 * maxAttempts {
		addr := at(fmt.Sprintf("2001:db8:%x:%x::1", i>>16, i&0xffff))
		a.failed(addr, fmt.Sprint("user", i))
		a.succeeded(addr, fmt.Sprint("user", i))
	}
	if n := max(len(a.address), len(a.account), len(a.pair), len(a.good)); n > maxAttempts {
		t.Errorf("%d entries", n)
	}
	if err := a.allow(at("10.9.9.9"), "victim"); !errors.Is(err, ErrTooManyFailures) {
		t.Errorf("the account that was guessed at is forgotten: %v", err)
	}
	if k1, k2 := addressKey(at("2001:db8::1")), addressKey(at("2001:db8::2:1")); k1 != k2 {
		t.Errorf("one host's network counts as %q and %q", k1, k2)
	}
}
