package admin

import (
	"testing"

	"github.com/robustmq/robustmq-go/gateway"
)

// The token of an account, by which NATS clients log in, can be set and taken away,
// and is one account's alone.
func TestUserToken(t *testing.T) {
	r := newRig(t)
	r.want(201, "POST", "/api/v1/users", "boss", `{"name":"bob","password":"bob-password"}`)
	r.want(201, "POST", "/api/v1/users", "boss", `{"name":"eve","password":"eve-password"}`)
	r.want(403, "PATCH", "/api/v1/users/bob", "bob", `{"token":"0123456789abcdef"}`)
	r.want(400, "PATCH", "/api/v1/users/bob", "boss", `{"token":"short"}`)
	bob := decode[User](t, r.want(200, "PATCH", "/api/v1/users/bob", "boss", `{"token":"0123456789abcdef"}`))
	if u, _ := r.b.Users.User("bob"); !bob.HasToken || u.TokenHash != gateway.TokenHash("0123456789abcdef") {
		t.Errorf("%+v, %+v", bob, u)
	}
	r.want(409, "PATCH", "/api/v1/users/eve", "boss", `{"token":"0123456789abcdef"}`)
	r.want(200, "PATCH", "/api/v1/users/bob", "boss", `{"token":"0123456789abcdef","max_connections":2}`)
	if bob = decode[User](t, r.want(200, "PATCH", "/api/v1/users/bob", "boss", `{"token":""}`)); bob.HasToken {
		t.Errorf("%+v", bob)
	}
}
